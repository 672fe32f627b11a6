"""Work that must not be broken off half-way, such as giving several files their names."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# those that end a process; Windows has no SIGHUP
ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Lets Ctrl-C and other signals that end the process wait until the block is done.

    In threads beside the main one it does nothing: no signal is handled there.
    """
    before: dict[int, Any] = {}
    came: list[int] = []
    try:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING_SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: not set from Python
                    before[number] = signal.signal(number, lambda caught, _frame: came.append(caught))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
