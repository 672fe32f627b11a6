"""The part of the service that works: threads that take jobs from the queue, each with a worker process."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sam_audio.scale.processes import Worker, WorkerDied, WorkerStopped
from sam_audio.service.jobs import MOST_ATTEMPTS, Job, Queue
from sam_audio.service.settings import Settings
from sam_audio.service.views import CANCELLED, DONE, FAILED, RUNNING, output_names
from sam_audio.service.work import Assigned, ServiceWork

POLL_S = 0.1
BEAT_S = 5.0
TIDY_S = 60.0
MIN_FREE_BYTES = 200_000_000  # of the disk, which others need too

Ended = Callable[[str, str, float], None]  # kind, state, seconds


class Runner:
    """Works off a queue until it is stopped."""

    def __init__(self, queue: Queue, settings: Settings, ended: Ended | None = None) -> None:
        self.queue, self.settings = queue, settings
        self._ended = ended or (lambda kind, state, seconds: None)
        self.stopping = threading.Event()
        self.arriving_bytes = 0  # of uploads that are not complete
        self._give_up_at = float("inf")
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for folder in (self.settings.uploads, self.settings.outputs):
            folder.mkdir(parents=True, exist_ok=True)
        self.tidy()
        serving = [threading.Thread(target=self._serve, daemon=True) for _ in range(self.settings.workers)]
        self._threads = [*serving, threading.Thread(target=self._look_after, daemon=True)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Takes no more jobs; those that run get ``grace_s`` to finish, and are queued again if they do not."""
        self._give_up_at = time.monotonic() + self.settings.grace_s
        self.stopping.set()
        for thread in self._threads:
            thread.join()

    def has_room(self) -> bool:
        """Whether more recordings and outputs may be stored."""
        stored = self.queue.stored_bytes() + self.arriving_bytes
        free = shutil.disk_usage(self.settings.data).free
        return stored <= self.settings.most_data_bytes and free >= MIN_FREE_BYTES

    def tidy(self) -> None:
        """Queues lost jobs again; removes what is no longer kept, and what killed processes left."""
        self.queue.requeue_lost()
        jobs, uploads = self.queue.forget(time.time() - self.settings.keep_s)
        for job_id in jobs:
            shutil.rmtree(self.settings.outputs / job_id, ignore_errors=True)
        for upload_id in uploads:
            (self.settings.uploads / upload_id).unlink(missing_ok=True)
        old = time.time() - self.settings.job_timeout_s - 3600
        for left in [*self.settings.data.glob("fetched-*"), *self.settings.data.glob("*/*.part")]:
            if left.stat().st_mtime < old:
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)

    def _look_after(self) -> None:
        while not self.stopping.wait(TIDY_S):
            try:
                self.tidy()
            except (OSError, sqlite3.Error):
                continue  # a disk that is full, or a file that went; the next round looks again

    def _serve(self) -> None:
        worker = Worker(ServiceWork(self.settings).load, passes_progress=True)
        try:
            while not self.stopping.is_set():
                try:
                    job = self.queue.claim()
                    if job is not None:
                        self._do(worker, job)
                        continue
                except (OSError, sqlite3.Error):
                    # a full disk: nobody renews the job, so it is queued again when there is room
                    self.stopping.wait(BEAT_S)
                self.stopping.wait(POLL_S)
        finally:
            worker.close()

    def _do(self, worker: Worker, job: Job) -> None:
        begun = time.monotonic()
        if not self.has_room():
            self._end(job, None, "there is no room for what would come of it: ask again later", begun)
            return
        staging = self._staging(job)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            told = worker.run(
                Assigned(job.kind, job.request, staging),
                progress=_now_and_then(lambda fraction: self.queue.beat(job.id, fraction)),
                timeout_s=self.settings.job_timeout_s,
                wanted=self._wanted(job),
            )
            if "error" in told:
                self._end(job, None, told["error"], begun)
            else:
                self._end(job, told["result"], None, begun)
        except WorkerStopped as error:
            if time.monotonic() >= self._give_up_at:
                self.queue.release(job.id)
            else:
                self._end(job, None, f"the job was stopped: {error}", begun)
        except WorkerDied as error:
            if job.attempts < MOST_ATTEMPTS:
                self.queue.release(job.id, counts=True)
            else:
                self._end(job, None, f"the job could not be done: {error}", begun)
        except (OSError, sqlite3.Error):
            raise
        except Exception as error:
            self._end(job, None, f"the job failed: {error}", begun)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _staging(self, job: Job) -> Path:
        """Where its outputs are made: a folder of this process, should another take it for dead."""
        return self.settings.outputs / f"{job.id}-{self.queue.owner.rpartition(':')[2]}.part"

    def _end(self, job: Job, result: dict[str, Any] | None, error: str | None, begun: float) -> None:
        """Outputs get their place, and only then the job its state."""
        staging, place = self._staging(job), self.settings.outputs / job.id
        n_bytes = 0
        if error is None:
            shutil.rmtree(place, ignore_errors=True)
            n_bytes = sum(path.stat().st_size for path in staging.iterdir())
            staging.rename(place)
        if self.queue.finish(job.id, result, error, n_bytes):
            self._ended(job.kind, DONE if error is None else FAILED, time.monotonic() - begun)
        elif (found := self.queue.get(job.id)) is None or found.state == CANCELLED:
            shutil.rmtree(place, ignore_errors=True)

    def _wanted(self, job: Job) -> Callable[[], bool]:
        """Asked several times a second: renews the job, and says whether it is still to be done."""
        beat_at = time.monotonic()

        def wanted() -> bool:
            nonlocal beat_at
            now = time.monotonic()
            if now > beat_at + BEAT_S:
                beat_at = now
                self.queue.beat(job.id)
            if now >= self._give_up_at:
                return False
            found = self.queue.get(job.id)
            return found is not None and found.state == RUNNING

        return wanted


def _now_and_then(tell: Callable[[float], object]) -> Callable[[float], None]:
    """Passes on what is told, but not more often than anybody looks."""
    last = 0.0

    def told(value: float) -> None:
        nonlocal last
        if time.monotonic() - last > 0.25:
            last = time.monotonic()
            tell(value)

    return told


def output_path(settings: Settings, job: Job, name: str) -> Path | None:
    """The file of an output that the job itself names; None if it names none such."""
    return settings.outputs / job.id / name if name in output_names(job) else None
