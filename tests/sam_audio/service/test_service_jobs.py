"""The queue: nothing is lost, nothing is done twice, everybody gets a turn."""

from __future__ import annotations

import threading
import time

import pytest

from sam_audio.errors import AudioWriteError
from sam_audio.service import jobs
from sam_audio.service.jobs import Queue


@pytest.fixture
def queue(tmp_path):
    return Queue(tmp_path / "queue.sqlite3")


def add(queue, client="a", n=1, most=100, most_each=100):
    return [queue.add("separate", client, {"n": i}, most, most_each) for i in range(n)]


def test_a_job_goes_its_way(queue):
    (job,) = add(queue)
    assert (job.state, job.request, job.attempts) == ("queued", {"n": 0}, 0)
    claimed = queue.claim()
    assert (claimed.id, claimed.state, claimed.attempts) == (job.id, "running", 1)
    assert queue.claim() is None
    assert queue.beat(job.id, 0.5) and queue.get(job.id).progress == 0.5
    assert queue.finish(job.id, {"stems": []}, n_bytes=7)
    assert (queue.get(job.id).state, queue.get(job.id).result, queue.stored_bytes()) == (
        "done",
        {"stems": []},
        7,
    )
    assert not queue.finish(job.id, {})


def test_clients_take_turns(queue):
    add(queue, "a", 6)
    add(queue, "b", 2)
    add(queue, "c", 2)
    turns = [queue.claim().client for _ in range(10)]
    assert sorted(turns[:3]) == sorted(turns[3:6]) == ["a", "b", "c"]
    assert turns[6:] == ["a"] * 4


def test_each_job_is_claimed_once(queue, tmp_path):
    expected = {job.id for job in add(queue, n=40)}
    claimed = []

    def work():
        own = Queue(tmp_path / "queue.sqlite3")
        while (job := own.claim()) is not None:
            claimed.append(job.id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(expected)


def dead(queue):
    """As if the process that owns them had been killed."""
    host, _, token = queue.owner.rsplit(":", 2)
    queue.owner = f"{host}:4194303:{token}"


def test_jobs_of_the_dead_are_queued_again_but_not_without_end(tmp_path):
    (job,) = add(Queue(tmp_path / "q"))
    for attempt in range(1, jobs.MOST_ATTEMPTS + 1):
        killed = Queue(tmp_path / "q")
        dead(killed)
        assert killed.claim().attempts == attempt
        survivor = Queue(tmp_path / "q")
        assert survivor.requeue_lost() == 1
        assert not killed.finish(job.id, {})  # should it live after all, it has lost the job
    found = survivor.get(job.id)
    assert (found.state, found.error) == ("failed", "the service ended each time that this was tried")


def test_jobs_of_the_living_stay_theirs(queue, tmp_path):
    add(queue)
    queue.claim()
    assert Queue(tmp_path / "queue.sqlite3").requeue_lost() == 0


def test_jobs_of_other_machines_are_theirs_for_a_while(tmp_path, monkeypatch):
    other = Queue(tmp_path / "q")
    other.owner = "elsewhere:1:x"
    (job,) = add(other)
    other.claim()
    here = Queue(tmp_path / "q")
    assert here.requeue_lost() == 0
    monkeypatch.setattr(jobs, "LEASE_S", 0.0)
    assert here.requeue_lost() == 1
    assert here.get(job.id).state == "queued"


def test_what_is_released_was_not_begun(queue):
    (job,) = add(queue)
    queue.claim()
    queue.release(job.id)
    assert (queue.get(job.id).state, queue.get(job.id).attempts) == ("queued", 0)
    queue.claim()
    queue.release(job.id, counts=True)
    assert queue.get(job.id).attempts == 1


def test_cancelling(queue):
    waiting, running = add(queue, n=2)
    queue.cancel(waiting.id)
    assert queue.claim().id == running.id
    queue.cancel(running.id)
    assert not queue.beat(running.id) and not queue.finish(running.id, {})
    assert {queue.get(one.id).state for one in (waiting, running)} == {"cancelled"}


def test_the_queue_has_an_end(queue):
    assert None not in add(queue, "a", 3, most=5, most_each=3)
    assert add(queue, "a", 1, most=5, most_each=3) == [None]
    assert None not in add(queue, "b", 2, most=5, most_each=3)
    assert add(queue, "c", 1, most=5, most_each=3) == [None]


def test_what_is_old_is_forgotten_but_not_what_is_needed(queue):
    queue.add_upload("u" * 32, "a", 10)
    queue.add_upload("v" * 32, "a", 20)
    done, waiting = (queue.add("locate", "a", {"source": {"upload": "u" * 32}}, 9, 9) for _ in range(2))
    queue.claim()
    queue.finish(done.id, {})
    assert queue.forget(time.time() + 1) == ([done.id], ["v" * 32])
    assert (queue.stored_bytes(), queue.get(waiting.id).state) == (10, "queued")
    queue.cancel(waiting.id)
    assert queue.forget(time.time() + 1) == ([waiting.id], ["u" * 32])


def test_a_folder_that_takes_no_queue(tmp_path):
    (tmp_path / "q").mkdir()
    with pytest.raises(AudioWriteError, match="cannot be used as a queue"):
        Queue(tmp_path / "q")
