"""One clip of a data set with its annotation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sam_audio.evaluation.folders import VIDEO

__all__ = ["Item", "LabelledEvent"]


@dataclass(frozen=True)
class LabelledEvent:
    """One sound of a recording; seconds."""

    label: str
    onset_s: float
    offset_s: float


@dataclass(frozen=True)
class Item:
    """One clip with its annotation: captions, a label or events, whichever the data set has.

    `start_s` and `end_s` are the part of the file that the annotation is about; None is its end.
    """

    path: Path
    captions: tuple[str, ...] = ()
    label: str = ""
    events: tuple[LabelledEvent, ...] = ()
    start_s: float = 0.0
    end_s: float | None = None

    @property
    def duration_s(self) -> float | None:
        return None if self.end_s is None else self.end_s - self.start_s

    @property
    def has_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO
