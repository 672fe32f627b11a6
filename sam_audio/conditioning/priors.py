"""Mask priors that several prompt types share (see `sam_audio.types.MaskPrior`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sam_audio.types import Grid, MaskPrior, Samples

_SIDE_BINS = 1.2  # a partial fills some bins of the Hann window
_CENTS = 35.0  # how far pitch may be off
BETWEEN = 0.05  # gain of what lies between the partials: breath, bow and onsets
REST = 0.02  # gain of frames without any pitch


@dataclass(frozen=True)
class HarmonicPrior:
    """The partials of known pitches.

    Args:
        pitches: times (T,) in seconds -> pitches (P, T) in Hz, 0 where there is none.
    """

    pitches: Callable[[NDArray[np.float64]], NDArray[np.float64]]

    def gains(self, spectrum: NDArray[np.complex64], grid: Grid) -> Samples:
        """Shape: (C, F, T) -> (1, F, T)."""
        frequencies = grid.frequencies_hz[:, None]
        side_hz = _SIDE_BINS * grid.sample_rate / 2 / (grid.n_bins - 1)
        pitches = self.pitches(grid.times_s)
        gains = np.full((grid.n_bins, grid.n_frames), BETWEEN, np.float32)
        for pitch in pitches:
            safe = np.where(pitch > 0, pitch, 1.0)
            partial = np.maximum(np.round(frequencies / safe), 1) * safe
            width = np.maximum(side_hz, partial * (2 ** (_CENTS / 1200) - 1))
            comb = np.exp(-0.5 * np.square((frequencies - partial) / width))
            np.maximum(gains, np.where(pitch > 0, comb, 0), out=gains)
        gains[:, ~(pitches > 0).any(axis=0)] = REST
        return gains[None]


@dataclass(frozen=True)
class MovedPrior:
    """A prior for another time line.

    Args:
        prior: what is known.
        start_s: where that time line begins in the prior's own, in seconds; negative if it begins earlier.
    """

    prior: MaskPrior
    start_s: float

    def gains(self, spectrum: NDArray[np.complex64], grid: Grid) -> Samples:
        """Shape: as of the prior."""
        return self.prior.gains(spectrum, replace(grid, start_s=grid.start_s + self.start_s))
