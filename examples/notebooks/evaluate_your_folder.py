# %% [markdown]
# # Evaluate on your own folder
#
# With true sources at hand, the scale-invariant signal-to-distortion ratio (SI-SDR, in dB) says how much of
# what was asked for is in a stem, and its improvement over the mixture what separating gained. The layout
# here: one folder a mixture, in it `mixture.wav` and its sources, each named by what it is: `person
# speaking.wav`.

# %%
from pathlib import Path

import numpy as np
import soundfile

from judge.metrics import si_sdr
from sam_audio import Separator
from sam_audio.io import read_audio
from sam_audio.io.resample import Resampler

folder = Path("my-mixtures")  # name yours here
RATE = 48_000


def read(path: Path, rate: int = RATE) -> np.ndarray:
    """Mono sound at a rate in Hz, (T,)."""
    samples, own = read_audio(path)
    mono = samples.mean(axis=0, keepdims=True)
    if own != rate:
        resampler = Resampler(own, rate, 1)
        mono = np.concatenate([resampler.push(mono), resampler.finish()], axis=-1)
    return mono[0]


# %% [markdown]
# Without such a folder, two mixtures are made of the examples: a speaker in nature, and a speaker beside a
# band.

# %%
examples = next(path for path in (Path("examples"), Path("..")) if (path / "band.wav").is_file())


def mix(name: str, **sources: str) -> None:
    sounds = {what.replace("_", " "): read(examples / file)[: 4 * RATE] for what, file in sources.items()}
    level = {what: sound * 0.1 / np.sqrt(np.mean(sound**2)) for what, sound in sounds.items()}
    (folder / name).mkdir(parents=True, exist_ok=True)
    for what, sound in (*level.items(), ("mixture", sum(level.values()))):
        soundfile.write(folder / name / f"{what}.wav", sound, RATE, subtype="FLOAT")


if not folder.exists():
    mix("park", person_speaking="speech.ogg", bird_singing="scene.ogg")
    mix("studio", person_speaking="speech.ogg", band_playing_music="band.wav")

# %% [markdown]
# ## The loop

# %%
separator = Separator("nano")
rows = []
for place in sorted(path for path in folder.iterdir() if (path / "mixture.wav").is_file()):
    mixture = read(place / "mixture.wav")
    truth = {path.stem: read(path) for path in sorted(place.glob("*.wav")) if path.stem != "mixture"}
    result = separator.separate(mixture, list(truth), sample_rate=RATE)
    for what, source in truth.items():
        estimate = result.stems[what].samples[0]
        n = min(len(source), len(estimate))
        before, after = (float(si_sdr(sound[:n], source[:n])) for sound in (mixture, estimate))
        rows.append((place.name, what, after, after - before, result.report.stem(what).scores.overall))

# %%
print(f"{'mixture':10} {'asked for':20} {'SI-SDR':>7} {'gained':>7} {'Judge':>6}")
for name, what, after, gained, overall in rows:
    print(f"{name:10} {what:20} {after:7.1f} {gained:7.1f} {overall:6.1f}")
print(f"median improvement {np.median([row[3] for row in rows]):.1f} dB over {len(rows)} stems")

# %% [markdown]
# Public benchmarks in their own layouts and measures: `sam-audio eval bench NAME --data FOLDER`
# (docs/benchmarks-field.md).
