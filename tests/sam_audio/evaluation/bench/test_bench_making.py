"""Sets made of held-out recordings: in the layout of their benchmark, and as its recipe says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import soundfile

from sam_audio.errors import UserError
from sam_audio.evaluation.bench import making
from sam_audio.evaluation.bench.driver import find
from sam_audio.training.data.bank import ShardWriter, split_of

# label -> category, as the manifest spells them
LABELS = {
    "dog barking": "animals",
    "rain falling": "nature",
    "footsteps": "objects and foley",
    "keyboard typing": "objects and foley",
    "man speaking": "speech",
    "background music": "music (mixed)",
    "glass breaking": "objects and foley",
}


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """Two held-out recordings of each label, and one to train on, which is louder than anything."""
    folder = tmp_path_factory.mktemp("bank")
    rng = np.random.default_rng(0)
    with ShardWriter(folder, "debian-tiny") as shard:
        for label, category in LABELS.items():
            paths = (f"{label}/{i}.wav" for i in range(9999))
            held_out = [
                p for p in (next(paths) for _ in range(400)) if split_of(f"debian/tiny/{p}") == "test"
            ][:2]
            for path in [*held_out, f"{label}/train.wav"]:
                key = f"debian/tiny/{path}" if path in held_out else "more:x"
                samples = rng.standard_normal(30_000).astype(np.float32) * 0.2
                shard.add(samples, key, label, category, "tiny", path)
    return folder


def sources(path):
    return soundfile.read(path, dtype="float32")


def test_pairs_are_of_different_classes_at_the_same_energy(bank, tmp_path):
    making.make("audiosep-esc50", tmp_path / "set", bank, 6)
    items = find("audiosep-esc50").items(tmp_path / "set")
    assert len(items) == 6
    assert set(Counter(item.caption for item in items)) == {
        "dog",
        "footsteps",
        "glass breaking",
        "keyboard typing",
        "rain",
    }
    for item in items:
        (mixture, rate), (source, _) = sources(item.mixture), sources(item.source)
        assert (rate, mixture.shape, source.shape) == (32_000, (160_000,), (160_000,))
        noise = mixture - source
        assert 10 * np.log10(np.mean(source**2) / np.mean(noise**2)) == pytest.approx(0, abs=0.01)
    lists = (tmp_path / "set/metadata/esc50_eval.csv").read_text()
    assert "train.wav" not in lists  # nothing that was learned from


def test_soundtracks_sum_and_have_the_levels_of_dnr(bank, tmp_path):
    making.make("dnr", tmp_path / "set", bank, 2)
    tracks = find("dnr").items(tmp_path / "set")
    assert [track.name for track in tracks] == ["1000", "1001"]
    for track in tracks:
        parts = {name: sources(track / f"{name}.wav")[0] for name in ("speech", "music", "sfx", "mix")}
        np.testing.assert_allclose(parts["mix"], parts["speech"] + parts["music"] + parts["sfx"], atol=1e-6)
        assert len(parts["mix"]) == 20 * 44_100
        music_db = 10 * np.log10(np.mean(parts["music"] ** 2))
        assert music_db == pytest.approx(-24, abs=2.5)  # it goes on throughout


def test_scenes_are_empty_or_double_as_often_as_said(bank, tmp_path):
    making.make("dcase2026", tmp_path / "set", bank, 10)
    scenes = find("dcase2026").items(tmp_path / "set")
    labels = [[label for label, _ in scene.sources] for scene in scenes]
    assert [not those for those in labels].count(True) == 2
    doubles = [those for those in labels if len(set(those)) < len(those)]
    assert len(doubles) == 4
    assert max(map(len, labels)) <= 3
    for scene in scenes:
        mixture, rate = sources(scene.mixture)
        assert (rate, mixture.shape) == (32_000, (320_000, 4))
        dry = [sources(path)[0] for _, path in scene.sources]
        assert len({sound.tobytes() for sound in dry}) == len(dry)  # two recordings of a class, not one twice
        rest = mixture[:, 0] - sum(dry, np.zeros(320_000, np.float32))
        for sound in dry:  # heard over what is left
            assert np.mean(sound**2) > 0
        assert np.mean(rest**2) > 0


def test_the_same_seed_makes_the_same(bank, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        making.make("audiosep-esc50", tmp_path / name, bank, 3, seed)
    a, b, c = ((tmp_path / name / "data/esc50/mixture-2.wav").read_bytes() for name in "abc")
    assert a == b != c


def test_what_cannot_be_made_leaves_nothing(bank, tmp_path, tmp_path_factory):
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="is there already"):
        making.make("dnr", tmp_path / "there", bank, 1)
    with pytest.raises(UserError, match="is not a folder"):
        making.make("dnr", tmp_path / "no/where", bank, 1)
    empty = tmp_path_factory.mktemp("empty")
    with ShardWriter(empty, "debian-tiny") as shard:
        shard.add(np.ones(9000, np.float32) * 0.1, "debian/tiny/x", "dog barking", "animals", "tiny", "x.wav")
    for kind in making.KINDS:
        with pytest.raises(UserError, match=f"the bank holds out too little for {kind}"):
            making.make(kind, tmp_path / kind, empty, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_the_command(bank, tmp_path, cli):
    done = cli("eval", "make-bench", "audiosep-esc50", tmp_path / "set", "-n", "2", "--bank", bank)
    assert (done.code, done.err) == (0, "")
    assert len(find("audiosep-esc50").items(tmp_path / "set")) == 2
