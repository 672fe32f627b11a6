"""Is a judge right? Its scores beside the truth, and beside what people say. ``sam-audio eval judge``.

Where the true sources are known, each axis is compared with a measure of the same thing (see `judge.scales`): overall
with SI-SDR, recall with how much of the target was kept, precision with SIR, faithfulness with SAR; and ``present``
with whether there was anything to find.
"""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from judge import scales
from judge.scales import Measured
from judge.types import AXES, Judge, Judgement, StemPrompt
from sam_audio.errors import MissingExtraError, UserError, needing_extras
from sam_audio.evaluation.protocols import Evaluation, Row, attempt, ensure_some
from sam_audio.separator.base import SeparationModel
from sam_audio.types import Samples

__all__ = [
    "PAIRS",
    "Item",
    "Rating",
    "Scored",
    "agreement",
    "auroc",
    "candidates_of",
    "choosing",
    "correlation",
    "evaluate",
    "evaluate_ratings",
    "measure",
    "present_auroc",
    "read_ratings",
    "read_sound",
    "score",
    "separated",
]

# axis -> the measure of `judge.scales.Measured` that it should follow
PAIRS = {"overall": "si_sdr", "recall": "kept", "precision": "sir", "faithfulness": "sar"}
LEAST_DB, MOST_DB = (
    -30.0,
    30.0,
)  # what lies beyond cannot be heard, but would decide over a Pearson correlation
_COLUMNS = ("mixture", "separated", "prompt")
_FEWEST = 3  # pairs that a correlation is worth anything of
_FRAME_S = 0.04  # by which separations may be longer or shorter


@dataclass(frozen=True)
class Item:
    """A separation whose true source is known. All (n,) float32 at the judge's rate.

    Args:
        target: what was asked for, as it is in the mixture; silence if it is not.
        prompt: what was asked for: words, or a vector that the judge understands.
    """

    mixture: Samples
    stem: Samples
    target: Samples
    prompt: StemPrompt


@dataclass(frozen=True)
class Scored:
    """What a judge says, beside the truth, which is None where the target is not in the mixture."""

    judgement: Judgement
    truth: Measured | None


def measure(mixture: Samples, stem: Samples, target: Samples) -> Measured | None:
    """Measures a stem by the sources, in dB within -30..30; None if there is no target. Shapes: (n,) each.

    A silent stem kept nothing, and has neither interference nor artefacts to speak of: these are NaN.

    Raises:
        ValueError: the sounds are not of one length.

    >>> target, rest, artefact = np.eye(3, 12)
    >>> truth = measure(target + rest, 0.5 * target + 0.05 * rest + 0.05 * artefact, target)
    >>> round(truth.sir, 1), round(truth.kept, 1)
    (20.0, -6.0)
    """
    if not mixture.shape == stem.shape == target.shape or mixture.ndim != 1:
        raise ValueError(
            f"mixture, stem and target must be of one length, not {mixture.shape}, {stem.shape}, {target.shape}"
        )
    if not np.any(target):
        return None
    if not np.any(stem):
        return Measured(LEAST_DB, LEAST_DB, float("nan"), float("nan"))
    measured = scales.measure(stem, target, (mixture - target)[None])
    return Measured(*np.clip(astuple(measured), LEAST_DB, MOST_DB).tolist())


def score(judge: Judge, items: Iterable[Item]) -> list[Scored]:
    """Has every item judged, and measures it.

    Raises:
        UserError: the judge cannot take an item.
    """
    return [
        Scored(
            judge.judge(item.mixture, [item.stem], [item.prompt])[0],
            measure(item.mixture, item.stem, item.target),
        )
        for item in items
    ]


def evaluate(judge: Judge, items: Iterable[Item]) -> Evaluation:
    """A row for each axis, and one for ``present`` if the judge tells it and items differ in it.

    Raises:
        UserError: there are no items, or the judge cannot take one.
        MissingExtraError: scikit-learn is not installed.
    """
    scored = score(judge, items)
    ensure_some(len(scored), [])
    rows: list[Row] = list(agreement(scored))
    area = present_auroc(scored)
    if math.isfinite(area):
        rows.append({"score": "present", "against": "target in the mixture", "n": len(scored), "AUROC": area})
    return Evaluation(rows, [])


