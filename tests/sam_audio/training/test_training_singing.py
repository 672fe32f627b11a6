"""Speakers made to sing: the tune's pitches at its times, the vowels of what was spoken, the right people."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.signal import lfilter

from sam_audio.training.data.bank import SAMPLE_RATE, ShardWriter, split_of
from sam_audio.training.data.collect import TRAIN_ONLY
from sam_audio.training.music.compose import Note, compose, compose_sung
from sam_audio.training.music.singing import (
    CHOIR,
    FRAME,
    Singers,
    _voices_of,
    follow_pitch,
    sing,
    syllables,
)

FORMANTS = {"a": (800, 1200), "i": (300, 2300), "u": (320, 800)}


def speech(vowels: str, hz: float, seed: int = 0) -> np.ndarray:
    """A buzz through two formants for each vowel, with a hiss before it, 0.3 s each."""
    rng = np.random.default_rng(seed)
    said = [np.zeros(SAMPLE_RATE // 5)]
    for vowel in vowels:
        n = round(0.22 * SAMPLE_RATE)
        phase = np.cumsum(hz * (1 + 0.02 * np.sin(np.arange(n) / 3000)) / SAMPLE_RATE)
        buzz = np.diff(np.floor(phase), prepend=0)
        for formant in FORMANTS[vowel]:
            radius = np.exp(-np.pi * 80 / SAMPLE_RATE)
            buzz = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * formant / SAMPLE_RATE), radius**2], buzz)
        said += [
            0.01 * rng.standard_normal(round(0.08 * SAMPLE_RATE)),
            buzz / np.abs(buzz).max() * np.hanning(n),
        ]
    return np.concatenate([*said, np.zeros(SAMPLE_RATE // 5)]).astype(np.float32)


def test_pitch_of_a_voice_is_followed():
    pitch, voicing = follow_pitch(speech("aaa", 220.0))
    assert np.median(pitch[voicing > 0.8]) == pytest.approx(57, abs=0.3)
    silence, voicing = follow_pitch(np.zeros(100 * FRAME, np.float32))
    assert len(silence) == 100
    assert voicing.max() < 0.1


def test_syllables_are_found_in_order():
    said = speech("aiuai", 150.0)
    found = syllables(said)
    assert len(found) == 5
    for syllable in found:
        first, last = syllable.vowel
        assert 0 <= first < last <= len(syllable.samples)
        assert 0.04 < (last - first) / SAMPLE_RATE < 0.25
        assert len(syllable.pitch) * FRAME == len(syllable.samples)


@pytest.mark.parametrize(
    "nothing", [np.zeros(SAMPLE_RATE), np.zeros(10), np.random.default_rng(0).normal(0, 0.1, 48_000)]
)
def test_there_are_no_syllables_in_what_is_not_spoken(nothing):
    assert syllables(nothing.astype(np.float32)) == []


def test_notes_are_sung_at_their_pitch_and_time():
    notes = [Note(0.5, 0.6, 55, 100), Note(1.1, 0.6, 59, 100), Note(2.4, 1.0, 62, 100)]
    sung = sing(notes, syllables(speech("aiuai", 150.0)), 4.0, np.random.default_rng(1))
    assert sung.shape == (4 * SAMPLE_RATE,)
    pitch, _ = follow_pitch(sung)
    for note in notes:
        middle = slice(round((note.start_s + 0.2) * 100), round((note.start_s + note.duration_s - 0.1) * 100))
        assert np.median(pitch[middle]) == pytest.approx(note.pitch, abs=0.5)
    level = np.square(sung.reshape(-1, FRAME)).mean(axis=1)
    assert level[180:215].max() < 0.01 * level.max()  # a breath
    assert level[370:].max() < 0.01 * level.max()


def test_formants_stay_where_they_were_spoken():
    spoken = syllables(speech("uuuu", 120.0))
    sung = sing([Note(0.2, 1.5, 58, 100)], spoken, 2.0, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(sung[SAMPLE_RATE // 2 : SAMPLE_RATE * 3 // 2])) ** 2
    hz = np.fft.rfftfreq(SAMPLE_RATE, 1 / SAMPLE_RATE)
    share = spectrum[(hz > 150) & (hz < 1100)].sum() / spectrum.sum()
    assert share > 0.7  # the pitch rose by an octave, the vowel did not


def test_chords_are_given_to_voices_from_the_lowest():
    notes = [Note(0.0, 1, 60, 80), Note(0.0, 1, 52, 80), Note(0.01, 1, 55, 80), Note(1.0, 1, 50, 80)]
    voices = _voices_of(notes, CHOIR)
    assert [[note.pitch for note in voice] for voice in voices] == [[52, 50], [55], [60]]


def test_a_song_is_sung_in_its_key_and_in_the_range():
    song = compose(4)
    part = compose_sung(song, "woman singing", 55, 72)
    assert part == compose_sung(song, "woman singing", 55, 72)
    assert part != compose_sung(song, "woman singing", 55, 72, take=1)
    assert all(55 <= note.pitch <= 72 for note in part.notes)
    chords = {tone for chord in song.plan.chords for tone in chord.tones}
    assert all(note.pitch % 12 in song.key.pitch_classes | chords for note in part.notes)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """A man and a woman speak in the training split; somebody else is held out."""
    folder = tmp_path_factory.mktemp("bank")
    with ShardWriter(folder, "speech") as shard:
        for label, hz in (("man speaking", 110.0), ("woman speaking", 200.0)):
            for i in range(8):
                shard.add(
                    speech("aiua", hz, i), f"{label} {i}", label, "speech", label.split()[0], f"{i}.wav", ""
                )
        for i in range(8):
            shard.add(
                speech("aiua", 150.0), f"{TRAIN_ONLY}{i}", "dog barking", "event", "dogs", f"{i}.wav", ""
            )
    return folder


def test_singers_are_speakers_of_the_training_split(bank):
    singers = Singers.load(bank)
    clips = json.loads(next(bank.glob("*.json")).read_text())
    expected = {
        i
        for i, clip in enumerate(clips)
        if clip["label"].endswith("speaking") and split_of(clip["key"]) == "train"
    }
    assert {i for packages in singers.clips.values() for some in packages.values() for i in some} == expected


def test_casts_sing_to_a_song(bank):
    song, singers = compose(4), Singers.load(bank)
    labels = set()
    for seed in range(12):
        for part, samples in singers.perform(song, np.random.default_rng(seed)):
            assert samples.shape == (round(song.seconds * SAMPLE_RATE),)
            assert np.abs(samples).max() > 0.05
            labels.add(part.label)
    assert labels == {"man singing", "woman singing", "person singing", "choir singing"}
