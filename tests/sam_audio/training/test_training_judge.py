"""Examples for Judge nano, and a training of it, with a separator and a bank that are both tiny."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from judge.network import N_FACTS, N_ROWS
from judge.scales import Measured, scores_of
from peav.nano.audio import AudioTower
from peav.nano.text import TextTower
from sam_audio.separator.nano.torch_engine import TorchEngine, load_network
from sam_audio.training.data.bank import Bank
from sam_audio.training.data.mixing import Mixer
from sam_audio.training.recipes import judge as training

SECONDS = 0.96


@pytest.fixture(scope="module")
def examples(bank_dir, tiny_weights):
    tower = AudioTower.from_pretrained("nano")
    engine = TorchEngine(load_network(tiny_weights), tower)
    mixer = Mixer(Bank(bank_dir), "train", SECONDS, seed=0)
    maker = training.StemMaker([tiny_weights], tower, mixer.rng)
    return list(islice(training.examples(mixer, maker, engine, TextTower.from_pretrained("nano")), 80))


@pytest.fixture
def columns(examples):
    return {
        name: torch.from_numpy(np.stack([getattr(e, name) for e in examples]))
        for name in training.Example.__annotations__
    }


def test_examples_are_judged_where_the_sound_is_there(examples):
    assert 0.3 < np.mean([e.present for e in examples]) < 1
    assert 0.3 < np.mean([e.separated for e in examples]) < 1
    for example in examples:
        assert np.isfinite(example.scores).all() == example.present
        assert np.isnan(example.scores).all() != example.present
        assert example.image.shape == (4, N_ROWS, 24) and example.tracks.shape == (2, 24)
        assert example.facts.shape == (N_FACTS,)


def test_what_cannot_be_heard_does_not_decide(examples):
    low, high = (
        scores_of(Measured(*[level] * 4), bounded=False) for level in (-training.MOST_DB, training.MOST_DB)
    )
    scores = np.stack([e.scores for e in examples if e.present])
    assert (scores >= low - 1e-4).all() and (scores <= high + 1e-4).all()


def test_scores_go_on_beyond_the_scale_only_where_asked():
    measured = Measured(30.0, -40.0, 10.0, 10.0)
    assert scores_of(measured).tolist() == [5, 1, 3, 3]
    assert scores_of(measured, bounded=False) == pytest.approx([1 + 4 * 40 / 30, -3, 3, 3])


def test_kinds_of_stems_are_drawn_by_their_shares(bank_dir, tiny_weights):
    mixer = Mixer(Bank(bank_dir), "train", SECONDS, seed=1)
    maker = training.StemMaker([tiny_weights], AudioTower.from_pretrained("nano"), mixer.rng)
    mixture = mixer.mixture()
    vectors = torch.nn.functional.normalize(torch.randn(len(mixture.prompts), 384), dim=-1)
    for share in (0.0, 1.0):
        shares = (share, 0.0, 0.0, 0.0, 1 - share)
        assert {separated for *_, separated in maker.stems(mixture, vectors, 8, shares)} == {share == 1}


def test_it_learns(columns):
    _, one = training.train(columns, columns, epochs=1, threads=1, batch=16)
    _, more = training.train(columns, columns, epochs=30, threads=1, batch=16)
    assert more["faithfulness"] > one["faithfulness"] and more["faithfulness"] > 0.5


def test_it_goes_on_from_a_network(columns):
    network, before = training.train(columns, columns, epochs=30, threads=1, batch=16)
    _, after = training.train(columns, columns, epochs=1, threads=1, batch=16, start=network)
    _, fresh = training.train(columns, columns, epochs=1, threads=1, batch=16)
    # how near to where it was hangs on the last bits of 80 examples; where it was not, an epoch does not bring it
    assert after["faithfulness"] > (before["faithfulness"] + fresh["faithfulness"]) / 2


def test_stems_of_separators_count_most(columns, monkeypatch):
    separated = columns["separated"] & columns["present"]
    columns["scores"][~separated & columns["present"]] = 1.0  # so that each pulls its own way
    columns["scores"][separated] = 5.0
    means = []
    for weight in (0.0, 1.0):
        monkeypatch.setattr(training, "MADE_WEIGHT", weight)
        network, _ = training.train(columns, columns, epochs=20, threads=1, batch=16)
        with torch.inference_mode():
            scores, _ = network(*training._given(columns, slice(None)))
        means.append(float(scores.mean()))
    assert means[0] > means[1] + 0.1


def test_presence_is_calibrated(columns):
    """The mean probability is the share that is taken to be there, and scores stay as they are."""
    network, _ = training.train(columns, columns, epochs=10, threads=1, batch=16)
    network.head.bias[4] += 3.0
    before, _ = training._answers(network, columns)
    training.calibrate(network, columns)
    scores, logits = training._answers(network, columns)
    np.testing.assert_allclose(scores, before, atol=1e-5)
    there = columns["present"].numpy()
    odds = training._logit(there.mean()) - training._logit(training.THERE)
    assert np.mean(1 / (1 + np.exp(-logits - odds))) == pytest.approx(there.mean(), abs=0.02)


def test_examples_of_other_separators_are_kept_apart(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"1")
    other.write_bytes(b"2")
    folders = {training.examples_dir(makers) for makers in ([one], [other], [one, other], [one])}
    assert len(folders) == 3


@pytest.mark.parametrize("name", ["FORMAT", "SECONDS"])
def test_examples_made_in_another_way_are_kept_apart(name, tmp_path, monkeypatch):
    before = training.examples_dir([])
    monkeypatch.setattr(training, name, 99)
    assert training.examples_dir([]) != before
