"""Singers out of speakers: what was spoken is held on the notes of a tune.

Recorded singing with a licence is rare, recorded speech is not. A spoken sentence is cut into syllables; the vowel of
each is stretched to the length of a note and moved to its pitch, formants kept, with glides and vibrato (speech-to-
singing synthesis: Saitou, Goto, Unoki & Akagi 2007). Rubber Band does the stretching, through pedalboard.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr
from scipy.ndimage import gaussian_filter1d, median_filter
from scipy.signal import find_peaks

from sam_audio.training.data import labels as label_table
from sam_audio.training.data.bank import SAMPLE_RATE, add_at, opened, split_of
from sam_audio.training.music.compose import Note, Part, Song, compose_sung

FRAME = SAMPLE_RATE // 100  # pitch and level are followed every 10 ms
PITCH_RATE = 12_000
PITCH_WINDOW = 480  # samples at PITCH_RATE: two periods of the lowest voice
PITCH_HZ = (65.0, 450.0)
VOICED = 0.5  # normalised autocorrelation
STEP = 1024  # samples between two pitches that Rubber Band takes
EDGE = SAMPLE_RATE // 200  # pieces that were not spoken in a row are joined over 5 ms
PHRASE_GAP_S = 0.35  # a longer rest is a breath
VOWEL_FALL_DB = 9.0  # a vowel is what is less than this below its loudest frame
SYLLABLES = 6, 30  # fewer are no singer, more are not needed
RANGE = -1, 15  # semitones from how high somebody speaks, to how low and how high they sing
CHOIR = 3
# What is sung to a song, and how often.
CASTS: dict[tuple[str, ...], float] = {
    ("solo",): 0.62,
    ("man singing", "woman singing"): 0.13,
    ("choir singing",): 0.25,
}
SINGERS = {"man speaking": "man singing", "woman speaking": "woman singing"}
NAMED_SHARE = 0.5  # of solo singers: by "man" or "woman"; the others are a person


@dataclass(frozen=True)
class Syllable:
    """A spoken syllable: samples (n,), where its vowel begins and ends in them, its pitch (frames,) as MIDI notes."""

    samples: np.ndarray
    vowel: tuple[int, int]
    pitch: np.ndarray


class Singer(NamedTuple):
    """What somebody can sing with, how high they speak as a MIDI note, and their label."""

    spoken: list[Syllable]
    speaks_at: int
    label: str


@dataclass
class Singers:
    """Speakers of the training split that may be made to sing; picklable.

    ``clips`` are places of recordings in the bank, by label of the speaker and by package.
    """

    bank_dir: Path
    clips: dict[str, dict[str, list[int]]]

    @classmethod
    def load(cls, bank_dir: Path) -> Singers:
        """Raises UserError where the bank is empty."""
        clips: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for index, clip in enumerate(opened(bank_dir).clips):
            if not clip.song and split_of(clip.key) == "train":
                label = label_table.canonical(clip.label, clip.category, clip.package, clip.path)
                if label in SINGERS:
                    clips[label][clip.package].append(index)
        return cls(bank_dir, {label: dict(packages) for label, packages in clips.items()})

    def perform(
        self, song: Song, rng: np.random.Generator, backed: bool = False
    ) -> list[tuple[Part, np.ndarray]]:
        """Who sings to the song: their parts, and each part dry (song.seconds * 48,000,) float32.

        ``backed``: a choir sings to half of the soloists, too.
        """
        casts = list(CASTS)
        cast = casts[rng.choice(len(casts), p=list(CASTS.values()))]
        if backed and "choir singing" not in cast and rng.random() < 0.5:
            cast = (*cast, "choir singing")
        performed = []
        for take, label in enumerate(cast):
            n_voices = CHOIR if label == "choir singing" else 1
            voices = [self._draw(label, rng) for _ in range(n_voices)]
            first = voices[0]
            if label == "solo":
                label = first.label if rng.random() < NAMED_SHARE else "person singing"
            part = compose_sung(song, label, first.speaks_at + RANGE[0], first.speaks_at + RANGE[1], take)
            sung = np.zeros(round(song.seconds * SAMPLE_RATE), np.float32)
            for notes, voice in zip(_voices_of(part.notes, n_voices), voices, strict=True):
                if notes:
                    sung += sing(notes, voice.spoken, song.seconds, rng)
            performed.append((part, sung))
        return performed

    def _draw(self, label: str, rng: np.random.Generator) -> Singer:
        """Somebody of this label, from one package, all that they say at about one height."""
        speakers = [who for who in sorted(self.clips) if label in (SINGERS[who], "solo", "choir singing")]
        while True:
            who = speakers[rng.integers(len(speakers))]
            packages = sorted(self.clips[who])
            weights = np.sqrt([len(self.clips[who][name]) for name in packages])
            indices = self.clips[who][packages[rng.choice(len(packages), p=weights / weights.sum())]]
            spoken: list[Syllable] = []
            height = 0.0
            for index in rng.permutation(indices)[:60]:
                found = syllables(opened(self.bank_dir).read(int(index), 0, 6 * SAMPLE_RATE))
                if not found:
                    continue
                own = float(np.median(np.concatenate([syllable.pitch for syllable in found])))
                height = height if spoken else own
                if abs(own - height) < 2.5:  # another actor of the same package, or a shout
                    spoken += found
                if len(spoken) >= SYLLABLES[1]:
                    break
            if len(spoken) >= SYLLABLES[0]:
                return Singer(spoken, round(height), SINGERS[who])


def _voices_of(notes: Sequence[Note], n_voices: int) -> list[list[Note]]:
    """Chords given to several singers, the lowest notes to the first; a tune as it is."""
    if n_voices == 1:
        return [list(notes)]
    chords: list[list[Note]] = []
    for note in sorted(notes, key=lambda note: note.start_s):
        if not chords or note.start_s - chords[-1][0].start_s > 0.1:
            chords.append([])
        chords[-1].append(note)
    ranked = [sorted(chord, key=lambda note: note.pitch) for chord in chords]
    return [[chord[voice] for chord in ranked if voice < len(chord)] for voice in range(n_voices)]


def syllables(samples: np.ndarray) -> list[Syllable]:
    """The voiced syllables of speech at 48 kHz (n,), in order."""
    samples = samples[: len(samples) // FRAME * FRAME]
    if len(samples) < 20 * FRAME:
        return []
    pitch, voicing = follow_pitch(samples)
    power = np.square(samples.reshape(-1, FRAME)).mean(axis=1)
    level = 10 * np.log10(gaussian_filter1d(power, 2) + 1e-10)
    voiced = voicing > VOICED
    if voiced.sum() < 10:
        return []
    loudest = np.percentile(level[voiced], 95)
    peaks, _ = find_peaks(np.where(voiced, level, level.min()), loudest - 20, distance=10, prominence=2.0)
    # borders lie at the quietest frame between two peaks, and at most 0.2 s outside of the first and the last
    borders = [max(0, peaks[0] - 20)] if len(peaks) else []
    borders += [a + int(np.argmin(level[a:b])) for a, b in zip(peaks, peaks[1:], strict=False)]
    borders += [min(len(level), peaks[-1] + 20)] if len(peaks) else []
    steady = np.interp(np.arange(len(pitch)), np.flatnonzero(voiced), pitch[voiced])
    found = []
    for peak, start, stop in zip(peaks, borders, borders[1:], strict=False):
        start, stop = max(start, peak - 25), min(stop, peak + 25)
        loud = voiced & (level > level[peak] - VOWEL_FALL_DB)
        first, last = peak, peak + 1
        while first > start and loud[first - 1]:
            first -= 1
        while last < stop and loud[last]:
            last += 1
        if last - first >= 4:
            vowel = (first - start) * FRAME, (last - start) * FRAME
            found.append(Syllable(samples[start * FRAME : stop * FRAME], vowel, steady[start:stop]))
    return found


def follow_pitch(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pitch as MIDI notes and how periodic the sound is (0..1), every 10 ms: peaks of the autocorrelation of 80 ms.

    Shape: (frames * FRAME,) -> (frames,), (frames,).
    """
    low = soxr.resample(samples, SAMPLE_RATE, PITCH_RATE, "MQ")
    hop = FRAME * PITCH_RATE // SAMPLE_RATE
    n = len(samples) // FRAME
    low = np.pad(low, (PITCH_WINDOW, 2 * PITCH_WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(low, 2 * PITCH_WINDOW)[::hop][:n]
    window = np.hanning(2 * PITCH_WINDOW)
    spectrum = np.fft.rfft(frames * window, 4 * PITCH_WINDOW)
    likeness = np.fft.irfft(np.square(np.abs(spectrum)))[:, :PITCH_WINDOW]
    own = np.fft.irfft(np.square(np.abs(np.fft.rfft(window, 4 * PITCH_WINDOW))))[:PITCH_WINDOW]
    likeness = likeness / (likeness[:, :1] + 1e-9) / (own / own[0])
    lags = np.arange(round(PITCH_RATE / PITCH_HZ[1]), round(PITCH_RATE / PITCH_HZ[0]))
    lags = lags[lags < PITCH_WINDOW]
    # of two peaks that are almost alike the shorter period is the pitch
    best = np.argmax(likeness[:, lags] - 0.0005 * lags, axis=1)
    strength = likeness[np.arange(n), lags[best]]
    pitch = median_filter(69 + 12 * np.log2(PITCH_RATE / lags[best] / 440), 5)
    return pitch, np.clip(strength, 0, 1)


def sing(
    notes: Sequence[Note], spoken: Sequence[Syllable], seconds: float, rng: np.random.Generator
) -> np.ndarray:
    """The notes sung with these syllables, one after the other and again from the first; float32 (seconds * 48,000,).

    A vowel begins with its note; what is spoken before it comes early, as singers do it.
    """
    out = np.zeros(round(seconds * SAMPLE_RATE) + SAMPLE_RATE, np.float32)
    manner = _Manner.draw(rng)
    turn = int(rng.integers(len(spoken)))
    for phrase in _phrases(notes):
        words = [spoken[(turn + i) % len(spoken)] for i in range(len(phrase))]
        turn += len(phrase)
        sung, early_s = _phrase(phrase, words, manner, rng)
        add_at(out, sung, max(0, round((phrase[0].start_s - early_s) * SAMPLE_RATE)))
    return out[: round(seconds * SAMPLE_RATE)]


@dataclass(frozen=True)
class _Manner:
    """How somebody sings: vibrato in Hz and semitones, how slowly one note becomes the next, how far off they are."""

    vibrato_hz: float
    vibrato: float
    glide_s: float
    off: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Manner:
        deep = rng.choice([0.0, rng.uniform(0.1, 0.4), rng.uniform(0.4, 0.9)], p=[0.25, 0.55, 0.2])
        return cls(rng.uniform(4.5, 6.5), deep, rng.uniform(0.02, 0.06), rng.uniform(0.02, 0.12))


def _phrases(notes: Sequence[Note]) -> list[list[Note]]:
    """Notes between two breaths; of notes that begin together the highest."""
    phrases: list[list[Note]] = []
    end = -1.0
    for note in sorted(notes, key=lambda note: (note.start_s, -note.pitch)):
        if phrases and note.start_s - phrases[-1][-1].start_s < 0.08:
            continue
        if not phrases or note.start_s - end > PHRASE_GAP_S:
            phrases.append([])
        phrases[-1].append(note)
        end = note.start_s + note.duration_s
    return phrases


def _phrase(
    notes: list[Note], words: list[Syllable], manner: _Manner, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """One breath of singing, and how long before its first note it begins in seconds."""
    import pedalboard

    pieces, factors, spoken_pitch, gains = [], [], [], []
    for i, (note, word) in enumerate(zip(notes, words, strict=True)):
        before, vowel, after = np.split(np.arange(len(word.samples)), word.vowel)
        until = note.start_s + note.duration_s
        if i + 1 < len(notes) and notes[i + 1].start_s - until < 0.15:
            until = notes[i + 1].start_s
        following = words[i + 1].vowel[0] if i + 1 < len(notes) else 0
        length = round((until - note.start_s) * SAMPLE_RATE)
        # consonants keep their time unless the note is too short for them
        hurry = min(1.0, 0.6 * length / max(len(after) + following, 1))
        held = max(length - round(hurry * (len(after) + following)), 0.2 * len(vowel))
        pieces.append(_joined(word.samples))
        factors.append(
            np.concatenate(
                [
                    np.full(len(before), hurry if i else 1.0),
                    np.full(len(vowel), held / len(vowel)),
                    np.full(len(after), hurry),
                ]
            )
        )
        spoken_pitch.append(np.repeat(word.pitch, FRAME))
        gains.append(10 ** ((note.velocity - 100) * 0.12 / 20) / max(float(np.abs(word.samples).max()), 1e-4))
    factor = np.concatenate(factors)
    spoken = np.concatenate([piece * np.float32(gain) for piece, gain in zip(pieces, gains, strict=True)])
    stretch = partial(pedalboard.time_stretch, transient_mode="smooth", use_long_fft_window=False)
    held_long = stretch(spoken[None], SAMPLE_RATE, 1 / factor)[0]
    early_s = words[0].vowel[0] / SAMPLE_RATE
    # where each sample of the stretched phrase was in the spoken one
    ends = np.cumsum(factor)
    ends *= len(held_long) / max(ends[-1], 1.0)
    times = np.arange(0, len(held_long), STEP)
    source = np.interp(times, ends, np.concatenate(spoken_pitch))
    wanted = _melody(notes, times / SAMPLE_RATE + notes[0].start_s - early_s, manner, rng)
    shift = np.clip(wanted - gaussian_filter1d(source, 1.0), -18, 18)
    shifts = np.repeat(shift, STEP)[: len(held_long)]
    sung = stretch(held_long[None], SAMPLE_RATE, 1.0, shifts.astype(np.float64), preserve_formants=True)[0]
    return sung.astype(np.float32), early_s


def _melody(notes: list[Note], times_s: np.ndarray, manner: _Manner, rng: np.random.Generator) -> np.ndarray:
    """The pitch that is sung at these times, as MIDI notes."""
    starts = np.array([note.start_s for note in notes])
    place = np.clip(np.searchsorted(starts, times_s + 1e-6, side="right") - 1, 0, len(notes) - 1)
    off = rng.normal(0, manner.off, len(notes))
    pitch = np.array([note.pitch for note in notes])[place] + off[place]
    glide = gaussian_filter1d(pitch, max(manner.glide_s * SAMPLE_RATE / STEP, 0.5), mode="nearest")
    since = times_s - starts[place]
    swell = np.clip((since - 0.2) / 0.3, 0, 1)
    vibrato = manner.vibrato * swell * np.sin(2 * np.pi * manner.vibrato_hz * times_s + rng.uniform(0, 6))
    drift = gaussian_filter1d(rng.normal(0, 1, len(times_s)), 8) * 0.2
    return glide + vibrato + drift


def _joined(samples: np.ndarray) -> np.ndarray:
    samples = samples.copy()
    ramp = np.linspace(0, 1, EDGE, dtype=np.float32)
    samples[:EDGE] *= ramp
    samples[-EDGE:] *= ramp[::-1]
    return samples
