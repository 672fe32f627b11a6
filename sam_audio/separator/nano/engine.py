"""The networks of nano behind one small boundary: arrays go in, arrays come out.

A window of sound is listened to once; from what was heard come masks for any prompts, when each sounds, and vectors
for whoever judges. Separator, Judge and locator know only :class:`Engine` and :class:`Heard`; what computes behind
them is its own affair.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from peav.nano.sound import FRAME, FRAME_LEVEL, STEP_FRAMES
from sam_audio.separator.nano.bands import HOP
from sam_audio.types import Samples

WEIGHTS = Path(__file__).parent.parent / "weights" / "nano-separator.safetensors"
STEP = STEP_FRAMES * FRAME // HOP  # frames of 20 ms that one step of the audio tower covers


@dataclass(frozen=True)
class Question:
    """N prompts, to be asked of one window of T frames.

    Args:
        vectors: in the joint space, (N, 384) float32; rows of prompts that have none are not looked at.
        known: which have one, (N,) bool.
        spans: where they are marked to sound and not to sound, (N, 2, T) of 0 and 1, if anything is marked.
        listen: whether the audio tower says when they sound.
        together: whether they compete with each other too, and not only with what else may sound.
    """

    vectors: Samples
    known: np.ndarray
    spans: Samples | None = None
    listen: bool = True
    together: bool = True

    def same_as(self, other: Question) -> bool:
        """Whether they are one question: a single prompt without marks, which has no others to compete with."""
        return self is other or (
            len(self.vectors) == len(other.vectors) == 1
            and self.spans is other.spans is None
            and self.listen == other.listen
            and bool(self.known.all() and other.known.all())
            and np.array_equal(self.vectors, other.vectors)
        )


class Vectors(NamedTuple):
    """What a window of T frames sounds like, whatever is asked: frames (T / 2, 384), one each 40 ms; steps
    (T / 16, 384), one each 320 ms, and how much each of them counts in the vector of a clip, scores (T / 16,)."""

    frames: Samples
    steps: Samples
    scores: Samples


class Answer(NamedTuple):
    """What is answered to a question about a window of T frames.

    masks (N, N_BANDS, T): how much of every band and frame belongs to each prompt, 0..1. when (N, T / 2): logits of
    each prompt's sounding in each frame of 40 ms; None where the network cannot tell.
    """

    masks: Samples
    when: Samples | None


class Heard(Protocol):
    """A window that was listened to."""

    @property
    def vectors(self) -> Vectors:
        """What it sounds like, whatever is asked."""
        ...

    def masks(self, question: Question) -> Samples:
        """The masks of :class:`Answer` alone, which cost less than both."""
        ...

    def answer(self, question: Question) -> Answer:
        """Masks, and when each prompt sounds."""
        ...


class Engine(Protocol):
    """The networks, loaded.

    Attributes:
        weights: of which checkpoint, if that is known.
    """

    weights: Path | None

    def listen(self, sound: Samples, energies: Samples) -> Heard:
        """Listens to one window.

        Args:
            sound: (C, n) at 48 kHz, at least T * HOP samples; what is missing is silence.
            energies: of its bands, (N_BANDS, T).
        """
        ...

    def resemblance(self, sounds: Samples, words: Samples, kind: int = FRAME_LEVEL) -> Samples:
        """Logits of how much sounds are what words say: (..., 384) and (N, 384) -> (N, ...); ``kind`` is CLIP or
        FRAME_LEVEL of `peav.nano.audio`."""
        ...
