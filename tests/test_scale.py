"""Libraries on Ray, disks that are full, and the service: processes are killed, and nothing is lost or done twice.

``pytest -m scale``; takes minutes. What the local engine does about faults is in tests/sam_audio/scale.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import soundfile
import tiny

from sam_audio.errors import AudioWriteError
from sam_audio.scale.catalogue import ask
from sam_audio.scale.locking import locked
from sam_audio.scale.stores import open_folder
from sam_audio.service.client import Client, ServiceError
from sam_audio.service.jobs import Queue

pytestmark = [
    pytest.mark.scale,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

DRIVER = """
import sys
from sam_audio.cli import _unwound_by_signals
from scale_tasks import CopyTask
from sam_audio.scale.batch import LocalEngine, run_batch
from sam_audio.scale.inputs import find_items
from sam_audio.scale.rays import RayEngine
from sam_audio.scale.stores import Patience
from sam_audio.scale.work import Work
if __name__ == "__main__":
    engine, library, out, slow_s = sys.argv[1:]
    work = Work(CopyTask(float(slow_s)), out, patience=Patience(pause_s=0.1))
    engine = LocalEngine(2) if engine == "local" else RayEngine(2, address=None if engine == "ray" else engine)
    def tell(done, total, name):
        print(done, flush=True)
    with _unwound_by_signals():  # as the command does
        done = run_batch(find_items([library]), work, engine, progress=tell)
    print(done.done, done.skipped, done.failed)
"""


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "library"
    folder.mkdir()
    for n in range(40):
        (folder / f"r{n:02d}.wav").write_text(f"recording {n}")
    return folder


def start(tmp_path, engine, library, out, slow_s=0.0, **environment):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, script, engine, library, out, str(slow_s)]
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": paths, **environment},
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


def wait_until(condition, most_s=240.0):
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


@pytest.fixture
def short_path():
    """For Ray, whose sockets lie below and may not have long names."""
    with TemporaryDirectory(prefix="ray") as place:
        yield place


def test_ray_joins_a_cluster_and_leaves_it_as_it_was(tmp_path, library, short_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, token = f"127.0.0.1:{port}", secrets.token_hex(32)
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--num-cpus=2"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    more = [
        "--node-ip-address=127.0.0.1",
        f"--port={port}",
        "--include-dashboard=false",
        "--disable-usage-stats",
    ]
    # workers find the task's module where the driver does
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    environment["RAY_TMPDIR"] = short_path  # where it would leave its address behind
    with subprocess.Popen([*command, *more], env=environment, **quiet) as cluster:
        try:
            wait_until(lambda: answers_at(port))
            for expected in ("40 0 0", "0 40 0"):
                with start(tmp_path, address, library, tmp_path / "out", RAY_AUTH_TOKEN=token) as driver:
                    told, errors = driver.communicate(timeout=200)
                assert told.splitlines()[-1:] == [expected], errors
                assert cluster.poll() is None
        finally:
            cluster.terminate()
    check_whole(tmp_path / "out")


def answers_at(port):
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def test_ray_gives_up_what_kills_every_worker(tmp_path, library):
    out = tmp_path / "out"
    (library / "r40.wav").write_text("die now")
    with start(tmp_path, "ray", library, out) as driver:
        told, errors = driver.communicate(timeout=200)
    assert told.splitlines()[-1] == "40 0 1", errors
    check_failed = ask(open_folder(str(out)), "SELECT track, error FROM items WHERE status = 'failed'")[1]
    assert check_failed == [("r40", "its worker died each time, perhaps for lack of memory")]


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_who_is_told_to_stop_keeps_what_is_done_and_waits_for_nothing(tmp_path, library, engine):
    out = tmp_path / "out"
    for n in range(3, 40):
        (library / f"r{n:02d}.wav").write_text("hang for ten minutes")
    with start(tmp_path, engine, library, out) as driver:
        for done in driver.stdout:
            if done == "3\n":
                break
        driver.terminate()
        _, errors = driver.communicate(timeout=200)
    assert driver.returncode == 128 + signal.SIGTERM, errors
    check_whole(out, 3)
    assert is_free(out)


def test_a_model_that_ray_s_workers_cannot_load_is_one_sentence(tmp_path, library):
    (tmp_path / "no.safetensors").write_bytes(b"no model")
    code = "import sam_audio.cli as cli; cli.main()"
    command = [
        sys.executable,
        "-c",
        code,
        "batch",
        library,
        "-p",
        "dog",
        "-o",
        tmp_path / "out",
        "--engine",
        "ray",
    ]
    model = "--model", tmp_path / "no.safetensors"
    done = subprocess.run([*command, *model], capture_output=True, text=True, timeout=200)
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*no\.json is missing.*", done.stderr.splitlines()[-1])


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


# ---- the service ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    path = tmp_path_factory.mktemp("mixture") / "mix.wav"
    soundfile.write(path, tiny.noise(seconds=20).T, 48_000, subtype="FLOAT")
    return path


@contextmanager
def serving(data, weights, *options):
    """``sam-audio serve`` in a process of its own; gives process and client."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "import sam_audio.cli as cli; cli.main()"
    command = [
        sys.executable,
        "-c",
        code,
        "serve",
        "--data",
        data,
        "--port",
        port,
        "--threads",
        1,
        "--model",
        weights,
    ]
    with subprocess.Popen([*map(str, command), *map(str, options)], stderr=subprocess.DEVNULL) as process:
        try:
            client = Client(f"http://127.0.0.1:{port}")
            wait_until(lambda: is_up(client))
            yield process, client
        finally:
            process.kill()


