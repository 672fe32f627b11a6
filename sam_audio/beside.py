"""Work beside other work: a second thread, piece after piece in order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

_PATIENCE_S = 5.0


class Beside:
    """Does pieces of work in order on a thread of its own, while the caller prepares the next.

    numpy, ONNX Runtime and files let go of Python's lock, so two threads keep two processors busy. What a piece raises
    is raised by the next call here, and nothing is done after it. Leaving the block waits for all; leaving it by an
    exception lets go of what was not begun.

    Args:
        most: pieces that wait at once; more make the caller wait, which bounds memory.

    >>> done = []
    >>> with Beside(2) as beside:
    ...     for n in range(5):
    ...         beside.do(partial(done.append, n))
    >>> done
    [0, 1, 2, 3, 4]
    """

    def __init__(self, most: int) -> None:
        self._pieces: queue.Queue[Callable[[], object] | None] = queue.Queue(most)
        self._error: BaseException | None = None
        # a daemon: a piece that hangs, as one that writes to a pipe that nobody reads, must not keep the process
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def do(self, piece: Callable[[], object]) -> None:
        """Hands over the next piece.

        Raises:
            BaseException: what an earlier piece has raised.
        """
        self._pieces.put(piece)
        self._raise()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            with suppress(queue.Empty):
                while True:
                    self._pieces.get_nowait()
        self._pieces.put(None)
        self._thread.join(None if error is None else _PATIENCE_S)
        if error is None:
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (piece := self._pieces.get()) is not None:
            if self._error is None:
                try:
                    piece()
                except BaseException as error:
                    self._error = error
