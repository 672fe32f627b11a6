"""The published Judge with upstream's call shapes: `judge.official`, and files beside samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from judge import official
from judge.official import JudgeInputs, SAMAudioJudgeModel
from sam_audio.separator.official.batch import read_at_rate

__all__ = ["SAMAudioJudgeModel", "SAMAudioJudgeProcessor"]


class SAMAudioJudgeProcessor(official.SAMAudioJudgeProcessor):
    """As `judge.official.SAMAudioJudgeProcessor`; sounds may be files, too, which are brought to the Judge's rate."""

    def __call__(
        self,
        text: Sequence[str],
        input_audio: Sequence[Any],
        separated_audio: Sequence[Any],
        sampling_rate: int | None = None,
    ) -> JudgeInputs:
        """Makes a batch; arguments and errors as there, and AudioReadError for a file that cannot be read.

        Without ``sampling_rate`` samples are taken to be at the Judge's own rate, as upstream takes them.
        """
        return super().__call__(
            text,
            self._opened(input_audio),
            self._opened(separated_audio),
            self.sample_rate if sampling_rate is None else sampling_rate,
        )

    def _opened(self, sounds: Sequence[Any]) -> Sequence[Any]:
        if not isinstance(sounds, list | tuple):
            return sounds
        return [
            read_at_rate(sound, self.sample_rate).mean(axis=0) if isinstance(sound, str | Path) else sound
            for sound in sounds
        ]
