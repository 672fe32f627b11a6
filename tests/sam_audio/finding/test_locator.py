"""When sounds happen, by the nano separator's word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import torch

from sam_audio.conditioning.embedding import FRAME, SAMPLE_RATE
from sam_audio.errors import AudioReadError, ModelError
from sam_audio.finding.locate import (
    CHUNK_SAMPLES,
    CONTEXT_SAMPLES,
    NanoLocator,
    load_locator,
)
from sam_audio.separator.nano.model import NanoSeparator
from sam_audio.separator.nano.network import MaskNetwork
from sam_audio.separator.nano.timekeeping import N_FACTS, Calibration, Evidence, facts

SEPARATOR_ALONE = Calibration((1.0, *[0.0] * (N_FACTS - 1)), 0.0)
EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="module")
def locator(tiny_weights):
    return NanoLocator(NanoSeparator(tiny_weights), SEPARATOR_ALONE)


def write(path: Path, samples: np.ndarray, rate: int = SAMPLE_RATE) -> Path:
    soundfile.write(path, samples.T, rate, subtype="FLOAT")
    return path


@pytest.mark.parametrize("n", [1, FRAME, FRAME + 1, CHUNK_SAMPLES, CHUNK_SAMPLES + 1, 3 * CHUNK_SAMPLES - 7])
def test_every_frame_has_a_probability(locator, tmp_path, n):
    path = write(tmp_path / "x.wav", tiny.noise(1, n / SAMPLE_RATE + 1, SAMPLE_RATE)[:, :n])
    activity = locator.activity(path, ["dog", "rain", "a man talking"])
    assert activity.shape == (3, -(-n // FRAME)) and activity.dtype == np.float32
    assert (activity >= 0).all() and (activity <= 1).all()


def test_a_window_hears_what_is_around_it_and_no_more(locator, tmp_path):
    sound = tiny.noise(1, 3 * CHUNK_SAMPLES / SAMPLE_RATE, SAMPLE_RATE)
    other = sound.copy()
    other[:, CHUNK_SAMPLES + CONTEXT_SAMPLES :] *= 0.01
    one, two = (locator.activity(write(tmp_path / "x.wav", x), ["dog"]) for x in (sound, other))
    first = CHUNK_SAMPLES // FRAME
    np.testing.assert_array_equal(one[:, :first], two[:, :first])
    assert not np.array_equal(one[:, first : 2 * first], two[:, first : 2 * first])


def test_facts_are_of_the_frame_and_of_what_is_around_it():
    one, other = np.zeros((2, 400), np.float32), np.zeros((2, 400), np.float32)
    one[0, 100], other[1, 399] = 5.0, -99.0
    found = facts(Evidence(one, other))
    assert found.shape == (2, N_FACTS, 400)
    assert np.flatnonzero(found[0, 0]).tolist() == [100]
    assert np.flatnonzero(found[0, 1]).tolist() == list(range(88, 113))
    assert found[0, 1, 100] == pytest.approx(5 / 25) and found[0, 2, 200] == pytest.approx(5 / 251)
    assert found[0, 3, 225] == 5 and found[0, 3, 226] == 0
    assert found[1, 4, 399] == -8  # surer than that nobody is
    assert found[1, 5, 399] == pytest.approx(-8 / 13)  # what lies beyond the end does not count


@pytest.mark.parametrize("text", ["", "{}", '{"weights": [1], "bias": 0}', '{"weights": "x", "bias": 0}'])
def test_a_calibration_that_cannot_be_read(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(ModelError, match="install separate-by-prompt again"):
        Calibration.load(path)


def test_a_calibration_is_fitted_and_comes_back(locator, bank_dir, tmp_path):
    pytest.importorskip("sklearn")
    from sam_audio.training.recipes.locator import export, fit

    fitted = fit(locator, bank_dir, 2)
    export(fitted, tmp_path / "new" / "c.json")
    assert Calibration.load(tmp_path / "new" / "c.json") == fitted
    assert np.isfinite(fitted.weights).all()


def test_a_separator_that_does_not_tell(tmp_path):
    torch.manual_seed(0)
    weights = tiny.save_network(
        tmp_path / "mute.safetensors", MaskNetwork(replace(tiny.CONFIG, tells_when=False))
    )
    path = write(tmp_path / "x.wav", tiny.noise(1, 1, SAMPLE_RATE))
    with pytest.raises(ModelError, match="does not tell when"):
        NanoLocator(NanoSeparator(weights), SEPARATOR_ALONE).activity(path, ["dog"])


def test_what_cannot_be_read(locator, tmp_path):
    with pytest.raises(AudioReadError):
        locator.activity(tmp_path / "none.wav", ["dog"])


def test_the_shipped_model_hears_speech_where_it_is(tmp_path):
    speech, rate = soundfile.read(EXAMPLES / "speech.ogg", dtype="float32", always_2d=True)
    quiet = 3e-4 * np.random.default_rng(0).standard_normal((4 * rate, speech.shape[1])).astype(np.float32)
    path = write(tmp_path / "x.wav", np.concatenate([quiet, speech[: 4 * rate]]).T, rate)
    speaking, barking = load_locator("nano").activity(path, ["person speaking", "dog barking"])
    assert speaking[110:].mean() > 0.8 > 0.1 > speaking[:90].mean()
    assert speaking[110:].mean() > barking[110:].mean() + 0.4
