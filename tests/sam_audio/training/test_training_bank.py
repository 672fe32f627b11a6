"""The data bank: what is stored comes back, once, and never in two splits."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import soundfile
import tiny

from sam_audio.errors import UserError
from sam_audio.training.data import bank as bank_module
from sam_audio.training.data.bank import (
    PEAK,
    SAMPLE_RATE,
    Bank,
    ShardWriter,
    build_manifest_shards,
    build_song_shards,
    decode,
    split_of,
)


@pytest.fixture(scope="module")
def bank(bank_dir):
    return Bank(bank_dir)


def clip(shard: ShardWriter, samples, key="a", label="dog barking"):
    shard.add(np.asarray(samples, np.float32), key, label, "animals", "tiny", key)


def test_a_split_is_a_function_of_the_key():
    assert [split_of(f"debian/x/{i}") for i in range(8)] == [split_of(f"debian/x/{i}") for i in range(8)]
    assert (split_of("debian/x/0"), split_of("debian/x/22")) == ("train", "test")  # must never change


def test_splits_have_their_shares():
    splits = [split_of(f"npm/some-package/{i}.wav") for i in range(20_000)]
    shares = {split: splits.count(split) / len(splits) for split in tiny.SPLITS}
    assert shares == pytest.approx({"test": 0.07, "valid": 0.05, "train": 0.88}, abs=0.01)


def test_what_is_written_is_read(tmp_path):
    first, second = tiny.noise(1, 0.1)[0], 3 * tiny.noise(1, 0.2, seed=1)[0]
    with ShardWriter(tmp_path, "debian-some package/x") as shard:
        clip(shard, first, "a")
        clip(shard, np.zeros(99), "silent")
        clip(shard, second, "b")
    bank = Bank(tmp_path)
    assert [c.key for c in bank.clips] == ["a", "b"]
    for index, samples in enumerate((first, second)):
        stored = bank.read(index)
        assert np.abs(stored).max() == pytest.approx(PEAK, abs=1e-4)
        level = bank.clips[index].gain
        np.testing.assert_allclose(stored * level, samples, atol=2**-16 * level / PEAK * 1.1)
        np.testing.assert_array_equal(bank.read(index, 100, 50), stored[100:150])
        np.testing.assert_array_equal(bank.read(index, len(stored) - 10, 50), stored[-10:])


def test_an_unfinished_shard_is_not_there(tmp_path):
    with pytest.raises(ZeroDivisionError), ShardWriter(tmp_path, "x") as shard:
        clip(shard, np.ones(9))
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("empty", ["no folder", "no shards", "no clips"])
def test_an_empty_bank_is_refused(tmp_path, empty):
    if empty == "no clips":
        with ShardWriter(tmp_path, "x"):
            pass
    with pytest.raises(UserError, match="sam-audio train data"):
        Bank(tmp_path / "gone" if empty == "no folder" else tmp_path)


def test_songs_are_aligned_and_keep_their_balance(bank):
    stems = [i for i, c in enumerate(bank.clips) if c.song]
    assert [bank.clips[i].label for i in stems] == list(tiny.SONG)
    assert len({(bank.clips[i].song, bank.clips[i].frames) for i in stems}) == 1
    for level, i in enumerate(stems, 1):
        assert np.abs(bank.read(i) * bank.clips[i].gain).max() == pytest.approx(0.1 * level, rel=1e-3)


def test_songs_fill_shards_in_order(tmp_path):
    songs = ((seed, [("piano", np.ones(10) * (seed + 1)), ("violin", np.ones(10))]) for seed in range(5))
    build_song_shards(songs, tmp_path, "solo", per_shard=2)
    assert sorted(p.name for p in tmp_path.glob("*.json")) == [f"solo-00000{i}.json" for i in (0, 2, 4)]
    clips = Bank(tmp_path).clips
    assert [c.song for c in clips] == [f"solo-00000{i // 2}" for i in range(10)]
    assert [c.gain for c in clips[::2]] == pytest.approx([(i + 1) / PEAK for i in range(5)])


# ---- decoding ---------------------------------------------------------------------------------------------


@pytest.fixture
def recording(tmp_path):
    def write(samples, rate=SAMPLE_RATE):
        soundfile.write(tmp_path / "a.wav", np.asarray(samples).T, rate, "FLOAT")
        return tmp_path / "a.wav"

    return write


def test_silence_is_trimmed_at_both_ends(recording):
    sound = tiny.noise(1, 0.5)[0]
    padded = np.concatenate([np.zeros(48_000), sound, np.zeros(24_000)])
    assert abs(len(decode(recording(padded), 20)) - len(sound)) <= 2 * 480


def test_rate_and_length_are_unified(recording):
    samples = decode(recording(tiny.noise(1, 3, 16_000), 16_000), 2.0)
    assert (samples.dtype, len(samples)) == (np.float32, 2 * SAMPLE_RATE)


def test_channels_that_cancel_do_not_vanish(recording):
    mono = tiny.noise(1, 0.5)
    samples = decode(recording(np.concatenate([mono, -mono])), 20)
    assert np.corrcoef(samples[: mono.shape[1]], mono[0, : len(samples)])[0, 1] > 0.99


@pytest.mark.parametrize("samples", [np.zeros(9_999), np.ones(9_999), np.ones(10), np.full(9_999, np.nan)])
def test_what_holds_no_sound_is_none(recording, samples):
    assert decode(recording(samples), 20) is None


def test_what_cannot_be_read_is_none(tmp_path):
    (tmp_path / "a.wav").write_text("words")
    assert decode(tmp_path / "a.wav", 20) is None
    assert decode(tmp_path / "gone.wav", 20) is None


# ---- from a manifest --------------------------------------------------------------------------------------


@pytest.fixture
def data_dir(tmp_path):
    folder = tmp_path / "data"
    (folder / "audio").mkdir(parents=True)
    header = [
        "source",
        "package",
        "path",
        "label",
        "category",
        "licence",
        "seconds",
        "sample_rate",
        "picture",
    ]
    rows = [
        ["shared", "mine", f"audio/{i}.wav", "dog barking", "animal", "CC0", "1", "48000", ""]
        for i in range(4)
    ]
    for row in rows[:3]:  # the last one is missing
        soundfile.write(folder / row[2], tiny.noise(1, 0.2)[0], SAMPLE_RATE)
    (folder / rows[2][2]).write_text("not a sound")
    lines = ["\t".join(row) + "\n" for row in (header, *rows)]
    with gzip.open(folder / "manifest.tsv.gz", "wt", encoding="utf-8") as file:
        file.writelines(lines)
    return folder


def test_a_manifest_becomes_shards_once(data_dir, tmp_path, monkeypatch):
    build_manifest_shards(data_dir, tmp_path / "bank", workers=1)
    bank = Bank(tmp_path / "bank")
    assert sorted(c.path for c in bank.clips) == ["audio/0.wav", "audio/1.wav"]
    assert {c.label for c in bank.clips} == {"dog barking"}
    assert sorted(p.name for p in (tmp_path / "bank").iterdir()) == ["shared-mine.i16", "shared-mine.json"]
    before = (tmp_path / "bank" / "shared-mine.json").stat().st_mtime_ns
    build_manifest_shards(data_dir, tmp_path / "bank", workers=1)
    assert (tmp_path / "bank" / "shared-mine.json").stat().st_mtime_ns == before


def test_labels_are_limited_by_hash(monkeypatch):
    from sam_audio.training.data.collect import Listed

    recordings = [Listed("npm", "p", f"{i}", "dog" if i % 2 else "cat", "", "", 1.0) for i in range(20)]
    monkeypatch.setattr(bank_module, "MAX_FILES_PER_LABEL", 3)
    kept = bank_module._limit_per_label(recordings)
    assert sorted(r.label for r in kept) == ["cat"] * 3 + ["dog"] * 3
    assert {r.key for r in bank_module._limit_per_label(recordings[::-1])} == {r.key for r in kept}


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(UserError, match="manifest.tsv.gz"):
        build_manifest_shards(tmp_path, tmp_path / "bank")


def test_an_index_is_plain_json(bank_dir):
    entries = json.loads((bank_dir / "debian-tiny.json").read_text())
    assert len(entries) == len(tiny.LABELS) * len(tiny.SPLITS)
