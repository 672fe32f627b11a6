"""Small sets of held-out recordings in the layouts of benchmarks whose data cannot be had everywhere.

The recordings are those of the bank's test split, which nothing was learned from. What is made follows the recipe of
the benchmark as far as the recordings allow, so that its figures say roughly where a model stands, and no more.
"""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

from sam_audio.errors import UserError
from sam_audio.training.data.bank import SAMPLE_RATE, Bank
from sam_audio.training.data.mixing import Pools
from sam_audio.types import Samples

# labels of which recordings are held out -> the classes of ESC-50 that they are of, as AudioSep asks for them
ESC_50 = {
    "baby crying": "crying baby",
    "bird singing": "chirping birds",
    "car engine": "engine",
    "cat meowing": "cat",
    "chainsaw": "chainsaw",
    "chicken clucking": "hen",
    "church bells": "church bells",
    "clock ticking": "clock tick",
    "cow mooing": "cow",
    "dog barking": "dog",
    "fire crackling": "crackling fire",
    "footsteps": "footsteps",
    "glass breaking": "glass breaking",
    "hand clap": "clapping",
    "helicopter": "helicopter",
    "insect buzzing": "insects",
    "keyboard typing": "keyboard typing",
    "ocean waves": "sea waves",
    "person laughing": "laughing",
    "person sneezing": "sneezing",
    "pig oinking": "pig",
    "rain falling": "rain",
    "rooster crowing": "rooster",
    "sheep bleating": "sheep",
    "siren": "siren",
    "thunder": "thunderstorm",
    "toilet flushing": "toilet flush",
    "train passing": "train",
    "wind blowing": "wind",
    "wood knock": "door wood knock",
}
# classes of DCASE 2026 task 4 -> labels of the bank
DCASE = {
    "Clapping": ("hand clap",),
    "Dishes": ("ceramic clinking", "glass clinking"),
    "FootSteps": ("footsteps",),
    "MechanicalFans": ("electric fan",),
    "MusicalKeyboard": ("piano", "electric piano", "electric organ", "synthesizer"),
    "Percussion": ("drums", "snare drum", "hand drum", "tambourine", "cymbals", "drum kit"),
    "Pour": ("running tap water",),
    "Speech": ("man speaking", "woman speaking", "person speaking"),
    "Typing": ("keyboard typing",),
}
SPEECH, MUSIC = ("man speaking", "woman speaking", "person speaking"), ("background music",)

_SILENT = 1e-4  # RMS


