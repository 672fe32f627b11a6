"""Plain types that every part of the package shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Span:
    """A stretch of time, in seconds from the start of the recording."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Anchor:
    """A span with its polarity: the sound asked for is there (``present``), or is not."""

    span: Span
    present: bool = True


@dataclass(frozen=True)
class Condition:
    """One prompt as a separator understands it.

    Args:
        name: what the stem will be called.
        vector: unit vector of the joint space, (384,) float32, or None when only spans are given.
        anchors: spans where the sound is, or is not.
    """

    name: str
    vector: Samples | None
    anchors: tuple[Anchor, ...] = ()


@dataclass
class Stem:
    """A rendered sound: samples (channels, T) float32 at ``sample_rate`` Hz."""

    name: str
    samples: Samples
    sample_rate: int


@dataclass
class SeparationResult:
    """What a separation gives back, at the mixture's own rate, channel count and length.

    ``sum(stems) + residual`` equals the mixture, sample for sample.
    """

    stems: dict[str, Stem]
    residual: Stem
    sample_rate: int
    report: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Writes every stem and the residual as float32 wav files into ``folder``; all of them or none.

        Raises:
            OutputExistsError: a file is there already and ``overwrite`` is False.
            AudioWriteError: the folder cannot be written.
        """
        from sam_audio.render import save_result

        return save_result(self, Path(folder), overwrite=overwrite)


class SeparationStream(Protocol):
    """Separates one recording, fed in order and in blocks of any size.

    Every sample that goes in comes out once for each stem, in order, with a delay that the model chooses. The
    output does not depend on how the input was cut into blocks.
    """

    def push(self, samples: Samples) -> Samples:
        """Shapes: (channels, n) in, (N, channels, m) out; m may be 0 while the model waits for context."""
        ...

    def finish(self) -> Samples:
        """The samples that are still owed, (N, channels, m)."""
        ...


class SeparationModel(Protocol):
    """A model that can separate. The embedded and the official family both look like this."""

    name: str
    sample_rate: int

    def encode(self, prompts: list[str]) -> list[Condition]:
        """Text prompts as conditions for :meth:`open`."""
        ...

    def open(self, conditions: list[Condition], channels: int, strength: float = 1.0) -> SeparationStream:
        """Starts on a new recording at ``sample_rate`` Hz. Thread-safe: streams share only weights."""
        ...
