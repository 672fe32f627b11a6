"""Workers: an answer belongs to its job, whatever goes wrong."""

from __future__ import annotations

import os
import time

import pytest

from sam_audio.scale.processes import Worker, WorkerDied, WorkerStopped


def load():
    def do(job, tell):
        tell(job)
        if job == "die":
            os._exit(3)
        if job == "fail":
            raise KeyError(job)
        if job == "sleep":
            time.sleep(600)
        return f"done {job}"

    return do


@pytest.fixture
def worker():
    made = Worker(load, passes_progress=True)
    yield made
    made.close()


def test_a_process_does_many_jobs(worker):
    told = []
    assert worker.run("a", told.append) == "done a"
    pid = worker.pid
    assert worker.run("b", told.append) == "done b"
    assert (told, worker.pid) == (["a", "b"], pid)


def broken(told):
    raise ValueError("the queue cannot be written")


@pytest.mark.parametrize(
    ("job", "more", "error"),
    [
        ("a", {"progress": broken}, ValueError),
        ("sleep", {"wanted": lambda: 1 / 0}, ZeroDivisionError),
        ("sleep", {"wanted": lambda: False}, WorkerStopped),
        ("sleep", {"timeout_s": 0.1}, WorkerStopped),
        ("fail", {}, RuntimeError),
        ("die", {}, WorkerDied),
    ],
)
def test_the_next_job_gets_its_own_answer(worker, job, more, error):
    with pytest.raises(error):
        worker.run(job, **more)
    assert worker.run("next") == "done next"


def test_how_it_ended_is_told(worker):
    with pytest.raises(WorkerDied, match="exit code 3"):
        worker.run("die")
