"""The queue: jobs and uploads in SQLite, which are there again after the process was killed.

Any number of processes on one machine may share it. A job that runs has an owner, who renews it; when the owner is
dead, or silent for LEASE_S, it is queued again.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sam_audio.errors import AudioWriteError
from sam_audio.io.target import writing
from sam_audio.service.views import DONE, FAILED, JobFacts

LEASE_S = 30.0
MOST_ATTEMPTS = 3

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, client TEXT NOT NULL, state TEXT NOT NULL, request TEXT NOT NULL,
  progress REAL, attempts INTEGER NOT NULL DEFAULT 0, owner TEXT, beat_at REAL,
  created_at REAL NOT NULL, started_at REAL, finished_at REAL, result TEXT, error TEXT, bytes INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, client, created_at);
CREATE TABLE IF NOT EXISTS clients (name TEXT PRIMARY KEY, turn INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS uploads (
  id TEXT PRIMARY KEY, client TEXT NOT NULL, bytes INTEGER NOT NULL, created_at REAL NOT NULL
) STRICT;
"""


@dataclass(frozen=True)
class Job(JobFacts):
    """A job of the queue: whose it is, and what was asked."""

    client: str
    request: Mapping[str, Any]


_COLUMNS = ", ".join(one.name for one in fields(Job))


