import numpy as np
import pytest
from sam_audio_pan import Pan, PanPrior

from sam_audio.errors import PromptError
from sam_audio.types import Condition, Grid

GRID = Grid(sample_rate=48_000, hop_length=960, n_bins=1025, first_frame=0, n_frames=50)


def panned(degrees: float) -> np.ndarray:
    """Noise at an angle, (2, F, T)."""
    balance = np.tan(np.radians(degrees)) / np.tan(np.radians(30))
    noise = np.random.default_rng(0).standard_normal((1025, 50)).astype(np.complex64)
    return np.stack([noise * (1 - balance), noise * (1 + balance)])


@pytest.mark.parametrize(
    ("text", "degrees"), [("left", -30), ("Centre", 0), ("right", 30), ("-12.5", -12.5), (7, 7)]
)
def test_what_is_there_is_let_through_and_the_rest_is_not(text, degrees):
    place = Pan().parse({"pan": text})
    assert place == degrees
    prior = PanPrior(place)
    assert prior.gains(panned(degrees), GRID).shape == (1, 1025, 50)
    np.testing.assert_allclose(prior.gains(panned(degrees), GRID), 1, atol=1e-3)
    away = degrees - 25 if degrees >= 0 else degrees + 25
    assert prior.gains(panned(away), GRID).max() < 0.01


def test_it_adds_to_what_is_known():
    condition = Pan().encode(5.0, Condition("x", None, masks=(PanPrior(0),)), None)
    assert condition.masks == (PanPrior(0), PanPrior(5.0))


@pytest.mark.parametrize("text", ["up", "31", "-31", "nan", ""])
def test_what_is_no_place_is_one_sentence(text):
    with pytest.raises(PromptError, match="left"):
        Pan().parse({"pan": text})


@pytest.mark.parametrize("channels", [1, 6])
def test_it_needs_stereo(channels):
    with pytest.raises(PromptError, match="stereo"):
        PanPrior(0).gains(np.zeros((channels, 1025, 50), np.complex64), GRID)
