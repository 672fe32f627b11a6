"""Judging what streams by: window after window, in constant memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from judge.types import AXES, Judgement, JudgeWindow
from sam_audio.types import Samples

SILENT_RMS = 1e-5  # -100 dB of full scale: nothing that anybody hears
LEAST_S = 1.0  # of a last window; less says little
_UNHEARD = 1e-6  # weight of a silent second: it counts only where there is nothing else


class RunningJudgement:
    """What a judge makes of N stems of one recording that comes in blocks of any size.

    Scores are means over windows, weighted by their length; windows in which the mixture is silent do not count
    beside others. ``present`` is that of the surest window.

    Args:
        judge_window: judges one window.
        n_stems: N.
        window: samples judged at once.
        least: a rest that is shorter is left out, unless it is all there is.
    """

    def __init__(self, judge_window: JudgeWindow, n_stems: int, window: int, least: int) -> None:
        self._judge_window = judge_window
        self._window, self._least = window, least
        self._held: list[Samples] = []
        self._n_held = 0
        self._weight = 0.0
        self._totals = np.zeros((n_stems, len(AXES)))
        self._present: list[float | None] = [None] * n_stems

    def push(self, sounds: Samples) -> None:
        """Takes the next samples (1 + N, n), the mixture first."""
        while sounds.shape[-1]:
            block = sounds[:, : self._window - self._n_held]
            self._held.append(block)
            self._n_held += block.shape[-1]
            sounds = sounds[:, block.shape[-1] :]
            if self._n_held == self._window:
                self._judge_held()

    def finish(self) -> list[Judgement]:
        """The judgement of each stem."""
        if self._n_held >= self._least or not self._weight:
            self._judge_held()
        means = (self._totals / self._weight).tolist()
        return [judgement(scores, present) for scores, present in zip(means, self._present, strict=True)]

    def _judge_held(self) -> None:
        nothing = np.zeros((1 + len(self._present), 0), np.float32)
        sounds = np.concatenate([nothing, *self._held], axis=-1)
        self._held, self._n_held = [], 0
        weight = max(sounds.shape[-1], 1) * (_UNHEARD if is_silent(sounds[0]) else 1.0)
        self._weight += weight
        for n, found in enumerate(self._judge_window(sounds[0], sounds[1:])):
            self._totals[n] += [weight * getattr(found, axis) for axis in AXES]
            there = [p for p in (self._present[n], found.present) if p is not None]
            self._present[n] = max(there, default=None)


def judgement(scores: Sequence[float], present: float | None) -> Judgement:
    """Of four scores in the order of `AXES`."""
    return Judgement(**dict(zip(AXES, scores, strict=True)), present=present)


def is_silent(samples: Samples) -> bool:
    """Whether nothing can be heard; samples (n,), full scale 1."""
    return float(np.square(samples, dtype=np.float64).sum()) <= SILENT_RMS**2 * samples.size
