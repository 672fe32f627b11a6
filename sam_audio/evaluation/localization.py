"""When is each sound heard? Zero-shot detection of sound events by the words of their labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from sam_audio.errors import UserError
from sam_audio.evaluation.items import Item, LabelledEvent
from sam_audio.evaluation.judging import auroc
from sam_audio.evaluation.metrics import PSDS1, PSDS2, event_f1, frame_auroc, merged, psds, segment_f1
from sam_audio.evaluation.negatives import absent_labels, draw
from sam_audio.evaluation.protocols import Evaluation, Row, Value, attempt, ensure_some
from sam_audio.finding.locate import Locator
from sam_audio.finding.spans import SpanOptions, find_events
from sam_audio.io import open_audio

__all__ = ["evaluate"]


def evaluate(
    locator: Locator,
    items: Iterable[Item],
    labels: Sequence[str],
    options: SpanOptions | None = None,
    per_class: bool = False,
    negatives: int = 0,
) -> Evaluation:
    """Segment-based F1 (1 s), event-based F1 (200 ms), PSDS1, PSDS2 and AUROC of frames; one more row a class if asked
    for.

    The first row has F1 averaged over the classes, as DCASE ranks by it, and over all events as "micro". With negatives
    there is a row about labels of an open vocabulary: every recording is asked for what is in it together with some of
    them; AUROC is then of the highest probabilities, and "said" how many of the negatives were said to sound.

    Args:
        items: recordings with events, whose labels are among `labels`.
        labels: what is listened for in every recording.
        options: from probabilities to events, as `sam-audio locate` does it; PSDS looks at all thresholds
            and at the bare probabilities.
        negatives: how many labels of an open vocabulary each recording is also asked for.

    Raises:
        UserError: nothing can be read, or there are no labels.
        MissingExtraError: sed_eval or sed_scores_eval is not installed.
    """
    if not labels:
        raise UserError("nothing is annotated as heard in these recordings: choose another split")
    references: dict[str, list[LabelledEvent]] = {}
    estimates: dict[str, list[LabelledEvent]] = {}
    scores: dict[str, np.ndarray] = {}
    durations_s: dict[str, float] = {}
    unreadable: list[str] = []
    absent = _Absent(locator, negatives, options) if negatives else None
    for item in items:
        heard = attempt(partial(_listen, locator, item.path, list(labels)), unreadable)
        if heard is None:
            continue
        clip = str(item.path)
        activity, durations_s[clip] = heard
        references[clip] = merged(item.events)
        estimates[clip] = [
            LabelledEvent(found.prompt, found.start_s, found.end_s)
            for found in find_events(activity, labels, locator.frame_rate, options, durations_s[clip])
        ]
        scores[clip] = activity.astype(np.float32)
        if absent is not None:
            absent.ask(item, durations_s[clip])
    ensure_some(len(scores), unreadable)
    segments = segment_f1(references, estimates, durations_s, labels)
    events = event_f1(references, estimates, labels)
    psds1, psds1_of = psds(scores, locator.frame_rate, references, durations_s, labels, PSDS1)
    psds2, psds2_of = psds(scores, locator.frame_rate, references, durations_s, labels, PSDS2)
    area, area_of = frame_auroc(scores, locator.frame_rate, references, durations_s, labels)
    counts = dict.fromkeys(labels, 0)
    for events_there in references.values():
        for event in events_there:
            counts[event.label] += 1
    rows: list[Row] = [
        _row(
            f"{len(labels)} labels, mean",
            sum(counts.values()),
            segments.macro,
            events.macro,
            psds1,
            psds2,
            area,
        ),
        _row("micro", sum(counts.values()), segments.micro, events.micro),
    ]
    for label in labels if per_class else ():
        if counts[label]:
            f1 = segments.per_class[label], events.per_class[label]
            rows.append(_row(label, counts[label], *f1, psds1_of[label], psds2_of[label], area_of[label]))
    if absent is not None:
        rows = [{**row, "said": None} for row in rows] + [absent.row()]
    return Evaluation(rows, unreadable)


def _listen(locator: Locator, path: Path, labels: list[str]) -> tuple[np.ndarray, float]:
    """(N, frames) probabilities, and the length of the recording in seconds."""
    activity = locator.activity(path, labels)
    with open_audio(path) as reader:
        if reader.frames is None:  # only decoding all of it would tell
            return activity, activity.shape[1] / locator.frame_rate
        return activity, reader.frames / reader.sample_rate


class _Absent:
    """What a locator makes of labels that are not in a recording, of an open vocabulary."""

    def __init__(self, locator: Locator, n: int, options: SpanOptions | None) -> None:
        self._locator, self._n, self._options = locator, n, options
        self._rng = np.random.default_rng(0)
        self._peaks: list[tuple[bool, float]] = []  # whether it is there, its highest probability
        self._said = 0

    def ask(self, item: Item, duration_s: float) -> None:
        there = list(dict.fromkeys(event.label for event in item.events))
        absent = draw(absent_labels(there), self._n, self._rng)
        activity = self._locator.activity(item.path, [*there, *absent])
        self._peaks += [(row < len(there), float(peak)) for row, peak in enumerate(activity.max(axis=1))]
        found = find_events(
            activity[len(there) :], absent, self._locator.frame_rate, self._options, duration_s
        )
        self._said += len({event.prompt for event in found})

    def row(self) -> Row:
        absent = sum(not there for there, _ in self._peaks)
        row = _row(f"open vocabulary, {self._n} absent", absent, auroc=auroc(self._peaks))
        return {**row, "said": self._said / absent if absent else None}


def _row(
    what: str,
    n: int,
    segment: float = math.nan,
    event: float = math.nan,
    psds1: float = math.nan,
    psds2: float = math.nan,
    auroc: float = math.nan,
) -> dict[str, Value]:
    measures: dict[str, Value] = {
        "segment F1": segment,
        "event F1": event,
        "PSDS1": psds1,
        "PSDS2": psds2,
        "AUROC": auroc,
    }
    known = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in measures.items()}
    return {"what": what, "events": n, **known}
