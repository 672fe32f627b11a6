"""Augmentation and the mel front end of recipes, by torchaudio on the device that trains."""

from __future__ import annotations

import math

import torch
import torchaudio
from torch import Tensor, nn
from torchaudio.functional import lfilter

SPEEDS = (8, 9, 10, 11, 12)  # tenths: each has a resampling kernel of its own
RESAMPLED = 10
FLOOR = 1e-3  # of mel spectra: what is below is silence
Q = 0.7  # of the equaliser's bell


class Augment(nn.Module):
    """Plays sounds slower or faster, bends their spectrum, and changes their level; each row by numbers of its own.

    Args:
        bell_db: gain of the equaliser, up and down at most.
        gain_db: the same of the level.
    """

    def __init__(self, sample_rate: int, bell_db: float = 9.0, gain_db: float = 6.0) -> None:
        super().__init__()
        self.sample_rate, self.bell_db, self.gain_db = sample_rate, bell_db, gain_db
        # what was recorded at one rate is played at another
        self.speeds = nn.ModuleList(torchaudio.transforms.Resample(speed, RESAMPLED) for speed in SPEEDS)

    def forward(self, sounds: Tensor) -> Tensor:
        """Shape: (B, n) -> (B, n); what has become longer is cut."""
        return self.level(self.bend(self.play(sounds)))

    def play(self, sounds: Tensor) -> Tensor:
        chosen = torch.randint(len(SPEEDS), (len(sounds),)).tolist()
        out = torch.zeros_like(sounds)
        for k in sorted(set(chosen)):
            rows = [row for row, speed in enumerate(chosen) if speed == k]
            played = self.speeds[k](sounds[rows])[:, : sounds.shape[1]]
            out[rows, : played.shape[1]] = played
        return out

    def bend(self, sounds: Tensor) -> Tensor:
        """A bell of the equaliser anywhere between 100 Hz and a third of the rate (Bristow-Johnson's cookbook)."""
        n, device = len(sounds), sounds.device
        low = torch.tensor(100.0)
        centre = low * (self.sample_rate / 3 / low) ** torch.rand(n)
        gain = 10 ** (self.bell_db * (2 * torch.rand(n) - 1) / 40)
        turn = 2 * torch.pi * centre / self.sample_rate
        width, cosine = torch.sin(turn) / (2 * Q), torch.cos(turn)
        b = torch.stack([1 + width * gain, -2 * cosine, 1 - width * gain], -1)
        a = torch.stack([1 + width / gain, -2 * cosine, 1 - width / gain], -1)
        return lfilter(sounds, a.to(device), b.to(device), clamp=False)

    def level(self, sounds: Tensor) -> Tensor:
        gain = 10 ** (self.gain_db * (2 * torch.rand(len(sounds), 1) - 1) / 20)
        return sounds * gain.to(sounds.device)


class MelFrames(nn.Module):
    """Logarithmic mel spectra, those of a frame beside each other.

    Args:
        frame: samples of a frame, a multiple of ``hops``.
        hide: how much of the bands is hidden at most while training (SpecAugment).
    """

    def __init__(self, sample_rate: int, frame: int, mels: int, hops: int = 4, hide: float = 0.1) -> None:
        super().__init__()
        self.frame, self.hops, self.width = frame, hops, hops * mels
        self.spectrum = torchaudio.transforms.MelSpectrogram(
            sample_rate, n_fft=2048, hop_length=frame // hops, n_mels=mels, f_min=40.0, power=1.0
        )
        self.bands = torchaudio.transforms.FrequencyMasking(max(1, round(hide * mels)), iid_masks=True)
        self.hide = hide

    def forward(self, sounds: Tensor) -> Tensor:
        """Shape: (B, n), n a multiple of the frame -> (B, n / frame, width)."""
        n_frames = sounds.shape[-1] // self.frame
        mel = torch.log(self.spectrum(sounds)[..., : n_frames * self.hops] + FLOOR)
        if self.training and self.hide:
            mel = self.bands(mel[:, None], math.log(FLOOR))[:, 0]
        return mel.unflatten(-1, (n_frames, self.hops)).permute(0, 2, 3, 1).flatten(2)
