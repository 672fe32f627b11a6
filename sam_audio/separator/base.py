"""What a separator is: models declare here what they can, with defaults for what most of them cannot.

A third party derives its model from :class:`SeparationModel`, its streams from :class:`SeparationStream`, and its
family from :class:`sam_audio.separator.family.SeparatorType`; command line, racks, candidates and editor ask
what is declared there and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sam_audio.errors import UserError
from sam_audio.options import NoOptions
from sam_audio.types import Condition, Samples


class SeparationStream(ABC):
    """Separates one recording, fed in order and in blocks of any size.

    Every sample that goes in comes out once for each stem, in order, with a delay that the model chooses. The
    output does not depend on how the input was cut into blocks.
    """

    @abstractmethod
    def push(self, samples: Samples) -> Samples:
        """Shapes: (channels, n) in, (N, channels, m) out; m may be 0 while the model waits for context."""

    @abstractmethod
    def finish(self) -> Samples:
        """The samples that are still owed, (N, channels, m)."""

    def overhear(self, engine: Any, vectors: Samples) -> Any:
        """What is heard from the start on of sounds with these vectors (P, 384), as the engine hears it; None if the
        stream does not listen with that. To be called before anything is pushed."""
        return None


class Variant(NamedTuple):
    """Another form of a model, for candidates: what reports call it, and the model."""

    label: str
    model: SeparationModel


class Sounding(NamedTuple):
    """How likely each of N prompts sounds in each frame: activity (N, T) in 0..1, rows of NaN where nothing is known,
    and the rate of the frames in Hz."""

    activity: Samples
    frame_rate: float


class SeparationModel(ABC):
    """A model that can separate. The embedded and the official family both derive from this.

    Attributes:
        name: how reports and messages call it.
        sample_rate: of the sound it takes and gives, in Hz.
        takes: the fields of :class:`sam_audio.types.Condition`, beside the text, that it understands.
        options: how it separates, a dataclass of its family (see `sam_audio.separator.family.SeparatorType`).
        block_samples: samples to feed at a time where every millisecond counts; None for any number.
    """

    name: str
    sample_rate: int
    takes: frozenset[str] = frozenset({"anchors"})
    options: Any = NoOptions()
    block_samples: int | None = None

    @abstractmethod
    def encode(self, texts: list[str]) -> list[Condition]:
        """Texts as conditions for :meth:`open`."""

    @abstractmethod
    def open(self, conditions: list[Condition], channels: int, strength: float = 1.0) -> SeparationStream:
        """Starts on a new recording at ``sample_rate`` Hz. Thread-safe: streams share only weights."""

    def reads(self, text: str) -> bool:
        """Whether it knows any word of a text."""
        return True

    def meant(self, text: str) -> str | None:
        """What somebody may have meant who wrote words that it does not know."""
        return None

    def variants(self, n: int) -> list[Variant]:
        """Up to ``n`` forms of this model that separate a little differently, itself first; they share its weights."""
        return [Variant("", self)]

    def with_options(self, options: Any) -> SeparationModel:
        """The same weights with other options, of the kind of :attr:`options`.

        Raises:
            UserError: its options were decided when it was loaded.
        """
        raise UserError(f"the options of {self.name} are decided when it is loaded: give them there")

    def live(self) -> SeparationModel:
        """The same model with a short look-ahead.

        Raises:
            UserError: it cannot work live.
        """
        raise UserError(f"{self.name} cannot work live: use the nano model")

    def emitted(self, pushed: int) -> int:
        """How many samples of a stem are out after ``pushed`` went in, whatever they were.

        Raises:
            UserError: that depends on more than their number.
        """
        raise UserError(
            f"{self.name} does not tell its delay, so it cannot work in blocks: give the rack the whole recording"
        )

    def remembering(self, file: Path) -> SeparationModel:
        """The same model, which keeps in a file what its networks made of one recording, so that another strength runs
        none of them; models that let go of nothing of that kind are as they are, and separate again."""
        return self

    def sounding(self, file: Path, n_prompts: int) -> Sounding | None:
        """When the N prompts of a recording sound, from what was heard when it was separated and :meth:`remembering`
        kept in the file; None for models that have no opinion of that."""
        return None


class Beside(SeparationStream):
    """Several streams of one recording as one: all stems of the first come first. Those that are ahead wait."""

    def __init__(self, streams: Sequence[SeparationStream]) -> None:
        self._streams = list(streams)
        self._ahead: list[Samples] = []

    def push(self, samples: Samples) -> Samples:
        return self._level([stream.push(samples) for stream in self._streams])

    def finish(self) -> Samples:
        return self._level([stream.finish() for stream in self._streams])

    def overhear(self, engine: Any, vectors: Samples) -> Any:
        for stream in self._streams:
            overheard = stream.overhear(engine, vectors)
            if overheard is not None:
                return overheard
        return None

    def _level(self, stems: list[Samples]) -> Samples:
        if self._ahead:
            stems = [np.concatenate(pair, axis=-1) for pair in zip(self._ahead, stems, strict=True)]
        ready = min(rows.shape[-1] for rows in stems)
        self._ahead = [rows[..., ready:].copy() for rows in stems]
        return np.concatenate([rows[..., :ready] for rows in stems])


class Picked(SeparationStream):
    """Some stems of a stream, in another order."""

    def __init__(self, stream: SeparationStream, rows: Sequence[int]) -> None:
        self._stream, self._rows = stream, list(rows)

    def push(self, samples: Samples) -> Samples:
        return self._stream.push(samples)[self._rows]

    def finish(self) -> Samples:
        return self._stream.finish()[self._rows]

    def overhear(self, engine: Any, vectors: Samples) -> Any:
        return self._stream.overhear(engine, vectors)