def is_up(client):
    try:
        client.job("0" * 32)
    except ServiceError as error:
        return error.status == 404


def digests(client, job, folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in client.download(job, folder)}


def test_a_service_that_is_killed_loses_no_job(tmp_path, tiny_weights, mixture):
    data = tmp_path / "service"
    with serving(data, tiny_weights) as (process, client):
        jobs = [client.separate(mixture, ["dog"]) for _ in range(3)]
        wait_until(lambda: client.job(jobs[0].id).state == "running")
        process.send_signal(signal.SIGKILL)
        process.wait()
    with serving(data, tiny_weights) as (_, client):
        done = [client.wait(client.job(job.id)) for job in jobs]
        whole = [digests(client, job, tmp_path / job.id) for job in done]
    assert all(one == whole[0] for one in whole)
    assert done[0].attempts == 2


def test_a_service_that_is_told_to_stop_finishes_or_queues_again(tmp_path, tiny_weights, mixture):
    data = tmp_path / "service"
    with serving(data, tiny_weights, "--grace", 0) as (process, client):
        jobs = [client.separate(mixture, ["dog"]) for _ in range(2)]
        wait_until(lambda: client.job(jobs[0].id).state == "running")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
    queue = Queue(data / "queue.sqlite3")
    assert [queue.get(job.id).state for job in jobs] == ["queued", "queued"]
    assert queue.get(jobs[0].id).attempts == 0  # that it was broken off is no fault of its own
    assert not list((data / "outputs").iterdir())
    with serving(data, tiny_weights) as (process, client):
        wait_until(lambda: client.job(jobs[0].id).state == "running")
        process.send_signal(signal.SIGTERM)  # with time to finish
        process.wait(timeout=60)
    states = [Queue(data / "queue.sqlite3").get(job.id).state for job in jobs]
    assert states[0] == "done" and states[1] in ("queued", "done")


def test_a_worker_of_the_service_that_is_killed_is_replaced(tmp_path, tiny_weights, mixture):
    with serving(tmp_path / "service", tiny_weights) as (process, client):
        job = client.separate(mixture, ["dog"])
        wait_until(lambda: client.job(job.id).state == "running")
        for child in children_of(process.pid):
            os.kill(child, signal.SIGKILL)
        assert client.wait(job).attempts == 2


def children_of(pid):
    """The workers: those children that were spawned to work."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for task in Path(f"/proc/{pid}/task").iterdir():
        listed += (task / "children").read_text().split()
    return [int(one) for one in set(listed) if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def test_a_full_disk_refuses_uploads_in_one_sentence(tiny_weights, mixture, small_disk):
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    with serving(small_disk / "service", tiny_weights) as (_, client):
        with pytest.raises(ServiceError, match="there is no room") as refused:
            client.separate(mixture, ["dog"])
        assert refused.value.status == 507


def test_ray_serve_gives_the_same(tmp_path, tiny_weights, mixture):
    with serving(tmp_path / "alone", tiny_weights) as (_, client):
        alone = answers(client, mixture, tmp_path / "a")
    from sam_audio.scale.rays import load_ray
    from sam_audio.service.deployment import deploy
    from sam_audio.service.settings import Settings

    ray = load_ray()
    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        from ray import serve

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        settings = Settings(tmp_path / "ray", model=str(tiny_weights), threads=1)
        serve.run(deploy(settings, replicas=2))
        assert answers(Client(f"http://127.0.0.1:{port}"), mixture, tmp_path / "b") == alone
    finally:
        ray.shutdown()


def answers(client, mixture, folder):
    """What a service says to everything that can be asked, without ids and times."""
    stems = client.wait(client.separate(mixture, ["dog", "rain"]))
    files = digests(client, stems, folder)
    report = {key: value for key, value in stems.result.items() if key != "elapsed_s"}
    located = client.wait(client.locate(mixture, ["dog"])).result
    judged = client.wait(client.judge(mixture, folder / "dog.wav", "dog")).result
    embedded = client.wait(client.embed(mixture, ["dog"])).result
    with pytest.raises(ServiceError) as refused:
        client.separate(mixture, [])
    return files, report, located, judged, embedded, refused.value.status
