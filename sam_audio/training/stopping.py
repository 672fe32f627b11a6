"""Being told to stop, in the middle of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects SIGTERM and Ctrl-C instead of dying of them, so that the state can be saved first."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # no other may have handlers
        yield received
        return
    before = [signal.signal(number, lambda n, _: received.append(n)) for number in STOP_SIGNALS]
    try:
        yield received
    finally:
        for number, handler in zip(STOP_SIGNALS, before, strict=True):
            signal.signal(number, handler)
