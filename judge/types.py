"""What a judge is asked, and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sam_audio.types import Samples, Span

AXES = ("overall", "recall", "precision", "faithfulness")

StemPrompt: TypeAlias = str | Samples  # a text, or a vector (D,) of the judge's joint space
Spans: TypeAlias = Sequence[Span] | None  # where a sound was said to be, if it was


@dataclass(frozen=True)
class Judgement:
    """What a judge makes of one stem. The four scores are on the 1-5 scale of the published Judge, higher is better.

    Args:
        overall: how good the separation is altogether.
        recall: how much of what was asked for is in the stem.
        precision: how little else is in it.
        faithfulness: how much it sounds as it did in the mixture.
        present: probability 0..1 that what was asked for is in the mixture at all; None if the judge cannot tell.
    """

    overall: float
    recall: float
    precision: float
    faithfulness: float
    present: float | None = None


# mixture (n,) and stems (N, n) of one window -> N judgements
JudgeWindow = Callable[[Samples, Samples], Sequence[Judgement]]


class Judge(ABC):
    """Scores stems by listening to them and to the mixture; it needs no true sources.

    Attributes:
        name: how reports call it.
        sample_rate: of everything it listens to, in Hz.
        window_s: how much it judges at once of sound that streams by.
        vector_dim: D of prompts that are vectors of its joint space; None if it takes texts only.
    """

    name: str
    sample_rate: int
    window_s: float = 7.68
    vector_dim: int | None = None

    @abstractmethod
    def judge(
        self, mixture: Samples, stems: Sequence[Samples], prompts: Sequence[StemPrompt]
    ) -> list[Judgement]:
        """One judgement for each stem.

        Args:
            mixture: (n,) float32, mono.
            stems: N of (n,).
            prompts: N, what each stem was meant to be.

        Raises:
            AudioReadError: the sounds cannot be judged, or do not belong together.
            PromptError: a prompt is of a kind that this judge does not understand, or one is missing.
        """

    def along(self, stream: Any, prompts: Sequence[StemPrompt]) -> JudgeWindow | None:
        """What judges the windows of one recording, in order and all of them, by what its separation (a
        `sam_audio.separator.base.SeparationStream`) hears; None if it has to listen for itself."""
        return None


class Ranker(ABC):
    """Scores candidates; of two, the one with the higher score is better.

    Attributes:
        sample_rate: of candidates and mixture, in Hz.
        vector_dim: D of prompts that are vectors of its own space; None if it takes texts only.
    """

    sample_rate: int
    vector_dim: int | None = None

    @abstractmethod
    def rank(
        self, candidates: Sequence[Samples], mixture: Samples, prompt: StemPrompt, spans: Spans = None
    ) -> Samples:
        """Scores (K,) float32.

        Args:
            candidates: K separations of the mixture, (n,) each.
            mixture: (n,) float32, mono.
            prompt: what was asked for: a text, or a vector of the ranker's own space.
            spans: where it was said to be, if it was.

        Raises:
            AudioReadError: the sounds do not fit the ranker or each other.
            PromptError: the ranker does not understand such a prompt.
        """
