"""Lifts mono estimates to every channel of the mixture: soft masks on its spectrogram, its phases kept.

A codec gives back a likeness of a sound, not its samples, and this one is mono. What it tells reliably is how much of
each frequency at each moment belongs to the target; the mixture itself has everything else.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sam_audio.separator.nano.synthesis import share_out

N_FFT = 2048
HOP = N_FFT // 4
FRAMES_AT_ONCE = 64  # bounds memory with many stems and channels


class MaskLift:
    """Streams: every sample that goes in comes out once for each stem, after a delay of one frame.

    Args:
        n_stems: N.
        channels: C.
        strength: bends the masks, see `sam_audio.separator.nano.synthesis.share_out`.
    """

    def __init__(self, n_stems: int, channels: int, strength: float = 1.0):
        self.n_stems = n_stems
        self.channels = channels
        self.strength = strength
        self._window = torch.hann_window(
            N_FFT
        ).sqrt()  # for analysis and again for synthesis; the squares sum to 2
        # zeros before the start, so that the first samples are in as many frames as all others
        self._waiting = torch.zeros(channels + 2 * n_stems, N_FFT - HOP)
        self._overlap = torch.zeros(n_stems, channels, N_FFT // HOP - 1, HOP)
        self._skip = N_FFT - HOP
        self._owed = 0

    def push(self, mixture: Tensor, targets: Tensor, residuals: Tensor) -> Tensor:
        """Shapes: (C, n), twice (N, n) -> (N, C, m)."""
        self._owed += mixture.shape[-1]
        return self._advance(torch.cat([mixture, targets, residuals]))

    def finish(self) -> Tensor:
        """The samples that are still owed, (N, C, m)."""
        owed = self._owed
        return self._advance(torch.zeros(len(self._waiting), N_FFT))[..., :owed]

    def _advance(self, samples: Tensor) -> Tensor:
        self._waiting = torch.cat([self._waiting, samples], dim=-1)
        out = [torch.zeros(self.n_stems, self.channels, 0)]
        while (n_frames := min((self._waiting.shape[-1] - N_FFT) // HOP + 1, FRAMES_AT_ONCE)) > 0:
            frames = self._waiting[:, : (n_frames - 1) * HOP + N_FFT].unfold(-1, N_FFT, HOP)
            out.append(self._synthesise(torch.fft.rfft(frames * self._window)))
            self._waiting = self._waiting[:, n_frames * HOP :].clone()
        ready = torch.cat(out, dim=-1)
        skipped = min(self._skip, ready.shape[-1])
        self._skip -= skipped
        ready = ready[..., skipped:]
        self._owed -= ready.shape[-1]
        return ready

    def _synthesise(self, spectra: Tensor) -> Tensor:
        """Frames of mixture, targets and residuals (C + 2 N, t, bins) to the samples they settle, (N, C, t * HOP)."""
        mixture, targets, residuals = spectra.split([self.channels, self.n_stems, self.n_stems])
        masks = share_out(soft_masks(targets, residuals), self.strength)
        frames = torch.fft.irfft(masks[:, None] * mixture, N_FFT) * self._window / 2
        parts = frames.unflatten(-1, (N_FFT // HOP, HOP))
        n_frames = frames.shape[2]
        summed = torch.zeros(*frames.shape[:2], n_frames + N_FFT // HOP - 1, HOP)
        summed[:, :, : N_FFT // HOP - 1] = self._overlap
        for j in range(N_FFT // HOP):
            summed[:, :, j : j + n_frames] += parts[..., j, :]
        self._overlap = summed[:, :, n_frames:].clone()
        return summed[:, :, :n_frames].flatten(2)


def soft_masks(targets: Tensor, residuals: Tensor) -> Tensor:
    """The target's part of the energy of target and residual, in 0..1; 0 where both are silent."""
    target, residual = (torch.view_as_real(x).square().sum(dim=-1) for x in (targets, residuals))
    return target / (target + residual).clamp_min(torch.finfo(target.dtype).tiny)
