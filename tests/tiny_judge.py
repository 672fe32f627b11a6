"""Judges to test with: Judge nano with random weights, and one whose opinion is simple."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from judge.network import JudgeNetwork
from judge.types import Judge, Judgement
from sam_audio.errors import AudioReadError
from sam_audio.training.recipes.judge import export_weights


def save(path: Path) -> Path:
    """A checkpoint of Judge nano that has learned nothing."""
    torch.manual_seed(0)
    export_weights(JudgeNetwork(), path)
    return path


class FakeJudge(Judge):
    """Finds stems as good as they are loud against the mixture, and present what is not named "absent ..."."""

    name = "fake"
    window_s = 1.0

    def __init__(
        self,
        overall: Callable[[float], float] = lambda share: 1 + 4 * share,
        sample_rate: int = 48_000,
        fails: str | None = None,
    ) -> None:
        self.overall, self.sample_rate, self.fails = overall, sample_rate, fails
        self.heard: list[tuple[int, list]] = []  # samples and prompts of every window

    def judge(self, mixture, stems, prompts):
        if self.fails:
            raise AudioReadError(self.fails)
        self.heard.append((len(mixture), list(prompts)))
        power = float(np.square(mixture, dtype=np.float64).sum())
        judgements = []
        for stem, prompt in zip(stems, prompts, strict=True):
            assert stem.shape == mixture.shape and stem.dtype == np.float32
            share = np.sqrt(float(np.square(stem, dtype=np.float64).sum()) / max(power, 1e-12))
            present = None if not isinstance(prompt, str) else 0.1 if prompt.startswith("absent") else 0.9
            judgements.append(Judgement(self.overall(share), 2.0, 3.0, 4.0, present))
        return judgements