def separated(
    model: SeparationModel,
    bank_dir: Path,
    n: int,
    seed: int = 0,
    scenes: Sequence[str] | None = None,
) -> Iterator[Item]:
    """Separations of held-out recordings: every source of ``n`` mixtures of all kinds, or of these ``scenes``, and
    something that is not there.

    Raises:
        UserError: there is no such kind.
    """
    from sam_audio.evaluation.separation import mixtures, scenarios_of, separate_prompts

    scenarios = scenarios_of(scenes)
    for _, mixture, absent in mixtures(bank_dir, -(-n // len(scenarios)), seed=seed, scenarios=scenarios):
        sources = np.stack([s.samples for s in mixture.sources])
        mixed = sources.sum(axis=0)
        asked = [(p.label, sources[p.members].sum(axis=0)) for p in mixture.prompts if p.members]
        if absent is not None:
            asked.append((absent, np.zeros_like(mixed)))
        stems = separate_prompts(model, mixed, [label for label, _ in asked])
        for stem, (label, target) in zip(stems, asked, strict=True):
            yield Item(mixed, stem, target, label)


# ---- choosing among candidates -------------------------------------------------------------------------


def candidates_of(
    model: SeparationModel,
    bank_dir: Path,
    n: int,
    k: int,
    seed: int = 0,
    alone: bool = False,
    scenes: Sequence[str] | None = None,
) -> Iterator[list[Item]]:
    """The ``k`` candidates that `separate --candidates` would choose from, for every source of ``n`` held-out mixtures
    of all kinds, or of these ``scenes``: all asked together, or each ``alone``, in a call of its own.

    Raises:
        UserError: the model has not that many, or there is no such kind.
    """
    from sam_audio.evaluation.separation import mixtures, scenarios_of, separate_prompts
    from sam_audio.selection.candidates import candidates

    scenarios = scenarios_of(scenes)
    ways = candidates(model, k)
    for _, mixture, _ in mixtures(bank_dir, -(-n // len(scenarios)), seed=seed, scenarios=scenarios):
        sources = np.stack([s.samples for s in mixture.sources])
        mixed = sources.sum(axis=0)
        prompts = [p for p in mixture.prompts if p.members]
        for call in [[prompt] for prompt in prompts] if alone else [prompts]:
            tried = [separate_prompts(way.model, mixed, [p.label for p in call]) for way in ways]
            for row, prompt in enumerate(call):
                target = sources[prompt.members].sum(axis=0)
                yield [Item(mixed, stems[row], target, prompt.label) for stems in tried]


def choosing(judge: Judge, tried: Iterable[Sequence[Item]]) -> Evaluation:
    """SI-SDR in dB of the first candidate, of any one of them, of the one with the judge's best overall score, and of
    the truly best. Where the first is what is mostly best, as nano's is, being better than any one is not enough.

    Raises:
        UserError: there is nothing to choose from, or the judge cannot take an item.
    """
    truths, picks = [], []
    for items in tried:
        mixture, prompt = items[0].mixture, items[0].prompt
        judged = judge.judge(mixture, [item.stem for item in items], [prompt] * len(items))
        measured = [measure(mixture, item.stem, item.target) for item in items]
        if None in measured:
            continue
        truths.append([m.si_sdr for m in measured if m is not None])
        picks.append(int(np.argmax([judgement.overall for judgement in judged])))
    ensure_some(len(truths), [])
    table = np.array(truths)
    rows: list[Row] = []
    for who, values in (
        ("first candidate", table[:, 0]),
        ("any candidate", table.ravel()),
        ("the judge's choice", table[np.arange(len(table)), picks]),
        ("the best", table.max(axis=1)),
    ):
        rows.append(
            {
                "SI-SDR of": who,
                "n": len(table),
                "median": float(np.median(values)),
                "mean": float(values.mean()),
            }
        )
    return Evaluation(rows, [])


# ---- agreement -----------------------------------------------------------------------------------------


def agreement(scored: Sequence[Scored]) -> list[Row]:
    """Correlations of each axis with its measure, over the items that have it: score, against, n, Pearson, Spearman.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    return [
        _row(
            axis,
            against,
            [getattr(s.judgement, axis) for s in scored if s.truth],
            [getattr(s.truth, against) for s in scored if s.truth],
        )
        for axis, against in PAIRS.items()
    ]


def present_auroc(scored: Sequence[Scored]) -> float:
    """Area under the ROC curve of ``present``: how often it is higher where the target is there than where it is not.

    NaN if the judge does not tell, or if the items do not differ.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    return auroc(
        [(s.truth is not None, s.judgement.present) for s in scored if s.judgement.present is not None]
    )


def auroc(told: Sequence[tuple[bool, float]]) -> float:
    """Area under the ROC curve of (truth, probability); NaN if the truths do not differ.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    if len({truth for truth, _ in told}) < 2:
        return float("nan")
    try:
        from sklearn.metrics import roc_auc_score
    except ImportError:
        raise MissingExtraError("AUROC needs scikit-learn, which is not installed", "eval") from None
    truths, probabilities = zip(*told, strict=True)
    return float(roc_auc_score(truths, probabilities))


def correlation(scores: Sequence[float], truths: Sequence[float]) -> tuple[int, float, float]:
    """How many pairs are finite, and their Pearson and Spearman correlation; NaN if they are too few or all alike.

    Raises:
        MissingExtraError: scipy is not installed.

    >>> correlation([1, 2, 3, 4], [1, 10, 100, float("nan")])[::2]
    (3, 1.0)
    """
    with needing_extras("a correlation"):
        from scipy import stats
    pairs = np.array([scores, truths], np.float64)
    x, y = pairs[:, np.isfinite(pairs).all(axis=0)]
    if len(x) < _FEWEST:
        return len(x), float("nan"), float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is all alike: the answer is NaN
        return len(x), float(stats.pearsonr(x, y).statistic), float(stats.spearmanr(x, y).statistic)


def _row(axis: str, against: str, scores: Sequence[float], truths: Sequence[float]) -> Row:
    n, pearson, spearman = correlation(scores, truths)
    return {"score": axis, "against": against, "n": n, "Pearson": pearson, "Spearman": spearman}


# ---- human ratings -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rating:
    """What people say of a stem: the mean over them on each axis that they were asked about, 1..5."""

    mixture: Path
    separated: Path
    prompt: str
    scores: dict[str, float]


def read_ratings(path: str | Path) -> list[Rating]:
    """Reads a csv with the columns mixture, separated, prompt, and one or more of the axes.

    Files are looked for beside the csv. Rows of one stem, one for each rater say, are averaged; empty ratings are
    passed over, and so are other columns.

    Raises:
        UserError: it cannot be read, lacks a column, or a rating is not a number from 1 to 5.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = [column.strip().lower() for column in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{path} is not a csv file in UTF-8: save it as one") from None
    missing = [column for column in _COLUMNS if column not in columns]
    axes = [axis for axis in AXES if axis in columns]
    if missing or not axes:
        needed = f"{', '.join(_COLUMNS)} and one or more of {', '.join(AXES)}"
        raise UserError(f"{path} lacks the column {(missing or AXES)[0]}: it needs {needed}")
    votes: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for line, row in rows:
        key = tuple((row[column] or "").strip() for column in _COLUMNS)
        for column, value in zip(_COLUMNS, key, strict=True):
            if not value:
                raise UserError(f"line {line} of {path} has no {column}: fill it in")
        of_stem = votes.setdefault((key[0], key[1], key[2]), {})
        for axis in axes:
            if text := (row[axis] or "").strip():
                of_stem.setdefault(axis, []).append(_rating(text, axis, f"line {line} of {path}"))
    if not votes:
        raise UserError(f"{path} has no ratings: give it at least one row")
    return [
        Rating(
            path.parent / mixture,
            path.parent / separated,
            prompt,
            {a: float(np.mean(v)) for a, v in of.items()},
        )
        for (mixture, separated, prompt), of in votes.items()
    ]


def _rating(text: str, axis: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 1 <= value <= 5:
        raise UserError(f"{where} has {text!r} as {axis}: ratings are numbers from 1 to 5")
    return value


def read_sound(path: Path, sample_rate: int) -> Samples:
    """A whole recording (n,) as mono sound at a sample rate.

    Raises:
        AudioReadError: it cannot be read.
    """
    from sam_audio.io import read_audio
    from sam_audio.io.resample import Resampler

    samples, rate = read_audio(path)
    resampler = Resampler(rate, sample_rate, 1)
    mono = samples.mean(axis=0, keepdims=True, dtype=np.float32)
    return np.concatenate([resampler.push(mono), resampler.finish()], axis=-1)[0]


def evaluate_ratings(judge: Judge, ratings: Iterable[Rating]) -> Evaluation:
    """A row for each axis that people rated: correlations of their ratings with the judge's scores.

    Recordings that cannot be read or judged are named in the result, and are not in the figures.

    Raises:
        UserError: nothing can be read.
        MissingExtraError: scipy is not installed.
    """
    judgements: list[Judgement] = []
    rated: list[dict[str, float]] = []
    unreadable: list[str] = []
    for rating in ratings:
        judgement = attempt(partial(_judge_files, judge, rating), unreadable)
        if judgement is not None:
            judgements.append(judgement)
            rated.append(rating.scores)
    ensure_some(len(judgements), unreadable)
    rows = [
        _row(
            axis,
            "human ratings",
            [getattr(judgement, axis) for judgement in judgements],
            [scores.get(axis, float("nan")) for scores in rated],
        )
        for axis in AXES
        if any(axis in scores for scores in rated)
    ]
    return Evaluation(rows, unreadable)


def _judge_files(judge: Judge, rating: Rating) -> Judgement:
    mixture, stem = (read_sound(path, judge.sample_rate) for path in (rating.mixture, rating.separated))
    if abs(len(mixture) - len(stem)) < _FRAME_S * judge.sample_rate:
        n = min(len(mixture), len(stem))  # models that work in frames round the length up
        mixture, stem = mixture[:n], stem[:n]
    return judge.judge(mixture, [stem], [rating.prompt])[0]
