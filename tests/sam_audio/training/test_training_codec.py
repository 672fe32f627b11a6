"""A tiny codec learns against tiny discriminators, and is read by descript-audio-codec and by other recipes."""

from __future__ import annotations

import pytest
import tiny_shards
import torch

from sam_audio.errors import UserError
from sam_audio.training import recipe
from sam_audio.training.codecs import load_codec
from sam_audio.training.tasks.codec import Adversaries, Task
from sam_audio.training.trainer import Share, train

MODEL = (
    "model={encoder_dim=4, encoder_rates=[2, 4], latent_dim=8, decoder_dim=16, decoder_rates=[4, 2], "
    "n_codebooks=2, codebook_size=16, codebook_dim=4, sample_rate=16000}"
)
FEW = (
    "seconds=0.1",
    "steps=20",
    "batch=4",
    "log_every=1",
    "learning_rate=1e-3",
    "warmup_steps=1",
    "device=cpu",
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return tiny_shards.make(tmp_path_factory.mktemp("shards"))


def chosen(shards, *changes):
    discriminator = "discriminator={periods=[], fft_sizes=[512]}"
    return recipe.load("codec/dac", [f"data={shards}", "start=", MODEL, discriminator, *FEW, *changes])


def test_each_side_has_the_gradient_of_its_own_loss(shards):
    """One backward pass gives what the package's two optimizers would be given."""
    task = recipe.task_of(chosen(shards))
    network: Adversaries = task.network
    torch.manual_seed(1)
    waves = 0.1 * torch.randn(2, 1, task.n_samples)
    network({"waves": waves})["loss"].backward()
    found = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}

    from audiotools import AudioSignal

    network.zero_grad()
    told = network.codec(waves, 16_000)
    made, real = AudioSignal(told["audio"], 16_000), AudioSignal(waves, 16_000)
    network.gan.discriminator_loss(made, real).backward()
    for name, p in network.gan.named_parameters():
        torch.testing.assert_close(found[f"gan.{name}"], p.grad)
    network.zero_grad()
    fooled, features = network.gan.generator_loss(made, real)
    total = 15 * network.mel(made, real) + fooled + 2 * features
    (total + 0.25 * told["vq/commitment_loss"] + told["vq/codebook_loss"]).backward()
    for name, p in network.codec.named_parameters():
        torch.testing.assert_close(found[f"codec.{name}"], p.grad)


def test_it_learns_and_is_a_codec_of_others(shards, tmp_path):
    settings = chosen(shards)
    task = recipe.task_of(settings)
    batch, _ = next(task.batches(Share(), 12, {}))
    task.network.eval()
    before = task.network(batch)
    done = train(task, settings, tmp_path)
    after = done.network.eval()(batch)
    assert after["mel"] < 0.85 * before["mel"] and after["discriminator"] < before["discriminator"]
    (weights,) = done.files
    codec = load_codec(str(weights))
    again = codec.model.state_dict()
    for name, tensor in done.network.codec.state_dict().items():
        torch.testing.assert_close(again[name], tensor)
    further = Task(chosen(shards, f"start={weights}"))
    assert further.codec.hop_length == 8 and all(p.requires_grad for p in further.codec.parameters())


def test_what_cannot_be(shards):
    with pytest.raises(UserError, match=r"see dac\.DAC"):
        recipe.task_of(chosen(shards, "model.colour=1"))
    with pytest.raises(UserError, match="no such discriminators"):
        recipe.task_of(chosen(shards, "discriminator.colour=1"))
