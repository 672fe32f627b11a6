"""Decibels and scores of stems that are known to be right or wrong."""

from __future__ import annotations

import numpy as np
import pytest

from judge.scales import measure, scores_of

TARGET, OTHER, NOISE = np.random.default_rng(0).standard_normal((3, 48_000)).astype(np.float32)


def scores(stem):
    return scores_of(measure(stem, TARGET, OTHER[None])).tolist()


def test_the_target_itself_has_the_best_scores_and_silence_the_worst():
    assert scores(TARGET) == pytest.approx([5.0] * 4, abs=1e-9)
    assert scores(0 * TARGET) == [1.0] * 4


@pytest.mark.parametrize("gain", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("leak", [0.0, 0.1, -0.1])
def test_a_stem_of_inverted_polarity_is_the_worst(gain, leak):
    """Taken from the mixture, it would add to it."""
    assert scores(-gain * (TARGET + leak * OTHER)) == [1.0] * 4


def test_ratios_are_those_of_the_parts():
    parts = np.stack([TARGET, OTHER, NOISE]).astype(np.float64)
    target, other, noise = np.linalg.qr(parts.T)[0].T  # orthogonal, of one energy
    measured = measure(0.5 * target + 0.05 * other + 0.01 * noise, target, other[None])
    assert measured.kept == pytest.approx(20 * np.log10(0.5), abs=1e-6)
    assert measured.sir == pytest.approx(20, abs=1e-6)
    assert measured.sar == pytest.approx(10 * np.log10((0.5**2 + 0.05**2) / 0.01**2), abs=1e-6)
    inverted = measure(-0.5 * target + 0.05 * other + 0.01 * noise, target, other[None])
    assert inverted.sar == pytest.approx(10 * np.log10(0.05**2 / (0.5**2 + 0.01**2)), abs=1e-6)


@pytest.mark.parametrize("trace", [0.0, 1e-3, -1e-3])
def test_the_wrong_sound_is_faithful_whatever_side_it_lies_to(trace):
    overall, recall, precision, faithfulness = scores(OTHER + trace * TARGET)
    assert overall < 1.05 and recall < 1.05 and precision < 1.05 and faithfulness == 5.0
