"""Separates one recording as it comes: window after window, cross-faded, in constant memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from sam_audio.separator.base import SeparationStream
from sam_audio.separator.nano.bands import HOP, N_BINS, N_FFT, SAMPLE_RATE
from sam_audio.separator.nano.masker import Window
from sam_audio.separator.nano.overhearing import Overheard
from sam_audio.separator.nano.synthesis import OverlapAdd, Spectrum, faded, share_out, spectra, to_bins
from sam_audio.types import Condition, Grid, Samples

# The network sees windows of 15.4 s that overlap by 2.6 s. The grid is fixed to the recording's start, masks of
# neighbouring windows are cross-faded, and synthesis is one overlap-add over the whole recording: no seams.
WINDOW_FRAMES = 768
OVERLAP_FRAMES = 128
SYNTHESIS_FRAMES = 64  # frames turned into sound at once; bounds memory with many stems and channels


class NanoStream(SeparationStream):
    """Separates one recording (see :class:`sam_audio.separator.base.SeparationStream`).

    Args:
        window: makes the masks of each window.
        conditions: N prompts.
        channels: C.
        strength: how boldly to cut.
    """

    def __init__(
        self, window: Window, conditions: list[Condition], channels: int, strength: float = 1.0
    ) -> None:
        self.conditions = conditions
        self.strength = strength
        self.channels = channels
        self._window = window
        self._has_priors = any(condition.masks for condition in conditions)
        # frame t is centred on sample t * HOP, so the first one starts half a window before the recording
        self._samples = np.zeros((channels, N_FFT // 2), np.float32)
        self._spectrum = np.zeros((channels, 0, N_BINS), np.complex64)
        self._sound = np.zeros((channels, 0), np.float32)  # of self._spectrum, for the audio tower
        self._first_frame = 0  # of self._spectrum, counted from the recording's start
        self._fading: Samples | None = None  # masks of the window before, where it overlaps with the next
        self._synthesis = OverlapAdd()
        self._pushed = 0
        self._emitted = 0

    def overhear(self, engine: Any, vectors: Samples) -> Overheard | None:
        # Judges judge the mean of the channels. Of two channels more is heard than of their mean, which makes the
        # scores others, and no worse (docs/architecture.md); of more nobody has measured it.
        return self._window.overhear(engine, vectors) if self.channels <= 2 else None

    def push(self, samples: Samples) -> Samples:
        self._pushed += samples.shape[-1]
        out = []
        step = WINDOW_FRAMES * HOP  # however much is pushed at once, the spectrogram of one window is held
        for start in range(0, samples.shape[-1], step):
            self._analyse(np.ascontiguousarray(samples[:, start : start + step], np.float32))
            while self._spectrum.shape[1] >= WINDOW_FRAMES:
                out.append(self._separate_window(WINDOW_FRAMES, last=False))
        return self._joined(out)

    def finish(self) -> Samples:
        if self._pushed == 0:
            return self._joined([])
        # zeros after the end, until every sample has all the frames that touch it
        self._analyse(np.zeros((self.channels, N_FFT + HOP), np.float32))
        out = []
        while self._spectrum.shape[1] > WINDOW_FRAMES:
            out.append(self._separate_window(WINDOW_FRAMES, last=False))
        out.append(self._separate_window(self._spectrum.shape[1], last=True))
        self._window.finish()
        owed = self._pushed - self._emitted
        return self._joined(out)[..., :owed]

    def _joined(self, blocks: list[Samples]) -> Samples:
        if not blocks:
            return np.zeros((len(self.conditions), self.channels, 0), np.float32)
        joined = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=-1)
        self._emitted += joined.shape[-1]
        return joined

    def _analyse(self, samples: Samples) -> None:
        """Appends all frames that the new samples complete."""
        self._sound = np.concatenate([self._sound, samples], axis=-1)
        self._samples = np.concatenate([self._samples, samples], axis=-1)
        if self._samples.shape[-1] < N_FFT:
            return
        more = spectra(self._samples)
        self._spectrum = np.concatenate([self._spectrum, more], axis=1)
        self._samples = self._samples[:, more.shape[1] * HOP :].copy()

    def _separate_window(self, n_frames: int, last: bool) -> Samples:
        """Runs the network on the next window; returns the sound of the frames that are now settled."""
        masks = faded(self._fading, self._masks(n_frames))
        settled = n_frames if last else n_frames - OVERLAP_FRAMES
        self._fading = None if last else masks[..., settled:].copy()
        self._window.settle(settled, last)
        blocks = []
        for start in range(0, settled, SYNTHESIS_FRAMES):
            stop = min(start + SYNTHESIS_FRAMES, settled)
            blocks.append(self._synthesise(masks[..., start:stop], start))
        self._forget(settled)
        return np.concatenate(blocks, axis=-1)

    def _masks(self, n_frames: int) -> Samples:
        """Masks of all prompts in the next frames, (N, N_BANDS, T)."""
        return self._window.masks(self._sound, self._spectrum[:, :n_frames], self._first_frame)

    def _synthesise(self, masks: Samples, start: int) -> Samples:
        """The sound that masks (N, N_BANDS, t) leave of the frames from ``start`` on, (N, C, t * HOP)."""
        spectrum = self._spectrum[:, start : start + masks.shape[-1]]
        return self._synthesis.push(self._gains(masks, spectrum, self._first_frame + start) * spectrum)

    def _gains(self, masks: Samples, spectrum: Spectrum, first_frame: int) -> Samples:
        """Shapes: masks (N, N_BANDS, t), spectrum (C, t, N_BINS) -> (N, C or 1, t, N_BINS)."""
        if not self._has_priors:
            return to_bins(share_out(masks, self.strength))[:, None]
        grid = Grid(SAMPLE_RATE, HOP, N_BINS, first_frame, masks.shape[-1])
        gains = to_bins(masks)[:, None].repeat(self.channels, axis=1)
        for gain, condition in zip(gains, self.conditions, strict=True):
            for prior in condition.masks:
                gain *= np.swapaxes(prior.gains(np.swapaxes(spectrum, 1, 2), grid), 1, 2).clip(0, 1)
        return share_out(gains, self.strength)

    def _forget(self, n_frames: int) -> None:
        """Lets go of the first frames that are held."""
        self._spectrum = self._spectrum[:, n_frames:].copy()
        self._sound = self._sound[:, n_frames * HOP :].copy()
        self._first_frame += n_frames


def emitted(pushed: int) -> int:
    """How many samples of a stem are out after ``pushed`` went in."""
    frames = max(0, (pushed + N_FFT // 2 - N_FFT) // HOP + 1)
    if frames < WINDOW_FRAMES:
        return 0
    step = WINDOW_FRAMES - OVERLAP_FRAMES
    return ((frames - WINDOW_FRAMES) // step + 1) * step * HOP - N_FFT // 2
