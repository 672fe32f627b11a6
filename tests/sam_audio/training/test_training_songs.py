"""Recorded songs: whole or not at all in a split, groups that sum to what is asked, words that mean one thing."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import soundfile

from sam_audio.training.data.bank import SAMPLE_RATE, Bank
from sam_audio.training.data.labels import load_labels
from sam_audio.training.data.mixing import Mixer, Pools
from sam_audio.training.data.songs import GROUPS, TOGETHER, VOICES, build_real_song_shards, song_phrases
from sam_audio.training.recipes.separator import phrase_list

SECONDS = 1.0
ROWS = [  # label, parent
    ("singing voice", ""),
    ("backing vocals", ""),
    ("drums", ""),
    ("drum beat", "drums"),
    ("hi-hat", "drums"),
    ("synthesizer", ""),
    ("plucked synth", ""),
    ("bass", ""),
    ("no such group", ""),
]


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> Bank:
    """Two songs of tones; the drums are the sum of their parts."""
    data, folder = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("bank")
    (data / "songs").mkdir()
    t = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    tones = {label: 0.1 * np.sin(2 * np.pi * 200 * (i + 1) * t) for i, (label, _) in enumerate(ROWS)}
    tones["drums"] = tones["drum beat"] + tones["hi-hat"]
    with (data / "songs" / "songs.tsv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["song", "file", "label", "parent", "source", "split"])
        for song, split in (("one", "train"), ("two", "valid")):
            for label, parent in ROWS:
                name = f"songs/{song}-{label}.wav"
                soundfile.write(data / name, tones[label], SAMPLE_RATE, subtype="FLOAT")
                writer.writerow([song, name, label, parent, "somebody", split])
    build_real_song_shards(data, folder)
    return Bank(folder)


def test_songs_are_in_one_split_whole(bank):
    assert len(bank.clips) == 2 * (len(ROWS) - 1)  # nobody can ask for the last group
    for split, song in (("train", "one"), ("test", "two")):
        (stems,) = Pools(bank, split).real_songs
        assert {bank.clips[i].song.rpartition("-")[2] for i in stems} == {song}
    assert not Pools(bank, "valid").real_songs


def test_data_without_songs_are_fine(tmp_path):
    build_real_song_shards(tmp_path, tmp_path / "bank")
    assert not (tmp_path / "bank").exists()


@pytest.fixture(scope="module")
def mixtures(bank):
    mixer = Mixer(bank, "train", SECONDS, seed=0)
    mixer.absent_label = lambda present: None  # the bank has nothing else that could be absent
    return [mixer.real_band(at_most=20) for _ in range(150)]


def test_balance_and_sum(bank, mixtures):
    for mixture in mixtures:
        assert 2 <= len(mixture.sources) <= 5
        total = np.sum([s.samples for s in mixture.sources], axis=0)
        assert total.shape == (round(SECONDS * SAMPLE_RATE),)
        assert 20 * np.log10(np.sqrt(np.square(total).mean())) == pytest.approx(-20, abs=0.5)
        levels = [20 * np.log10(s.samples.std()) for s in mixture.sources if s.label != "background music"]
        assert max(levels) - min(levels) < 25  # all tones are alike but for the scatter


def test_voices_are_asked_together_and_without(mixtures):
    labels = {group: GROUPS[group].label for group in VOICES}
    asked = {phrase: 0 for phrase in ("vocals", "drums", "everything but the voice")}
    for mixture in mixtures:
        for prompt in mixture.prompts:
            if prompt.label in asked and prompt.members:
                asked[prompt.label] += 1
            if prompt.label == "vocals" and prompt.members:
                assert {mixture.sources[i].label for i in prompt.members} <= set(labels.values())
            if prompt.label == "everything but the voice" and prompt.members:
                others = set(range(len(mixture.sources))) - set(prompt.members)
                assert {mixture.sources[i].label for i in others} <= set(labels.values())
    assert min(asked.values()) > 10


def test_words_for_several_groups_never_mean_one_of_them(mixtures):
    several = [phrases for _, phrases in TOGETHER]
    for mixture in mixtures:
        meaning: dict[str, tuple[int, ...]] = {}
        for prompt in mixture.prompts:
            for phrase in prompt.phrases:
                assert meaning.setdefault(phrase, tuple(sorted(prompt.members))) == tuple(
                    sorted(prompt.members)
                )
    assert all(set(phrases) <= set(song_phrases()) for phrases in several)


def test_absent_prompts_of_songs_are_absent(mixtures):
    from sam_audio.training.data.labels import absent_ok, members

    absent = [(m, p) for m in mixtures for p in m.prompts if not p.members]
    assert len(absent) > 50
    for mixture, prompt in absent:
        names = [s.label for s in mixture.sources if s.label != "background music"]
        assert all(absent_ok(member, names) for member in members(prompt.label))


def test_every_group_has_a_label_and_every_phrase_a_vector():
    known = set(phrase_list())
    assert {group.label for group in GROUPS.values()} <= set(load_labels())
    assert set(song_phrases()) <= known
    for kinds, _ in TOGETHER:
        assert kinds <= set(GROUPS)
