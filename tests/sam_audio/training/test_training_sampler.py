"""Recorded instruments play what is written: at the pitch, when asked, and the held-out ones nowhere else."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sam_audio.training.data.more_sounds import beside_manifest
from sam_audio.training.music import sampler as sampling
from sam_audio.training.music.compose import Note, Part, compose
from sam_audio.training.music.render import render_sampled
from sam_audio.training.music.sampler import PIECES, SAMPLED, Sampler
from sam_audio.training.music.tables import BAND_GENRES

RATE = 48_000
COLUMNS = [
    "file",
    "label",
    "articulation",
    "midi",
    "velocity",
    "layer",
    "round_robin",
    "seconds",
    "peak",
    "gain_db",
    "source",
    "licence",
]
PITCHES = (40, 52, 64, 76)
# label -> source and articulation, of instruments that train and of one that is held out
INSTRUMENTS = [
    ("electric guitar", "x/black-and-green-guitars", "sustain"),
    ("electric guitar", "x/emilyguitar", "sustain"),
    ("bass guitar", "x/growlybass", "sustain"),
    ("bass guitar", "x/swagbass", "sustain"),
    ("electric guitar", "x/black-and-green-guitars", "release noise"),
]


def tone(midi: int, seconds: float = 1.5) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return 0.3 * np.sin(2 * np.pi * 440 * 2 ** ((midi - 69) / 12) * t)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    """Notes of pure tones, and kits of clicks."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "notes").mkdir()
    rows = []

    def add(samples: np.ndarray, label: str, source: str, articulation: str, midi: int | str = "") -> None:
        file = f"notes/{len(rows)}.wav"
        soundfile.write(folder / file, samples, RATE)
        rows.append([file, label, articulation, midi, 100, "f", 1, 1.5, 0.3, 0, source, "CC0-1.0"])

    for label, source, articulation in INSTRUMENTS:
        for midi in PITCHES:
            add(tone(midi), label, source, articulation, midi)
    rng = np.random.default_rng(0)
    for _, _, label, articulation, _, _ in PIECES.values():
        for source in ("x/own-kit", "x/SamsSonor"):
            stroke = rng.standard_normal(RATE // 4) * np.exp(-np.arange(RATE // 4) / 2000) * 0.2
            add(stroke, label, source, articulation.split("|")[0])
    with (folder / "notes" / "notes.tsv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows([COLUMNS, *rows])
    return folder


@pytest.fixture
def load(data_dir, tmp_path, monkeypatch):
    """Samplers without the packages of the registry."""
    monkeypatch.setattr(sampling, "SAMPLED", tuple(s for s in SAMPLED if not s.package))
    return lambda held_out=False: Sampler.load(data_dir, tmp_path / "bank", held_out)


def part(instrument: str, notes: list[Note]) -> Part:
    label = "bass guitar" if "bass" in instrument else "electric guitar"
    return Part(label, 0, 0, False, tuple(notes), (), instrument=instrument)


def pitch_hz(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples))


def test_notes_sound_at_their_pitch_and_time(load):
    notes = [Note(0.5, 0.5, 55, 100), Note(1.5, 0.5, 60, 100)]
    out = load().play(part("clean guitar", notes), 2.5, np.random.default_rng(0))
    assert out.shape == (round(2.5 * RATE),)
    assert not out[: RATE // 2 - 300].any()
    for note in notes:
        first = round(note.start_s * RATE)
        heard = pitch_hz(out[first : first + RATE // 2])
        assert 12 * np.log2(heard / 440) + 69 == pytest.approx(note.pitch, abs=0.4)
    assert np.abs(out[round(1.2 * RATE) : round(1.45 * RATE)]).max() < 1e-3  # let go


def test_bends_move_the_pitch(load):
    bends = tuple((0.1 * i, 0.2 * i) for i in range(11))  # two semitones in a second
    out = load().play(
        part("lead guitar", [Note(0.0, 1.2, 64, 100, False, bends)]), 1.5, np.random.default_rng(0)
    )
    early, late = (pitch_hz(out[round(t * RATE) : round((t + 0.15) * RATE)]) for t in (0.0, 0.95))
    assert 12 * np.log2(late / early) == pytest.approx(1.8, abs=0.7)


def test_palm_mutes_are_short_and_dull(load):
    def energy(alt: bool) -> float:
        notes = [Note(0.0, 0.6, 52, 100, alt)]
        return float(np.square(load().play(part("metal guitar", notes), 1.0, np.random.default_rng(0))).sum())

    assert energy(alt=True) < 0.4 * energy(alt=False)


def test_a_hi_hat_is_closed_by_its_next_stroke(load):
    def after(notes: list[Note]) -> float:
        drums = Part("drum kit", 0, 128, True, tuple(notes), ())
        out = load().play(drums, 1.0, np.random.default_rng(0))
        return float(np.square(out[round(0.13 * RATE) : round(0.2 * RATE)]).sum())

    opened = Note(0.0, 0.2, 46, 110)
    assert after([opened, Note(0.1, 0.2, 38, 20)]) > after([opened, Note(0.1, 0.2, 42, 20)])


def test_held_out_instruments_are_nowhere_else(load):
    train, held_out = load(), load(held_out=True)
    names = {s.name: s.held_out for s in SAMPLED}
    assert train.notes and held_out.notes
    assert not any(names[name] for name in train.notes) and all(names[name] for name in held_out.notes)
    files = [
        {s.file for pools in one.notes.values() for pool in pools for s in pool}
        | {s.file for kits in one.kits.values() for pool in kits.values() for s in pool}
        for one in (train, held_out)
    ]
    assert not files[0] & files[1]


def test_single_notes_to_train_on_are_neither_held_out_nor_noises(data_dir):
    recordings = beside_manifest(data_dir)
    assert all(r.train_only and r.key.startswith("train-only/") for r in recordings)
    packages = {r.package for r in recordings}
    assert {"x/black-and-green-guitars", "x/growlybass", "x/own-kit"} <= packages
    assert not packages & {"x/emilyguitar", "x/swagbass", "x/SamsSonor"}
    guitar = [r for r in recordings if r.package == "x/black-and-green-guitars"]
    assert len(guitar) == len(PITCHES)  # its release noises are not there


def test_a_band_is_rendered_without_soundfonts(load):
    held_out = load(held_out=True)
    songs = [compose(seed, {"metal": 1.0}) for seed in range(3)]
    for song in songs:
        stems = render_sampled(song, held_out, ())
        assert {label for label, _ in stems} >= {"electric guitar"}
        assert len({len(samples) for _, samples in stems}) == 1
        total = sum(samples for _, samples in stems)
        assert np.isfinite(total).all() and 0.5 < np.abs(total).max() <= 0.71
        again = render_sampled(song, held_out, ())
        for (label, one), (name, other) in zip(stems, again, strict=True):
            assert label == name
            np.testing.assert_array_equal(one, other)


def test_a_song_that_nobody_can_play_is_refused(load):
    empty = Sampler({}, {}, {}, Path("nowhere"), False)
    with pytest.raises(RuntimeError, match="too few"):
        render_sampled(compose(1, BAND_GENRES), empty, ())


def test_every_sampled_instrument_is_one_of_the_composer():
    from sam_audio.training.music.tables import INSTRUMENTS as KNOWN

    for sampled in SAMPLED:
        assert bool(sampled.package) != bool(sampled.source)
        for name in sampled.plays:
            assert KNOWN[name].label == sampled.label
