"""Blind separation: a small network learns to tell two sources apart, whatever their order."""

from __future__ import annotations

import itertools

import pytest
import tiny_shards
import torch

from sam_audio.errors import UserError
from sam_audio.training import blind, recipe
from sam_audio.training.tasks import pit
from sam_audio.training.trainer import Share, train

TINY = ("arguments.n_blocks=2", "arguments.n_repeats=1", "arguments.bn_chan=16", "arguments.hid_chan=16")
FEW = ("seconds=0.5", "steps=40", "batch=6", "learning_rate=1e-2", "warmup_steps=1", "ema=0", "device=cpu")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return tiny_shards.make(tmp_path_factory.mktemp("shards"))


def chosen(shards, *changes):
    return recipe.load(
        "pit/voices", [f"data={shards}", f"valid={shards}", "examples=8", *TINY, *FEW, *changes]
    )


def test_the_network():
    torch.manual_seed(0)
    network = blind.MagnitudeMask(2, n_blocks=1, n_repeats=1, bn_chan=8, hid_chan=8)
    sound = torch.randn(3, 8000)
    found = network(sound)
    assert found.shape == (3, 2, 8000)
    torch.testing.assert_close(found.sum(1), sound, rtol=1e-3, atol=1e-3)  # masks add up to one
    stored = network.serialize()
    again = blind.network(stored["model_name"])(**stored["model_args"])
    again.load_state_dict(stored["state_dict"])
    torch.testing.assert_close(again(sound), found)


def test_the_loss_knows_no_order():
    sources = torch.randn(2, 3, 4000)
    for order in itertools.permutations(range(3)):
        loss = pit.Blind(lambda mixture, order=order: sources[:, order] + 0.1 * mixture[:, None])
        assert loss({"sources": sources})["loss"] == pytest.approx(
            float(pit.Blind(lambda mixture: sources + 0.1 * mixture[:, None])({"sources": sources})["loss"])
        )


def test_it_learns_and_is_read_again(shards, tmp_path):
    settings = chosen(shards)
    task = recipe.task_of(settings)
    batch, _ = next(task.batches(Share(), 6, {}))
    assert batch["sources"].shape == (6, 2, 8000)
    before = task.validate(task.network)
    done = train(task, settings, tmp_path)
    after = task.validate(done.network)
    assert after["si_sdr_improvement_db"] > before["si_sdr_improvement_db"] + 5
    stored = torch.load(done.files[0], weights_only=False)
    network = blind.network(stored["model_name"])(**stored["model_args"])
    network.load_state_dict(stored["state_dict"])
    assert task.validate(pit.Blind(network)) == after


def test_networks_of_asteroid_and_those_that_are_none(shards):
    task = recipe.task_of(
        chosen(shards, "network=ConvTasNet", "arguments={n_filters=16, n_blocks=1, n_repeats=1}")
    )
    assert type(task.network.network).__name__ == "ConvTasNet"
    assert torch.isfinite(task.network(task.example(2))["loss"])
    for wrong in ("network=Magic", "arguments.colour=3"):
        with pytest.raises(UserError, match="asteroid makes no"):
            recipe.task_of(chosen(shards, wrong))
