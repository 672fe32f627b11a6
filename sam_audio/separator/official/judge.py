"""The published Judge with upstream's call shapes: `judge.official`, and files beside samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from judge import official
from judge.official import SAMAudioJudgeModel
from sam_audio.separator.official.batch import read_at_rate

__all__ = ["SAMAudioJudgeModel", "SAMAudioJudgeProcessor"]


class SAMAudioJudgeProcessor(official.SAMAudioJudgeProcessor):
    """As `judge.official.SAMAudioJudgeProcessor`; sounds may be files, too, which are brought to the Judge's rate.

    Without ``sampling_rate`` samples are taken to be at the Judge's own rate, as upstream takes them.
    """

    def sounds(self, what: str, given: Sequence[Any]) -> Sequence[Any]:
        if isinstance(given, list | tuple):
            given = [
                read_at_rate(sound, self.sample_rate).mean(axis=0) if isinstance(sound, str | Path) else sound
                for sound in given
            ]
        return super().sounds(what, given)

    def hear(self, waveforms: Sequence[Any], sampling_rate: int | None) -> dict[str, Tensor]:
        return super().hear(waveforms, self.sample_rate if sampling_rate is None else sampling_rate)
