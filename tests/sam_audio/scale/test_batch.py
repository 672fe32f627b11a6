"""The driver and the local engine: what is done, skipped, tried again and passed over; faults of all kinds."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from scale_tasks import CopyTask

from sam_audio.errors import AudioWriteError, UserError
from sam_audio.scale.batch import LocalEngine, run_batch
from sam_audio.scale.catalogue import ask, known_tracks
from sam_audio.scale.inputs import find_items
from sam_audio.scale.locking import locked
from sam_audio.scale.stores import Patience, open_folder
from sam_audio.scale.work import Work

QUICK = Patience(timeout_s=5, attempts=2, pause_s=0.01)


@pytest.fixture
def library(tmp_path):
    """A folder of recordings with these bytes; whoever makes one names them."""

    def make(**contents: bytes | str) -> Path:
        folder = tmp_path / "library"
        folder.mkdir(exist_ok=True)
        for name, content in contents.items():
            data = content.encode() if isinstance(content, str) else content
            (folder / f"{name}.wav").write_bytes(data)
        return folder

    return make


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def run(library, out, task=None, workers=1, retries=1, **more):
    work = Work(task or CopyTask(), str(out), retries, QUICK)
    return run_batch(find_items([str(library)], out=str(out)), work, LocalEngine(workers), **more)


def counts(summary):
    return summary.done, summary.skipped, summary.failed


def contents(out):
    files = (path for path in out.rglob("*") if path.is_file() and "_catalogue" not in path.parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def rows(out, question):
    return ask(open_folder(str(out)), question)[1]


def test_every_recording_is_done_once(library, out):
    folder = library(a="one", b="two", c="three")
    assert counts(run(folder, out, workers=2)) == (3, 0, 0)
    assert contents(out) == {
        f"{name}/copy.bin": text for name, text in (("a", b"one"), ("b", b"two"), ("c", b"three"))
    }
    assert counts(run(folder, out)) == (0, 3, 0)
    assert rows(out, "SELECT track, status, attempts FROM items") == [(n, "done", 1) for n in "abc"]


def test_only_what_is_missing_is_done_again(library, out):
    folder = library(a="one", b="two", c="three")
    run(folder, out)
    (out / "a/copy.bin").unlink()
    (out / "b/copy.bin").write_bytes(b"tw")  # cut short
    assert counts(run(folder, out)) == (2, 1, 0)
    assert contents(out)["b/copy.bin"] == b"two"


def test_a_recording_that_was_touched_is_read_and_not_done_again(library, out):
    folder = library(a="one", b="two")
    run(folder, out)
    before = (out / "a/copy.bin").stat().st_mtime_ns
    os.utime(folder / "a.wav", (1, 1))
    library(b="new")
    assert counts(run(folder, out)) == (1, 1, 0)
    assert contents(out) == {"a/copy.bin": b"one", "b/copy.bin": b"new"}
    assert (out / "a/copy.bin").stat().st_mtime_ns == before


def test_other_settings_replace_only_when_told_to(library, out):
    folder = library(a="one")
    run(folder, out)
    with pytest.raises(
        UserError, match=r"holds 1 of these recordings made with other prompts or settings \(a\)"
    ):
        run(folder, out, CopyTask(suffix="txt"))
    assert counts(run(folder, out, CopyTask(suffix="txt"), overwrite=True)) == (1, 0, 0)
    assert contents(out) == {"a/copy.txt": b"one"}  # and what it replaces is gone


def test_what_fails_is_tried_again_then_recorded_and_passed_over(library, out):
    folder = library(a="one", b="fail-once two", c="grow three", d="vanish four")
    assert counts(run(folder, out)) == (2, 0, 2)
    failed = dict(rows(out, "SELECT track, error FROM items WHERE status = 'failed'"))
    assert "changed while it was read" in failed["c"]
    assert "does not exist" in failed["d"]
    assert rows(out, "SELECT attempts FROM items WHERE track = 'b'") == [(2,)]
    assert set(contents(out)) == {"a/copy.bin", "b/copy.bin"}
    library(c="three")
    assert counts(run(folder, out)) == (1, 2, 0)  # d is no longer there


def test_a_worker_that_is_killed_is_replaced(library, out):
    folder = library(a="one", b="die two", c="die-once three", d="four")
    summary = run(folder, out)
    assert counts(summary) == (3, 0, 1)
    assert "its worker ended (SIGKILL, perhaps for lack of memory)" in summary.errors[0]["message"]
    assert set(contents(out)) == {"a/copy.bin", "c/copy.bin", "d/copy.bin"}


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_one_item_without_memory_leaves_the_others(library, out):
    summary = run(library(a="one", b="hunger two", c="three"), out)
    assert counts(summary) == (2, 0, 1)
    assert "not enough memory" in summary.errors[0]["message"]


def test_two_runs_on_one_folder(library, out):
    folder = library(a="one")
    with locked(open_folder(str(out))), pytest.raises(AudioWriteError, match="in use by another run"):
        run(folder, out)
    assert counts(run(folder, out)) == (1, 0, 0)


def test_an_output_folder_that_is_a_file(library, tmp_path):
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(AudioWriteError):
        run(library(a="one"), tmp_path / "out")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write everywhere")
def test_a_read_only_output_folder(library, out):
    out.mkdir(mode=0o500)
    with pytest.raises(AudioWriteError):
        run(library(a="one"), out)


def test_outputs_that_cannot_be_written_end_the_run(library, out, monkeypatch):
    """As on a full disk, or one that became read-only: no other item could be written either."""
    folder = library(a="one", b="two", c="three")
    out.mkdir()
    (out / "a").write_bytes(b"in the way")
    with pytest.raises(AudioWriteError, match="a"):
        run(folder, out)
    (out / "a").unlink()
    assert run(folder, out).failed == 0


DRIVER = """
import sys
from scale_tasks import CopyTask
from sam_audio.scale.batch import LocalEngine, run_batch
from sam_audio.scale.inputs import find_items
from sam_audio.scale.work import Work
if __name__ == "__main__":
    library, out = sys.argv[1:]
    run_batch(find_items([library]), Work(CopyTask(slow_s=0.1), out), LocalEngine(2))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_a_driver_that_is_killed_leaves_nothing_half_made(library, out, tmp_path, number):
    folder = library(**{f"r{n}": f"recording {n}" for n in range(20)})
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(
        [sys.executable, script, folder, out], env=environment, stderr=subprocess.DEVNULL
    ) as driver:
        wait_until(lambda: len(list(out.glob("r*/copy.bin"))) >= 3)
        driver.send_signal(number)
    wait_until(partial(is_free, out))
    whole = contents(out)
    assert all(data.startswith(b"recording ") for name, data in whole.items() if not name.startswith("."))
    summary = run(folder, out, CopyTask(slow_s=0.1), workers=2)
    assert summary.failed == 0 and summary.done + summary.skipped == 20
    assert contents(out) == {f"r{n}/copy.bin": f"recording {n}".encode() for n in range(20)}
    assert rows(out, "SELECT count(*) FROM items") == [(20,)]


