"""The rack's speed and memory, and what separating live costs in quality.

    uv run benchmarks/studio.py                                    # the rack
    uv run benchmarks/studio.py --bank ~/.cache/sam-audio/bank     # and live against offline, on held-out mixtures

Writes the tables of docs/studio.md. Needs pedalboard (`pip install "separate-by-prompt[daw]"`).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import speed

PAGE = Path(__file__).parent.parent / "docs" / "studio.md"
SCENARIOS = (("speech", "event"), ("event", "ambience"), ("instrument", "instrument"))
TWO_STEMS = """\
prompts = ["singing voice"]

[strips."singing voice"]
chain = [
    { effect = "Compressor", threshold_db = -20, ratio = 3, attack_ms = 5, release_ms = 150 },
    { effect = "Reverb", room_size = 0.4, wet_level = 0.15 },
]

[strips.residual]
chain = [{ effect = "HighpassFilter", cutoff_frequency_hz = 60 }, { effect = "Compressor", ratio = 2 }]

[master]
chain = [{ effect = "Limiter", threshold_db = -1.0, release_ms = 100 }]
"""


def rack_rows(minutes: float) -> list[str]:
    """Time and peak memory of ``sam-audio rack run`` on three minutes and on a long recording."""
    command = str(Path(sys.executable).with_name("sam-audio"))
    rows, first = [], 0.0
    with tempfile.TemporaryDirectory(prefix="sam-audio-studio-") as name:
        folder = Path(name)
        rack = folder / "two.rack.toml"
        rack.write_text(TWO_STEMS)
        for length in (3.0, minutes):
            recording = speed.write_recording(folder / "mix.wav", 60 * length)
            out = folder / "out"
            done = speed.run([command, "rack", "run", str(recording), str(rack), "-o", str(out), "-q"])
            shutil.rmtree(out)
            first = first or done.peak_mib
            times = f"{60 * length / done.wall_s:.0f}x real time"
            rows.append(
                f"| {length:g} min, 44.1 kHz stereo | {done.wall_s:.1f} s ({times}) | {done.peak_mib:.0f} MiB "
                f"| {done.peak_mib / first - 1:+.1%} |"
            )
    return rows


def live_rows(bank: Path, n: int) -> list[str]:
    """Median SI-SDR improvement in dB, offline and live, on the same held-out mixtures of 6 s."""
    from judge.metrics import si_sdr
    from sam_audio.evaluation.separation import SECONDS
    from sam_audio.io.arrays import ArrayRecording
    from sam_audio.separation import run
    from sam_audio.separator import load
    from sam_audio.sinks import Memory
    from sam_audio.training.data.bank import SAMPLE_RATE, Bank
    from sam_audio.training.data.mixing import Mixer

    offline = load("nano")
    models = {"offline": offline, "live": offline.live()}
    rows = []
    for groups in SCENARIOS:
        mixer = Mixer(Bank(bank), "test", SECONDS, seed=3)
        gains: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(n):
            mixture = mixer.pair(groups, list(mixer.rng.uniform(-5, 5, 2)))
            mono = np.sum([s.samples for s in mixture.sources], axis=0)[None]
            target = mixture.sources[0].samples[None]
            before = float(si_sdr(mono, target)[0])
            for name, model in models.items():
                conditions = model.encode([mixture.sources[0].label])
                memory = Memory(2, 1)
                run(model, conditions, ArrayRecording(mono, SAMPLE_RATE), [memory])
                stem = memory.parts[0]
                gains[name].append(float(si_sdr(stem, target)[0]) - before)
        medians = {name: float(np.median(values)) for name, values in gains.items()}
        what = f"{groups[0]} against {groups[1]}"
        rows.append(
            f"| {what} | {n} | {medians['offline']:.1f} | {medians['live']:.1f} "
            f"| {medians['live'] - medians['offline']:+.1f} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60, help="length of the long recording")
    parser.add_argument("--bank", type=Path, help="folder of the training bank, for live against offline")
    parser.add_argument("-n", type=int, default=40, help="mixtures of each kind")
    options = parser.parse_args()
    lines = [speed.hardware(2), "", "| two stems, five effects | time | peak memory | |", "|---|---|---|---|"]
    lines += rack_rows(options.minutes)
    if options.bank:
        lines += ["", "| median SI-SDRi (dB) | n | offline | live | |", "|---|---|---|---|---|"]
        lines += live_rows(options.bank, options.n)
    print("\n".join(lines))
    speed.insert(PAGE, "\n".join(lines))


if __name__ == "__main__":
    main()
