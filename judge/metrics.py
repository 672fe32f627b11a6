"""Measures that need the true sources: used to train and to test, never on a user's recording."""

from __future__ import annotations

import numpy as np

EPS = 1e-12


def si_sdr(estimate: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Scale-invariant signal-to-distortion ratio in dB, higher is better.

    Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019; means are removed first.

    Shape: (..., T), (..., T) -> (...); any number of leading axes, broadcast against each other.

    >>> t = np.arange(48_000) / 48_000
    >>> tone, other = np.sin(2 * np.pi * 100 * t), np.sin(2 * np.pi * 700 * t)
    >>> round(float(si_sdr(3 * (tone + 0.1 * other), tone)), 3)
    20.0
    """
    estimate = np.asarray(estimate, np.float64)
    reference = np.asarray(reference, np.float64)
    estimate = estimate - estimate.mean(axis=-1, keepdims=True)
    reference = reference - reference.mean(axis=-1, keepdims=True)
    projection = (estimate * reference).sum(-1, keepdims=True) / (
        np.square(reference).sum(-1, keepdims=True) + EPS
    )
    target = projection * reference
    ratio = np.square(target).sum(-1) / (np.square(estimate - target).sum(-1) + EPS)
    return 10 * np.log10(ratio + EPS)


def level_db(samples: np.ndarray, against: np.ndarray) -> float:
    """Energy of ``samples`` relative to that of ``against``, in dB."""
    energy, base = (float(np.square(np.asarray(x, np.float64)).sum()) for x in (samples, against))
    return 10 * float(np.log10((energy + EPS) / (base + EPS)))
