"""The driver of a batch: what is to be done is handed to an engine's workers, what comes back goes to the catalogue."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from sam_audio.errors import AudioWriteError, UserError
from sam_audio.scale.catalogue import DONE, FAILED, Catalogue, Known, known_tracks
from sam_audio.scale.inputs import Item
from sam_audio.scale.locking import locked
from sam_audio.scale.processes import Worker, WorkerDied
from sam_audio.scale.stores import Folder, open_folder, version_of
from sam_audio.scale.tasks import check_asked, how
from sam_audio.scale.work import STOPPED, UNCHANGED, Assignment, Row, Work

LOOKERS = 32  # at what is done already: a store takes its time over each request
LOOKED_AT_ONCE = 1000


class Engine(Protocol):
    """Does assignments on many workers, in any order."""

    def run(self, work: Work, assignments: Iterable[Assignment]) -> Generator[Row, None, None]:
        """Yields a row for each as it is done, and begins no more than its workers can do soon. Closing it ends the
        workers. An item whose worker died is given to another, ``work.retries`` times."""
        ...


@dataclass
class Summary:
    """What a run did.

    Args:
        done, skipped, failed: numbers of items; what was whole already is skipped.
        seconds: of sound that was worked on.
        elapsed_s: of the run.
        errors: {"source", "message"} of those that failed.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    seconds: float = 0.0
    elapsed_s: float = 0.0
    errors: list[dict[str, str]] = field(default_factory=list)


Told = Callable[[int, int, str], None]  # items finished, items in all, the one that was finished last


def run_batch(
    items: Iterable[Item], work: Work, engine: Engine, overwrite: bool = False, progress: Told | None = None
) -> Summary:
    """Does the items that are not done yet.

    An item is done if the catalogue says so, of the same recording (by version, else by content), prompts and
    settings, and its outputs are there. A track that was made otherwise is made anew only with ``overwrite``; one whose
    recording has changed always is.

    Raises:
        UserError: nothing can be done at all: the folder is in use, cannot be written, or holds tracks made otherwise.
    """
    begun = time.monotonic()
    folder = open_folder(work.out, work.patience)
    listed = list(items)
    for item in listed:
        check_asked(work.task, item.prompts)
    with locked(folder):
        known = known_tracks(folder)
        digest = how(work.task)
        if not overwrite:
            _check_same(listed, known, digest, folder)
        catalogue = Catalogue(folder)
        summary = Summary()

        def state_of(item: Item) -> Assignment | None:
            found = known.get(item.track)
            if found is None or not _is_whole(found, item, digest, folder):
                return Assignment(item)
            return None if _same_version(found, item, work) else Assignment(item, found.content)

        def assignments() -> Iterator[Assignment]:
            with ThreadPoolExecutor(LOOKERS) as pool:
                for first in range(0, len(listed), LOOKED_AT_ONCE):
                    for assignment in pool.map(state_of, listed[first : first + LOOKED_AT_ONCE]):
                        if assignment is None:
                            summary.skipped += 1
                        else:
                            yield assignment

        def finished() -> int:
            return summary.done + summary.skipped + summary.failed

        with closing(engine.run(work, assignments())) as rows:
            try:
                for row in rows:
                    _take(row, known.get(row.get("track", "")), catalogue, summary, folder)
                    if progress is not None:
                        progress(finished(), len(listed), row.get("source", ""))
            finally:
                catalogue.flush()  # before the engine ends its workers, which takes a while
        catalogue.join()
    summary.elapsed_s = time.monotonic() - begun
    return summary


def _take(row: Row, before: Known | None, catalogue: Catalogue, summary: Summary, folder: Folder) -> None:
    """Counts and keeps one row; an empty one only says that time has passed."""
    if row:
        status = row["status"]
        if status == STOPPED:
            raise AudioWriteError(row["error"])
        if status == UNCHANGED:
            summary.skipped += 1
        elif status == DONE:
            summary.done += 1
            summary.seconds += row.get("seconds") or 0.0
            catalogue.add(row)
            now = {stem["path"] for stem in row.get("stems", [])}
            for path, _ in before.outputs if before is not None else ():
                if path not in now:
                    folder.remove(path)
        else:
            assert status == FAILED
            summary.failed += 1
            summary.errors.append({"source": row["source"], "message": row["error"]})
            catalogue.add(row)
    catalogue.flush_if_due()


def _check_same(items: Iterable[Item], known: dict[str, Known], digest: str, folder: Folder) -> None:
    others = [
        item.track
        for item in items
        if (found := known.get(item.track)) is not None
        and (found.how != digest or found.prompts != item.prompts)
    ]
    if others:
        raise UserError(
            f"{folder.uri} holds {len(others)} of these recordings made with other prompts or settings ({others[0]}): "
            "choose another folder with --out, or replace them with --overwrite"
        )


def _is_whole(found: Known, item: Item, digest: str, folder: Folder) -> bool:
    same = found.how == digest and found.prompts == item.prompts
    return same and all(folder.size_bytes(path) == size for path, size in found.outputs)


def _same_version(found: Known, item: Item, work: Work) -> bool:
    try:
        version = version_of(item.source, work.patience)
    except UserError:
        return False  # a worker will try again, and say so
    return found.source == item.source and version is not None and version == found.version


@dataclass(frozen=True)
class LocalEngine:
    """Processes on this machine; ``workers`` None is one for every two processors."""

    workers: int | None = None

    def run(self, work: Work, assignments: Iterable[Assignment]) -> Generator[Row, None, None]:
        n_workers = self.workers or max(1, (os.cpu_count() or 2) // 2)
        todo = _Shared(iter(assignments))
        results: queue.Queue[Row | BaseException | None] = queue.Queue(maxsize=4 * n_workers)
        workers = [Worker(work.load) for _ in range(n_workers)]
        over = threading.Event()

        def serve(worker: Worker) -> None:
            try:
                while not over.is_set() and (assignment := todo.take()) is not None:
                    results.put(_patient(worker, work, assignment, over))
            except BaseException as error:
                results.put(error)
            finally:
                results.put(None)

        threads = [threading.Thread(target=serve, args=(worker,), daemon=True) for worker in workers]
        for thread in threads:
            thread.start()
        running = n_workers
        try:
            while running:
                try:
                    got = results.get(timeout=1.0)
                except queue.Empty:
                    yield {}
                    continue
                if got is None:
                    running -= 1
                elif isinstance(got, BaseException):
                    raise got
                else:
                    yield got
        finally:
            over.set()
            while any(
                thread.is_alive() for thread in threads
            ):  # some may wait to hand over what nobody takes
                with suppress(queue.Empty):
                    results.get(timeout=0.1)
            for worker in workers:
                worker.close()


def _patient(worker: Worker, work: Work, assignment: Assignment, over: threading.Event) -> Row:
    """An item's row; when its worker dies it is tried again in a new one."""
    for attempt in range(1, work.retries + 2):
        try:
            return dict(worker.run(assignment, wanted=lambda: not over.is_set()))
        except WorkerDied as error:
            failed = work.failed(assignment.item, str(error), attempt)
    return failed


class _Shared:
    """An iterator that several threads take from."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator, self._lock = iterator, threading.Lock()

    def take(self) -> Any:
        with self._lock:
            return next(self._iterator, None)
