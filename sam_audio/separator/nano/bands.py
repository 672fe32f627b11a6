"""Spectrogram geometry of the nano separator: 48 kHz, 20 ms hops, 128 bands.

A mask per band and frame is what the network decides. Bands are single bins at the bottom, where partials of
instruments lie close, and widen like a mel scale towards 24 kHz.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

SAMPLE_RATE = 48_000
N_FFT = 2048
HOP = 960  # 20 ms: two hops are one 40 ms frame of PE-A-Frame
N_BINS = N_FFT // 2 + 1
N_BANDS = 128


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


@lru_cache
def band_of_bin(n_bands: int = N_BANDS, n_fft: int = N_FFT) -> Tensor:
    """Shape: (bins,) int64, the band each bin belongs to."""
    with torch.inference_mode(False):  # cached: a tensor of inference mode could not be used in training
        edges = torch.tensor(band_edges(n_bands, n_fft))
        return torch.repeat_interleave(torch.arange(n_bands), edges.diff())


def power(spec: Tensor) -> Tensor:
    """Squared magnitude of a complex spectrogram; abs().square() would take a root in between."""
    return spec.real.square() + spec.imag.square()


def to_bands(energies: Tensor, n_bands: int = N_BANDS, n_fft: int = N_FFT) -> Tensor:
    """Sums bins into bands.

    Shape: (..., bins, T) -> (..., n_bands, T)
    """
    index = band_of_bin(n_bands, n_fft).to(energies.device)
    out = energies.new_zeros(*energies.shape[:-2], n_bands, energies.shape[-1])
    return out.index_add_(-2, index, energies)


def to_bins(masks: Tensor) -> Tensor:
    """Gives every bin the value of its band.

    Shape: (..., N_BANDS, T) -> (..., N_BINS, T)
    """
    return masks.index_select(-2, band_of_bin().to(masks.device))


def window() -> Tensor:
    """Hann window, (N_FFT,) float32."""
    return torch.hann_window(N_FFT, periodic=True, dtype=torch.float32)


def stft(samples: Tensor) -> Tensor:
    """Complex spectrogram with frame ``t`` centred on sample ``t * HOP``.

    Shape: (..., T_samples) -> (..., N_BINS, T_samples // HOP + 1)
    """
    # half the time of torch.stft
    padded = F.pad(samples, (N_FFT // 2, N_FFT // 2))
    return torch.fft.rfft(padded.unfold(-1, N_FFT, HOP) * window().to(samples)).mT


def istft(spec: Tensor, n_samples: int) -> Tensor:
    """Inverse of :func:`stft`.

    Shape: (..., N_BINS, L) -> (..., n_samples)
    """
    flat = spec.reshape(-1, *spec.shape[-2:])
    samples = torch.istft(flat, N_FFT, HOP, window=window().to(flat.real), center=True, length=n_samples)
    return samples.reshape(*spec.shape[:-2], n_samples)


def band_energies(samples: Tensor) -> Tensor:
    """Energies of the bands of a sound.

    Shape: (..., n), n a multiple of HOP -> (..., N_BANDS, n / HOP)
    """
    return to_bands(power(stft(samples)[..., :-1]))


def features(energies: Tensor) -> Tensor:
    """Network input, independent of the level of the recording.

    Shape: (B, N_BANDS, T) energies -> (B, 2, N_BANDS, T): log energy relative to the excerpt's mean, and its
    difference to the frame before.
    """
    mean = energies.mean(dim=(-2, -1), keepdim=True)
    # 70 dB below the mean counts as silence: dithered and digital silence then look alike
    log_energy = (energies / (mean + 1e-12) + 1e-7).log()
    delta = torch.diff(log_energy, dim=-1, prepend=log_energy[..., :1])
    return torch.stack([(log_energy + 7.0) / 4.0, delta / 2.0], dim=1)
