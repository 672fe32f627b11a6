"""What a recipe of the task flow leaves separates like any other model."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from judge.metrics import si_sdr
from sam_audio.errors import ModelError
from sam_audio.extending.separator_checks import check_separator
from sam_audio.separator import family_of
from sam_audio.training import recipe
from sam_audio.training.generative import FlowSeparator
from sam_audio.training.tasks.flow import TOY, FlowMatching
from sam_audio.training.trainer import train

RATE = 1600


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    tiny = ("model.dim=16", "model.heads=2", "model.layers=1", "batch=4", "steps=2", "examples=2")
    settings = recipe.load("flow/toy", (*tiny, "device=cpu", "solver_steps=2", "seconds=0.64"))
    train(recipe.task_of(settings), settings, folder)
    return folder


@pytest.fixture
def knows(monkeypatch):
    """A network that has learned it all: what is below 200 Hz is the target."""

    def separate(self, batch, solver):
        mixture = batch["target"][:, 0] + batch["residual"][:, 0]
        spectrum = torch.fft.rfft(mixture)
        spectrum[:, round(200 / RATE * mixture.shape[-1]) :] = 0
        low = torch.fft.irfft(spectrum, mixture.shape[-1])
        return torch.stack([low, mixture - low], 1)

    monkeypatch.setattr(FlowMatching, "separate", separate)


def tones(seconds: float) -> tuple[np.ndarray, np.ndarray]:
    t = np.arange(round(seconds * RATE)) / RATE
    return tuple(np.sin(2 * np.pi * hertz * t)[None].astype(np.float32) for hertz in (80, 500))


def test_it_keeps_what_every_separator_promises(run):
    check_separator(FlowSeparator.read(run, "cpu"), TOY, seconds=2.0)


def test_windows_become_one_recording(run, knows):
    model = FlowSeparator.read(run, "cpu")
    low, high = tones(3.1)
    mixture = np.concatenate([low + high, 0.5 * low + high])
    stream = model.open(model.encode(["low tone"]), 2)
    stem = np.concatenate([stream.push(mixture), stream.finish()], axis=-1)[0]
    assert stem.shape == mixture.shape
    for channel, level in zip(stem, (1, 0.5), strict=True):
        assert si_sdr(channel, low[0]) > 15
        assert np.abs(channel[500:-500]).max() == pytest.approx(level, rel=0.2)


def test_from_the_command_line(cli, run, knows, tmp_path, monkeypatch):
    assert family_of(str(run)).name == "flow"
    low, high = tones(1.0)
    soundfile.write(tmp_path / "mix.wav", 0.4 * (low + high)[0], RATE, "FLOAT")
    monkeypatch.chdir(tmp_path)
    done = cli("separate", "mix.wav", "-p", "low tone", "--model", run, "-o", "out", "--float32")
    assert done.code == 0, done.err
    parts = {path.stem: soundfile.read(path)[0] for path in (tmp_path / "out").rglob("*.wav")}
    assert max(si_sdr(part, low[0]) for part in parts.values()) > 12
    np.testing.assert_allclose(sum(parts.values()), 0.4 * (low + high)[0], atol=1e-4)


def test_a_folder_that_is_damaged(run, tmp_path):
    (tmp_path / "flow.json").write_bytes((run / "flow.json").read_bytes())
    with pytest.raises(ModelError, match="holds no separator"):
        family_of(str(tmp_path)).load(str(tmp_path), "cpu", None)
