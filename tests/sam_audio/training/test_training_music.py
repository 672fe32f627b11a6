"""Composed songs obey music's arithmetic; rendered stems have the promised shape, level and timing."""

from __future__ import annotations

import shutil
from random import Random

import numpy as np
import pytest

from sam_audio.training.music import tables
from sam_audio.training.music.compose import SOLO_SECONDS, SONG_SECONDS, parse_chord
from sam_audio.training.music.parts import ROLES, Chord, Key, Plan, voicing
from sam_audio.training.music.render import (
    LABELS,
    PEAK_DB,
    Note,
    Part,
    compose,
    compose_solo,
    midi_bytes,
    render,
    render_many,
    render_solo,
)
from sam_audio.training.music.soundfonts import FIRST, path_of

SEEDS = range(150)
SONGS = [compose(seed) for seed in SEEDS]
SOLOS = [compose_solo(seed) for seed in range(400)]
FONTS = [path for font in FIRST if (path := path_of(font)).exists()]
needs_fluidsynth = pytest.mark.skipif(
    shutil.which("fluidsynth") is None, reason="the program fluidsynth is absent"
)
needs_soundfont = pytest.mark.skipif(not FONTS, reason="no soundfont was fetched")


def plan_of(
    chords: str, mode: str, tonic: int = 2, tempo: float = 120.0, swing: float = 0.5, bars: int = 8
) -> Plan:
    names = chords.split()
    played = tuple(Chord(4.0 * i, 4.0, parse_chord(names[i % len(names)], tonic)) for i in range(bars))
    return Plan("test", tempo, Key(tonic, mode), bars, 4, swing, played, bars * 240 / tempo + 1)


def test_same_seed_same_song_and_other_seed_another():
    assert all(compose(seed) == song for seed, song in zip(range(20), SONGS, strict=False))
    assert all(compose_solo(seed) == song for seed, song in zip(range(20), SOLOS, strict=False))
    assert len({song.parts[0].notes for song in SONGS}) == len(SONGS)


def test_songs_are_bands_of_the_promised_size_and_length():
    for song in SONGS:
        labels = {part.label for part in song.parts}
        assert 2 <= len(labels) <= 6
        assert SONG_SECONDS[0] <= song.seconds <= SONG_SECONDS[1]
    assert {song.genre for song in SONGS} == set(tables.GENRES)


def test_every_label_is_known_and_solos_reach_nearly_all_of_them():
    heard = {part.label for song in SONGS + SOLOS for part in song.parts}
    assert heard <= LABELS
    assert len(heard) > 0.95 * len(LABELS)
    assert all(len({part.label for part in song.parts}) == 1 for song in SOLOS)
    assert all(SOLO_SECONDS[0] <= song.seconds <= SOLO_SECONDS[1] for song in SOLOS)


def test_metal_has_distorted_guitars_against_drums():
    metal = [song for song in SONGS if song.genre == "metal"]
    assert metal
    for song in metal:
        guitars = [part for part in song.parts if part.label == "electric guitar"]
        assert any(effect.name == "Distortion" for part in guitars for effect in part.effects)
        assert any(part.label == "drum kit" for part in song.parts)


def test_pitched_notes_lie_in_the_key_or_the_chords():
    for song in SONGS + SOLOS:
        allowed = set(song.key.pitch_classes).union(*(chord.tones for chord in song.plan.chords))
        for part in song.parts:
            assert part.is_drum or {note.pitch % 12 for note in part.notes} <= allowed, (song.seed, part.role)


@pytest.mark.parametrize("role", sorted(set(ROLES) - {"drums", "percussion", "bass"}))
@pytest.mark.parametrize(
    ("chords", "mode"), [("i iv V i", "minor"), ("I7 IV7 V7 I7", "blues"), ("i5 bII5", "phrygian")]
)
def test_each_role_plays_the_scale_of_the_moment(role: str, chords: str, mode: str):
    plan = plan_of(chords, mode)
    for seed in range(5):
        for event in ROLES[role](plan, Random(seed), 48, 79, ""):
            allowed = plan.key.pitch_classes | set(plan.chord_at(event.beat).tones)
            assert event.pitch % 12 in allowed
            assert 48 <= event.pitch <= 79
            assert 0 <= event.beat < plan.beats


@pytest.mark.parametrize(
    "style", ["eighths", "rock", "fifths", "walking", "funk", "offbeat", "tumbao", "chug", "pedal"]
)
def test_bass_plays_the_root_where_a_chord_begins(style: str):
    plan = plan_of("ii7 V7 Imaj7 vi7", "major")
    for seed in range(5):
        events = {event.beat: event.pitch for event in ROLES["bass"](plan, Random(seed), 28, 55, style)}
        for chord in plan.chords:
            assert events[chord.start] % 12 == chord.root


