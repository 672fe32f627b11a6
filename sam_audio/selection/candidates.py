"""Several ways to separate one recording, of which the Judge keeps the best for each stem.

Nano gives candidates by how boldly it cuts, by whether it first listens for when the prompts sound, and by small
shifts in time; official models by the noise they start from. Each candidate is a `SeparationModel`, and so is what
is chosen: whatever separates with a model can do so with the best of several.

The recording is read more than once. First every candidate is separated and judged window by window, and only the
running means are kept; then what was chosen is separated again, this time into files. Keeping all candidates until
the Judge has heard the end would need memory or disk for K times the stems, which for hours of sound is out of the
question; and one candidate after another needs no more memory than a plain separation.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from judge.rank import Ranker
from judge.types import Judge, Judgement, Prompt
from sam_audio.conditioning.priors import MovedPrior
from sam_audio.errors import UserError
from sam_audio.pipeline import separate_blocks
from sam_audio.selection.judging import WINDOW_S, StemJudge, judge_prompt
from sam_audio.separator.base import Overhearing
from sam_audio.types import (
    Anchor,
    Condition,
    Samples,
    SeparationModel,
    SeparationStream,
    Span,
)

if TYPE_CHECKING:
    from sam_audio.separator.nano.engine import Engine
    from sam_audio.separator.nano.stream import Overheard

STRENGTHS = (1.0, 0.7, 1.4)  # times the strength asked for
MAX_STRENGTH = 2.0
SHIFTS_S = (0.0, 0.010, 0.005, 0.015)  # within the 20 ms from one frame of nano to the next

Progress = Callable[[int, "int | None"], None]  # frames done, frames in all when known


@dataclass(frozen=True)
class Recording:
    """A recording that can be read more than once.

    Args:
        blocks: gives it from its start, blocks (C, n) float32, as often as it is called.
        sample_rate: in Hz.
        channels: C.
        frames: how many there are in all; None if unknown.
    """

    blocks: Callable[[], Iterable[Samples]]
    sample_rate: int
    channels: int
    frames: int | None


@dataclass
class Candidate:
    """One way to separate, itself a `SeparationModel`.

    Args:
        label: for reports, ``strength 0.7, shift 10 ms``.
        model: what separates.
        boldness: times the strength.
        shift_s: by how much the recording is delayed for the model, and its stems brought forward again.
    """

    label: str
    model: SeparationModel
    boldness: float = 1.0
    shift_s: float = 0.0

    def __post_init__(self) -> None:
        self.name, self.sample_rate = self.model.name, self.model.sample_rate

    def encode(self, prompts: list[str]) -> list[Condition]:
        """As the model."""
        return self.model.encode(prompts)

    def open(self, conditions: list[Condition], channels: int, strength: float = 1.0) -> SeparationStream:
        """Starts on a recording."""
        strength = min(strength * self.boldness, MAX_STRENGTH)
        if not self.shift_s:
            return self.model.open(conditions, channels, strength)
        later = [_later(condition, self.shift_s) for condition in conditions]
        n_samples = round(self.shift_s * self.sample_rate)
        return _Shifted(self.model.open(later, channels, strength), channels, n_samples)


def candidates(model: SeparationModel, n: int) -> list[Candidate]:
    """``n`` ways to separate with a model, the first of them as it does by itself.

    Raises:
        UserError: it has not that many.
    """
    ways = list(_ways(model, n))
    if not 1 <= n <= len(ways):
        raise UserError(f"{n} candidates cannot be made: use 1 to {len(ways)}")
    return ways[:n]


def _ways(model: SeparationModel, n: int) -> Iterator[Candidate]:
    seeded = _seeded(model, n)
    if seeded:
        yield from seeded
        return
    models = [("", model), *_with_spans_switched(model)]
    for shift_s, (spans, variant), boldness in product(SHIFTS_S, models, STRENGTHS):
        parts = [f"strength x{boldness:g}", spans, f"shift {shift_s * 1000:g} ms" if shift_s else ""]
        yield Candidate(", ".join(filter(None, parts)), variant, boldness, shift_s)


def _seeded(model: SeparationModel, n: int) -> list[Candidate]:
    """Of an official model, one for each noise; none of other models."""
    seed = getattr(getattr(_innermost(model), "options", None), "seed", None)
    if seed is None:
        return []

    def reseeded(to: int) -> Callable[[Any], Any]:
        def change(official: Any) -> Any:
            twin = copy.copy(official)  # weights are shared
            twin.options = replace(official.options, seed=to)
            return twin

        return change

    return [Candidate(f"seed {to}", _changed(model, reseeded(to))) for to in range(seed, seed + n)]


def _with_spans_switched(model: SeparationModel) -> list[tuple[str, SeparationModel]]:
    """Nano with predicted spans if it is without, and the other way round; none of other models."""
    from sam_audio.separator.nano.model import NanoSeparator

    inner = _innermost(model)
    if not isinstance(inner, NanoSeparator):
        return []
    label = "no predicted spans" if inner.predict_spans else "predicted spans"

    def switched(nano: Any) -> Any:
        twin = copy.copy(nano)  # weights are shared
        twin.predict_spans = not nano.predict_spans
        return twin

    return [(label, _changed(model, switched))]


def _wrapped(model: Any) -> Any:
    """The model inside one that only asks it differently (`sam_audio.conditioning.encode`), None if there is none."""
    inner = getattr(model, "model", None)
    return inner if hasattr(inner, "open") and hasattr(inner, "encode") else None


def _innermost(model: Any) -> Any:
    inner = _wrapped(model)
    return model if inner is None else _innermost(inner)


def _changed(model: Any, change: Callable[[Any], Any]) -> Any:
    """The same model with its innermost one changed."""
    inner = _wrapped(model)
    if inner is None:
        return change(model)
    outer = copy.copy(model)
    outer.model = _changed(inner, change)
    return outer


class _Shifted:
    """A stream that hears the recording later."""

    def __init__(self, stream: SeparationStream, channels: int, n_samples: int) -> None:
        self._stream = stream
        self._silence = np.zeros((channels, n_samples), np.float32)
        self._owed = n_samples  # of the stems, before the recording begins

    def push(self, samples: Samples) -> Samples:
        if self._silence.shape[-1] and samples.shape[-1]:
            samples = np.concatenate([self._silence, samples], axis=-1)
            self._silence = self._silence[:, :0]
        return self._later(self._stream.push(samples))

    def finish(self) -> Samples:
        return self._later(self._stream.finish())

    def _later(self, stems: Samples) -> Samples:
        dropped = min(self._owed, stems.shape[-1])
        self._owed -= dropped
        return stems[..., dropped:]


def _later(condition: Condition, shift_s: float) -> Condition:
    anchors = tuple(
        Anchor(Span(a.span.start_s + shift_s, a.span.end_s + shift_s), a.present) for a in condition.anchors
    )
    masks = tuple(MovedPrior(prior, -shift_s) for prior in condition.masks)
    return replace(condition, anchors=anchors, masks=masks)


# ---- choosing ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rated:
    """A candidate for one stem; ``score`` is what decides, the highest is chosen."""

    candidate: str
    score: float | None
    scores: Judgement | None
    chosen: bool = False


class Choice:
    """The best candidate of each stem, itself a `SeparationModel`. Only those that were chosen are computed.

    The stems still leave a residual that makes up the mixture. Since each may come from another candidate, two of
    them can claim a little of the same sound, which the residual then lacks.

    Args:
        candidates: K of them.
        chosen: index of one for each of N stems.
    """

    def __init__(self, candidates: Sequence[Candidate], chosen: Sequence[int]) -> None:
        self.candidates, self.chosen = list(candidates), list(chosen)
        self.name, self.sample_rate = candidates[0].name, candidates[0].sample_rate

    def encode(self, prompts: list[str]) -> list[Condition]:
        """As the candidates."""
        return self.candidates[0].encode(prompts)

    def open(self, conditions: list[Condition], channels: int, strength: float = 1.0) -> SeparationStream:
        """Starts on a recording; the conditions are the N that were chosen for."""
        used = sorted(set(self.chosen))
        if len(used) == 1:
            return self.candidates[used[0]].open(conditions, channels, strength)
        streams = {k: self.candidates[k].open(conditions, channels, strength) for k in used}
        return _Picked(streams, self.chosen)


class _Picked:
    """Stems of several streams; those that are ahead wait for the others."""

    def __init__(self, streams: dict[int, SeparationStream], chosen: Sequence[int]) -> None:
        self._streams, self._chosen = streams, chosen
        self._waiting: list[Samples | None] = [None] * len(chosen)

    def push(self, samples: Samples) -> Samples:
        return self._pick({k: stream.push(samples) for k, stream in self._streams.items()})

    def finish(self) -> Samples:
        return self._pick({k: stream.finish() for k, stream in self._streams.items()})

    def overhear(self, engine: Engine, vectors: Samples) -> Overheard | None:
        """With the first of them that lets one listen along."""
        for stream in self._streams.values():
            if isinstance(stream, Overhearing):
                return stream.overhear(engine, vectors)
        return None

    def _pick(self, stems: dict[int, Samples]) -> Samples:
        rows = []
        for n, k in enumerate(self._chosen):
            before = self._waiting[n]
            rows.append(stems[k][n] if before is None else np.concatenate([before, stems[k][n]], axis=-1))
        ready = min(row.shape[-1] for row in rows)
        self._waiting = [row[:, ready:].copy() for row in rows]
        return np.stack([row[:, :ready] for row in rows])


@dataclass(frozen=True)
class Best:
    """What to separate with; for each of N stems all candidates that were tried, if any were; and what is left of
    the progress."""

    model: SeparationModel
    rated: list[list[Rated]]
    progress: Progress | None


def best_of(
    model: SeparationModel,
    n: int,
    conditions: list[Condition],
    recording: Recording,
    judge: Judge | None,
    *,
    strength: float = 1.0,
    ranker: Ranker | None = None,
    progress: Progress | None = None,
) -> Best:
    """The best of ``n`` ways to separate a recording with a model; for one, the model itself.

    Args: as of `choose`.

    Raises:
        UserError: there is no judge, or the model has not as many ways.
    """
    if n == 1:
        return Best(model, [[] for _ in conditions], progress)
    if judge is None and ranker is None:
        raise UserError(
            "candidates are chosen by a judge, and there is none: name a --ranker, or ask for one candidate"
        )
    ways = candidates(model, n)
    chosen, rated = choose(
        ways, conditions, recording, judge, strength=strength, ranker=ranker, progress=progress
    )
    return Best(chosen, rated, _share(progress, n, n + 1))


def choose(
    ways: Sequence[Candidate],
    conditions: list[Condition],
    recording: Recording,
    judge: Judge | None,
    *,
    strength: float = 1.0,
    ranker: Ranker | None = None,
    progress: Progress | None = None,
) -> tuple[Choice, list[list[Rated]]]:
    """Separates a recording in K ways, and chooses one for each of N stems.

    Args:
        ways: the candidates.
        conditions: N prompts; a stem that cannot be judged, being known by its spans only, gets the first candidate.
        recording: is read once for every candidate.
        judge: its overall score decides, unless there is a ranker; one of the two there must be.
        strength: how boldly to cut.
        ranker: decides instead; it scores windows of a candidate, and the scores are averaged.
        progress: called after each block; the last of K + 1 parts is left to whoever separates with the choice.

    Returns:
        What to separate with, and for each stem all candidates in order.
    """
    sample_rate, channels = recording.sample_rate, recording.channels
    judged: list[list[Judgement | None]] = []  # (K, N)
    scored: list[list[float | None]] = []
    for k, way in enumerate(ways):
        listeners = [] if judge is None else [StemJudge(judge, conditions)]
        if ranker is not None:
            listeners.append(StemJudge(_RankerAsJudge(ranker, judge, conditions), conditions))
        done, tell = 0, _share(progress, k, len(ways) + 1)
        blocks = recording.blocks()
        for mixture, _ in separate_blocks(
            way, conditions, blocks, sample_rate, channels, strength, judges=listeners
        ):
            done += mixture.shape[-1]
            if tell is not None:
                tell(done, recording.frames)
        answers = [listener.finish() for listener in listeners]
        judged.append([None] * len(conditions) if judge is None else answers[0])
        scored.append([None if answer is None else answer.overall for answer in answers[-1]])
    chosen = [_best([scores[n] for scores in scored]) for n in range(len(conditions))]
    rated = [
        [Rated(way.label, scored[k][n], judged[k][n], k == best) for k, way in enumerate(ways)]
        for n, best in enumerate(chosen)
    ]
    return Choice(ways, chosen), rated


def _share(progress: Progress | None, part: int, parts: int) -> Progress | None:
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


class _RankerAsJudge:
    """A ranker as a judge whose overall score is the ranker's; hears the windows of one candidate in order."""

    def __init__(self, ranker: Ranker, judge: Judge | None, conditions: Sequence[Condition]) -> None:
        self.name, self.sample_rate = "ranker", ranker.sample_rate
        self.window_s = getattr(judge, "window_s", WINDOW_S)
        self.vector_dim = getattr(ranker, "vector_dim", None)
        self._ranker = ranker
        asked = [c for c in conditions if judge_prompt(self, c) is not None]
        self._spans = [[a.span for a in c.anchors if a.present] for c in asked]
        self._start_s = 0.0

    def judge(self, mixture: Samples, stems: Sequence[Samples], prompts: Sequence[Prompt]) -> list[Judgement]:
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
