"""Measures against the true sources."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from judge import metrics
from judge.metrics import level_db, si_sdr


def signals(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def test_doctests():
    assert doctest.testmod(metrics).failed == 0


@pytest.mark.parametrize("db", [-20.0, 0.0, 10.0, 40.0])
def test_orthogonal_noise_gives_its_ratio(db):
    reference, noise = signals(2, 8_000)
    reference, noise = reference - reference.mean(), noise - noise.mean()
    noise -= (noise @ reference) / (reference @ reference) * reference
    noise *= np.linalg.norm(reference) / np.linalg.norm(noise) * 10 ** (-db / 20)
    assert si_sdr(reference + noise, reference) == pytest.approx(db, abs=1e-6)


@pytest.mark.parametrize("gain", [1e-3, 0.5, -2.0, 100.0])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_scale_and_offset_of_the_estimate_do_not_matter(gain, offset):
    reference, noise = signals(2, 8_000)
    estimate = reference + noise
    assert si_sdr(gain * estimate + offset, reference) == pytest.approx(si_sdr(estimate, reference), abs=1e-6)


def test_leading_axes_broadcast():
    references = signals(3, 1_000)
    mixture = references.sum(axis=0)
    scores = si_sdr(mixture[None], references)
    assert scores.shape == (3,)
    for score, reference in zip(scores, references, strict=True):
        assert score == si_sdr(mixture, reference)


def test_equal_to_asteroid():
    import torch
    from asteroid.losses import singlesrc_neg_sisdr

    estimate, reference = signals(2, 4, 8_000)
    theirs = -singlesrc_neg_sisdr(torch.from_numpy(estimate + reference), torch.from_numpy(reference))
    np.testing.assert_allclose(si_sdr(estimate + reference, reference), theirs.numpy(), atol=1e-5)


def test_extremes_stay_finite():
    reference = signals(1_000)
    silence = np.zeros(1_000)
    assert si_sdr(reference, reference) > 100
    for estimate, target in ((silence, reference), (reference, silence), (silence, silence)):
        assert si_sdr(estimate, target) <= -100


def test_level():
    samples = signals(2, 1_000)
    assert level_db(samples, samples) == 0
    assert level_db(samples / 10, samples) == pytest.approx(-20)
    assert level_db(0 * samples, samples) < -100
