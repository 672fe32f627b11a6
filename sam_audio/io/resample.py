"""Streaming sample-rate conversion at the borders of a model (soxr, "HQ": 20 bits, linear phase, no delay)."""

from __future__ import annotations

import numpy as np
import soxr

from sam_audio.types import Samples


class Resampler:
    """Converts blocks of shape (channels, n) from one rate to another, or passes them on when they are equal."""

    def __init__(self, from_hz: int, to_hz: int, channels: int):
        self._channels = channels
        self._stream = (
            None if from_hz == to_hz else soxr.ResampleStream(from_hz, to_hz, channels, "float32", "HQ")
        )

    def push(self, samples: Samples) -> Samples:
        return samples if self._stream is None else self._convert(samples, last=False)

    def finish(self) -> Samples:
        """What the filter still holds."""
        nothing = np.zeros((self._channels, 0), np.float32)
        return nothing if self._stream is None else self._convert(nothing, last=True)

    def _convert(self, samples: Samples, last: bool) -> Samples:
        assert self._stream is not None
        interleaved = np.ascontiguousarray(samples.T, np.float32)
        return np.ascontiguousarray(self._stream.resample_chunk(interleaved, last=last).T)
