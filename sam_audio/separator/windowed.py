"""A stream for models that separate a stretch at a time: windows that overlap by a crossfade."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from sam_audio.separator.base import SeparationStream
from sam_audio.types import Samples


class WindowedStream(SeparationStream):
    """Windows begin at the same samples wherever the input was cut.

    Args:
        n_stems: N.
        channels: C.
        window: samples that are separated at a time.
        fade: of them, that the next window shares.
    """

    def __init__(self, n_stems: int, channels: int, window: int, fade: int) -> None:
        self.n_stems, self.channels, self.window, self.fade = n_stems, channels, window, fade
        self._held = np.zeros((channels, 0), np.float32)
        self._tail: Samples | None = None  # stems of the last window's end, already faded out

    @abstractmethod
    def separated(self, mixture: Samples) -> Samples:
        """One window, the last of a recording may be shorter: (C, n) -> (N, C, n) float32."""

    def push(self, samples: Samples) -> Samples:
        self._held = np.concatenate([self._held, samples], axis=1)
        done = []
        # one sample more: the last window is known to be the last only when the input ends
        while self._held.shape[1] > self.window:
            stems = self._faded_in(self.separated(self._held[:, : self.window]))
            fade = np.linspace(1, 0, self.fade, dtype=np.float32)
            self._tail = stems[..., -self.fade :] * fade
            done.append(stems[..., : -self.fade])
            self._held = self._held[:, self.window - self.fade :]
        return np.concatenate(done, axis=-1) if done else self._nothing()

    def finish(self) -> Samples:
        if not self._held.shape[1]:
            return self._nothing()
        stems = self._faded_in(self.separated(self._held))
        self._held, self._tail = self._held[:, :0], None
        return stems

    def _faded_in(self, stems: Samples) -> Samples:
        if self._tail is None:
            return stems
        n = min(self.fade, stems.shape[-1])
        stems = stems.copy()
        fade = np.linspace(0, 1, self.fade, dtype=np.float32)[:n]
        stems[..., :n] = stems[..., :n] * fade + self._tail[..., :n]
        return stems

    def _nothing(self) -> Samples:
        return np.zeros((self.n_stems, self.channels, 0), np.float32)
