"""Libraries on Ray and on disks that are full: workers and drivers are killed, and nothing is lost or done twice.

``pytest -m scale``; takes minutes. What the local engine does about faults is in tests/sam_audio/scale.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from sam_audio.errors import AudioWriteError
from sam_audio.scale.catalogue import ask
from sam_audio.scale.locking import locked
from sam_audio.scale.stores import open_folder

pytestmark = [
    pytest.mark.scale,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

DRIVER = """
import sys
from scale_tasks import CopyTask
from sam_audio.scale.batch import LocalEngine, run_batch
from sam_audio.scale.inputs import find_items
from sam_audio.scale.rays import RayEngine
from sam_audio.scale.stores import Patience
from sam_audio.scale.work import Work
if __name__ == "__main__":
    engine, library, out, slow_s = sys.argv[1:]
    work = Work(CopyTask(float(slow_s)), out, patience=Patience(pause_s=0.1))
    done = run_batch(find_items([library]), work, RayEngine(2) if engine == "ray" else LocalEngine(2))
    print(done.done, done.skipped, done.failed)
"""


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "library"
    folder.mkdir()
    for n in range(40):
        (folder / f"r{n:02d}.wav").write_text(f"recording {n}")
    return folder


def start(tmp_path, engine, library, out, slow_s=0.0):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, script, engine, library, out, str(slow_s)]
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def workers_of(driver: int) -> list[int]:
    """Processes of the pool below a driver: Ray's actors have its class in their name."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            name = (entry / "cmdline").read_bytes()
            if b"ray::MapWorker" in name and driver in ancestors(int(entry.name)):
                found.append(int(entry.name))
    return found


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        stat = Path(f"/proc/{pid}/stat").read_text()
        pid = int(stat.rpartition(")")[2].split()[1])
        found.append(pid)
    return found


def wait_until(condition, most_s=90.0):
    begun = time.monotonic()
    while not (value := condition()):
        assert time.monotonic() - begun < most_s
        time.sleep(0.05)
    return value


def finished(out):
    return len(list(out.glob("r*/copy.bin")))


def check_whole(out, n=40):
    files = {path.parent.name: path.read_text() for path in out.glob("r*/*")}
    assert files == {f"r{i:02d}": f"recording {i}" for i in range(n)}
    assert ask(open_folder(str(out)), "SELECT count(*), count(DISTINCT track) FROM items")[1] == [(n, n)]


def test_ray_with_workers_killed_and_the_driver_killed_once(tmp_path, library):
    out = tmp_path / "out"
    with start(tmp_path, "ray", library, out, 0.5) as driver:
        for least in (4, 10):
            wait_until(lambda least=least: finished(out) >= least)
            os.kill(workers_of(driver.pid)[0], signal.SIGKILL)
        wait_until(lambda: finished(out) >= 16)
        driver.kill()
    wait_until(lambda: is_free(out))
    with start(tmp_path, "ray", library, out, 0.5) as driver:
        wait_until(lambda: finished(out) >= 24)
        os.kill(workers_of(driver.pid)[0], signal.SIGKILL)
        told, errors = driver.communicate(timeout=200)
    assert driver.returncode == 0, errors
    done, skipped, failed = map(int, told.splitlines()[-1].split())
    assert (done + skipped, failed) == (40, 0)
    check_whole(out)


def is_free(out):
    with suppress(AudioWriteError), locked(open_folder(str(out))):
        return True
    return False


def test_ray_gives_up_what_kills_every_worker(tmp_path, library):
    out = tmp_path / "out"
    (library / "r40.wav").write_text("die now")
    with start(tmp_path, "ray", library, out) as driver:
        told, errors = driver.communicate(timeout=200)
    assert told.splitlines()[-1] == "40 0 1", errors
    check_failed = ask(open_folder(str(out)), "SELECT track, error FROM items WHERE status = 'failed'")[1]
    assert check_failed == [("r40", "its worker died each time, perhaps for lack of memory")]


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], stderr=subprocess.DEVNULL
    ).returncode:
        pytest.skip("may mount no disk")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(tmp_path, library, small_disk, engine):
    (small_disk / "ballast").write_bytes(bytes(40_000))
    with start(tmp_path, engine, library, small_disk / "out") as driver:
        _, errors = driver.communicate(timeout=200)
    assert driver.returncode == 1
    assert "AudioWriteError" in errors and "full" in errors
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    with start(tmp_path, engine, library, small_disk / "out") as driver:
        told, errors = driver.communicate(timeout=200)
    assert driver.returncode == 0, errors
    assert told.splitlines()[-1].split()[2] == "0"
    check_whole(small_disk / "out")


def test_a_read_only_disk_is_one_sentence(tmp_path, library, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with start(tmp_path, "local", library, small_disk / "out") as driver:
        _, errors = driver.communicate(timeout=60)
    assert "AudioWriteError" in errors and "read-only" in errors.lower()
