"""PE-A-Frame by recipe: scenes with strong labels, and a tower that learns when a phrase is heard."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_shards
import torch

from sam_audio.training import recipe
from sam_audio.training.augment import Augment, MelFrames
from sam_audio.training.tasks import frame
from sam_audio.training.trainer import Share, train

TINY = ("sizes.width=32", "sizes.inner=32", "sizes.heads=2", "sizes.layers=1", "sizes.output=16", "mels=24")
FEW = ("seconds=1.2", "sounds=2", "steps=40", "batch=6", "learning_rate=5e-3", "warmup_steps=2", "ema=0")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return tiny_shards.make(tmp_path_factory.mktemp("shards"))


def chosen(shards, *changes):
    valid = (f"valid={shards}", "examples=6", "device=cpu")
    return recipe.load("frame/nano", [f"data={shards}", *valid, *TINY, *FEW, *changes])


def test_what_is_heard_when(shards):
    task = recipe.task_of(chosen(shards))
    network = task.network.eval()  # nothing is augmented
    waves = torch.zeros(1, 2, task.n_frames * frame.FRAME)
    waves[0, 0, : 5 * frame.FRAME] = 0.3
    waves[0, 1, : 3 * frame.FRAME] = -0.1
    batch = {
        "sounds": waves,
        "starts": torch.tensor([[4, 7]]),
        "phrases": torch.tensor([[2, 0]]),
        "texts": torch.zeros(3, 384),
    }
    scenes, active = network.scenes(batch)
    expected = torch.zeros(3, task.n_frames)
    expected[2, 4:9] = expected[0, 7:10] = 1
    assert torch.equal(active[0], expected)
    levels = scenes[0].unflatten(0, (-1, frame.FRAME))[:, 0]
    torch.testing.assert_close(levels, 0.3 * expected[2] - 0.1 * expected[0])
    batch["phrases"] = torch.tensor([[1, 1]])  # two of a kind are heard when either is
    assert torch.equal(network.scenes(batch)[1][0, 1], expected.amax(0))


def test_it_learns_and_is_loaded_again(shards, tmp_path):
    settings = chosen(shards)
    task = recipe.task_of(settings)
    before = task.validate(task.network)
    done = train(task, settings, tmp_path)
    after = task.validate(done.network)
    assert after["auroc"] > max(0.9, before["auroc"])
    network, again = frame.load_frame(tmp_path)
    assert again.validate(network) == after
    t = np.arange(57_600) / 48_000
    sound = torch.from_numpy(np.where(t > 0.6, 0.3 * np.sin(2 * np.pi * 2000 * t), 0).astype(np.float32))
    told = network.resemblance(sound[None], again.read(["a bell ringing"]))[0, 0]
    assert told.shape == (30,) and told[17:].mean() > told[:13].mean() + 0.2


def test_a_stopped_run_hears_the_same(shards, tmp_path):
    settings = chosen(shards, "steps=4", "log_every=1")
    train(recipe.task_of(settings), settings, tmp_path / "whole")
    train(recipe.task_of(settings), settings, tmp_path / "parts", until=2)
    train(recipe.task_of(settings), settings, tmp_path / "parts")
    assert (tmp_path / "parts/log.csv").read_text() == (tmp_path / "whole/log.csv").read_text()
    batch, _ = next(recipe.task_of(settings).batches(Share(), 6, {}))
    assert batch["sounds"].shape == (6, 2, 57_600) and len(batch["texts"]) == 3


def test_augmentation():
    augment = Augment(48_000)
    t = torch.arange(48_000) / 48_000
    tone = torch.sin(2 * torch.pi * 1000 * t).expand(20, -1)
    torch.manual_seed(0)
    played = augment.play(tone)
    peaks = torch.fft.rfft(played[:, :38_400]).abs().argmax(1) * 48_000 / 38_400
    assert set(peaks.round().tolist()) == {800.0, 900.0, 1000.0, 1100.0, 1200.0}
    level = augment.level(tone).abs().amax(1)
    assert 0.5 < level.min() < 0.8 and 1.3 < level.max() < 2.0
    bent = augment.bend(torch.randn(20, 48_000))
    ratio = torch.fft.rfft(bent).abs().square().unflatten(1, (-1, 24_001)).mean(1)
    assert torch.isfinite(bent).all() and ratio.shape == (20, 24_001)
    flat = Augment(48_000, bell_db=0.0, gain_db=0.0)
    torch.testing.assert_close(flat.level(flat.bend(tone)), tone, atol=1e-4, rtol=1e-4)


def test_the_bell_of_the_equaliser_is_the_cookbooks():
    """Against torchaudio's own, of one bell."""
    from torchaudio.functional import equalizer_biquad

    noise = 0.05 * torch.randn(1, 4800)
    torch.manual_seed(3)
    bent = Augment(48_000).bend(noise)
    torch.manual_seed(3)
    centre = 100.0 * (160.0) ** float(torch.rand(1))
    gain_db = 9.0 * (2 * float(torch.rand(1)) - 1)
    torch.testing.assert_close(
        bent, equalizer_biquad(noise, 48_000, centre, gain_db, 0.7), atol=1e-4, rtol=1e-3
    )


def test_mel_frames():
    front = MelFrames(48_000, 1920, 24).eval()
    sound = torch.zeros(1, 4 * 1920)
    sound[0, 2 * 1920 + 960 :] = torch.sin(torch.arange(2880) * 0.3)
    frames = front(sound)
    assert frames.shape == (1, 4, 96)
    assert frames[0, 3].max() > frames[0, 0].max() + 3
    hidden = front.train()(sound.expand(20, -1)) != frames
    bands = hidden.unflatten(2, (4, 24)).flatten(1, 2).any(1)
    assert bands.any(1).sum() > 5 and bands.sum(1).max() <= 2  # of 24, a tenth
