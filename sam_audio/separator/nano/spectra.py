"""Spectra and bands in torch, for training and evaluation; `synthesis` has in numpy what separating needs."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from sam_audio.separator.nano.bands import HOP, N_BANDS, N_FFT, band_edges


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
