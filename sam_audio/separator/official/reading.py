"""What upstream's processors take where others want samples: files, and single things in place of lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor


def read_at_rate(path: str | Path, sample_rate: int) -> np.ndarray:
    """A whole file at a sample rate in Hz, (channels, n) float32.

    Raises:
        AudioReadError: it cannot be read.
    """
    from sam_audio.io import read_audio
    from sam_audio.io.resample import Resampler

    samples, rate = read_audio(path)
    if rate == sample_rate:
        return samples
    resampler = Resampler(rate, sample_rate, len(samples))
    return np.concatenate([resampler.push(samples), resampler.finish()], axis=-1)


def mono(sound: Any, sample_rate: int) -> Any:
    """A file's sound, its channels averaged, (n,) at a sample rate in Hz; anything else as it is."""
    return read_at_rate(sound, sample_rate).mean(axis=0) if isinstance(sound, str | Path) else sound


def listed(given: Any) -> Any:
    """A single text, file or array in a list; a list as it is."""
    return [given] if isinstance(given, str | Path | Tensor | np.ndarray) else given
