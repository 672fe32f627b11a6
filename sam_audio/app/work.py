"""Work beside the page: a queue that all visitors share, with progress and cancel."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from sam_audio.errors import UserError

T = TypeVar("T")
WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"


class Cancelled(Exception):
    """Raised inside of a task that is not wanted any more."""


class Task(Generic[T]):
    """A piece of work. ``state`` is one of WAITING, RUNNING, DONE, FAILED and CANCELLED.

    Attributes:
        share: of the work that is done, 0..1.
        stage: what it does now, for people; empty where it does one thing only.
        result: when DONE.
        problem: one sentence, when FAILED.
    """

    def __init__(self, work: Callable[[Task[T]], T]) -> None:
        self._work = work
        self._unwanted = threading.Event()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.state = WAITING
        self.share, self.stage = 0.0, ""
        self.result: T | None = None
        self.problem = ""

    @property
    def over(self) -> bool:
        return self._over.is_set()

    def cancel(self) -> None:
        """Ends it: at once while it waits, else at its next step; nothing it was writing is left."""
        self._unwanted.set()
        with self._lock:
            if self.state == WAITING:
                self._end(CANCELLED)

    @property
    def unwanted(self) -> bool:
        return self._unwanted.is_set()

    def progress(self, done: int, total: int | None) -> None:
        """For the work itself: says how far it is, and ends it if it was cancelled."""
        if self._unwanted.is_set():
            raise Cancelled
        if total:
            self.share = min(done / total, 1.0)

    def begin(self, stage: str) -> None:
        """For the work itself: says what it does now, none of which is done yet."""
        self.stage, self.share = stage, 0.0

    def wait(self, timeout_s: float | None = None) -> Task[T]:
        self._over.wait(timeout_s)
        return self

    def run(self) -> None:
        """Does it, on the thread of the caller."""
        with self._lock:
            if self.over:
                return
            self.state = RUNNING
        try:
            self.result = self._work(self)
            self._end(DONE)
        except Cancelled:
            self._end(CANCELLED)
        except UserError as error:
            self._end(FAILED, str(error))
        except MemoryError:
            self._end(FAILED, "there is not enough memory for this: close other work first")
        except Exception as error:  # the page must not wait for ever; the log says what happened
            traceback.print_exc()
            self._end(FAILED, f"something went wrong inside ({type(error).__name__}): try again")

    def _end(self, state: str, problem: str = "") -> None:
        self.problem, self.state = problem, state
        self._work = _nothing  # lets go of what it held
        self._over.set()


def _nothing(task: Any) -> Any:
    return None


class Queue:
    """Runs tasks in order, ``at_once`` at a time. Memory is bounded by that number, not by that of visitors."""

    def __init__(self, at_once: int = 1) -> None:
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="sam-audio-work")
        self._lock = threading.Lock()
        self._tasks: list[Task[Any]] = []

    def put(self, work: Callable[[Task[T]], T]) -> Task[T]:
        task = Task(work)
        with self._lock:
            self._tasks = [other for other in self._tasks if not other.over]
            self._tasks.append(task)
        self._pool.submit(task.run)
        return task

    @property
    def length(self) -> int:
        """How many tasks wait or run."""
        with self._lock:
            return sum(not task.over for task in self._tasks)

    def before(self, task: Task[Any]) -> int:
        """How many tasks come before this one."""
        with self._lock:
            open_ones = [other for other in self._tasks if not other.over]
        return open_ones.index(task) if task in open_ones else 0
