"""Mixtures: their sources, their prompts, and which prompt means which source."""

from __future__ import annotations

import numpy as np
import pytest
import tiny

from sam_audio.training.data import labels as label_table
from sam_audio.training.data.bank import Bank, add_at, split_of
from sam_audio.training.data.mixing import HOP, REFERENCE_DB, SCENES, Mixer, Pools, Source
from sam_audio.training.data.songs import ACCOMPANIMENT

SECONDS = 1.28


@pytest.fixture(scope="module")
def bank(bank_dir):
    return Bank(bank_dir)


@pytest.fixture
def mixer(bank):
    return Mixer(bank, "train", SECONDS, seed=0)


@pytest.fixture(scope="module")
def mixtures(bank):
    mixer = Mixer(bank, "train", SECONDS, seed=1)
    return [mixer.mixture() for _ in range(150)]


# ---- splits -----------------------------------------------------------------------------------------------


def test_no_recording_is_in_two_splits(bank):
    pools = [Pools(bank, split) for split in tiny.SPLITS]
    indices = [set(pool.canonical) for pool in pools]
    assert sum(map(len, indices)) == len(set.union(*indices)) == len(bank)
    for split, pool in zip(tiny.SPLITS, pools, strict=True):
        assert {split_of(bank.clips[i].song or bank.clips[i].key) for i in pool.canonical} == {split}
        assert set(pool.by_group) == {*label_table.GROUPS, "common", "ESC-10"}


def test_songs_stay_whole(bank):
    (song,) = Pools(bank, "train").songs
    assert [bank.clips[i].label for i in song] == list(tiny.SONG)
    assert Pools(bank, "test").songs == []


def test_pools_count_by_canonical_label(bank):
    pools = Pools(bank, "valid")
    assert {label: pools.count(label) for label in pools.clips} == dict.fromkeys(pools.clips, 1)
    assert "man speaking" in pools.clips


# ---- mixtures ---------------------------------------------------------------------------------------------


def test_same_seed_same_mixtures(bank):
    one, two, other = (Mixer(bank, "train", SECONDS, seed) for seed in (7, 7, 8))
    different = 0
    for _ in range(12):
        a, b, c = one.mixture(), two.mixture(), other.mixture()
        assert (a.scene, a.prompts) == (b.scene, b.prompts)
        assert [s.label for s in a.sources] == [s.label for s in b.sources]
        np.testing.assert_array_equal(sum(s.samples for s in a.sources), sum(s.samples for s in b.sources))
        different += a.prompts != c.prompts
    assert different > 6


def test_all_scenes_occur(mixtures):
    assert {m.scene for m in mixtures} == set(SCENES) - {
        "real band",
        "produced band",
    }  # whose songs the bank lacks


def test_sources_fill_the_excerpt_and_are_finite(mixtures):
    for mixture in mixtures:
        assert 2 <= len(mixture.sources) <= 5
        for source in mixture.sources:
            assert source.samples.shape == (round(SECONDS * 48_000),)
            assert source.samples.dtype == np.float32
            assert np.isfinite(source.samples).all()
            assert source.label in label_table.load_labels()
        assert sum(np.square(s.samples).sum() > 0 for s in mixture.sources) >= 1


def test_a_dull_mixture_loses_its_highest_sounds_and_only_these(bank):
    mixer = Mixer(bank, "train", SECONDS, seed=1)
    before = np.random.default_rng(0).standard_normal((2, mixer.frames)).astype(np.float32)
    sources = [Source("piano", samples.copy()) for samples in before]
    mixer._dull(sources)
    ratio = [np.abs(np.fft.rfft(s.samples) / np.fft.rfft(b)) for s, b in zip(sources, before, strict=True)]
    hertz = np.fft.rfftfreq(mixer.frames, 1 / 48_000)
    np.testing.assert_allclose(ratio[0], ratio[1], atol=1e-3)
    np.testing.assert_allclose(ratio[0][(hertz > 100) & (hertz < 3_400)], 1, atol=1e-3)
    assert ratio[0][hertz > 23_000].max() < 0.05
    assert sources[0].samples.dtype == np.float32


def test_everyday_sources_do_not_conflict(mixtures):
    for mixture in mixtures:
        if mixture.scene in ("everyday", "instruments"):
            names = [s.label for s in mixture.sources]
            if len(set(names)) == len(names):  # a tiny bank runs out of labels
                assert not any(label_table.conflicts(a, b) for i, a in enumerate(names) for b in names[:i])


def test_prompts_mean_their_members(mixtures):
    table = label_table.load_labels()
    for mixture in mixtures:
        names = [s.label for s in mixture.sources]
        for prompt in mixture.prompts:
            assert prompt.phrases
            if not prompt.members or prompt.label == ACCOMPANIMENT[0]:
                continue
            meant = [i for i, n in enumerate(names) if prompt.label in (n, *table[n].parents)]
            assert prompt.members == meant
            if prompt.phrases != [prompt.label]:  # no hypernym
                others = {n for n in names if n != prompt.label}
                assert not any(label_table.conflicts(n, prompt.label) for n in others)


