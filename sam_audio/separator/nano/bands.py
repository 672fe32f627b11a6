"""Spectrogram geometry of the nano separator: 48 kHz, 20 ms hops, 128 bands.

A mask per band and frame is what the network decides. Bands are single bins at the bottom, where partials of
instruments lie close, and widen like a mel scale towards 24 kHz.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

SAMPLE_RATE = 48_000
N_FFT = 2048
HOP = 960  # 20 ms: two hops are one 40 ms frame of PE-A-Frame
N_BINS = N_FFT // 2 + 1
N_BANDS = 128
MOST_GAIN = 1e6  # of what is heard: stems do not depend on the recording's level
TIME_MULTIPLE = 16  # frames: the trunk halves time four times


@lru_cache
def band_edges(n_bands: int = N_BANDS, n_fft: int = N_FFT) -> tuple[int, ...]:
    """First bin of each band, then the number of bins: n_bands + 1 increasing integers.

    Edges follow ``corner * (exp(c * i) - 1)``, linear below the corner and logarithmic above like the mel
    scale, with no band narrower than one bin; ``c`` is the value at which exactly that many bands fill the bins.
    """
    n_bins = n_fft // 2 + 1
    corner = 30.0 * n_fft / 2048  # bins: 700 Hz, as in the mel scale
    low, high = 1e-4, 1.0
    for _ in range(60):
        growth = (low + high) / 2
        edges = _grow(growth, corner, n_bands)
        low, high = (growth, high) if edges[-1] < n_bins else (low, growth)
    edges = _grow(high, corner, n_bands)
    return (*edges[:-1], n_bins)


def _grow(growth: float, corner: float, n_bands: int) -> list[int]:
    edges = [0]
    position = 0.0
    for _ in range(n_bands):
        position += max(1.0, growth * (position + corner))
        edges.append(max(edges[-1] + 1, round(position)))
    return edges


def padded_frames(n_frames: int) -> int:
    """How many frames the trunk is given of an excerpt of ``n_frames``."""
    return -(-n_frames // TIME_MULTIPLE) * TIME_MULTIPLE


def newest(maps: Sequence[Any], n_frames: int) -> list[Any]:
    """The ends of maps of the audio tower's trunk, which may begin before the excerpt.

    Args:
        maps: (B, C, t, mel rows) each, tensors or arrays.
        n_frames: of the excerpt, a multiple of TIME_MULTIPLE.
    """
    lengths = (n_frames // TIME_MULTIPLE * 2**level for level in reversed(range(len(maps))))
    return [heard[:, :, heard.shape[2] - n :] for heard, n in zip(maps, lengths, strict=True)]
