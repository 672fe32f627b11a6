"""Judges at work: which one, on stems that stream by, and on files.

"nano" is Judge nano; a .safetensors file, or "nano:" and a model on the hub, is another of its kind; anything else is
the published Judge, by hub id or folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from judge.types import AXES, Judge, Judgement, JudgeWindow, StemPrompt
from judge.windows import LEAST_S, RunningJudgement
from sam_audio.errors import AudioReadError, UserError
from sam_audio.io.resample import Resampler
from sam_audio.separation import Sink
from sam_audio.separator.base import SeparationStream
from sam_audio.types import Block, Condition, Samples

if TYPE_CHECKING:
    from sam_audio.io import AudioReader

BLOCK_S = 0.5
SLACK_S = 0.2  # by which a stem may be longer or shorter: lossy formats pad, models round up to frames


def load_judge(name: str = "nano", device: str = "cpu") -> Judge:
    """A judge, ready to judge.

    Raises:
        ModelError: there is none of that name, or it cannot be loaded.
    """
    from peav.nano.sharing import embedded

    own = embedded(name, "judge")
    if own is None:
        from judge.official import OfficialJudge

        return OfficialJudge.from_pretrained(name, device=device)
    from judge.nano import NanoJudge

    return NanoJudge.from_pretrained(own)


def default_judge() -> str | None:
    """ "nano" where its weights are installed, else None."""
    from judge import WEIGHTS
    from peav import checkpoints

    return "nano" if "nano" in checkpoints.packaged("judge", WEIGHTS) else None


# ---- stems that stream by ------------------------------------------------------------------------------


def judge_prompt(vector_dim: int | None, condition: Condition) -> StemPrompt | None:
    """What to ask somebody who takes texts, and vectors of so many dimensions, about the stem of a condition; None if
    there is nothing that would be understood."""
    if condition.vector is not None and condition.vector.shape == (vector_dim,):
        return condition.vector
    return condition.text


class StemJudge(Sink):
    """Judges the stems of one recording while they are made, window by window, in constant memory.

    Args:
        judge: what judges.
        conditions: N, what the stems were meant to be.
    """

    def __init__(self, judge: Judge, conditions: Sequence[Condition]) -> None:
        prompts = [judge_prompt(judge.vector_dim, condition) for condition in conditions]
        self._asked = [prompt for prompt in prompts if prompt is not None]
        self._rows = [n for n, prompt in enumerate(prompts) if prompt is not None]
        self._n_stems = len(prompts)
        self._judge = judge
        self.name, self.sample_rate = judge.name, judge.sample_rate
        self._running = running(judge, self._asked)
        self._to_judge: Resampler | None = None
        self.problem: str | None = None

    def begin(self, stream: SeparationStream) -> None:
        """Judges by what the separation hears, if both listen alike."""
        judge_window = self._judge.along(stream, self._asked) if self._rows else None
        if judge_window is not None:
            self._running = running(self._judge, self._asked, judge_window)

    def write(self, block: Block) -> None:
        """Rows after the N are passed over; all blocks have one rate."""
        if self._rows and self.problem is None:
            if self._to_judge is None:
                self._to_judge = Resampler(block.sample_rate, self._judge.sample_rate, 1 + len(self._rows))
            mono = np.stack([_mono(block.mixture), *(_mono(block.parts[row]) for row in self._rows)])
            try:
                self._running.push(self._to_judge.push(mono))
            except UserError as error:
                self.problem = str(error)

    def finish(self) -> list[Judgement | None]:
        """One judgement a stem, None where it could not be judged; ``problem`` says why if nothing could."""
        judgements: list[Judgement | None] = [None] * self._n_stems
        if self._rows and self.problem is None:
            try:
                if self._to_judge is not None:
                    self._running.push(self._to_judge.finish())
                for row, judgement in zip(self._rows, self._running.finish(), strict=True):
                    judgements[row] = rounded(judgement)
            except UserError as error:
                self.problem = str(error)
        return judgements


def _mono(samples: Samples) -> Samples:
    """(C, n) -> (n,)"""
    return samples.mean(axis=0, dtype=np.float32)


def running(
    judge: Judge, prompts: Sequence[StemPrompt], judge_window: JudgeWindow | None = None
) -> RunningJudgement:
    """Any judge as one that takes blocks at its own rate; ``judge_window`` is how it judges, if not by itself."""
    return RunningJudgement(
        judge_window or (lambda mixture, stems: judge.judge(mixture, list(stems), prompts)),
        len(prompts),
        round(judge.window_s * judge.sample_rate),
        round(LEAST_S * judge.sample_rate),
    )


def rounded(judgement: Judgement) -> Judgement:
    """To three decimals, of which reports are made."""
    axes = {axis: round(getattr(judgement, axis), 3) for axis in AXES}
    return Judgement(**axes, present=None if judgement.present is None else round(judgement.present, 3))


# ---- files ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A stem, the mixture it was taken from, and what it was meant to be."""

    mixture: Path
    stem: Path
    prompt: str


def judge_files(judge: Judge, pair: Pair) -> Judgement:
    """Judges files of any length in constant memory; rates are converted, channels mixed down.

    Lengths may differ by SLACK_S: what only one of the two has is left out.

    Raises:
        AudioReadError: a file cannot be read, or they do not belong together.
    """
    from sam_audio.io import open_audio

    run = running(judge, [pair.prompt])
    n_samples = np.zeros(2, int)
    with open_audio(pair.mixture) as mixture, open_audio(pair.stem) as stem:
        told = [r.frames / r.sample_rate for r in (mixture, stem) if r.frames is not None]
        if len(told) == 2:
            _check_lengths(pair, *told)  # before the work
        blocks = (_mono_blocks(reader, judge.sample_rate) for reader in (mixture, stem))
        for pieces in zip_longest(*blocks, fillvalue=np.zeros(0, np.float32)):
            n_samples += [len(piece) for piece in pieces]
            common = min(map(len, pieces))
            run.push(np.stack([piece[:common] for piece in pieces]))
    _check_lengths(pair, *(n_samples / judge.sample_rate).tolist())  # headers can err
    return rounded(run.finish()[0])


def _check_lengths(pair: Pair, mixture_s: float, stem_s: float) -> None:
    if abs(mixture_s - stem_s) > SLACK_S:
        raise AudioReadError(
            f"{pair.stem} lasts {stem_s:.2f} s and {pair.mixture} {mixture_s:.2f} s: "
            "judge a stem with the mixture that it was taken from, both from the same start"
        )


def _mono_blocks(reader: AudioReader, sample_rate: int) -> Iterator[Samples]:
    """A recording as mono blocks (n,) at another rate, all of one length but the last."""
    resampler = Resampler(reader.sample_rate, sample_rate, 1)
    size = round(BLOCK_S * sample_rate)
    held = np.zeros(0, np.float32)

    def cut(more: Samples) -> Iterator[Samples]:
        nonlocal held
        held = np.concatenate([held, more[0]])
        while len(held) >= size:
            yield held[:size]
            held = held[size:]

    for block in reader.blocks(max(1, round(BLOCK_S * reader.sample_rate))):
        yield from cut(resampler.push(block.mean(axis=0, keepdims=True, dtype=np.float32)))
    yield from cut(resampler.finish())
    yield held
