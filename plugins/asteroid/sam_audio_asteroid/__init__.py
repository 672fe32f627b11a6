"""``--model asteroid:CHECKPOINT``: a blind separator whose outputs are matched to the prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sam_audio.extending.hookspecs import hookimpl
from sam_audio.separator.family import SeparatorType

if TYPE_CHECKING:
    from sam_audio.separator.base import SeparationModel

PREFIX = "asteroid:"


class Asteroid(SeparatorType):
    """Checkpoints of asteroid, by path or hub id."""

    name = "asteroid"

    def answers(self, name: str) -> bool:
        return name.startswith(PREFIX)

    def load(self, name: str, device: str, options: Any) -> SeparationModel:
        from sam_audio_asteroid.model import BlindSeparator

        return BlindSeparator.read(name.removeprefix(PREFIX), device)


@hookimpl
def separators() -> list[SeparatorType]:
    return [Asteroid()]
