"""Several ways to separate one recording, of which the Judge keeps the best for each stem.

Candidates are the variants that a model declares: of the official ones the noise that they start from. Nano declares
none: among other strengths, speeds and shifts no judge chose better than the first (docs/experiments.md).

The recording is read more than once. First every candidate is separated and judged window by window, and only the
running means are kept; then what was chosen is separated again, this time into files. Keeping all candidates until
the Judge has heard the end would need memory or disk for K times the stems, which for hours of sound is out of the
question.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from judge.rank import Ranker
from judge.types import Judge, Judgement, StemPrompt
from sam_audio.errors import UserError
from sam_audio.extending.hookspecs import PostProcessor
from sam_audio.report import Rated
from sam_audio.selection.judging import StemJudge, judge_prompt
from sam_audio.separation import Readable, run
from sam_audio.separator.base import Beside, Picked, SeparationModel, SeparationStream, Variant
from sam_audio.sinks import Told
from sam_audio.types import Condition, Progress, Samples, Span


def candidates(model: SeparationModel, n: int) -> list[Variant]:
    """``n`` ways to separate with a model, the first of them as it does by itself.

    Raises:
        UserError: it has not that many.
    """
    ways = model.variants(max(n, 2))
    if n > 1 == len(ways):
        raise UserError(f"{model.name} separates in one way only: ask for one candidate")
    if not 1 <= n <= len(ways):
        raise UserError(f"{n} candidates cannot be made: use 1 to {len(ways)}")
    return ways[:n]


# ---- choosing ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """The best candidate of each stem, of a model whose stream :meth:`open` starts.

    The stems still leave a residual that makes up the mixture. Since each may come from another candidate, two of
    them can claim a little of the same sound, which the residual then lacks.

    Args:
        ways: K candidates.
        chosen: index of one for each of N stems.
        rated: for each stem all candidates, in order.
    """

    ways: Sequence[Variant]
    chosen: Sequence[int]
    rated: list[list[Rated]]

    def open(self, conditions: list[Condition], channels: int, strength: float = 1.0) -> SeparationStream:
        """Starts on a recording; the conditions are the N that were chosen for. Only candidates that won run."""
        used = sorted(set(self.chosen))
        streams = [self.ways[k].model.open(conditions, channels, strength) for k in used]
        stream = streams[0] if len(streams) == 1 else Beside(streams)
        n = len(conditions)
        return Picked(stream, [used.index(k) * n + row for row, k in enumerate(self.chosen)])


def choose(
    ways: Sequence[Variant],
    conditions: list[Condition],
    recording: Readable,
    judge: Judge | None,
    *,
    strength: float = 1.0,
    ranker: Ranker | None = None,
    post: Sequence[PostProcessor] = (),
    progress: Progress | None = None,
) -> Choice:
    """Separates a recording in K ways, and chooses one for each of N stems.

    Args:
        ways: the candidates.
        conditions: N prompts; a stem that cannot be judged, being known by its spans only, gets the first candidate.
        recording: is read once for every candidate.
        judge: its overall score decides, unless there is a ranker; one of the two there must be.
        strength: how boldly to cut.
        ranker: decides instead; it scores windows of a candidate, and the scores are averaged.
        post: changes to the stems on their way out.
        progress: called after each block; the last part is left to whoever separates with the choice.

    Raises:
        UserError: there is nothing that could choose.
    """
    if judge is None and ranker is None:
        raise UserError(
            "candidates are chosen by a judge, and there is none: name a ranker, or ask for one candidate"
        )
    judged: list[Sequence[Judgement | None]] = []  # (K, N)
    scored: list[list[float | None]] = []
    for done, way in enumerate(ways):
        listeners = [] if judge is None else [StemJudge(judge, conditions)]
        if ranker is not None:
            listeners.append(StemJudge(_RankerAsJudge(ranker, judge, conditions), conditions))
        told = share_of(progress, done, len(ways) + 1)
        run(
            way.model,
            conditions,
            recording,
            [*listeners, *([] if told is None else [Told(told, recording.frames)])],
            strength=strength,
            post=post,
        )
        answers = [listener.finish() for listener in listeners]
        judged.append([None] * len(conditions) if judge is None else answers[0])
        scored.append([None if answer is None else answer.overall for answer in answers[-1]])
    chosen = [_best([scores[row] for scores in scored]) for row in range(len(conditions))]
    rated = [
        [Rated(way.label, scored[k][row], judged[k][row], k == best) for k, way in enumerate(ways)]
        for row, best in enumerate(chosen)
    ]
    return Choice(ways, chosen, rated)


def share_of(progress: Progress | None, part: int, parts: int) -> Progress | None:
    """The progress of one of several passes over the recording, as part of the whole."""
    if progress is None:
        return None

    def tell(done: int, frames: int | None) -> None:
        progress(done if frames is None else part * frames + done, None if frames is None else parts * frames)

    return tell


def _best(scores: Sequence[float | None]) -> int:
    """Index of the highest score; the first where there is none.

    >>> _best([None, 2.0, 3.0, 3.0]), _best([None, None])
    (2, 0)
    """
    known = [-math.inf if score is None or math.isnan(score) else score for score in scores]
    return known.index(max(known))


class _RankerAsJudge(Judge):
    """A ranker as a judge whose overall score is the ranker's; hears the windows of one recording in order."""

    name = "ranker"

    def __init__(self, ranker: Ranker, judge: Judge | None, conditions: Sequence[Condition]) -> None:
        self.sample_rate, self.vector_dim = ranker.sample_rate, ranker.vector_dim
        self.window_s = Judge.window_s if judge is None else judge.window_s
        self._ranker = ranker
        asked = [c for c in conditions if judge_prompt(self.vector_dim, c) is not None]
        self._spans = [[a.span for a in c.anchors if a.present] for c in asked]
        self._start_s = 0.0

    def judge(
        self, mixture: Samples, stems: Sequence[Samples], prompts: Sequence[StemPrompt]
    ) -> list[Judgement]:
        """Shapes: as of `Judge.judge`."""
        start_s, self._start_s = self._start_s, self._start_s + len(mixture) / self.sample_rate
        scores = [
            self._ranker.rank([stem], mixture, prompt, _within(spans, start_s, self._start_s) or None)[0]
            for stem, prompt, spans in zip(stems, prompts, self._spans, strict=True)
        ]
        return [Judgement(*[float(score)] * 4) for score in scores]


def _within(spans: Sequence[Span], start_s: float, end_s: float) -> list[Span]:
    """What of the spans lies in a window, from its start."""
    return [
        Span(max(span.start_s, start_s) - start_s, min(span.end_s, end_s) - start_s)
        for span in spans
        if span.start_s < end_s and span.end_s > start_s
    ]