class Queue:
    """The jobs in a file; safe to use from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        with writing(str(path)):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # recordings of others lie below
        try:
            with self._changing() as db:
                for statement in _TABLES.split(";"):
                    db.execute(statement)
        except sqlite3.Error as error:
            raise AudioWriteError(
                f"{path} cannot be used as a queue ({error}): choose another folder"
            ) from None

    @property
    def _db(self) -> sqlite3.Connection:
        db = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")  # a job that was accepted is not lost with the power
        return db

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    # ---- jobs --------------------------------------------------------------------------------------------

    def add(
        self, kind: str, client: str, request: Mapping[str, Any], most: int, most_each: int
    ) -> Job | None:
        """A new job; None if so many wait already, of all clients or of this one."""
        job_id = secrets.token_hex(16)
        with self._changing() as db:
            (waiting,) = db.execute("SELECT count(*) FROM jobs WHERE state = 'queued'").fetchone()
            (own,) = db.execute(
                "SELECT count(*) FROM jobs WHERE state = 'queued' AND client = ?", (client,)
            ).fetchone()
            if waiting >= most or own >= most_each:
                return None
            db.execute(
                "INSERT INTO jobs (id, kind, client, state, request, created_at) VALUES (?, ?, ?, 'queued', ?, ?)",
                (job_id, kind, client, json.dumps(request), time.time()),
            )
        return self.get(job_id)

    def get(self, job_id: str) -> Job | None:
        row = self._db.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return None if row is None else _job(row)

    def claim(self) -> Job | None:
        """The next job, now running: the oldest of the client whose turn was longest ago. None if none waits."""
        if self._db.execute("SELECT 1 FROM jobs WHERE state = 'queued' LIMIT 1").fetchone() is None:
            return None
        with self._changing() as db:
            found = db.execute(
                "SELECT id, client FROM jobs LEFT JOIN clients ON name = client WHERE state = 'queued' "
                "ORDER BY coalesce(turn, 0), created_at LIMIT 1"
            ).fetchone()
            if found is None:
                return None
            job_id, client = found
            now = time.time()
            db.execute(
                "UPDATE jobs SET state = 'running', owner = ?, beat_at = ?, started_at = ?, progress = 0, "
                "attempts = attempts + 1 WHERE id = ?",
                (self.owner, now, now, job_id),
            )
            db.execute(
                "INSERT INTO clients VALUES (?, (SELECT coalesce(max(turn), 0) + 1 FROM clients)) "
                "ON CONFLICT (name) DO UPDATE SET turn = excluded.turn",
                (client,),
            )
        return self.get(job_id)

    def beat(self, job_id: str, progress: float | None = None) -> bool:
        """Renews a job that is running here; False if it is not any more."""
        with self._changing() as db:
            return (
                db.execute(
                    "UPDATE jobs SET beat_at = ?, progress = coalesce(?, progress) WHERE id = ? AND owner = ? "
                    "AND state = 'running'",
                    (time.time(), progress, job_id, self.owner),
                ).rowcount
                == 1
            )

    def finish(
        self, job_id: str, result: Mapping[str, Any] | None, error: str | None = None, n_bytes: int = 0
    ) -> bool:
        """Ends a job that is running here; False if it was cancelled or given to others meanwhile."""
        state = DONE if error is None else FAILED
        with self._changing() as db:
            return (
                db.execute(
                    "UPDATE jobs SET state = ?, result = ?, error = ?, bytes = ?, finished_at = ?, progress = 1 "
                    "WHERE id = ? AND owner = ? AND state = 'running'",
                    (
                        state,
                        None if result is None else json.dumps(result, allow_nan=False),
                        error,
                        n_bytes,
                        time.time(),
                        job_id,
                        self.owner,
                    ),
                ).rowcount
                == 1
            )

    def release(self, job_id: str, counts: bool = False) -> None:
        """Queues a job again that was running here; ``counts`` whether that it was begun counts as an attempt."""
        with self._changing() as db:
            db.execute(
                "UPDATE jobs SET state = 'queued', owner = NULL, progress = NULL, attempts = attempts - ? "
                "WHERE id = ? AND owner = ? AND state = 'running'",
                (0 if counts else 1, job_id, self.owner),
            )

    def cancel(self, job_id: str) -> None:
        """Ends a job that has not ended."""
        with self._changing() as db:
            db.execute(
                "UPDATE jobs SET state = 'cancelled', finished_at = ? WHERE id = ? AND state IN ('queued', 'running')",
                (time.time(), job_id),
            )

    def requeue_lost(self) -> int:
        """Queues jobs again whose owner, whoever that is, is dead or has not renewed them; fails those that were begun
        MOST_ATTEMPTS times. How many there were."""
        running = self._db.execute(
            "SELECT id, owner, beat_at, attempts FROM jobs WHERE state = 'running'"
        ).fetchall()
        lost = [row for row in running if not _lives(row[1], row[2])]
        for job_id, owner, _, attempts in lost:
            with self._changing() as db:
                if attempts >= MOST_ATTEMPTS:
                    db.execute(
                        "UPDATE jobs SET state = 'failed', finished_at = ?, "
                        "error = 'the service ended each time that this was tried' "
                        "WHERE id = ? AND owner = ? AND state = 'running'",
                        (time.time(), job_id, owner),
                    )
                else:
                    db.execute(
                        "UPDATE jobs SET state = 'queued', owner = NULL, progress = NULL "
                        "WHERE id = ? AND owner = ? AND state = 'running'",
                        (job_id, owner),
                    )
        return len(lost)

    def counts(self) -> dict[tuple[str, str], int]:
        """How many jobs there are, by kind and state."""
        rows = self._db.execute("SELECT kind, state, count(*) FROM jobs GROUP BY kind, state").fetchall()
        return {(kind, state): number for kind, state, number in rows}

    # ---- uploads and what lies on the disk ----------------------------------------------------------------

    def add_upload(self, upload_id: str, client: str, n_bytes: int) -> None:
        with self._changing() as db:
            db.execute("INSERT INTO uploads VALUES (?, ?, ?, ?)", (upload_id, client, n_bytes, time.time()))

    def upload_client(self, upload_id: str) -> str | None:
        """Whose upload it is; None if there is none."""
        row = self._db.execute("SELECT client FROM uploads WHERE id = ?", (upload_id,)).fetchone()
        return None if row is None else str(row[0])

    def stored_bytes(self) -> int:
        """Of uploads and outputs together."""
        (total,) = self._db.execute(
            "SELECT (SELECT coalesce(sum(bytes), 0) FROM uploads) + (SELECT coalesce(sum(bytes), 0) FROM jobs)"
        ).fetchone()
        return int(total)

    def forget(self, before: float) -> tuple[list[str], list[str]]:
        """Drops jobs that ended before a time, and uploads that are older and that no job needs; their ids."""
        with self._changing() as db:
            jobs = _ids(db, "DELETE FROM jobs WHERE finished_at < ? RETURNING id", (before,))
            uploads = _ids(
                db,
                "DELETE FROM uploads WHERE created_at < ? AND NOT EXISTS (SELECT 1 FROM jobs WHERE "
                "state IN ('queued', 'running') AND instr(request, uploads.id) > 0) RETURNING id",
                (before,),
            )
        return jobs, uploads


def _ids(db: sqlite3.Connection, statement: str, values: Sequence[Any]) -> list[str]:
    return [str(row[0]) for row in db.execute(statement, values).fetchall()]


def _job(row: Sequence[Any]) -> Job:
    values = dict(zip((one.name for one in fields(Job)), row, strict=True))
    for name in ("request", "result"):
        values[name] = None if values[name] is None else json.loads(values[name])
    return Job(**values)


def _lives(owner: str, beat_at: float) -> bool:
    host, pid, _ = owner.rsplit(":", 2)
    if host == socket.gethostname():
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass
    return time.time() - beat_at < LEASE_S
