"""Worker processes on this machine: each has loaded something and does one thing at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from sam_audio.errors import SamAudioError, UserError

# A fresh interpreter: a forked copy of one that has loaded torch and runs threads may hang.
_CONTEXT = multiprocessing.get_context("spawn")
_NOTICE_S = 0.2
PROGRESS, RESULT, ERROR = "progress", "result", "error"


class WorkerDied(SamAudioError):
    """A worker process ended in the middle of its work."""


class WorkerStopped(SamAudioError):
    """The work was broken off: it took too long, or was no longer wanted."""


class Worker:
    """A process that does what ``load()`` returns; a new one is started when it has died.

    Args:
        load: called in the process; what it returns is called with each job, and with ``tell`` if it takes that. Must
            be picklable, as jobs and results are.
        passes_progress: whether jobs are called as ``do(job, tell)``, where ``tell(anything)`` reaches ``progress``.
    """

    def __init__(self, load: Callable[[], Callable[..., Any]], passes_progress: bool = False) -> None:
        self._load, self._passes_progress = load, passes_progress
        self._process: Any = None
        self._connection: Connection | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def run(
        self,
        job: Any,
        progress: Callable[[Any], None] | None = None,
        timeout_s: float | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Any:
        """Does one job, and waits for it.

        Args:
            progress: called with what the work tells meanwhile.
            timeout_s: after which the process is killed.
            wanted: asked now and then; the process is killed when it says no.

        Raises:
            WorkerDied: the process ended; the next call starts another.
            WorkerStopped: it was killed here.
            UserError: ``load`` raised it.
            RuntimeError: ``load`` or the work raised something else, of which this is type and text.
        """
        connection = self._started()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            connection.send(job)
            while True:
                wait([connection, self._process.sentinel], _NOTICE_S)
                if connection.poll():
                    kind, value = connection.recv()
                    if kind == RESULT:
                        return value
                    if kind == ERROR:
                        self.close()
                        raise value
                    if kind == PROGRESS and progress is not None:
                        progress(value)
                elif not self._process.is_alive():
                    raise EOFError
                if not wanted():
                    self.close()
                    raise WorkerStopped("it was stopped")
                if deadline is not None and time.monotonic() > deadline:
                    self.close()
                    raise WorkerStopped(f"it took more than {timeout_s:g} s")
        except (EOFError, OSError):
            raise WorkerDied(f"its worker ended ({self._buried()})") from None
        except (
            BaseException
        ):  # of what was called here: the answer that is still to come is not the next job's
            self.close()
            raise

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._buried()

    def _started(self) -> Connection:
        if self._process is None or not self._process.is_alive():
            self._buried()
            own, its = _CONTEXT.Pipe()
            process = _CONTEXT.Process(
                target=_work, args=(its, self._load, self._passes_progress), daemon=True
            )
            process.start()
            its.close()
            self._process, self._connection = process, own
        assert self._connection is not None
        return self._connection

    def _buried(self) -> str:
        """Waits for the end of the process; says how it ended."""
        if self._process is None:
            return "it never began"
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        code = self._process.exitcode
        if self._connection is not None:
            self._connection.close()
        self._process, self._connection = None, None
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            return f"{name}, perhaps for lack of memory" if name == "SIGKILL" else name
        return f"exit code {code}"


def _work(connection: Connection, load: Callable[[], Callable[..., Any]], passes_progress: bool) -> None:
    """The process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        do = load()
    except UserError as error:
        connection.send((ERROR, error))
        return
    except Exception as error:
        connection.send((ERROR, RuntimeError(f"{type(error).__name__}: {error}")))
        return
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        try:
            result = do(job, lambda told: connection.send((PROGRESS, told))) if passes_progress else do(job)
        except Exception as error:
            connection.send((ERROR, RuntimeError(f"{type(error).__name__}: {error}")))
            return
        connection.send((RESULT, result))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
