import numpy as np
import pytest
import soundfile
from sam_audio_hum import Contour, Hum, follow

from sam_audio.errors import PromptError
from sam_audio.types import Condition, Grid

RATE = 22_050
GRID = Grid(sample_rate=48_000, hop_length=960, n_bins=1025, first_frame=0, n_frames=50)


def hummed(path, hz=220.0, level=0.3):
    t = np.arange(RATE) / RATE
    soundfile.write(path, level * np.sin(2 * np.pi * hz * t) * (t < 0.7), RATE)
    return path


def test_the_pitch_is_followed(tmp_path):
    contour = follow(hummed(tmp_path / "hum.wav"))
    times = np.array([0.2, 0.4, 0.6, 0.95, 50.0])
    np.testing.assert_allclose(contour(times)[0, :3], 220, rtol=0.01)
    np.testing.assert_array_equal(contour(times)[0, 3:], 0)


def test_partials_are_let_through(tmp_path):
    kind = Hum()
    (mask,) = kind.encode(kind.parse({"hum": hummed(tmp_path / "hum.wav")}), Condition("x", None), None).masks
    gains = mask.gains(np.zeros((1, 1025, 50), np.complex64), GRID)[0, :, 20]
    bins = GRID.frequencies_hz
    near = [np.abs(bins - hz).argmin() for hz in (220, 440, 660)]
    between = [np.abs(bins - hz).argmin() for hz in (330, 550)]
    assert gains[near].min() > 0.7
    assert gains[between].max() < 0.1


def test_melodies_that_cannot_be_used(tmp_path):
    with pytest.raises(PromptError, match="not a file"):
        Hum().parse({"hum": tmp_path / "gone.wav"})
    with pytest.raises(PromptError, match="no melody"):
        follow(hummed(tmp_path / "silence.wav", level=0.0))


def test_a_contour_starts_at_the_start():
    np.testing.assert_array_equal(
        Contour(np.array([100.0, 0.0]))(np.array([-1.0, 0.0, 0.012])), [[0, 100, 0]]
    )
