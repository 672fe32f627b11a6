"""From sound to spectra and bands, and from masks back to sound: all that surrounds the networks, in numpy."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from peav.fourier import irfft, rfft
from sam_audio.separator.nano.bands import HOP, N_BANDS, N_FFT, band_edges
from sam_audio.types import Samples

Spectrum = NDArray[np.complex64]  # (..., T, N_BINS)
Array = TypeVar("Array", Samples, Any)  # or a tensor

WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)  # Hann, periodic
_EDGES = np.asarray(band_edges())
_BAND_OF_BIN = np.repeat(np.arange(N_BANDS), np.diff(_EDGES))


def spectra(samples: Samples) -> Spectrum:
    """Spectra of the frames that lie wholly in a sound, one each HOP: (C, n) -> (C, T, N_BINS)."""
    frames = sliding_window_view(samples, N_FFT, axis=-1)[:, ::HOP] * WINDOW
    return rfft(frames)


def centred_spectra(samples: Samples) -> Spectrum:
    """Spectra of a whole sound, the frame ``t`` centred on sample ``t * HOP``: (C, n), n a multiple of HOP ->
    (C, n / HOP, N_BINS)."""
    return spectra(np.pad(samples, ((0, 0), (N_FFT // 2, N_FFT // 2))))[:, :-1]


def band_energies(spectrum: Spectrum) -> Samples:
    """Energies of the bands, (C, T, N_BINS) -> (N_BANDS, T), averaged over channels: a sound that cancels in mono is
    still seen."""
    return np.ascontiguousarray(_in_bands(spectrum).mean(axis=0).T)


def energies_of_each(spectra: Spectrum) -> Samples:
    """Energies of the bands of several sounds, (N, T, N_BINS) -> (N, N_BANDS, T)."""
    return np.ascontiguousarray(np.swapaxes(_in_bands(spectra), 1, 2))


def _in_bands(spectrum: Spectrum) -> Samples:
    """(..., N_BINS) -> (..., N_BANDS)."""
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    return np.add.reduceat(power, _EDGES[:-1], axis=-1)


def features(energies: Samples) -> Samples:
    """What the trunk is given, (N_BANDS, T) -> (2, N_BANDS, T); `spectra.features` is the same in torch."""
    log_energy = np.log(energies / (energies.mean() + np.float32(1e-12)) + np.float32(1e-7))
    delta = np.diff(log_energy, axis=-1, prepend=log_energy[:, :1])
    return np.stack([(log_energy + 7) / 4, delta / 2])


def to_bins(masks: Samples) -> Samples:
    """Gives every bin the value of its band: (..., N_BANDS, T) -> (..., T, N_BINS)."""
    return np.take(np.swapaxes(masks, -1, -2), _BAND_OF_BIN, axis=-1)


class OverlapAdd:
    """Spectra to sound by weighted overlap-add, stretch after stretch without seams."""

    def __init__(self) -> None:
        self._sound: Samples | float = 0.0  # begun by the frames so far, (N, C, N_FFT - HOP)
        self._weight: Samples | float = 0.0
        self._skip = N_FFT // 2  # samples before the middle of the first frame

    def push(self, spectrum: Spectrum) -> Samples:
        """The samples that these frames settle: (N, C, T, N_BINS) -> (N, C, T * HOP), less half a frame at first."""
        frames = irfft(spectrum, N_FFT)
        frames *= WINDOW
        summed, weight = _summed(frames), _summed(np.tile(np.square(WINDOW), (frames.shape[-2], 1)))
        summed[..., : N_FFT - HOP] += self._sound
        weight[: N_FFT - HOP] += self._weight
        ready = frames.shape[-2] * HOP
        self._sound, self._weight = summed[..., ready:].copy(), weight[ready:].copy()
        skipped, self._skip = min(self._skip, ready), max(self._skip - ready, 0)
        summed /= np.maximum(weight, 1e-8)
        return summed[..., skipped:ready]


def _summed(frames: Samples) -> Samples:
    """Frames laid over each other, one each HOP: (..., T, N_FFT) -> (..., (T - 1) * HOP + N_FFT)."""
    n_frames, parts = frames.shape[-2], range(0, N_FFT, HOP)
    rows = np.zeros((*frames.shape[:-2], n_frames + len(parts) - 1, HOP), np.float32)
    for n, start in enumerate(parts):
        part = frames[..., start : start + HOP]
        rows[..., n : n + n_frames, : part.shape[-1]] += part
    return rows.reshape(*frames.shape[:-2], -1)[..., : (n_frames - 1) * HOP + N_FFT]


def faded(before: Samples | None, masks: Samples) -> Samples:
    """Masks of a window whose first frames pass from those of the window before, if there was one."""
    if before is not None:
        n = min(before.shape[-1], masks.shape[-1])
        ramp = np.arange(1, n + 1, dtype=np.float32) / (n + 1)
        masks[..., :n] = before[..., :n] + (masks[..., :n] - before[..., :n]) * ramp
    return masks


def hedged(masks: Samples, energies: Samples) -> Samples:
    """Softens masks of which most is in doubt, and lets them keep their energy.

    Of sounds that it has never heard the network is surer than it should be, and a wrong guess in a soft mask costs
    less than one in a bold mask. The doubt is the share of what a mask takes that it does not take wholly. Which
    exponent suits which doubt was seen on the validation split (docs/quality.md); masks that are sure stay as they
    are, and since the energy stays, what is not there stays as quiet.

    Shapes: masks (N, N_BANDS, T) in 0..1, energies of the mixture (N_BANDS, T) -> (N, N_BANDS, T) in 0..1.
    """
    shares = energies / (energies.sum() + np.float32(1e-20))

    def total(x: Samples) -> Samples:
        return (x * shares).sum(axis=(-2, -1), keepdims=True)

    doubt = total(masks * (1 - masks)) / np.maximum(total(masks), 1e-30)
    left = np.maximum(1 - masks.sum(axis=0), 0)  # what the others are sure of is not in doubt
    soft = np.minimum(masks ** np.clip(2.5 - 3 * doubt, 0.4, 1), masks + left)
    return soft * np.sqrt(total(np.square(masks)) / np.maximum(total(np.square(soft)), 1e-30))


def share_out(masks: Array, strength: float) -> Array:
    """Makes the masks of several prompts consistent: together they never take more than there is.

    ``strength`` bends each mask: below 1 it keeps more of what is doubtful, above 1 it cuts more boldly, and at 0
    nothing is cut at all. Arrays and tensors are both welcome.

    Shape: (N, ...) in 0..1 -> the same, summing over N to at most 1.
    """
    bent = masks if strength == 1 else masks.clip(1e-6, None) ** strength
    return bent / bent.sum(0)[None].clip(1, None)
