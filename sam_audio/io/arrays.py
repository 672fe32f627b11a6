"""Samples in memory, read like a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sam_audio.errors import AudioReadError, UserError
from sam_audio.io.reader import MAX_RATE_HZ, MIN_RATE_HZ
from sam_audio.types import Samples

MAX_CHANNELS = 64  # of arrays with fewer samples than that


@dataclass(frozen=True, eq=False)
class ArrayRecording:
    """Samples (C, T) at a rate in Hz; see `sam_audio.separation.Recording`."""

    samples: Samples
    sample_rate: int

    @property
    def channels(self) -> int:
        return len(self.samples)

    @property
    def frames(self) -> int:
        return self.samples.shape[1]

    def blocks(self, block_frames: int) -> Iterator[Samples]:
        for start in range(0, self.frames, block_frames):
            yield self.samples[:, start : start + block_frames]


def array_recording(samples: np.ndarray, sample_rate: int | None) -> ArrayRecording:
    """Of samples (C, T) or (T,).

    Raises:
        UserError: they, or their rate, cannot be separated.
        AudioReadError: some are no numbers.
    """
    if sample_rate is None:
        raise UserError("an array has no sample rate of its own: pass sample_rate")
    if not MIN_RATE_HZ <= sample_rate <= MAX_RATE_HZ:
        raise AudioReadError(
            f"a sample rate of {sample_rate} Hz cannot be separated: use {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
        )
    return ArrayRecording(checked_samples(samples), sample_rate)


def checked_samples(given: np.ndarray) -> Samples:
    """Samples (C, T) float32 of an array (C, T) or (T,) of floats.

    Raises:
        UserError: it is of another shape or type.
        AudioReadError: some samples are no numbers.
    """
    samples = np.asarray(given)
    if samples.ndim == 1:
        samples = samples[None]
    if samples.ndim != 2 or not samples.shape[0]:
        raise UserError(f"samples of shape {np.shape(given)} cannot be separated: use (channels, samples)")
    if samples.shape[0] > max(samples.shape[1], MAX_CHANNELS):
        raise UserError(
            f"samples of shape {np.shape(given)} would have {samples.shape[0]} channels: use (channels, samples), "
            "which of soundfile's arrays is the transpose"
        )
    if not np.issubdtype(samples.dtype, np.floating):
        raise UserError(
            f"samples of type {samples.dtype} cannot be separated: convert them to floats within +-1"
        )
    with np.errstate(over="ignore"):
        samples = samples.astype(np.float32)
    if not np.isfinite(samples).all():
        raise AudioReadError("the samples hold NaN or infinite values: replace them first")
    return samples
