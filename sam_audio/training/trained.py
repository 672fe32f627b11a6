"""What recipes leave, as models: ``--model FOLDER`` of a separator that the task flow has trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio.extending.hookspecs import hookimpl
from sam_audio.separator.family import SeparatorType

if TYPE_CHECKING:
    from sam_audio.separator.base import SeparationModel


class TrainedFlow(SeparatorType):
    """Folders with the files that a recipe of the task flow has left."""

    name = "flow"

    def answers(self, name: str) -> bool:
        return (Path(name) / "flow.json").is_file()

    def load(self, name: str, device: str, options: Any) -> SeparationModel:
        from sam_audio.training.generative import FlowSeparator

        return FlowSeparator.read(Path(name), device)


@hookimpl
def separators() -> list[SeparatorType]:
    return [TrainedFlow()]
