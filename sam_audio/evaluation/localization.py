"""When is each sound heard? Zero-shot detection of sound events by the words of their labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from sam_audio.errors import UserError
from sam_audio.evaluation.items import Item, LabelledEvent
from sam_audio.evaluation.metrics import PSDS1, PSDS2, event_f1, merged, psds, segment_f1
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
) -> Evaluation:
    """Segment-based F1 (1 s), event-based F1 (200 ms), PSDS1 and PSDS2, and one more row a class if asked for.

    The first row has F1 averaged over the classes, as DCASE ranks by it, and over all events as "micro".

    Args:
        items: recordings with events, whose labels are among `labels`.
        labels: what is listened for in every recording.
        options: from probabilities to events, as `sam-audio locate` does it; PSDS looks at all thresholds
            and at the bare probabilities.

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
    ensure_some(len(scores), unreadable)
    segments = segment_f1(references, estimates, durations_s, labels)
    events = event_f1(references, estimates, labels)
    psds1, psds1_of = psds(scores, locator.frame_rate, references, durations_s, labels, PSDS1)
    psds2, psds2_of = psds(scores, locator.frame_rate, references, durations_s, labels, PSDS2)
    counts = dict.fromkeys(labels, 0)
    for events_there in references.values():
        for event in events_there:
            counts[event.label] += 1
    rows = [
        _row(f"{len(labels)} labels, mean", sum(counts.values()), segments.macro, events.macro, psds1, psds2),
        _row("micro", sum(counts.values()), segments.micro, events.micro, math.nan, math.nan),
    ]
    for label in labels if per_class else ():
        if counts[label]:
            f1 = segments.per_class[label], events.per_class[label]
            rows.append(_row(label, counts[label], *f1, psds1_of[label], psds2_of[label]))
    return Evaluation(rows, unreadable)


def _listen(locator: Locator, path: Path, labels: list[str]) -> tuple[np.ndarray, float]:
    """(N, frames) probabilities, and the length of the recording in seconds."""
    activity = locator.activity(path, labels)
    with open_audio(path) as reader:
        if reader.frames is None:  # only decoding all of it would tell
            return activity, activity.shape[1] / locator.frame_rate
        return activity, reader.frames / reader.sample_rate


def _row(what: str, n: int, segment: float, event: float, psds1: float, psds2: float) -> Row:
    measures: dict[str, Value] = {
        "segment F1": segment,
        "event F1": event,
        "PSDS1": psds1,
        "PSDS2": psds2,
    }
    known = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in measures.items()}
    return {"what": what, "events": n, **known}
