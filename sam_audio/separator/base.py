"""What separators can declare of themselves beyond :class:`sam_audio.types.SeparationModel`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from sam_audio.types import Samples

if TYPE_CHECKING:
    from sam_audio.separator.nano.engine import Engine
    from sam_audio.separator.nano.stream import Overheard


@runtime_checkable
class Overhearing(Protocol):
    """A stream with which somebody else can listen along."""

    def overhear(self, engine: Engine, vectors: Samples) -> Overheard | None:
        """What is heard from the start on of sounds with these vectors (P, 384), as the engine hears it; None if the
        stream does not listen with that. To be called before anything is pushed."""
        ...
