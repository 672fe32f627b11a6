"""Synthesizers and drum machines: the right pitch and time, no two patches alike, nothing that folds back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sam_audio.training.data.bank import SAMPLE_RATE
from sam_audio.training.data.songs import GROUPS, group_of
from sam_audio.training.music.compose import Note, Part, compose
from sam_audio.training.music.render import group_name
from sam_audio.training.music.sampler import PIECES
from sam_audio.training.music.synths import (
    FAMILIES,
    MACHINE_PIECES,
    Patch,
    _table,
    _tone,
    play_machine,
    play_synth,
    pumped,
)
from sam_audio.training.music.tables import INSTRUMENTS, SYNTH_GENRES


def part(instrument: str, *notes: Note) -> Part:
    return Part("synthesizer", 0, 0, False, notes, (), instrument=instrument)


def pitch_hz(samples: np.ndarray, expected: float) -> float:
    """The strongest partial within a semitone of what is expected."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 18))
    hz = np.fft.rfftfreq(1 << 18, 1 / SAMPLE_RATE)
    near = np.abs(np.log2(np.maximum(hz, 1) / expected)) < 1 / 12
    return float(hz[near][np.argmax(spectrum[near])])


@pytest.mark.parametrize("instrument", sorted(FAMILIES))
def test_notes_sound_at_their_pitch_and_time(instrument):
    assert instrument in INSTRUMENTS
    for seed in range(6):
        rng = np.random.default_rng(seed)
        played = play_synth(part(instrument, Note(1.0, 1.5, 57, 100)), 5.0, rng)
        assert played.shape == (5 * SAMPLE_RATE,) and played.dtype == np.float32
        assert not played[: SAMPLE_RATE - 1].any()
        assert np.abs(played).max() > 0.02
        assert np.square(played[-SAMPLE_RATE // 4 :]).mean() < 0.01 * np.square(played).mean()


def test_the_fundamental_is_the_note():
    patch = replace(
        Patch.draw("lead", np.random.default_rng(0)), wave="saw", unison=1, vibrato_cents=0.0, glide_s=0.0,
        octave_below=0.0, attack_s=0.01, sustain=1.0,
    )  # fmt: skip
    for midi in (40, 57, 76):
        expected = 440 * 2 ** ((midi - 69) / 12)
        tone = _tone(patch, Note(0, 1.0, midi, 100), 0.0, np.random.default_rng(1))
        assert pitch_hz(tone[:SAMPLE_RATE], expected) == pytest.approx(expected, rel=0.003)


def test_no_two_parts_have_the_same_patch():
    notes = Note(0.0, 0.5, 60, 100)
    played = [play_synth(part("synth pluck", notes), 1.0, np.random.default_rng(seed)) for seed in range(2)]
    again = play_synth(part("synth pluck", notes), 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(played[0], again)
    assert abs(np.corrcoef(played[0], played[1])[0, 1]) < 0.9


@pytest.mark.parametrize("kind", ["saw", "square", "triangle", "pulse"])
def test_tables_hold_no_harmonic_beyond_what_is_asked(kind):
    spectrum = np.abs(np.fft.rfft(_table(kind, 12)[:-1]))
    assert spectrum[13:].max() < 1e-3 * spectrum.max()
    assert spectrum[1] == spectrum.max()


def test_a_machine_has_every_piece_and_strikes_it_alike_each_time():
    assert set(PIECES) == MACHINE_PIECES
    notes = [Note(0.5, 0.1, 36, 110), Note(3.0, 0.1, 36, 110), Note(4.0, 0.1, 42, 60)]
    played = play_machine(notes, {36: "kick", 42: "closed"}.__getitem__, 5.0, np.random.default_rng(0))
    assert played.shape == (5 * SAMPLE_RATE,)
    assert not played[: SAMPLE_RATE // 2].any()
    first, second = (played[round(at * SAMPLE_RATE) :][: SAMPLE_RATE // 4] for at in (0.5, 3.0))
    np.testing.assert_allclose(first, second, atol=1e-6)
    low = np.abs(np.fft.rfft(first))
    assert low[: len(low) // 100].max() > 5 * low[len(low) // 4 :].max()  # a kick is low


def test_pumping_turns_down_at_the_beats():
    song = compose(3)
    level = pumped(np.ones(round(song.seconds * SAMPLE_RATE), np.float32), song, np.random.default_rng(0))
    beat = round(song.plan.at(4.0) * SAMPLE_RATE)
    before = round((song.plan.at(4.0) - 0.05) * SAMPLE_RATE)
    assert level[beat] < 0.65 < level[before]
    assert (level >= 0).all() and level.max() <= 1


def test_parts_of_produced_songs_are_groups_of_songs():
    names = set()
    for seed in range(60):
        names.update(group_name(p) for p in compose(seed, SYNTH_GENRES).parts)
    assert {
        "drums",
        "bass",
        "synthesizer",
        "synth pad",
        "plucked synth",
        "arpeggiated synth",
        "piano",
    } <= names
    assert all(group_of(name).phrases for name in names)
    assert group_of("bass") is GROUPS["bass"]
    assert group_of("electric guitar").label == "electric guitar"
    assert group_of("nobody").phrases == ("nobody",)