def test_bands_are_asked_for_without_the_voice(mixtures):
    table = label_table.load_labels()
    asked = [(m, p) for m in mixtures for p in m.prompts if p.label == ACCOMPANIMENT[0]]
    assert asked
    for mixture, prompt in asked:
        sung = {i for i, s in enumerate(mixture.sources) if table[s.label].group == "singing"}
        assert sung and prompt.members
        assert sung.isdisjoint(prompt.members)
        assert sung.union(prompt.members) == set(range(len(mixture.sources)))
        assert "instrumental" in prompt.phrases


def test_absent_prompts_are_absent(mixtures):
    absent = [(m, p) for m in mixtures for p in m.prompts if not p.members]
    assert len(absent) > 100
    for mixture, prompt in absent:
        names = [s.label for s in mixture.sources]
        assert prompt.label not in names
        for member in label_table.members(prompt.label):
            assert not any(label_table.conflicts(member, name) for name in names)
            assert label_table.absent_ok(member, names)


def test_hypernyms_are_asked_for(mixtures):
    table = label_table.load_labels()
    asked = [p.label for m in mixtures for p in m.prompts if p.members and p.label not in table]
    assert 0.1 < len(asked) / len(mixtures) < 0.5


def test_bands_are_stems_of_the_song_in_time(bank):
    mixer = Mixer(bank, "train", SECONDS, seed=3)
    sources = mixer.band().sources
    assert {s.label for s in sources} <= set(tiny.SONG)
    for source in sources:  # tones of 200, 400 and 600 Hz
        peak = np.abs(np.fft.rfft(source.samples)).argmax() / SECONDS
        assert peak == pytest.approx(200 * (tiny.SONG.index(source.label) + 1), abs=1)


def test_a_split_without_songs_has_no_bands(bank):
    mixer = Mixer(bank, "valid", SECONDS, seed=0)
    assert "band" not in {mixer.mixture().scene for _ in range(40)}


def test_groups_that_cut_across_the_others(bank):
    pools = Mixer(bank, "train", SECONDS, seed=0).pools
    assert set(pools.by_group["ESC-10"]) == {"dog barking", "rain falling"}
    assert set(pools.by_group["common"]) <= set(pools.by_group["event"] + pools.by_group["ambience"])
    mixer = Mixer(bank, "train", SECONDS, seed=0)
    mixture = mixer.pair(("ESC-10", "ESC-10"), [0.0, 0.0])
    assert {source.label for source in mixture.sources} == {"dog barking", "rain falling"}


@pytest.mark.parametrize("levels", [(0.0, 0.0), (0.0, -5.0), (3.0, 5.0)])
def test_pairs_have_exactly_these_levels(mixer, levels):
    mixture = mixer.pair(("instrument", "ambience"), levels)
    for source, level in zip(mixture.sources, levels, strict=True):
        frames = np.square(source.samples.reshape(-1, HOP)).mean(axis=1)
        active = frames[frames > frames.max() * 1e-3].mean()
        assert 10 * np.log10(active) == pytest.approx(REFERENCE_DB + level, abs=0.05)
    assert [p.members for p in mixture.prompts] == [[0], [1]]
    assert mixture.scene == "instrument+ambience"


def test_absent_label_is_none_of_those_present(mixer):
    labels = {mixer.absent_label(["dog barking", "piano"]) for _ in range(30)}
    assert labels
    assert not labels & {"dog barking", "piano", "background music", None}


# ---- parts ------------------------------------------------------------------------------------------------


def test_augmentation_keeps_length_and_level(mixer):
    samples = tiny.noise(1, SECONDS)[0, : mixer.frames]
    for _ in range(20):
        out = mixer._augmented(samples)
        assert (out.shape, out.dtype) == (samples.shape, np.float32)
        assert 0.5 < out.std() / samples.std() < 2


def test_looping_has_no_gaps(mixer):
    index = next(i for i, c in enumerate(mixer.bank.clips) if c.label == "rain falling")
    looped = mixer._continuous(index)
    levels = np.sqrt(np.square(looped.reshape(-1, HOP)).mean(axis=1))
    assert len(looped) == mixer.frames
    assert levels[10:].min() > 0.1 * levels.max()  # the first loop may begin with its fade


@pytest.mark.parametrize("position", [-9, -4, 0, 3, 6, 20])
def test_adding_cuts_at_the_edges(position):
    out = np.zeros(10)
    add_at(out, np.arange(1.0, 6.0), position)
    expected = np.zeros(60)
    expected[20 + position : 25 + position] = np.arange(1, 6)
    np.testing.assert_array_equal(out, expected[20:30])


def test_reading_leaves_the_bank_alone(bank, bank_dir):
    before = (bank_dir / "debian-tiny.i16").read_bytes()
    mixer = Mixer(bank, "train", SECONDS, seed=5)
    for _ in range(10):
        mixer.mixture()
    assert (bank_dir / "debian-tiny.i16").read_bytes() == before
