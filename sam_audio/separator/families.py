"""The families that the package brings: nano, and the published SAM-Audio."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sam_audio.separator.family import SeparatorType
from sam_audio.separator.nano.options import NanoOptions
from sam_audio.separator.official.options import OfficialOptions

if TYPE_CHECKING:
    from sam_audio.separator.base import SeparationModel


class Nano(SeparatorType):
    """What is shipped with the package, and checkpoints of its kind by path, or by "nano:" and a name on the hub."""

    name = "nano"
    options = NanoOptions

    def answers(self, name: str) -> bool:
        from peav.nano.sharing import embedded

        return embedded(name, "separator") is not None

    def load(self, name: str, device: str, options: NanoOptions) -> SeparationModel:
        from peav.nano.sharing import embedded
        from sam_audio.separator.nano.model import NanoSeparator

        return NanoSeparator.from_pretrained(
            embedded(name, "separator") or name, device=device, options=options
        )


class Official(SeparatorType):
    """The published SAM-Audio checkpoints, by hub id or folder."""

    name = "sam-audio"
    options = OfficialOptions

    def answers(self, name: str) -> bool:
        return Path(name).is_dir() or "/" in name or name.startswith("sam-audio-")

    def load(self, name: str, device: str, options: OfficialOptions) -> SeparationModel:
        from sam_audio.separator.official.separator import OfficialSeparator

        return OfficialSeparator.load(name, device, options)
