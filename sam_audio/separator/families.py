"""The families that the package brings: nano, and the published SAM-Audio."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sam_audio.errors import ModelError
from sam_audio.separator.family import SeparatorType
from sam_audio.separator.nano.options import NanoOptions
from sam_audio.separator.official.options import OfficialOptions

if TYPE_CHECKING:
    from sam_audio.separator.base import SeparationModel


class Nano(SeparatorType):
    """What is shipped with the package, and checkpoints of the same kind by path."""

    name = "nano"
    options = NanoOptions

    def answers(self, name: str) -> bool:
        path = Path(name)
        return name == self.name or path.suffix == ".safetensors" or path.is_file()

    def load(self, name: str, device: str, options: NanoOptions) -> SeparationModel:
        from sam_audio.separator.nano.engine import WEIGHTS
        from sam_audio.separator.nano.model import NanoSeparator

        path = WEIGHTS if name == self.name else Path(name)
        if not path.is_file():
            raise ModelError(f"{name} is not a model file: give the path of a .safetensors file, or nano")
        return NanoSeparator(path, device, options)


class Official(SeparatorType):
    """The published SAM-Audio checkpoints, by hub id or folder."""

    name = "sam-audio"
    options = OfficialOptions

    def answers(self, name: str) -> bool:
        return Path(name).is_dir() or "/" in name or name.startswith("sam-audio-")

    def load(self, name: str, device: str, options: OfficialOptions) -> SeparationModel:
        from sam_audio.separator.official.separator import OfficialSeparator

        return OfficialSeparator.load(name, device, options)
