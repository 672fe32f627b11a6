"""The published Judge with upstream's call shapes: `judge.official`, and files beside samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from judge import official
from judge.official import SAMAudioJudgeModel
from peav.official.processing import Inputs
from sam_audio.errors import PromptError
from sam_audio.separator.official.reading import listed, mono

__all__ = ["SAMAudioJudgeModel", "SAMAudioJudgeProcessor"]


class SAMAudioJudgeProcessor(official.SAMAudioJudgeProcessor):
    """As `judge.official.SAMAudioJudgeProcessor`; sounds may be files, too, which are brought to the Judge's rate, and
    a single text or sound needs no list.

    Without ``sampling_rate`` samples are taken to be at the Judge's own rate, as upstream takes them.
    """

    def __call__(
        self,
        text: str | Sequence[str],
        input_audio: Any,
        separated_audio: Any,
        sampling_rate: int | None = None,
        return_tensors: str | None = "pt",
        padding: bool | str = True,
    ) -> Inputs:
        """As of the base class, with two arguments of transformers' processors.

        Args:
            return_tensors: "pt", torch's, are the only ones there are.
            padding: always up to the longest sound: True or "longest".

        Raises:
            PromptError: texts are missing, or tensors or padding of another kind are asked for.
            AudioReadError: a sound cannot be used.
        """
        if return_tensors not in (None, "pt"):
            raise PromptError(
                f"there are no tensors of the kind {return_tensors!r} here: use return_tensors='pt'"
            )
        if padding not in (True, "longest"):
            raise PromptError(f"padding={padding!r} makes no batch: use padding=True")
        return super().__call__(listed(text), listed(input_audio), listed(separated_audio), sampling_rate)

    def sounds(self, what: str, given: Sequence[Any]) -> Sequence[Any]:
        return super().sounds(what, [mono(sound, self.sample_rate) for sound in given])

    def hear(self, waveforms: Sequence[Any], sampling_rate: int | None) -> dict[str, Tensor]:
        return super().hear(waveforms, self.sample_rate if sampling_rate is None else sampling_rate)
