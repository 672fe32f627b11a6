"""Measures of retrieval, classification and sound event detection.

Ties never help: a right answer that is only as good as a wrong one ranks behind it, so that a model that
gives everything the same score finds nothing. All shares are 0..1.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sam_audio.errors import MissingExtraError

if TYPE_CHECKING:
    from sam_audio.evaluation.items import LabelledEvent

__all__ = [
    "PSDS1",
    "PSDS2",
    "DetectionF1",
    "average_precision",
    "event_f1",
    "frame_auroc",
    "merged",
    "psds",
    "ranks",
    "recall_at",
    "segment_f1",
]

# The two scenarios of DCASE task 4 since 2021: react fast; do not confuse classes.
PSDS1: dict[str, float] = {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "alpha_ct": 0.0, "alpha_st": 1.0}
PSDS2: dict[str, float] = {
    "dtc_threshold": 0.1,
    "gtc_threshold": 0.1,
    "cttc_threshold": 0.3,
    "alpha_ct": 0.5,
    "alpha_st": 1.0,
}
_MAX_EFPR = 100.0  # false positives an hour up to which PSDS looks

Clips = Mapping[str, Sequence["LabelledEvent"]]  # clip -> events


def ranks(scores: np.ndarray, positives: Sequence[Sequence[int]]) -> np.ndarray:
    """How many candidates stand before the best right one, and 1; ties count as before it.

    Args:
        scores: (Q, C), higher is better.
        positives: for each query the candidates that are right; one at least.

    Returns:
        (Q,) integers from 1.

    >>> ranks(np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.5]]), [[1], [1]])
    array([2, 3])
    >>> ranks(np.array([[0.9, 0.5, 0.1]]), [[0, 1]])  # the other right answer is not in the way
    array([1])
    """
    best = np.array([row[list(right)].max() for row, right in zip(scores, positives, strict=True)])
    before = (scores >= best[:, None]).sum(axis=1)
    right_before = [
        (row[list(right)] >= level).sum() for row, right, level in zip(scores, positives, best, strict=True)
    ]
    return before - np.array(right_before, dtype=before.dtype) + 1


def recall_at(k: int, ranks: np.ndarray) -> float:
    """Share of queries with a right answer among the first `k`; (Q,) ranks from 1."""
    return float((ranks <= k).mean())


def average_precision(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Area under each class's precision-recall curve; (N, C) scores and booleans -> (C,).

    NaN for a class without a relevant item.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.metrics import average_precision_score
    except ImportError:
        raise MissingExtraError("mAP needs scikit-learn, which is not installed", "eval") from None
    return np.array(
        [
            average_precision_score(truth, score) if truth.any() else np.nan
            for truth, score in zip(relevant.T, scores.T, strict=True)
        ]
    )


@dataclass(frozen=True)
class DetectionF1:
    """F1 over all events, the mean over the classes that occur, and each class.

    NaN where nothing occurs and nothing was detected, and for a class that does not occur.
    """

    micro: float
    macro: float
    per_class: dict[str, float]


def segment_f1(
    references: Clips,
    estimates: Clips,
    durations_s: Mapping[str, float],
    labels: Sequence[str],
    segment_s: float = 1.0,
) -> DetectionF1:
    """Is each label right in each second? A label counts in every segment that it touches.

    Args:
        references: clip -> what is heard.
        estimates: clip -> what was detected; the same clips.
        durations_s: clip -> its length.
        labels: every label that either of them has.

    Raises:
        MissingExtraError: sed_eval is not installed.

    Mesaros, Heittola, Virtanen: Metrics for polyphonic sound event detection, 2016.
    """
    measure = _sed_eval().SegmentBasedMetrics(list(labels), time_resolution=segment_s)
    measure.empty_system_output_handling = "zero_score"  # its constructor does not take it
    for clip, events in references.items():
        measure.evaluate(_rows(events), _rows(estimates[clip]), evaluated_length_seconds=durations_s[clip])
    return _f1(measure)


def event_f1(
    references: Clips,
    estimates: Clips,
    labels: Sequence[str],
    collar_s: float = 0.2,
    share_of_length: float = 0.2,
) -> DetectionF1:
    """Is each event there, with its onset within the collar and its offset within the larger of the collar
    and a share of the event's length? The arguments are those of `segment_f1`.

    Raises:
        MissingExtraError: sed_eval is not installed.
    """
    measure = _sed_eval().EventBasedMetrics(
        list(labels),
        t_collar=collar_s,
        percentage_of_length=share_of_length,
        empty_system_output_handling="zero_score",
    )
    for clip, events in references.items():
        measure.evaluate(_rows(events), _rows(estimates[clip]))
    return _f1(measure)


def psds(
    scores: Mapping[str, np.ndarray],
    frame_rate: float,
    references: Clips,
    durations_s: Mapping[str, float],
    labels: Sequence[str],
    scenario: Mapping[str, float] = PSDS1,
) -> tuple[float, dict[str, float]]:
    """Polyphonic sound detection score over all thresholds at once: overall, and of each class.

    Classes that do not occur are left out, as the score is not defined for them; with a single class there
    are no others to confuse it with.

    Args:
        scores: clip -> (N, frames), N the labels.
        frame_rate: frames per second.
        references: clip -> what is heard; events of one label that touch count as one.
        durations_s: clip -> its length.
        labels: N.
        scenario: `PSDS1` or `PSDS2`.

    Raises:
        MissingExtraError: sed_scores_eval is not installed.

    Bilen et al.: A framework for the robust evaluation of sound event detection, 2020.
    Ebbers, Serizel, Haeb-Umbach: Threshold-independent evaluation of sound event detection scores, 2022.
    """
    _, intersection = _sed_scores_eval()
    tables, truth, kept = _tables(scores, frame_rate, references, labels)
    if not kept:
        return float("nan"), {}
    if len(kept) == 1:
        scenario = {**scenario, "alpha_ct": 0.0}
        scenario.pop("cttc_threshold", None)
    score, per_class, *_ = intersection.psds(
        tables, truth, {clip: durations_s[clip] for clip in scores}, max_efpr=_MAX_EFPR, **scenario
    )
    return float(score), {label: float(value) for label, value in per_class.items()}


def frame_auroc(
    scores: Mapping[str, np.ndarray],
    frame_rate: float,
    references: Clips,
    durations_s: Mapping[str, float],
    labels: Sequence[str],
) -> tuple[float, dict[str, float]]:
    """How often a frame in which a label is heard scores higher than one in which it is not: the mean over the labels
    that occur, and each. The arguments are those of `psds`.

    Raises:
        MissingExtraError: sed_scores_eval is not installed.
    """
    segments, _ = _sed_scores_eval()
    tables, truth, kept = _tables(scores, frame_rate, references, labels)
    if not kept:
        return float("nan"), {}
    area, _ = segments.auroc(
        tables, truth, {clip: durations_s[clip] for clip in scores}, segment_length=1 / frame_rate
    )
    return float(area.pop("mean")), {label: float(value) for label, value in area.items()}


def _tables(
    scores: Mapping[str, np.ndarray], frame_rate: float, references: Clips, labels: Sequence[str]
) -> tuple[dict[str, Any], dict[str, list[tuple[float, float, str]]], list[str]]:
    """Scores and events as sed_scores_eval takes them, and the labels that occur, of which they are."""
    from sed_scores_eval.base_modules.scores import create_score_dataframe

    truth = {clip: [(e.onset_s, e.offset_s, e.label) for e in merged(references[clip])] for clip in scores}
    heard = {label for events in truth.values() for *_, label in events}
    kept = [label for label in labels if label in heard]
    columns = [list(labels).index(label) for label in kept]
    tables = {}
    for clip, activity in scores.items() if kept else ():
        times = np.arange(activity.shape[1] + 1) / frame_rate
        table = create_score_dataframe(activity[columns].T, times, kept)
        # sed_scores_eval 0.0.4 takes no read-only arrays, which is what pandas 3 gives of float64; of
        # float32 it makes a copy.
        tables[clip] = table.astype(dict.fromkeys(kept, np.float32))
    return tables, truth, kept


def merged(events: Sequence[LabelledEvent]) -> list[LabelledEvent]:
    """Events of one label that overlap or touch become one; sorted by onset.

    >>> from sam_audio.evaluation.items import LabelledEvent
    >>> merged([LabelledEvent("dog", 2, 3), LabelledEvent("dog", 0, 2), LabelledEvent("cat", 1, 4)])
    [LabelledEvent(label='dog', onset_s=0, offset_s=3), LabelledEvent(label='cat', onset_s=1, offset_s=4)]
    """
    from sam_audio.evaluation.items import LabelledEvent

    last: dict[str, LabelledEvent] = {}
    done: list[LabelledEvent] = []
    for event in sorted(events, key=lambda e: e.onset_s):
        before = last.get(event.label)
        if before is not None and event.onset_s <= before.offset_s:
            event = LabelledEvent(event.label, before.onset_s, max(before.offset_s, event.offset_s))
        elif before is not None:
            done.append(before)
        last[event.label] = event
    return sorted([*done, *last.values()], key=lambda e: e.onset_s)


def _sed_scores_eval() -> tuple[Any, Any]:
    """Its measures by segments and by intersections."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from sed_scores_eval import intersection_based, segment_based
    except ImportError:
        raise MissingExtraError(
            "PSDS and AUROC need sed_scores_eval, which is not installed", "eval"
        ) from None
    return segment_based, intersection_based


def _sed_eval() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # dcase_util imports pkg_resources, which is deprecated
            from sed_eval import sound_event
    except ImportError:
        raise MissingExtraError("F1 of events needs sed_eval, which is not installed", "eval") from None
    return sound_event


def _rows(events: Sequence[LabelledEvent]) -> list[dict[str, float | str]]:
    return [{"event_label": e.label, "onset": e.onset_s, "offset": e.offset_s} for e in events]


def _f1(measure: Any) -> DetectionF1:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mean of no classes
        macro = measure.results_class_wise_average_metrics()
    per_class = measure.results_class_wise_metrics()
    return DetectionF1(
        float(measure.results_overall_metrics()["f_measure"]["f_measure"]),
        float(macro["f_measure"]["f_measure"]),
        {label: float(result["f_measure"]["f_measure"]) for label, result in per_class.items()},
    )