def wait_until(condition, most_s=240.0):
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < most_s
        time.sleep(0.02)


def is_free(out):
    try:
        with locked(open_folder(str(out))):
            return True
    except AudioWriteError:
        return False


def test_closing_ends_the_workers(library, out):
    work, threads = Work(CopyTask(slow_s=600), str(out), 0, QUICK), threading.active_count()
    from sam_audio.scale.work import Assignment

    running = LocalEngine(1).run(work, map(Assignment, find_items([str(library(a="one"))])))
    next(running)  # a second has passed, and nothing is done
    begun = time.monotonic()
    running.close()
    assert time.monotonic() - begun < 100
    assert threading.active_count() <= threads


def test_no_more_is_begun_than_somebody_takes(library, out):
    """Back-pressure: whoever takes no rows holds up the workers, and they what is to be done."""
    from sam_audio.scale.work import Assignment

    taken = []

    def assignments():
        for item in find_items([str(folder)]):
            taken.append(item)
            yield Assignment(item)

    folder = library(**{f"r{n:02d}": "x" for n in range(40)})
    running = LocalEngine(1).run(Work(CopyTask(), str(out), 0, QUICK), assignments())
    while not next(running):
        pass
    wait_until(lambda: len(taken) >= 6)  # what waits to be taken, four for each worker, and what is begun
    time.sleep(0.5)
    assert len(taken) <= 7
    running.close()


def test_known_tracks_tells_outputs(library, out):
    run(library(a="one"), out)
    known = known_tracks(open_folder(str(out)))["a"]
    assert known.outputs == (("a/copy.bin", 3),)
    assert known.content == hashlib.blake2b(b"one", digest_size=16).hexdigest()
