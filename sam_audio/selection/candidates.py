"""Several ways to separate one recording, of which the Judge keeps the best for each stem.

Candidates differ by the variants that a model declares (nano: with and without predicted spans; official models:
the noise they start from), by how boldly they cut, and by small shifts in time. Those that differ by strength only
come from one pass of the networks.

The recording is read more than once. First every candidate is separated and judged window by window, and only the
running means are kept; then what was chosen is separated again, this time into files. Keeping all candidates until
the Judge has heard the end would need memory or disk for K times the stems, which for hours of sound is out of the
question.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product

from judge.rank import Ranker
from judge.types import Judge, Judgement, StemPrompt
from sam_audio.conditioning.priors import MovedPrior
from sam_audio.errors import UserError
from sam_audio.extending.hookspecs import PostProcessor
from sam_audio.report import Rated
from sam_audio.selection.judging import StemJudge, judge_prompt
from sam_audio.separation import Readable, run
from sam_audio.separator.base import Beside, Picked, SeparationModel, SeparationStream, Shifted
from sam_audio.sinks import Told
from sam_audio.types import Anchor, Condition, Progress, Samples, Span

STRENGTHS = (1.0, 0.7, 1.4)  # times the strength asked for
MAX_STRENGTH = 2.0
SHIFTS_S = (0.0, 0.010, 0.005, 0.015)  # within the 20 ms from one frame of nano to the next


@dataclass(frozen=True)
class Pass:
    """One run of a model's networks over a recording.

    Args:
        label: of the variant, for reports.
        model: what separates.
        shift_s: by how much the recording is delayed for the model, and its stems brought forward again.
    """

    label: str
    model: SeparationModel
    shift_s: float = 0.0

    def open(
        self, conditions: list[Condition], channels: int, strengths: Sequence[float]
    ) -> SeparationStream:
        """Starts on a recording with S strengths: a stream of S * N stems."""
        if not self.shift_s:
            return self.model.open_bent(conditions, channels, strengths)
        later = [_later(condition, self.shift_s) for condition in conditions]
        n_samples = round(self.shift_s * self.model.sample_rate)
        return Shifted(self.model.open_bent(later, channels, strengths), channels, n_samples)


@dataclass(frozen=True)
class Candidate:
    """One way to separate: a pass, and how boldly its masks are bent.

    Args:
        run: of the networks.
        boldness: times the strength.
    """

    run: Pass
    boldness: float = 1.0

    @property
    def label(self) -> str:
        """For reports, ``strength x0.7, shift 10 ms``."""
        bends, shift_s = self.run.model.bends, self.run.shift_s
        parts = [
            f"strength x{self.boldness:g}" if bends else "",
            self.run.label,
            f"shift {shift_s * 1000:g} ms" if shift_s else "",
        ]
        return ", ".join(filter(None, parts))

    def strength(self, asked: float) -> float:
        return min(asked * self.boldness, MAX_STRENGTH)


def candidates(model: SeparationModel, n: int) -> list[Candidate]:
    """``n`` ways to separate with a model, the first of them as it does by itself; those of one pass follow each other.

    Raises:
        UserError: it has not that many.
    """
    passes = [
        Pass(label, variant, shift_s) for shift_s, (label, variant) in product(SHIFTS_S, model.variants(n))
    ]
    strengths = STRENGTHS if model.bends else STRENGTHS[:1]
    ways = [Candidate(one, boldness) for one, boldness in product(passes, strengths)]
    if not 1 <= n <= len(ways):
        raise UserError(f"{n} candidates cannot be made: use 1 to {len(ways)}")
    return ways[:n]


def _later(condition: Condition, shift_s: float) -> Condition:
    anchors = tuple(
        Anchor(Span(a.span.start_s + shift_s, a.span.end_s + shift_s), a.present) for a in condition.anchors
    )
    masks = tuple(MovedPrior(prior, -shift_s) for prior in condition.masks)
    return replace(condition, anchors=anchors, masks=masks)


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

    ways: Sequence[Candidate]
    chosen: Sequence[int]
    rated: list[list[Rated]]

    def open(self, conditions: list[Condition], channels: int, strength: float = 1.0) -> SeparationStream:
        """Starts on a recording; the conditions are the N that were chosen for. Only passes that are needed run."""
        used = [self.ways[k] for k in sorted(set(self.chosen))]
        streams: list[SeparationStream] = []
        rows: dict[Candidate, int] = {}
        for one, some in groupby(used, lambda way: way.run):
            bent = list(some)
            first = len(rows)
            rows |= {way: first + i for i, way in enumerate(bent)}
            streams.append(one.open(conditions, channels, [way.strength(strength) for way in bent]))
        stream = streams[0] if len(streams) == 1 else Beside(streams)
        n = len(conditions)
        return Picked(stream, [rows[self.ways[k]] * n + row for row, k in enumerate(self.chosen)])


def choose(
    ways: Sequence[Candidate],
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
        ways: the candidates, those of one pass beside each other; the recording is read once for every pass.
        conditions: N prompts; a stem that cannot be judged, being known by its spans only, gets the first candidate.
        recording: is read once for every pass.
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
    n, n_passes = len(conditions), passes_of(ways)
    judged: list[list[Judgement | None]] = []  # (K, N)
    scored: list[list[float | None]] = []
    for done, (one, some) in enumerate(groupby(ways, lambda way: way.run)):
        strengths = [way.strength(strength) for way in some]
        asked = conditions * len(strengths)
        listeners = [] if judge is None else [StemJudge(judge, asked)]
        if ranker is not None:
            listeners.append(StemJudge(_RankerAsJudge(ranker, judge, asked), asked))
        told = share_of(progress, done, n_passes + 1)
        run(
            one.model,
            asked,
            recording,
            [*listeners, *([] if told is None else [Told(told, recording.frames)])],
            stream=one.open(conditions, recording.channels, strengths),
            post=post,
        )
        answers = [listener.finish() for listener in listeners]
        for first in range(0, len(asked), n):
            rows = slice(first, first + n)
            judged.append([None] * n if judge is None else answers[0][rows])
            scored.append([None if answer is None else answer.overall for answer in answers[-1][rows]])
    chosen = [_best([scores[row] for scores in scored]) for row in range(n)]
    rated = [
        [Rated(way.label, scored[k][row], judged[k][row], k == best) for k, way in enumerate(ways)]
        for row, best in enumerate(chosen)
    ]
    return Choice(ways, chosen, rated)


def passes_of(ways: Sequence[Candidate]) -> int:
    """How often the networks run over a recording for these candidates."""
    return sum(1 for _ in groupby(ways, lambda way: way.run))


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