def test_bass_of_whole_songs_plays_roots_on_the_downbeats():
    checked = 0
    for song in SONGS:
        for part in (part for part in song.parts if part.role.startswith("bass/")):
            for chord in song.plan.chords:
                start = song.plan.at(chord.start)
                struck = [note for note in part.notes if abs(note.start_s - start) < 0.03]
                assert all(note.pitch % 12 == chord.root for note in struck)
                checked += len(struck)
    assert checked > 200


def test_notes_stay_in_the_instruments_range_and_in_the_song():
    for song in SONGS + SOLOS:
        for part in song.parts:
            assert part.notes
            for note in part.notes:
                assert 0 <= note.start_s < note.start_s + note.duration_s <= song.seconds + 1e-6
                assert 1 <= note.velocity <= 127
                if not part.is_drum:
                    instrument = tables.INSTRUMENTS[part.instrument]
                    assert instrument.low <= note.pitch <= instrument.high


def test_onsets_keep_to_the_grid_of_the_tempo():
    for song in SONGS:
        grid = np.array([song.plan.at(i / 4) for i in range(int(song.plan.beats * 4) + 1)])
        for part in (part for part in song.parts if part.role == "drums"):
            onsets = np.array([note.start_s for note in part.notes])
            assert np.abs(onsets[:, None] - grid[None]).min(axis=1).max() < 0.02


def test_swing_moves_the_second_eighth_only():
    straight, swung = plan_of("I", "major"), plan_of("I", "major", swing=2 / 3)
    assert straight.at(3.0) == swung.at(3.0)
    assert swung.at(3.5) - swung.at(3.0) == pytest.approx(2 * (swung.at(4.0) - swung.at(3.5)))


def test_voices_move_little_between_chords():
    previous = voicing(Chord(0, 4, parse_chord("I", 0)), [], 48, 72, 3)
    for name in ("vi", "IV", "V", "I"):
        pitches = voicing(Chord(0, 4, parse_chord(name, 0)), previous, 48, 72, 3)
        assert {p % 12 for p in pitches} == set(parse_chord(name, 0))
        assert max(min(abs(p - q) for q in previous) for p in pitches) <= 5
        previous = pitches


def test_a_wrong_chord_name_is_explained():
    with pytest.raises(ValueError, match="Roman numeral"):
        parse_chord("H7", 0)


def test_grooves_fill_their_bars_and_rhythms_their_measures():
    for name, grooves in tables.GROOVES.items():
        for row in (row for groove in grooves for row in groove.values()):
            assert len(row) == (12 if name == "waltz" else 16)
    for table in (tables.TUNE_RHYTHMS, tables.FAST_RHYTHMS):
        for meter, rhythms in table.items():
            assert all(sum(abs(length) for length in rhythm) == meter for rhythm in rhythms)


def test_midi_file_is_whole():
    part = Part("flute", 73, 0, False, (Note(0.5, 0.5, 72, 90), Note(0.7, 0.5, 72, 90)), ())
    data = midi_bytes([(part, 2.0), (part, 2.0)])
    assert data[:4] == b"MThd"
    assert int.from_bytes(data[18:22], "big") == len(data) - 22
    assert data.endswith(b"\xff\x2f\x00")
    assert data.count(bytes((0x90, 72, 90))) == data.count(bytes((0x80, 72, 0))) == 4


def test_rendering_without_soundfonts_says_what_to_pass():
    with pytest.raises(ValueError, match="soundfont"):
        render(SONGS[0], [])


@needs_fluidsynth
@needs_soundfont
def test_rendered_stems_share_length_and_sum_below_the_peak():
    song = SONGS[0]
    stems = render(song, FONTS[:1])
    mixture = np.sum([samples for _, samples in stems], axis=0)
    assert {label for label, _ in stems} == {part.label for part in song.parts}
    for _, samples in stems:
        assert samples.dtype == np.float32
        assert len(samples) == round(song.seconds * 48_000)
        assert np.isfinite(samples).all()
        assert np.abs(samples).max() > 1e-3
    assert 20 * np.log10(np.abs(mixture).max()) == pytest.approx(PEAK_DB, abs=0.01)


@needs_fluidsynth
@needs_soundfont
def test_drums_sound_when_they_are_struck():
    song = next(song for song in SOLOS if song.parts[0].label == "snare drum")
    _, samples = render_solo(song.seed, FONTS[:1])
    first = round((song.parts[0].notes[0].start_s) * 48_000)
    loud = int(np.flatnonzero(np.abs(samples) > 0.1 * np.abs(samples).max())[0])
    assert -240 < loud - first < 0.02 * 48_000


@needs_fluidsynth
@needs_soundfont
def test_many_come_in_the_order_of_the_seeds():
    done = list(render_many(range(4), FONTS[:1], workers=2, solo=True, batch=2))
    assert [seed for seed, _ in done] == [0, 1, 2, 3]
    assert [stems[0][0] for _, stems in done] == [song.parts[0].label for song in SOLOS[:4]]
