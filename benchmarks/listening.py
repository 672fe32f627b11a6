"""Listening examples: the shipped mixtures, what nano makes of them, and spectrograms side by side.

    uv run benchmarks/listening.py            # rewrites docs/listening.md and docs/listening/

The mixtures are of recordings without any condition (CC0, see examples/README.md), so that their stems can be
published too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import soundfile
from matplotlib import pyplot

import sam_audio

ROOT = Path(__file__).parent.parent
MIXTURES = {
    "band.wav": ["guitar", "drums", "bass"],
    "scene.ogg": ["bird singing"],
    "speech.ogg": ["person speaking"],
}
HEAD = """# Listening examples

What nano makes of the three mixtures in [examples](../examples/README.md), as it comes: the stems of one call, and
the residual, which is what nobody claimed. Which of the recordings in them nano was trained on is said
[there](../examples/README.md#the-recordings): hear these as a demonstration, not as a measurement.

Made by `uv run benchmarks/listening.py`.
"""


def render(name: str, prompts: list[str], folder: Path) -> str:
    """Separates one mixture, writes sounds and a picture, and gives the section that shows them."""
    path = ROOT / "examples" / name
    result = sam_audio.separate(path, prompts=prompts)
    sounds = {"mixture": path}
    for title, track in [*result.stems.items(), ("residual", result.residual)]:
        sounds[title] = folder / f"{path.stem}-{title.replace(' ', '-')}.ogg"
        # soundfile's scale runs from 0, the best quality, to 1
        soundfile.write(sounds[title], track.samples.T, track.sample_rate, compression_level=0.6)
    picture = folder / f"{path.stem}.png"
    _draw(sounds, picture)
    asked = " ".join(f'-p "{prompt}"' for prompt in prompts)
    links = " | ".join(
        f"[{title}]({'../examples' if title == 'mixture' else 'listening'}/{sound.name})"
        for title, sound in sounds.items()
    )
    command = f"`separate examples/{name} {asked}`"
    return f"\n## {name}\n\n{command}\n\n{links}\n\n![spectrograms](listening/{picture.name})\n"


def _draw(sounds: dict[str, Path], out: Path) -> None:
    """One panel a sound, all on one scale of levels."""
    figure, axes = pyplot.subplots(
        1, len(sounds), figsize=(2.6 * len(sounds), 2.6), sharey=True, layout="constrained"
    )
    for axis, (title, path) in zip(axes, sounds.items(), strict=True):
        samples, rate = soundfile.read(path, always_2d=True)
        axis.specgram(samples.mean(axis=1) + 1e-9, NFFT=2048, noverlap=1536, Fs=rate, vmin=-130, vmax=-40)
        axis.set(title=title, xlabel="s", ylim=(0, 12_000))
    axes[0].set_ylabel("Hz")
    figure.savefig(out, dpi=90)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", metavar="DIR")
    docs = parser.parse_args().docs
    (docs / "listening").mkdir(parents=True, exist_ok=True)
    sections = [render(name, prompts, docs / "listening") for name, prompts in MIXTURES.items()]
    (docs / "listening.md").write_text(HEAD + "".join(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
