"""A library on a cluster of this machine: with faults and without, and how much two workers do.

    python benchmarks/library.py make RECORDINGS LIBRARY --count 1000    short pieces of real recordings
    python benchmarks/library.py faults LIBRARY WORK                     a worker killed every 20 s, the driver once
    python benchmarks/library.py speed LIBRARY WORK                      one worker against two, one thread each

``faults`` runs the library once without faults and once with them, and compares every output bit for bit. Each prints
a JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

PROMPTS = ("-p", "person speaking", "-p", "music")
POOL = b"ray::MapWorker"  # what Ray calls the processes of its actor pools


def make(recordings: Path, library: Path, count: int, seconds: float) -> dict[str, Any]:
    """Cuts pieces out of recordings, one of each as long as there are enough."""
    import soundfile

    from sam_audio.finding.media import AUDIO, kind_of
    from sam_audio.io import open_audio

    library.mkdir(parents=True, exist_ok=True)
    paths = [path for path in sorted(recordings.rglob("*")) if path.is_file() and kind_of(path) == AUDIO]
    made, total_s = 0, 0.0
    for number in range(10 * count):
        path, start_s = paths[number % len(paths)], number // len(paths) * seconds
        with suppress(Exception), open_audio(path, start_s=start_s, duration_s=seconds) as reader:
            block = next(iter(reader.blocks(round(seconds * reader.sample_rate))))
            if block.shape[1] >= 0.5 * reader.sample_rate:
                soundfile.write(library / f"{made:05d}.wav", block.T, reader.sample_rate, subtype="PCM_16")
                made, total_s = made + 1, total_s + block.shape[1] / reader.sample_rate
        if made == count:
            break
    return {"files": made, "seconds": round(total_s, 1)}


def start(library: Path, out: Path, engine: str, workers: int, *more: str) -> subprocess.Popen[str]:
    code = "import sam_audio.cli as cli; cli.main()"
    own = ["--engine", engine, "--workers", str(workers), "--threads", "1", "--json", *more]
    command = [sys.executable, "-c", code, "batch", str(library), *PROMPTS, "--out", str(out), *own]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def workers_of(driver: int) -> list[int]:
    """The workers below a driver, Ray's or our own."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            name = (entry / "cmdline").read_bytes()
            if (POOL in name or b"spawn_main" in name) and driver in _ancestors(int(entry.name)):
                found.append(int(entry.name))
    return found


def _ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found


def digests(out: Path) -> dict[str, str]:
    files = (path for path in out.rglob("*.wav") if path.is_file())
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows(out: Path) -> tuple[int, int, int]:
    """Rows, tracks and failures of the catalogue."""
    from sam_audio.scale.catalogue import ask
    from sam_audio.scale.stores import open_folder

    question = "SELECT count(*), count(DISTINCT track), count(*) FILTER (status = 'failed') FROM items"
    return ask(open_folder(str(out)), question)[1][0]  # type: ignore[return-value]


def faults(library: Path, work: Path, engine: str, workers: int, every_s: float) -> dict[str, Any]:
    """One run without faults, and one with them."""
    clean, faulty = work / "clean", work / "faulty"
    with start(library, clean, engine, workers) as driver:
        told, _ = driver.communicate()
        summary = json.loads(told)
    n_items = summary["done"] + summary["skipped"]
    killed, driver_killed, drivers = 0, False, 0
    begun = time.monotonic()
    while True:
        drivers += 1
        with start(library, faulty, engine, workers) as driver:
            next_s = time.monotonic() + every_s
            while driver.poll() is None:
                time.sleep(0.5)
                if time.monotonic() >= next_s:
                    next_s = time.monotonic() + every_s
                    for worker in workers_of(driver.pid)[:1]:
                        os.kill(worker, signal.SIGKILL)
                        killed += 1
                if not driver_killed and len(list(faulty.glob("*/residual.wav"))) > n_items / 2:
                    driver.kill()
                    driver_killed = True
            if driver.returncode >= 0:
                break
        time.sleep(5)  # the cluster of the dead driver ends
    one, other = digests(clean), digests(faulty)
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "items": n_items,
        "outputs": len(one),
        "workers_killed": killed,
        "drivers": drivers,
        "equal": one == other,
        "catalogue": dict(zip(("rows", "tracks", "failed"), rows(faulty), strict=True)),
        "clean_s": round(summary["elapsed_s"], 1),
        "faulty_s": round(time.monotonic() - begun, 1),
    }


def speed(library: Path, work: Path, engine: str) -> dict[str, Any]:
    """Seconds of sound a second, of one worker and of two; starting up included."""
    found = {}
    for workers in (1, 2):
        with start(library, work / f"speed-{engine}-{workers}", engine, workers) as driver:
            summary = json.loads(driver.communicate()[0])
        found[workers] = summary["seconds"] / summary["elapsed_s"]
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "engine": engine,
        "real_time_1": round(found[1], 2),
        "real_time_2": round(found[2], 2),
        "ratio": round(found[2] / found[1], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("recordings", type=Path)
    making.add_argument("library", type=Path)
    making.add_argument("--count", type=int, default=1000)
    making.add_argument("--seconds", type=float, default=3.0)
    for name in ("faults", "speed"):
        command = commands.add_parser(name)
        command.add_argument("library", type=Path)
        command.add_argument("work", type=Path)
        command.add_argument("--engine", default="ray", choices=("ray", "local"))
        if name == "faults":
            command.add_argument("--workers", type=int, default=2)
            command.add_argument("--every", type=float, default=20.0, help="seconds between two kills")
    given = parser.parse_args()
    if given.command == "make":
        told = make(given.recordings, given.library, given.count, given.seconds)
    elif given.command == "faults":
        told = faults(given.library, given.work, given.engine, given.workers, given.every)
    else:
        told = speed(given.library, given.work, given.engine)
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
