"""Training of the audio tower: what is true of a scene, and what a step does."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from sam_audio.evaluation.encoders import held_out
from sam_audio.training.data import labels as label_table
from sam_audio.training.data.bank import SAMPLE_RATE, Bank, build_song_shards, split_of
from sam_audio.training.data.mixing import Mixer, Source
from sam_audio.training.data.tower_batches import (
    FRAME,
    Terms,
    activity_level,
    build_terms,
    collate,
    scene,
)
from sam_audio.training.recipes import audio as training


@pytest.fixture(scope="module")
def terms() -> Terms:
    return build_terms()


def burst(start: float, stop: float, seconds: float = 2.0, level: float = 0.1) -> np.ndarray:
    sound = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    part = slice(round(start * SAMPLE_RATE), round(stop * SAMPLE_RATE))
    sound[part] = level * np.random.default_rng(0).standard_normal(len(sound[part]))
    return sound


def test_a_label_is_itself_and_its_hypernyms(terms):
    table = label_table.load_labels()
    for label, row in terms.label_index.items():
        holds = {terms.names[i] for i in np.flatnonzero(terms.relation[row] == 1)}
        assert label in holds
        assert holds - {label} <= set(table[label].parents)


def test_what_nobody_can_tell_is_left_out(terms):
    dog = terms.relation[terms.label_index["man speaking"]]
    assert dog[terms.names.index("person speaking")] == -1
    assert dog[terms.names.index("piano")] == 0


def test_truth_follows_the_sources(terms):
    scene = [Source("dog barking", burst(0.4, 0.8)), Source("piano", burst(1.2, 2.0))]
    batch = collate([scene], terms, np.random.default_rng(0))
    dog, piano = (batch["frames"][0, terms.names.index(name)] for name in ("dog barking", "piano"))
    assert np.flatnonzero(dog == 1).tolist() == list(range(10, 20))
    assert np.flatnonzero(piano == 1).tolist() == list(range(30, 50))
    clip = batch["clip"][0]
    assert clip[terms.names.index("dog barking")] == clip[terms.names.index("piano")] == 1
    assert clip[terms.names.index("helicopter")] == 0


@pytest.fixture(scope="module")
def playing_bank(tmp_path_factory):
    """The tiny bank, and phrases of a saxophone, three of each split."""
    folder = tiny.make_bank(tmp_path_factory.mktemp("bank"))
    seeds = [
        s
        for split in tiny.SPLITS
        for s in [i for i in range(200) if split_of(f"phrase-{i:06d}") == split][:3]
    ]
    phrases = ((seed, [("saxophone", burst(0, 3, seconds=3))]) for seed in seeds)
    build_song_shards(phrases, folder, "phrase")
    return folder


def test_instruments_that_play_are_heard_alone_and_asked_for(playing_bank):
    mixer = Mixer(Bank(playing_bank), "train", 1.28, seed=0)
    scenes = [scene(mixer) for _ in range(100)]
    alone = [sources for sources in scenes if [source.label for source in sources] == ["saxophone"]]
    assert 8 <= len(alone) <= 40
    data = held_out(playing_bank, "test", playing=True)
    assert data.labels == ["saxophone"] and len(data.recordings) == 3


def test_what_is_buried_is_not_asked_for(terms):
    scene = [
        Source("dog barking", burst(0.4, 0.8, level=3e-3)),
        Source("helicopter", burst(0, 2.0, level=0.3)),
    ]
    batch = collate([scene], terms, np.random.default_rng(0))
    assert set(batch["frames"][0, terms.names.index("dog barking")]) == {0, -1}


def test_activity_level():
    assert activity_level(np.ones(2 * FRAME + 5, np.float32)).tolist() == [1.0, 1.0]


def test_losses_know_the_right_answer():
    truth = torch.tensor([[1, 0, 0, -1]])
    right, wrong = torch.tensor([[9.0, -9, -9, 9]]), torch.tensor([[-9.0, 9, -9, 9]])
    assert training.sigmoid_loss(right, truth) < 1e-3 < 5 < training.sigmoid_loss(wrong, truth)
    assert training.softmax_loss(right, truth) < 1e-3 < 5 < training.softmax_loss(wrong, truth)
    # the fourth term is left out: whatever it says changes nothing
    other = right.clone()
    other[0, 3] = -50
    assert training.sigmoid_loss(right, truth) == training.sigmoid_loss(other, truth)
    assert training.softmax_loss(right, truth) == training.softmax_loss(other, truth)


class FakeYamnet:
    """Stands in for the teacher, which would have to be fetched."""

    def __init__(self) -> None:
        from peav.nano.audio import Trunk

        torch.manual_seed(1)
        self.trunk, self.classes = Trunk(), ["Dog", "Speech", "Music"]

    def window_probabilities(self, mel: torch.Tensor) -> torch.Tensor:
        return torch.full((len(mel), mel.shape[1] // 96, 3), 0.1)


def test_a_few_steps_learn_a_scene_and_survive_a_stop(terms, tmp_path, monkeypatch):
    from peav import TextTower

    monkeypatch.setattr(training, "WEIGHTS", tmp_path / "none.safetensors")
    recipe = training.AudioRecipe(frozen_steps=0, batch=2, text_noise=0.0)
    yamnet, text = FakeYamnet(), TextTower.from_pretrained("nano")
    state = training.load_state(tmp_path / "state.pt", recipe, yamnet)
    vectors, classes = training.TermVectors(terms, text), text.embed(yamnet.classes)
    scenes = [[Source("dog barking", burst(0.2, 0.9))], [Source("piano", burst(0.5, 1.9))]]
    batch = {
        name: torch.from_numpy(array)
        for name, array in collate(scenes, terms, np.random.default_rng(0)).items()
    }
    rng = np.random.default_rng(0)
    losses = [
        training.training_step(state, batch, vectors, yamnet, classes, recipe, rng, 1.0) for _ in range(12)
    ]
    assert losses[-1]["softmax"] < 0.7 * losses[0]["softmax"]
    assert all(np.isfinite(list(part.values())).all() for part in losses)
    for ours, theirs in zip(state.tower.trunk.parameters(), yamnet.trunk.parameters(), strict=True):
        assert torch.equal(ours, theirs)  # others have learned from its maps

    state.save(tmp_path / "state.pt")
    again = training.load_state(tmp_path / "state.pt", recipe, yamnet)
    assert again.step == state.step == 12
    for a, b in zip(again.ema.parameters(), state.ema.parameters(), strict=True):
        assert torch.equal(a, b)
    scores = training.validate(state, [batch], vectors.names())
    assert 0 <= scores["top_1"] <= 1 and 0 <= scores["frame_f1"] <= 1

    training.export_weights(state, tmp_path / "t-audio.safetensors")
    from peav import AudioTower

    loaded = AudioTower.from_pretrained(tmp_path / "t-audio.safetensors")
    wave = batch["waveform"]
    ours, theirs = state.ema(wave).clip, loaded(wave).clip
    assert (ours * theirs).sum(1).min() > 0.99  # int8 costs little


def test_a_trunk_that_learns_keeps_its_first_layers(terms, tmp_path, monkeypatch):
    from peav import TextTower

    monkeypatch.setattr(training, "WEIGHTS", tmp_path / "none.safetensors")
    recipe = training.AudioRecipe(frozen_steps=1, batch=2, trunk_learning_rate=3e-4)
    yamnet, text = FakeYamnet(), TextTower.from_pretrained("nano")
    state = training.load_state(tmp_path / "state.pt", recipe, yamnet)
    vectors, classes = training.TermVectors(terms, text), text.embed(yamnet.classes)
    scenes = [[Source("dog barking", burst(0.2, 0.9))], [Source("piano", burst(0.5, 1.9))]]
    arrays = collate(scenes, terms, np.random.default_rng(0))
    batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
    was = {name: value.clone() for name, value in state.tower.trunk.named_parameters()}
    for learns in (False, True):  # it waits for one step
        training.training_step(state, batch, vectors, yamnet, classes, recipe, np.random.default_rng(0), 1.0)
        now = dict(state.tower.trunk.named_parameters())
        assert torch.equal(now["stem.weight"], was["stem.weight"])
        assert torch.equal(now["layers.12.pointwise.weight"], was["layers.12.pointwise.weight"]) != learns
