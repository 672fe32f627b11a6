"""Start-up time, speed and memory of ``separate``, each run in a process of its own.

    uv run benchmarks/speed.py                  # the tables of docs/benchmarks.md
    uv run benchmarks/speed.py --with-demucs    # HTDemucs (random weights) beside it, in its own environment
    uv run benchmarks/speed.py --quick          # does it work? Tiny lengths, prints only

The recordings are synthesised (tones, noise bursts, a slow swell): speed does not depend on what is heard.
The disk needs room for about 2.5 GB per hour of ``--minutes``. POSIX only: peak memory is what ``wait4``
reports.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib import metadata
from pathlib import Path

import numpy as np

RATE = 44_100
CHUNK_S = 10
PROMPTS = ("guitar", "drums", "person speaking")
DEMUCS = "demucs==4.1.0"
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"


@dataclass
class Run:
    """One finished process; ``first_file_s`` is when the first byte of an output file was there."""

    wall_s: float
    peak_mib: float
    first_file_s: float | None
    output: str


def run(command: Sequence[str], watch: Path | None = None) -> Run:
    """Runs a command to its end and measures it.

    Args:
        watch: folder to watch for the first non-empty file.
    """
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr)
        first, pid = None, 0
        while not pid:
            pid, status, usage = os.wait4(
                process.pid, os.WNOHANG if watch is not None and first is None else 0
            )
            if watch is not None and first is None and _has_bytes(watch):
                first = time.perf_counter() - begun
            elif not pid:
                time.sleep(0.002)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        stdout.seek(0)
        stderr.seek(0)
        if process.returncode != 0:
            raise SystemExit(f"error: {' '.join(command)} failed\n{stderr.read().decode(errors='replace')}")
        in_bytes = 1 if sys.platform == "darwin" else 1024
        return Run(wall, usage.ru_maxrss * in_bytes / 2**20, first, stdout.read().decode(errors="replace"))


def _has_bytes(folder: Path) -> bool:
    try:
        return any(path.is_file() and path.stat().st_size > 0 for path in folder.rglob("*"))
    except OSError:  # renamed while we looked
        return False


def write_recording(path: Path, seconds: float) -> Path:
    """Streams a 16-bit stereo recording to disk, ten seconds at a time."""
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        left, chunk_index = round(seconds * RATE), 0
        while left > 0:
            chunk = _chunk(chunk_index)[:left]
            file.writeframes(chunk.tobytes())
            left -= len(chunk)
            chunk_index += 1
    return path


def _chunk(seed: int) -> np.ndarray:
    """Ten seconds of chords, bursts and hiss, int16 of shape (T, 2)."""
    rng = np.random.default_rng(seed)
    t = np.arange(CHUNK_S * RATE) / RATE
    beat = t % 0.5
    sound = 0.02 * rng.standard_normal((len(t), 2))
    for pitch_hz in 110 * 2 ** (rng.integers(0, 36, 4) / 12):
        pan = rng.uniform(0.2, 0.8)
        tone = 0.08 * np.sin(2 * np.pi * pitch_hz * t) * np.exp(-3 * beat)
        sound += tone[:, None] * np.array([pan, 1 - pan])
    sound += (0.2 * rng.standard_normal(len(t)) * np.exp(-30 * beat))[:, None]
    return (np.clip(sound, -1, 1) * 32767).astype("<i2")


def separate_command() -> str:
    """The ``separate`` beside this Python."""
    beside = Path(sys.executable).with_name("separate")
    found = str(beside) if beside.exists() else shutil.which("separate")
    if found is None:
        raise SystemExit("error: the command separate is not installed: uv run benchmarks/speed.py")
    return found


def separate(recording: Path, prompts: Sequence[str], threads: int, folder: Path, watch: bool = False) -> Run:
    """Separates into a folder that is gone afterwards."""
    out = folder / "out"
    out.mkdir()
    asked = [part for prompt in prompts for part in ("--prompt", prompt)]
    command = [
        separate_command(),
        str(recording),
        *asked,
        "-o",
        str(out),
        "-d",
        "cpu",
        "--threads",
        str(threads),
    ]
    try:
        return run([*command, "-q"], out if watch else None)
    finally:
        shutil.rmtree(out)


def median_run(runs: list[Run]) -> Run:
    return sorted(runs, key=lambda r: r.wall_s)[len(runs) // 2]


def measure(seconds: float, long_seconds: float, threads: int, with_demucs: bool) -> str:
    """Everything, as Markdown."""
    with tempfile.TemporaryDirectory(prefix="sam-audio-speed-") as name:
        folder = Path(name)
        second = write_recording(folder / "second.wav", 1)
        song = write_recording(folder / "song.wav", seconds)

        _say("start-up")
        separate(second, PROMPTS[:1], threads, folder)  # fills the file cache
        help_run = median_run([run([separate_command(), "--help"]) for _ in range(3)])
        starts = {
            n: median_run([separate(second, PROMPTS[:n], threads, folder, True) for _ in range(3)])
            for n in (1, 3)
        }

        lines = ["| start-up | s |", "|---|---|", f"| `separate --help` | {help_run.wall_s:.2f} |"]
        lines.append(f"| 1 s of sound: first bytes of a stem on disk | {starts[1].first_file_s or 0:.2f} |")
        lines.append(f"| 1 s of sound: finished | {starts[1].wall_s:.2f} |")
        columns = "time after start-up | real-time factor | per prompt | peak memory"
        lines += ["", f"| {_length(seconds)}, 44.1 kHz stereo | {columns} |"]
        lines.append("|---|---|---|---|---|")
        songs = {}
        for n in (1, 3):
            _say(f"{_length(seconds)}, {n} prompt(s)")
            songs[n] = separate(song, PROMPTS[:n], threads, folder)
            after = max(songs[n].wall_s - starts[n].wall_s, 1e-3)
            name = "`separate`, 1 prompt" if n == 1 else f"`separate`, {n} prompts"
            lines.append(_speed_row(name, after, seconds, n, songs[n].peak_mib))
        notes = []
        if with_demucs:
            _say("HTDemucs")
            demucs_s, demucs_mib, parameters = run_demucs(song, threads)
            name = "HTDemucs 4.1.0, its 4 stems"
            lines.append(_speed_row(name, demucs_s, seconds, 4, demucs_mib))
            ours = max(songs[3].wall_s - starts[3].wall_s, 1e-3)
            notes.append(
                f"HTDemucs took {demucs_s / ours:.1f} times as long as three prompts. It is the class's"
                f" default configuration ({parameters / 1e6:.1f} M parameters) with random weights, which"
                " speed does not depend on: `apply_model` with split, overlap 0.25, no shifts, float32, in"
                " an environment of its own with the same torch. Only `apply_model` is timed: not its"
                " start-up, reading or writing."
            )
        song.unlink()

        _say(_length(long_seconds))
        recording = write_recording(folder / "long.wav", long_seconds)
        long = separate(recording, PROMPTS[:1], threads, folder)
    lines += ["", "| memory, 1 prompt | peak | compared |", "|---|---|---|"]
    short_mib = songs[1].peak_mib
    lines.append(f"| {_length(seconds)} | {short_mib:.0f} MiB | |")
    lines.append(
        f"| {_length(long_seconds)} | {long.peak_mib:.0f} MiB | {long.peak_mib / short_mib - 1:+.1%} |"
    )
    long_s = max(long.wall_s - starts[1].wall_s, 1e-3)
    speed = f"{long_seconds / long_s:.1f} times real time"
    notes.append(f"{_length(long_seconds)} took {long_s:.0f} s after start-up, {speed}.")
    return "\n".join([hardware(threads), "", *lines, "", "\n\n".join(notes)])


def _speed_row(name: str, seconds: float, audio_s: float, n: int, peak_mib: float) -> str:
    factor = seconds / audio_s
    real_time = f"{factor:.3f} ({1 / factor:.1f}x)"
    return f"| {name} | {seconds:.1f} s | {real_time} | {factor / n:.3f} | {peak_mib:.0f} MiB |"


def _length(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


def run_demucs(recording: Path, threads: int) -> tuple[float, float, int]:
    """Seconds in ``apply_model``, peak MiB, number of parameters; in an environment made for it."""
    if shutil.which("uv") is None:
        raise SystemExit("error: --with-demucs needs uv")
    torch = metadata.version("torch").split("+")[0]
    packages = ["--with", DEMUCS, "--with", f"torch=={torch}", "--with", "numpy"]
    command = [
        "uv",
        "run",
        "--quiet",
        "--isolated",
        "--no-project",
        "--python",
        sys.executable,
        *packages,
        "python",
    ]
    command += [str(Path(__file__).resolve()), "--htdemucs", str(recording), "--threads", str(threads)]
    answer = json.loads(run(command).output.strip().splitlines()[-1])
    return answer["seconds"], answer["peak_mib"], answer["parameters"]


def htdemucs_worker(recording: Path, threads: int) -> None:
    """Runs inside that environment; prints JSON."""
    import resource

    import torch
    from demucs.apply import apply_model
    from demucs.htdemucs import HTDemucs

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = HTDemucs(sources=["drums", "bass", "other", "vocals"]).eval()
    with wave.open(str(recording)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    mixture = torch.from_numpy(samples.T.astype(np.float32) / 32768)[None]
    begun = time.perf_counter()
    with torch.inference_mode():
        stems = apply_model(model, mixture, shifts=0, split=True, overlap=0.25, device="cpu")
    seconds = time.perf_counter() - begun
    assert stems.shape[1] == 4 and stems.shape[-1] == mixture.shape[-1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({"seconds": seconds, "peak_mib": peak / 2**20, "parameters": parameters}))


def hardware(threads: int) -> str:
    """One line on what the figures were measured with."""
    versions = f"Python {platform.python_version()}, torch {metadata.version('torch')}"
    ours = f"sam-audio {metadata.version('separate-by-prompt')}"
    system = f"{platform.system()} {platform.machine()}"
    return (
        f"{date.today()}, {_cpu()}, {os.cpu_count()} cores, {threads} threads, {system}, {versions}, {ours}."
    )


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or "unknown processor"


def insert(page: Path, text: str) -> None:
    """Replaces what stands between the markers of a page."""
    before, after = _around(page)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def _around(page: Path) -> tuple[str, str]:
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    if BEGIN not in old or END not in old:
        raise SystemExit(f"error: {page} lacks the markers {BEGIN} and {END}")
    return old.split(BEGIN)[0], old.split(END)[1]


def _say(what: str) -> None:
    print(f"measuring {what}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60, help="length of the long recording")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of every process")
    parser.add_argument("--with-demucs", action="store_true", help="measure HTDemucs, too")
    parser.add_argument(
        "--quick", action="store_true", help="5 s and 1 minute; prints only, unless --page is given"
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="where the tables go (docs/benchmarks.md)")
    parser.add_argument("--htdemucs", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.htdemucs is not None:
        htdemucs_worker(args.htdemucs, args.threads)
        return
    seconds, long_seconds = (5.0, 60.0) if args.quick else (180.0, args.minutes * 60)
    page = args.page or (None if args.quick else PAGE)
    if page is not None:
        _around(page)  # better now than after an hour
    text = measure(seconds, long_seconds, args.threads, args.with_demucs)
    if args.quick:
        text = "A quick run: these figures are too short to mean anything.\n\n" + text
    print(text)
    if page is not None:
        insert(page, text)


if __name__ == "__main__":
    main()
