"""Synthesizers and drum machines for the composer: every part gets a patch of its own, drawn at random.

Soundfonts hold a dozen synthesizers, records as many as there are records. A patch here is what a subtractive or a
two-operator FM instrument has: oscillators in unison, a resonant low-pass with an envelope, an amplifier with another
one, vibrato and glide; a drum machine's are a falling sine, noise through filters, and detuned squares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.signal import butter, sosfilt

from sam_audio.training.data.bank import SAMPLE_RATE, add_at
from sam_audio.training.music.compose import Note, Part, Song

FAMILIES = {
    "synth lead": "lead",
    "synth pad": "pad",
    "synth pluck": "pluck",
    "synth bass": "bass",
    "synth brass": "lead",
}
# Bounds of attack, decay, sustain and release.
ENVELOPES = {
    "lead": ((0.002, 0.04), (0.1, 0.6), (0.4, 1), (0.03, 0.3)),
    "pad": ((0.08, 0.8), (0.3, 1.0), (0.6, 1), (0.3, 1.5)),
    "pluck": ((0.001, 0.008), (0.06, 0.5), (0, 0.15), (0.05, 0.4)),
    "bass": ((0.001, 0.01), (0.1, 0.5), (0.2, 0.9), (0.02, 0.12)),
}
TABLE = 2048
HIGHEST_HZ = 16_000
CUTOFFS = 4  # fixed filters between which an envelope moves
PUMPED_SHARE = 0.4  # of pads and basses of electronic songs: they make room for the kick


@dataclass(frozen=True)
class Patch:
    """One instrument: what its notes are made of. Times in seconds, cutoffs in octaves above the note."""

    wave: str
    unison: int
    cents: float  # how far the copies in unison are apart
    octave_below: float  # level of a second oscillator there
    fm_ratio: float
    fm_depth: float
    attack_s: float
    decay_s: float
    sustain: float
    release_s: float
    closed: float
    opened: float
    filter_s: float
    resonance: float
    vibrato_hz: float
    vibrato_cents: float
    glide_s: float

    @classmethod
    def draw(cls, kind: str, rng: np.random.Generator) -> Patch:
        """Of a "lead", "pad", "pluck" or "bass"."""
        unison = int(rng.choice([1, 2, 3, 5, 7], p=[0.4, 0.2, 0.15, 0.15, 0.1]))
        # every kind draws, so that what is drawn after it does not depend on the kind
        envelopes = {name: [rng.uniform(*bounds) for bounds in ranges] for name, ranges in ENVELOPES.items()}
        attack_s, decay_s, sustain, release_s = envelopes[kind]
        closed = rng.uniform(0.5, 4)
        return cls(
            wave=str(
                rng.choice(["saw", "square", "pulse", "triangle", "fm"], p=[0.38, 0.17, 0.15, 0.12, 0.18])
            ),
            unison=1 if kind == "bass" and rng.random() < 0.6 else unison,
            cents=rng.uniform(4, 28),
            octave_below=rng.choice([0.0, rng.uniform(0.3, 1.0)], p=[0.55, 0.45]),
            fm_ratio=float(rng.choice([0.5, 1, 1, 2, 3, 4, 7, 1.41])),
            fm_depth=rng.uniform(0.5, 6),
            attack_s=attack_s,
            decay_s=decay_s,
            sustain=sustain,
            release_s=release_s,
            closed=closed,
            opened=closed + rng.uniform(0, 4),
            filter_s=rng.uniform(0.05, 0.8),
            resonance=rng.choice([0.7, rng.uniform(1, 8)], p=[0.5, 0.5]),
            vibrato_hz=rng.uniform(3, 7),
            vibrato_cents=rng.choice([0.0, rng.uniform(5, 40)], p=[0.6, 0.4]),
            glide_s=rng.choice([0.0, rng.uniform(0.02, 0.12)], p=[0.7, 0.3])
            if kind in ("lead", "bass")
            else 0.0,
        )


def play_synth(part: Part, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A part of one of the `FAMILIES` dry, (seconds * 48,000,) float32."""
    patch = Patch.draw(FAMILIES[part.instrument], rng)
    out = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    before = 0.0
    for note in part.notes:
        add_at(out, _tone(patch, note, before, rng), round(note.start_s * SAMPLE_RATE))
        before = note.pitch
    return out


