"""A library on a cluster of this machine: with faults and without, and how much two workers do.

    python benchmarks/library.py make RECORDINGS LIBRARY --count 1000    short pieces of real recordings
    python benchmarks/library.py faults LIBRARY WORK                     a worker killed every 20 s, the driver once
    python benchmarks/library.py speed LIBRARY WORK                      one worker against two, one thread each

``faults`` runs the library once without faults and once with them, and compares every output bit for bit. ``make`` and
``faults`` print a JSON object, ``speed`` the lines of docs/scale.md; it wants an idle machine, keeps each measurement
in WORK, and goes on with what is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
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


def asked(out: Path, question: str) -> list[tuple[Any, ...]]:
    from sam_audio.scale.catalogue import ask
    from sam_audio.scale.stores import open_folder

    return ask(open_folder(str(out)), question)[1]


def rows(out: Path) -> tuple[int, int, int]:
    """Rows, tracks and failures of the catalogue."""
    (counts,) = asked(
        out, "SELECT count(*), count(DISTINCT track), count(*) FILTER (status = 'failed') FROM items"
    )
    return counts  # type: ignore[return-value]


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
        "machine": machine(),
        "items": n_items,
        "outputs": len(one),
        "workers_killed": killed,
        "drivers": drivers,
        "equal": one == other,
        "catalogue": dict(zip(("rows", "tracks", "failed"), rows(faulty), strict=True)),
        "clean_s": round(summary["elapsed_s"], 1),
        "faulty_s": round(time.monotonic() - begun, 1),
    }


def speed(library: Path, work: Path, engine: str) -> str:
    """One worker against two, as a table: with what starting up takes, and without."""
    found = {workers: measured(library, work, engine, workers) for workers in (1, 2)}
    one, two = found.values()
    lines = [
        f"{one['done']} recordings, {one['seconds']:.0f} s, {len(PROMPTS) // 2} prompts, judged, --engine {engine}, "
        f"one thread each, {one['machine']}:",
        "",
        "| workers | took | times real time | without starting up |",
        "|---|---|---|---|",
        *(
            f"| {workers} | {row['elapsed_s']:.0f} s | {row['seconds'] / row['elapsed_s']:.1f} | {row['steady']:.1f} |"
            for workers, row in found.items()
        ),
        "",
        f"Two workers do {two['steady'] / one['steady']:.2f} times as much as one, "
        f"{one['elapsed_s'] / two['elapsed_s']:.2f} times with starting up.",
    ]
    return "\n".join(lines)


def measured(library: Path, work: Path, engine: str, workers: int) -> dict[str, Any]:
    """What a run took, measured now or before; a time cannot be gone on with, so a run that was broken off is begun
    anew."""
    kept, out = work / f"speed-{engine}-{workers}.json", work / f"speed-{engine}-{workers}"
    if not kept.exists():
        shutil.rmtree(out, ignore_errors=True)
        with start(library, out, engine, workers) as driver:
            summary = json.loads(driver.communicate()[0])
        if summary["failed"]:
            raise SystemExit(f"{summary['failed']} recordings failed: {summary['errors'][0]}")
        row = {key: summary[key] for key in ("done", "seconds", "elapsed_s")} | {"machine": machine()}
        row["steady"] = steady(out)
        shutil.rmtree(out)
        kept.with_suffix(".part").write_text(json.dumps(row))
        kept.with_suffix(".part").rename(kept)
    return dict(json.loads(kept.read_text()))


def steady(out: Path) -> float:
    """Seconds of sound a second, from the first recording that was finished to the last."""
    question = "SELECT max(made_at) - min(made_at), sum(seconds) - arg_min(seconds, made_at) FROM items"
    ((took_s, sound_s),) = asked(out, question)
    return float(sound_s / took_s)


def machine() -> str:
    """What this is, for people."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        return f"{os.cpu_count()} processors ({name})"
    return f"{os.cpu_count()} processors ({platform.machine()})"


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
        told = json.dumps(make(given.recordings, given.library, given.count, given.seconds), indent=2)
    elif given.command == "faults":
        told = json.dumps(
            faults(given.library, given.work, given.engine, given.workers, given.every), indent=2
        )
    else:
        told = speed(given.library, given.work, given.engine)
    print(told)


if __name__ == "__main__":
    main()
