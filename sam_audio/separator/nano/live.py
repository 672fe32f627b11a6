"""Nano with a short look-ahead: a sliding window of the last seconds.

Offline the network sees windows of 15 s and both sides of every moment. Live it runs on the most recent context at
every hop, looks ahead a frame, and cross-fades the masks of one run with those of the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam_audio.errors import UserError
from sam_audio.separator.base import SeparationModel
from sam_audio.separator.nano.bands import HOP, N_FFT, SAMPLE_RATE
from sam_audio.separator.nano.masker import Window
from sam_audio.separator.nano.stream import NanoStream
from sam_audio.separator.nano.synthesis import faded
from sam_audio.types import Condition, Samples

LIVE_BLOCK = 256  # samples the separator is fed at a time when every millisecond counts


@dataclass(frozen=True)
class LiveOptions:
    """How far back and ahead to listen, in frames of 20 ms.

    Args:
        context: what the network sees at each run, 16 at least.
        hop: how often it runs.
        lookahead: frames after the one being decided; over these the masks of two runs are cross-faded.
    """

    context: int = 64
    hop: int = 4
    lookahead: int = 1

    def __post_init__(self) -> None:
        if self.hop < 1 or self.lookahead < 0 or self.context < max(16, self.hop + self.lookahead):
            raise UserError(
                f"a context of {self.context} frames, a hop of {self.hop} and a look-ahead of {self.lookahead} "
                "cannot work: use a context of 16 frames or more that holds the other two"
            )


class LiveModel(SeparationModel):
    """A nano separator that answers at once.

    Args:
        model: the nano separator.
        window: of it, makes the masks of a recording.
        options: see :class:`LiveOptions`.
    """

    sample_rate = SAMPLE_RATE
    block_samples = LIVE_BLOCK

    def __init__(
        self,
        model: SeparationModel,
        window: Callable[[list[Condition]], Window],
        options: LiveOptions | None = None,
    ) -> None:
        self.offline, self._window = model, window
        self.options = options or LiveOptions()
        self.name, self.takes = f"{model.name} (live)", model.takes

    def encode(self, texts: list[str]) -> list[Condition]:
        return self.offline.encode(texts)

    def reads(self, text: str) -> bool:
        return self.offline.reads(text)

    def meant(self, text: str) -> str | None:
        return self.offline.meant(text)

    def open(self, conditions: list[Condition], channels: int, strength: float = 1.0) -> LiveStream:
        return LiveStream(self._window(conditions), conditions, channels, strength, self.options)

    def live(self) -> LiveModel:
        return self

    def emitted(self, pushed: int) -> int:
        frames = max(0, (pushed - N_FFT // 2) // HOP + 1)
        hops = max(0, frames - self.options.lookahead) // self.options.hop
        return hops * self.options.hop * HOP - N_FFT // 2 if hops else 0


class LiveStream(NanoStream):
    """Separates one recording as it comes (see :class:`sam_audio.separator.base.SeparationStream`).

    Runs are counted from the start of the recording, so the output does not depend on the blocks.
    """

    def __init__(
        self,
        window: Window,
        conditions: list[Condition],
        channels: int,
        strength: float,
        options: LiveOptions,
    ) -> None:
        super().__init__(window, conditions, channels, strength)
        self.options = options
        self._settled = 0  # frames of self._spectrum that have become sound

    def overhear(self, engine: Any, vectors: Samples) -> None:
        """Nobody can listen along: windows slide, and no frame is heard just once."""

    def push(self, samples: Samples) -> Samples:
        self._pushed += samples.shape[-1]
        out = []
        step = self.options.hop * HOP
        for start in range(0, samples.shape[-1], step):
            self._analyse(np.ascontiguousarray(samples[:, start : start + step], np.float32))
            out += self._hops()
        return self._joined(out)

    def finish(self) -> Samples:
        if self._pushed == 0:
            return self._joined([])
        self._analyse(np.zeros((self.channels, N_FFT + HOP), np.float32))
        out = self._hops()
        rest = self._spectrum.shape[1] - self._settled
        if rest:
            out.append(self._advance(rest, 0))
        owed = self._pushed - self._emitted
        return self._joined(out)[..., :owed]

    def _hops(self) -> list[Samples]:
        out = []
        hop, lookahead = self.options.hop, self.options.lookahead
        while self._spectrum.shape[1] - self._settled >= hop + lookahead:
            out.append(self._advance(hop, lookahead))
        return out

    def _advance(self, hop: int, lookahead: int) -> Samples:
        """Runs the network on the context up to ``lookahead`` frames past the next ``hop``, which become sound."""
        forgotten = max(0, self._settled + hop + lookahead - self.options.context)
        if forgotten:
            self._forget(forgotten)
            self._settled -= forgotten
        start = self._settled
        masks = faded(self._fading, self._masks(start + hop + lookahead)[..., start:])
        self._fading = masks[..., hop:].copy() if lookahead else None
        self._settled += hop
        return self._synthesise(masks[..., :hop], start)
