"""Listening along: what a separation hears on its way, for whoever judges it."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np

from sam_audio.io.buffer import SampleQueue
from sam_audio.separator.nano.bands import N_BANDS
from sam_audio.separator.nano.engine import STEP, Heard, Question, Vectors
from sam_audio.separator.nano.synthesis import faded
from sam_audio.types import Samples


class Opinion(NamedTuple):
    """What was made of T frames: masks (P, N_BANDS, T) of prompts that do not compete with each other, logits of when
    they sound (P, T / 2), 0 throughout where the network cannot tell, and vectors."""

    masks: Samples
    when: Samples
    vectors: Vectors


class Overheard:
    """What a separation heard on its way, frame after frame, for whoever judges it.

    Args:
        vectors: of the prompts that are judged, (P, 384).
    """

    def __init__(self, vectors: Samples) -> None:
        self._lock = threading.Lock()  # who judges may do it on another thread
        self._question = alone(vectors)
        self._window: Opinion | None = None  # the newest, not settled
        self._masks = SampleQueue((len(vectors), N_BANDS))
        self._when = SampleQueue((len(vectors),))
        self._frames, self._steps, self._scores = (SampleQueue(shape) for shape in ((384,), (384,), ()))

    def hear(self, heard: Heard) -> None:
        """The next window."""
        before = None if self._window is None else self._window.masks
        self._window = opinion(heard, self._question)
        faded(before, self._window.masks)

    def settle(self, n_frames: int, last: bool) -> None:
        """The first frames of the window will not change; the others overlap with the next window."""
        assert self._window is not None
        masks, when, (frames, steps, scores) = self._window
        with self._lock:
            self._masks.put(masks[..., :n_frames])
            self._when.put(when if last else when[:, : n_frames // 2])
            self._frames.put(frames[: len(frames) if last else n_frames // 2].T)
            self._steps.put(steps[: len(steps) if last else n_frames // STEP].T)
            self._scores.put(scores[: len(scores) if last else n_frames // STEP])
        self._window = Opinion(masks[..., n_frames:], when[:, n_frames // 2 :], self._window.vectors)

    def take(self, n_frames: int) -> Opinion:
        """Of the next T frames; if they are no whole steps of the tower, they are the last."""
        n_steps = -(-n_frames // STEP)
        with self._lock:
            vectors = (
                self._frames.take(n_frames // 2).T,
                self._steps.take(n_steps).T,
                self._scores.take(n_steps),
            )
            when = self._when.take(n_frames // 2)
            return Opinion(self._masks.take(n_frames), when, Vectors(*vectors))


def alone(vectors: Samples) -> Question:
    """Asks for sounds with these vectors (P, 384) as if each were asked for by itself."""
    return Question(np.asarray(vectors, np.float32), np.ones(len(vectors), bool), together=False)


def opinion(heard: Heard, question: Question) -> Opinion:
    """Of a whole window."""
    masks, when = heard.answer(question)
    if when is None:
        when = np.zeros((len(masks), masks.shape[-1] // 2), np.float32)
    return Opinion(masks, when, heard.vectors)