class Recordings:
    """Held-out recordings by label, drawn at random; the same for the same seed."""

    def __init__(self, bank_dir: Path, seed: int) -> None:
        self.bank, self.rng = Bank(bank_dir), np.random.default_rng(seed)
        self.pools = Pools(self.bank, "test")

    def of(self, labels: Sequence[str]) -> list[int]:
        """All recordings of some labels."""
        return [i for label in labels for clips in self.pools.clips.get(label, {}).values() for i in clips]

    def of_groups(self, groups: Sequence[str]) -> list[int]:
        return self.of([label for group in groups for label in self.pools.by_group[group]])

    def read(self, index: int, seconds: float, rate: int) -> Samples:
        """At most so much of a recording, faded out where it is cut; (n,)."""
        samples = self.bank.read(index, 0, round(seconds * SAMPLE_RATE))
        fade = min(len(samples), SAMPLE_RATE // 50)
        samples[len(samples) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
        return soxr.resample(samples, SAMPLE_RATE, rate).astype(np.float32)

    def pick(self, choices: Sequence[int]) -> int:
        return choices[int(self.rng.integers(len(choices)))]

    def placed(self, sounds: Sequence[Samples], frames: int) -> Samples:
        """Sounds one after the other with pauses of random length between them; (frames,)."""
        total = np.zeros(frames, np.float32)
        spare = max(0, frames - sum(map(len, sounds)))
        gaps = self.rng.dirichlet(np.ones(len(sounds) + 1)) * spare
        position = 0
        for sound, gap in zip(sounds, gaps, strict=False):
            position += round(gap)
            part = sound[: frames - position]
            total[position : position + len(part)] += part
            position += len(part)
        return total


def make(kind: str, folder: Path, bank_dir: Path, n: int, seed: int = 0) -> None:
    """Makes a set in a new folder, whole or not at all.

    Raises:
        UserError: the folder is there already, or the bank holds out too little of what the set is made of.
    """
    if folder.exists():
        raise UserError(f"{folder} is there already: name a new folder")
    if not folder.absolute().parent.is_dir():
        raise UserError(f"{folder.parent} is not a folder: make it first")
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.absolute().parent))
    try:
        KINDS[kind](scratch, Recordings(bank_dir, seed), n)
        scratch.chmod(0o755)
        os.replace(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def pairs(folder: Path, recordings: Recordings, n: int) -> None:
    """AudioSep's ESC-50: 5 s, 32 kHz, two recordings of different classes with the same energy, the first asked for."""
    rate, frames = 32_000, 160_000
    named = {caption: recordings.of([label]) for label, caption in ESC_50.items()}
    captions = [caption for caption, those in named.items() if those]
    if len(captions) < 2:
        raise _too_little("audiosep-esc50", "recordings of two of ESC-50's classes")
    (folder / "metadata").mkdir()
    (folder / "data/esc50").mkdir(parents=True)
    with (folder / "metadata/esc50_eval.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["idx", "caption", "src_wav", "noise_wav"])
        for number in range(n):
            target = captions[number % len(captions)]  # every class about as often, as in ESC-50
            other = str(recordings.rng.choice([caption for caption in captions if caption != target]))
            chosen = [recordings.pick(named[caption]) for caption in (target, other)]
            source, noise = (_padded(recordings.read(index, 5.0, rate), frames) for index in chosen)
            source, noise = (
                sound * np.float32(0.05 / max(_rms(sound), _SILENT)) for sound in (source, noise)
            )
            soundfile.write(folder / f"data/esc50/segment-{number}.wav", source, rate, subtype="FLOAT")
            soundfile.write(
                folder / f"data/esc50/mixture-{number}.wav", source + noise, rate, subtype="FLOAT"
            )
            writer.writerow([number, target, *(recordings.bank.clips[index].path for index in chosen)])


def soundtracks(folder: Path, recordings: Recordings, n: int, seconds: float = 20.0) -> None:
    """DnR: speech and effects with pauses, music and a quiet background throughout; 44.1 kHz, mono.

    Levels are DnR's (-17, -24, -21 and -29 dB with a spread of 2 dB), of the sounding parts and not by loudness.
    """
    rate = 44_100
    frames = round(seconds * rate)
    speech, music = recordings.of(SPEECH), recordings.of(MUSIC)
    events, ambience = recordings.of_groups(["event"]), recordings.of_groups(["ambience"])
    if not (speech and music and events and ambience):
        raise _too_little("dnr", "speech, music, events and ambience")
    rng = recordings.rng
    for number in range(n):

        def several(choices: Sequence[int], least: int, most: int) -> list[Samples]:
            count = int(rng.integers(least, most + 1))
            return [recordings.read(recordings.pick(choices), seconds / 4, rate) for _ in range(count)]

        def throughout(choices: Sequence[int]) -> Samples:
            sound = recordings.read(recordings.pick(choices), seconds, rate)
            return np.resize(sound, frames).astype(np.float32)

        stems = {
            "speech": _at_level(recordings.placed(several(speech, 4, 8), frames), -17 + rng.uniform(-2, 2)),
            "music": _at_level(throughout(music), -24 + rng.uniform(-2, 2)),
            "sfx": _at_level(recordings.placed(several(events, 4, 8), frames), -21 + rng.uniform(-2, 2))
            + _at_level(throughout(ambience), -29 + rng.uniform(-2, 2)),
        }
        place = folder / f"tt/{1000 + number}"
        place.mkdir(parents=True)
        for name, samples in {**stems, "mix": np.sum(list(stems.values()), axis=0)}.items():
            soundfile.write(place / f"{name}.wav", samples, rate, subtype="FLOAT")


def scenes(folder: Path, recordings: Recordings, n: int) -> None:
    """DCASE 2026 task 4: 10 s, 32 kHz, none to three sounds of its classes 5 to 20 dB above a background, and none to
    two of other kinds; of every five scenes one is empty and two have two sources of one class.

    The four channels are those of sound from one direction a source, without a room, so that what is to be found is in
    the first channel as it is.
    """
    rate, seconds = 32_000, 10.0
    frames = round(seconds * rate)
    classes = {name: recordings.of(labels) for name, labels in DCASE.items()}
    classes = {name: those for name, those in classes.items() if those}
    asked = {label for labels in DCASE.values() for label in labels}
    others = recordings.of([lb for lb in recordings.pools.by_group["event"] if lb not in asked])
    ambience = recordings.of_groups(["ambience"])
    twice = [name for name, those in classes.items() if len(those) > 1]
    if len(classes) < 2 or not (twice and others and ambience):
        raise _too_little("dcase2026", "two of its classes, other events and ambience")
    rng = recordings.rng
    place = folder / "synthesized/test"
    (place / "soundscape").mkdir(parents=True)
    (place / "oracle_target").mkdir()
    for number in range(n):
        background = np.resize(recordings.read(recordings.pick(ambience), seconds, rate), frames)
        total = _from(rng, _at_level(background.astype(np.float32), -45.0))
        name = f"soundscape_{number:04d}"
        chosen = _of_scene(rng, number, list(classes), twice)
        used: set[int] = set()
        for source, label in enumerate(chosen):
            index = recordings.pick([i for i in classes[label] if i not in used] or classes[label])
            used.add(index)
            sound = _event(recordings, index, frames, rate, -45 + rng.uniform(5, 20))
            soundfile.write(
                place / f"oracle_target/{name}_{source}_{label}.wav", sound, rate, subtype="FLOAT"
            )
            total += _from(rng, sound)
        for _ in range(rng.integers(0, 3)):
            index = recordings.pick(others)
            total += _from(rng, _event(recordings, index, frames, rate, -45 + rng.uniform(0, 15)))
        soundfile.write(place / f"soundscape/{name}.wav", total, rate, subtype="FLOAT")


KINDS: Mapping[str, Callable[[Path, Recordings, int], None]] = {
    "audiosep-esc50": pairs,
    "dnr": soundtracks,
    "dcase2026": scenes,
}


def _of_scene(
    rng: np.random.Generator, number: int, classes: Sequence[str], twice: Sequence[str]
) -> list[str]:
    """The labels of a scene: none, two or three with one of them twice, or one to three different ones."""
    if number % 5 == 0:
        return []
    if number % 5 <= 2:
        double = str(rng.choice(twice))
        rest = [name for name in classes if name != double]
        return [double, double, *([str(rng.choice(rest))] if rng.random() < 0.5 else [])]
    return [str(name) for name in rng.permutation(classes)[: rng.integers(1, 4)]]


def _event(recordings: Recordings, index: int, frames: int, rate: int, level_db: float) -> Samples:
    """One recording somewhere in silence."""
    sound = recordings.read(index, 5.0, rate)[:frames]
    start = int(recordings.rng.integers(frames - len(sound) + 1))
    return _at_level(np.pad(sound, (start, frames - len(sound) - start)), level_db)


def _from(rng: np.random.Generator, sound: Samples) -> Samples:
    """Heard from one direction, in first-order ambisonics (W, Y, Z, X); (T,) -> (T, 4)."""
    azimuth, elevation = rng.uniform(-np.pi, np.pi), rng.uniform(-np.pi / 6, np.pi / 6)
    gains = [1.0, np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    return np.outer(sound, np.array(gains, np.float32))


def _padded(samples: Samples, frames: int) -> Samples:
    return np.pad(samples[:frames], (0, max(0, frames - len(samples))))


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def _at_level(samples: Samples, level_db: float, window: int = 1600) -> Samples:
    """Brings the sounding part to a level in dB of full scale."""
    parts = samples[: len(samples) // window * window].reshape(-1, window)
    power = np.square(parts, dtype=np.float64).mean(axis=1)
    sounding = power[power > 1e-3 * power.max()] if len(power) and power.max() > 0 else np.ones(1)
    return samples * np.float32(10 ** (level_db / 20) / max(float(np.sqrt(sounding.mean())), _SILENT))


def _too_little(kind: str, what: str) -> UserError:
    return UserError(f"the bank holds out too little for {kind}, which needs {what}: build all of it")
