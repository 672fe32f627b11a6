"""What is in here? The product's labels, as PE-A-Frame hears them in a recording."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sam_audio.conditioning.embedding import CHUNK_SAMPLES, FRAME, mono_windows
from sam_audio.finding.spans import SpanOptions, find_spans
from sam_audio.types import Samples
from sam_audio.vocabulary import load_labels

if TYPE_CHECKING:
    from sam_audio.conditioning.embedding import FrameEncoder

MOST_SOUNDS = 8
_OPTIONS = SpanOptions(threshold=0.5, release=0.3, min_duration_s=0.2, merge_gap_s=0.4)
_SAME = 0.5  # overlap in time from which two labels that are easily mistaken are taken for one sound
_CERTAIN_FRAMES = 10  # a sound is as certain as its best 0.4 s


@dataclass(frozen=True)
class Label:
    """A sound that can be asked for, with what it is a kind of and what it could be mistaken for."""

    name: str
    kind: str
    alike: frozenset[str]


@dataclass(frozen=True)
class Found:
    """A sound in a recording: how certain (0..1), and when, as (start, end) in seconds."""

    name: str
    score: float
    spans: tuple[tuple[float, float], ...]

    @property
    def seconds(self) -> float:
        return sum(end - start for start, end in self.spans)


@cache
def labels() -> tuple[Label, ...]:
    """The product's table of labels; ambience is left out, for nobody wants it as a track."""
    return tuple(
        Label(entry.name, next(iter(entry.parents), entry.name), frozenset(entry.confusable))
        for entry in load_labels().values()
        if entry.group != "ambience"
    )


def what_is_in(
    path: Path, locator: FrameEncoder, seconds: float, progress: Callable[[int, int | None], None]
) -> list[Found]:
    """The sounds that are most certainly in a recording, the most certain first.

    Args:
        path: of a recording of any length.
        locator: PE-A-Frame.
        seconds: how long it is.
        progress: called with frames done and frames in all.
    """
    known = labels()
    blocks: list[np.ndarray] = []
    done, total = 0, math.ceil(seconds * locator.frame_rate)
    for block in locator.activity_blocks(mono_windows(path, CHUNK_SAMPLES), [one.name for one in known]):
        blocks.append(np.rint(block * 255).astype(np.uint8))  # two hours of all labels are 50 MB
        done += block.shape[1]
        progress(done, total)
    activity = np.concatenate(blocks, axis=1)
    return _distinct([_heard(one, row, seconds) for one, row in zip(known, activity, strict=True)])


def _heard(label: Label, row: np.ndarray, seconds: float) -> tuple[Label, Found]:
    best = np.partition(row, -min(_CERTAIN_FRAMES, len(row)))[-_CERTAIN_FRAMES:]
    score = float(best.mean()) / 255
    if score < _OPTIONS.threshold / 2:
        return label, Found(label.name, score, ())
    probabilities: Samples = (row / 255).astype(np.float32)
    spans = find_spans(probabilities, 48_000 / FRAME, _OPTIONS, seconds)
    return label, Found(label.name, round(score, 3), tuple((s.start_s, s.end_s) for s in spans))


def _distinct(found: list[tuple[Label, Found]]) -> list[Found]:
    """The most certain ones, without those that are most likely the same sound under another name."""
    kept: list[tuple[Label, Found]] = []
    for label, heard in sorted(found, key=lambda pair: -pair[1].score):
        if heard.spans and not any(_same(label, heard, *other) for other in kept):
            kept.append((label, heard))
        if len(kept) == MOST_SOUNDS:
            break
    return [heard for _, heard in kept]


def _same(label: Label, heard: Found, other_label: Label, other: Found) -> bool:
    alike = (
        label.kind == other_label.kind or label.name in other_label.alike or other_label.name in label.alike
    )
    return alike and _common_s(heard, other) >= _SAME * min(heard.seconds, other.seconds)


def _common_s(one: Found, other: Found) -> float:
    return sum(max(0.0, min(b, d) - max(a, c)) for a, b in one.spans for c, d in other.spans)