def _tone(patch: Patch, note: Note, pitch_before: float, rng: np.random.Generator) -> np.ndarray:
    hold = max(round(note.duration_s * SAMPLE_RATE), 64)
    n = hold + round(patch.release_s * SAMPLE_RATE)
    times = np.arange(n, dtype=np.float32) / SAMPLE_RATE
    cents = patch.vibrato_cents * np.sin(2 * np.pi * patch.vibrato_hz * times) * np.clip(times / 0.3, 0, 1)
    if patch.glide_s and pitch_before:
        cents = cents + 100 * np.clip(pitch_before - note.pitch, -12, 12) * np.exp(-times / patch.glide_s)
    hz = 440 * 2 ** ((note.pitch - 69) / 12)
    cycles = np.cumsum(hz * 2 ** (cents / 1200)) / SAMPLE_RATE
    sound = np.zeros(n, np.float32)
    for offset in np.linspace(-1, 1, patch.unison) if patch.unison > 1 else [0.0]:
        sound += _oscillator(patch, cycles * 2 ** (offset * patch.cents / 1200) + rng.random(), times, hz)
    if patch.octave_below:
        below = _wave("square" if patch.wave == "fm" else patch.wave, hz / 2)
        sound += patch.octave_below * patch.unison**0.5 * _look_up(below, cycles / 2)
    opening = np.exp(-times / patch.filter_s) * min(1.0, 0.5 + note.velocity / 160)
    sound = _filtered(sound, hz, patch, opening) / patch.unison**0.5
    level = np.minimum(times / patch.attack_s, 1) * (
        patch.sustain + (1 - patch.sustain) * np.exp(-np.maximum(times - patch.attack_s, 0) / patch.decay_s)
    )
    level[hold:] *= np.exp(-6.9 * np.arange(n - hold) / max(n - hold, 1))
    return sound * level.astype(np.float32) * np.float32(10 ** ((note.velocity - 100) * 0.12 / 20))


def _oscillator(patch: Patch, cycles: np.ndarray, times: np.ndarray, hz: float) -> np.ndarray:
    if patch.wave != "fm":
        return _look_up(_wave(patch.wave, hz), cycles)
    most = 0.5 * HIGHEST_HZ / (hz * max(patch.fm_ratio, 1))  # no sidebands that fold back
    depth = min(patch.fm_depth, most) * (0.2 + 0.8 * np.exp(-times / patch.decay_s))
    return np.sin(2 * np.pi * cycles + depth * np.sin(2 * np.pi * patch.fm_ratio * cycles)).astype(np.float32)


