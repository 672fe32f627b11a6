"""Speed and memory of the nano encoders: an hour of sound, and a search over 10,000 indexed clips.

    uv run benchmarks/encoders.py            # the table of docs/benchmarks-encoders.md
    uv run benchmarks/encoders.py --minutes 2 --clips 500   # does it work?

Embedding runs in a process of its own. The sound is noise with a slow swell: speed does not depend on what is
heard.
"""

from __future__ import annotations

import argparse
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import soundfile

RATE = 44_100
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks-encoders.md"


def make_sound(path: Path, minutes: float) -> None:
    """Writes stereo noise, ten seconds at a time."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        for second in range(0, round(minutes * 60), 10):
            swell = 0.05 + 0.04 * np.sin(second / 7)
            file.write((swell * rng.standard_normal((10 * RATE, 2))).clip(-1, 1))


def embed(path: Path) -> tuple[float, float]:
    """(seconds, peak MiB) of a fresh process that embeds a file; loading the model is not counted."""
    code = (
        "import sys, time, resource\n"
        "from sam_audio.conditioning.embedding import load_embedder\n"
        "import numpy as np\n"
        "embedder = load_embedder(); embedder.embed_audio(np.ones(48000, np.float32))\n"
        "begun = time.perf_counter(); embedder.embed_audio_file(sys.argv[1])\n"
        "print(time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    seconds, peak = done.stdout.split()
    return float(seconds), float(peak)


class RandomEmbedder:
    """Vectors that need no model: the index is what is measured."""

    name, dim, version = "nano", 384, "benchmark"

    def embed_audio_segments(self, path: Path, segment_s: float = 10.0):
        vector = np.random.default_rng(int(Path(path).stem)).standard_normal(self.dim).astype(np.float32)
        yield 0.0, 1.0, vector / np.linalg.norm(vector)


def search(clips: int) -> float:
    """Seconds to embed a text and ask an index of so many clips, after the start."""
    from sam_audio.conditioning.embedding import load_embedder
    from sam_audio.finding.index import SearchIndex

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "clips"
        root.mkdir()
        for number in range(clips):
            (root / f"{number}.wav").touch()
        SearchIndex(Path(folder) / "index", root, "nano", "benchmark").update(RandomEmbedder())
        embedder = load_embedder()
        embedder.embed_text(["warm"])
        times = []
        for prompt in ("dog barking", "a door that slams", "rain on a roof"):
            begun = time.perf_counter()
            index = SearchIndex(Path(folder) / "index", root, "nano", "benchmark")
            index.update(RandomEmbedder())  # looks for changed files
            hits = index.search(embedder.embed_text([prompt])[0], 10)
            times.append(time.perf_counter() - begun)
            assert len(hits) == 10
        return max(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--clips", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for minutes in (options.minutes / 20, options.minutes):
            path = Path(folder) / "sound.wav"
            make_sound(path, minutes)
            seconds, peak = embed(path)
            rows.append(f"| embed {minutes:g} min of stereo, 44.1 kHz | {seconds:.1f} s | {peak:.0f} MiB |")
    seconds = search(options.clips)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows.append(f"| one search over {options.clips:,} indexed clips | {seconds:.3f} s | {peak:.0f} MiB |")
    import torch

    table = "| | time | peak memory |\n|---|---|---|\n" + "\n".join(rows)
    machine = (
        f"{torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__.split('+')[0]}"
    )
    print(table, machine, sep="\n\n")
    if options.minutes >= 60 and options.clips >= 10_000:
        PAGE.write_text(
            "# Speed of the nano encoders\n\nMade by `uv run benchmarks/encoders.py`; start-up (imports and loading "
            f"the model) is not counted.\n\n{table}\n\nMeasured on {date.today()}, {machine}, {_processor()}.\n",
            encoding="utf-8",
        )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    main()
