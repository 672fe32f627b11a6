"""How decibels become the four scores, 1 to 5: monotonic, and the same for training labels and documentation.

    score        measured on the true sources as                      1 at     5 at
    overall      SI-SDR of the stem against the target                -10 dB    20 dB
    recall       share of the target's energy that the stem kept      -20 dB     0 dB
    precision    SIR: target against other sources in the stem        -10 dB    30 dB
    faithfulness SAR: what comes from the sources against artefacts    -5 dB    25 dB

In between the scores are linear in dB, and beyond they stay. When the sound asked for is not in the mixture, all but
recall go by how quiet the stem is against the mixture (0 dB: 1, -40 dB: 5), and recall is 5: nothing was there to lose.
A silent stem of something that is there gets 1 throughout, and so does one of inverted polarity, which would add to the
mixture: what is inverted of the target counts as artefacts. Judge nano scores a stem as if the sound is there, unless
its probability is below 10 %; then both cases are weighed.

The three ratios are the scale-invariant, filterless forms of BSS-eval (Vincent et al. 2006; Le Roux et al. 2019).
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from judge.types import AXES

_RANGES_DB = {
    "overall": (-10.0, 20.0),
    "recall": (-20.0, 0.0),
    "precision": (-10.0, 30.0),
    "faithfulness": (-5.0, 25.0),
}
_SILENT_DB = -40.0
_FLOOR = 1e-12
_SILENT, _NOTHING_DB = 1e-7, -120.0


@dataclass(frozen=True)
class Measured:
    """What is true of a stem, in dB: SI-SDR, target energy kept, SIR, SAR."""

    si_sdr: float
    kept: float
    sir: float
    sar: float


def measure(stem: np.ndarray, target: np.ndarray, others: np.ndarray) -> Measured:
    """Projects a stem on the target, then on target and other sources together.

    Shapes: stem (n,), target (n,), others (k, n).
    """
    basis = np.concatenate([target[None], others]).astype(np.float64)
    heard = np.square(basis).sum(1) > _FLOOR
    basis = basis[heard]
    estimate = stem.astype(np.float64)
    energy = float(np.square(target, dtype=np.float64).sum())
    gain = max(float(target.astype(np.float64) @ estimate) / max(energy, _FLOOR), 0.0)
    wanted = gain * target.astype(np.float64)
    weights = np.linalg.lstsq(basis @ basis.T, basis @ estimate, rcond=None)[0]
    explained = weights @ basis
    interference = explained - wanted
    if heard[0] and weights[0] < 0:
        # What is inverted of the target is none of the sources, it is an artefact. Only that part, and not all of the
        # stem: that of another sound lies a little to this or to that side of the target by chance.
        explained = explained - weights[0] * basis[0]
    artefacts = estimate - explained
    if float(np.square(estimate).sum()) < _SILENT * energy:
        return Measured(*[_NOTHING_DB] * 4)
    return Measured(
        _ratio_db(wanted, estimate - wanted),
        20 * float(np.log10(min(max(gain, 1e-6), 1.0))),
        _ratio_db(wanted, interference),
        _ratio_db(explained, artefacts),
    )


def scores_of(measured: Measured, bounded: bool = True) -> np.ndarray:
    """The four scores (4,), in the order of AXES; if not ``bounded`` they go on below 1 and above 5."""
    low, high = np.array([_RANGES_DB[axis] for axis in AXES]).T
    scores = 1 + 4 * (np.array(astuple(measured)) - low) / (high - low)
    return scores.clip(1, 5) if bounded else scores


def scores_of_absent(stem: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """The four scores (4,) of a stem of something that is not in the mixture."""
    level = _ratio_db(stem, mixture)
    quiet = 1 + 4 * float(np.clip(level / _SILENT_DB, 0, 1))
    return np.array([quiet, 5.0, quiet, quiet])


def _ratio_db(signal: np.ndarray, noise: np.ndarray) -> float:
    up, down = (float(np.square(x, dtype=np.float64).sum()) for x in (signal, noise))
    return 10 * float(np.log10((up + _FLOOR) / (down + _FLOOR)))