def _wave(kind: str, hz: float) -> np.ndarray:
    return _table(kind, max(1, min(int(HIGHEST_HZ / hz), TABLE // 2 - 1)))


@lru_cache(maxsize=512)
def _table(kind: str, harmonics: int) -> np.ndarray:
    """One period of a wave without the harmonics that a sample rate of 48 kHz cannot hold, (TABLE + 1,)."""
    order = np.arange(1, harmonics + 1)
    amplitude = {
        "saw": 1 / order,
        "square": (order % 2) / order,
        "triangle": (order % 2) / order**2.0 * (-1.0) ** (order // 2),
        "pulse": np.sin(np.pi * order * 0.2) / order,
    }[kind]
    spectrum = np.zeros(TABLE // 2 + 1, complex)
    spectrum[1 : harmonics + 1] = -1j * amplitude
    wave = np.fft.irfft(spectrum)
    wave /= np.sqrt(2 * np.square(wave).mean())
    return np.append(wave, wave[0]).astype(np.float32)


def _look_up(table: np.ndarray, cycles: np.ndarray) -> np.ndarray:
    place = (cycles % 1.0) * TABLE
    index = place.astype(np.int32)
    share = (place - index).astype(np.float32)
    return table[index] * (1 - share) + table[index + 1] * share


def _filtered(sound: np.ndarray, hz: float, patch: Patch, opening: np.ndarray) -> np.ndarray:
    """Through a low-pass that `opening` (0..1) moves from closed to opened."""
    place = np.clip(opening, 0, 1) * (CUTOFFS - 1)
    out = np.zeros_like(sound)
    for i, octaves in enumerate(np.linspace(patch.closed, patch.opened, CUTOFFS)):
        share = np.maximum(1 - np.abs(place - i), 0).astype(np.float32)
        if share.any():
            out += share * sosfilt(_low_pass(min(hz * 2**octaves, 18_000.0), patch.resonance), sound).astype(
                np.float32
            )
    return out


def _low_pass(hz: float, resonance: float) -> np.ndarray:
    """A second-order low-pass (Robert Bristow-Johnson, Audio EQ Cookbook)."""
    angle = 2 * np.pi * hz / SAMPLE_RATE
    alpha, cosine = np.sin(angle) / (2 * resonance), np.cos(angle)
    b = np.array([(1 - cosine) / 2, 1 - cosine, (1 - cosine) / 2])
    a = np.array([1 + alpha, -2 * cosine, 1 - alpha])
    return np.concatenate([b / a[0], a / a[0]])[None]


# ---- drum machines -------------------------------------------------------------------------------------

Stroke = Callable[[np.random.Generator], np.ndarray]


def play_machine(
    notes: Sequence[Note], piece_of: Callable[[int], str], seconds: float, rng: np.random.Generator
) -> np.ndarray:
    """Drums of a machine dry, (seconds * 48,000,) float32; each piece sounds the same whenever it is struck.

    Args:
        piece_of: the piece of a kit that a key of the General MIDI map strikes.
    """
    out = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    kit: dict[str, np.ndarray] = {}
    for note in notes:
        piece = piece_of(note.pitch)
        if piece not in kit:
            make, level_db = _MACHINE[piece]
            stroke = make(rng)
            gain = 10 ** ((level_db + rng.normal(0, 2)) / 20) / max(float(np.abs(stroke).max()), 1e-6)
            kit[piece] = (stroke * gain).astype(np.float32)
        loudness = np.float32(10 ** ((note.velocity - 110) * 0.15 / 20))
        add_at(out, kit[piece] * loudness, round(note.start_s * SAMPLE_RATE))
    return out


def _decay(seconds: float, length: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    times = np.arange(round(seconds * length * SAMPLE_RATE)) / SAMPLE_RATE
    return times, np.exp(-times / seconds)


def _sweep(low_hz: float, high_hz: float, fall_s: float, times: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * np.cumsum(low_hz + (high_hz - low_hz) * np.exp(-times / fall_s)) / SAMPLE_RATE)


def _kick(rng: np.random.Generator) -> np.ndarray:
    times, level = _decay(rng.uniform(0.05, 0.3))
    boom = _sweep(rng.uniform(38, 65), rng.uniform(120, 500), rng.uniform(0.008, 0.05), times) * level
    click = rng.uniform(0, 0.4) * rng.standard_normal(len(times)) * np.exp(-times / 0.003)
    return np.tanh(rng.uniform(0.8, 4) * (boom + click))


def _tom(low_hz: float) -> Stroke:
    def make(rng: np.random.Generator) -> np.ndarray:
        times, level = _decay(rng.uniform(0.08, 0.25))
        hz = low_hz * rng.uniform(0.8, 1.25)
        return _sweep(hz, hz * rng.uniform(1.2, 2.2), 0.04, times) * level

    return make


def _noise(rng: np.random.Generator, n: int, low_hz: float, high_hz: float) -> np.ndarray:
    return sosfilt(
        butter(2, [low_hz, high_hz], "bandpass", fs=SAMPLE_RATE, output="sos"), rng.standard_normal(n)
    )


def _snare(rng: np.random.Generator) -> np.ndarray:
    times, level = _decay(rng.uniform(0.05, 0.18))
    hz = rng.uniform(150, 260)
    body = (np.sin(2 * np.pi * hz * times) + 0.6 * np.sin(2 * np.pi * 1.6 * hz * times)) * np.exp(
        -times / 0.05
    )
    hiss = _noise(rng, len(times), rng.uniform(600, 2000), rng.uniform(6000, 14_000)) * level
    return rng.uniform(0.2, 0.9) * body + hiss / max(float(np.abs(hiss).max()), 1e-6)


def _clap(rng: np.random.Generator) -> np.ndarray:
    times, level = _decay(rng.uniform(0.05, 0.15))
    gap = rng.uniform(0.008, 0.015)
    bursts = sum(np.where(times >= i * gap, np.exp(-(times - i * gap) / 0.004), 0) for i in range(3))
    late = np.where(times >= 3 * gap, np.exp(-(times - 3 * gap) / 0.08), 0)
    return _noise(rng, len(times), rng.uniform(700, 1200), rng.uniform(2500, 6000)) * (bursts + late) * level


def _metal(seconds: tuple[float, float]) -> Stroke:
    """Hats and cymbals: six squares out of tune with each other, or noise, above some kilohertz."""

    def make(rng: np.random.Generator) -> np.ndarray:
        times, level = _decay(rng.uniform(*seconds), 4.0)
        if rng.random() < 0.6:
            base = rng.uniform(250, 450)
            ratios = (1, 1.34, 1.68, 1.91, 2.41, 2.97)
            source = sum(np.sign(np.sin(2 * np.pi * base * ratio * times)) for ratio in ratios)
        else:
            source = rng.standard_normal(len(times))
        edge = butter(3, rng.uniform(4000, 8500), "highpass", fs=SAMPLE_RATE, output="sos")
        return sosfilt(edge, source) * level

    return make


def _rim(rng: np.random.Generator) -> np.ndarray:
    times, level = _decay(rng.uniform(0.01, 0.03))
    return np.sin(2 * np.pi * rng.uniform(500, 1800) * times) * level


_MACHINE: dict[str, tuple[Stroke, float]] = {
    "kick": (_kick, 0.0),
    "snare": (_snare, -2.0),
    "rim": (_rim, -8.0),
    "clap": (_clap, -5.0),
    "closed": (_metal((0.015, 0.05)), -11.0),
    "foot": (_metal((0.015, 0.05)), -13.0),
    "open": (_metal((0.1, 0.35)), -10.0),
    "crash": (_metal((0.4, 1.2)), -8.0),
    "ride": (_metal((0.2, 0.6)), -12.0),
    "high tom": (_tom(165), -4.0),
    "mid tom": (_tom(120), -4.0),
    "low tom": (_tom(85), -4.0),
}
MACHINE_PIECES = frozenset(_MACHINE)


def pumped(samples: np.ndarray, song: Song, rng: np.random.Generator) -> np.ndarray:
    """Turned down at every beat, as by a compressor that listens to the kick; float32 (n,)."""
    times = np.arange(len(samples)) / SAMPLE_RATE
    beats = np.array([song.plan.at(float(beat)) for beat in range(int(song.plan.beats))])
    since = times - beats[np.clip(np.searchsorted(beats, times, side="right") - 1, 0, None)]
    dip = rng.uniform(0.4, 0.95) * np.exp(-np.abs(since) / rng.uniform(0.06, 0.2))
    return (samples * (1 - dip)).astype(np.float32)
