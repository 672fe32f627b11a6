"""Families of separation models: which names they answer to, and which options they have.

Nothing heavy is imported before a model is loaded: ``separate --help`` lists these options.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio.errors import ModelError
from sam_audio.options import option, size_bytes

if TYPE_CHECKING:
    from sam_audio.separator.base import SeparationModel


@dataclass(frozen=True)
class NoOptions:
    """Of a family that has none."""


class SeparatorType(ABC):
    """A family of separation models, for ``--model NAME``.

    Attributes:
        name: of the family, and of its model if there is just one.
        options: a dataclass whose fields are declared with :func:`sam_audio.options.option`; the command line, job
            files and the editor ask for them.
    """

    name: str
    options: type = NoOptions

    def answers(self, name: str) -> bool:
        """Whether a model of this name, or at this path, is of this family."""
        return name == self.name

    @abstractmethod
    def load(self, name: str, device: str, options: Any) -> SeparationModel:
        """Loads a model, with ``options`` of this family's kind.

        Raises:
            ModelError: there is no such model, or its file is damaged or of another kind.
        """


@dataclass(frozen=True)
class NanoOptions:
    """How nano separates.

    Args:
        predict_spans: whether PE-A-Frame nano listens for when each prompt sounds, and tells the separator.
    """

    predict_spans: bool = option(
        True, "Nano: first listen for when each prompt sounds.", off="no_predict_spans"
    )


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


@dataclass(frozen=True)
class OfficialOptions:
    """How an official model separates.

    Args:
        steps: of the flow's solver.
        method: of the solver: ``midpoint``, ``euler`` or ``rk4``.
        seed: of the noise that the flow starts from.
        raw: stems are the model's own mono estimates, on every channel, instead of masked mixtures.
        watermark: as published, estimates carry a watermark. Stems that are not raw are made of the mixture and only
            as loud as the estimates: a detector will hardly find the mark in them.
        dtype: float32, bfloat16 or float16 for the large matrices.
        memory_bytes: for the whole process; decides how many prompts are evaluated together. None for all.
        revision: branch, tag or commit on the hub.
        window_s, overlap_s: longer recordings are solved in windows that overlap.
        windows_at_once: windows that are solved together; more take more memory, and sound differs less between them.
    """

    steps: int = option(16, "Official models: solver steps.", metavar="N")
    method: str = option("midpoint", "Official models: midpoint, euler or rk4.")
    seed: int = option(0, "Official models: of the noise.", metavar="N")
    raw: bool = option(
        False,
        "Official models: their own mono output, or stems that sum to the mixture.",
        off="consistent",
    )
    watermark: bool = option(True, "Official models: the mark that their decoder adds.", off="no_watermark")
    dtype: str = option("float32", "Official models: float32, bfloat16 or float16.", loading=True)
    memory_bytes: int | None = option(
        None,
        "Official models: how much to use, like 8GB.",
        key="memory",
        metavar="SIZE",
        parse=partial(size_bytes, what="an amount of memory"),
        shown="all",
    )
    revision: str | None = option(
        None, "Official models: branch, tag or commit.", shown="the default branch", loading=True
    )
    window_s: float = 30.0
    overlap_s: float = 5.0
    windows_at_once: int = 1


class Official(SeparatorType):
    """The published SAM-Audio checkpoints, by hub id or folder."""

    name = "sam-audio"
    options = OfficialOptions

    def answers(self, name: str) -> bool:
        return Path(name).is_dir() or "/" in name or name.startswith("sam-audio-")

    def load(self, name: str, device: str, options: OfficialOptions) -> SeparationModel:
        from sam_audio.separator.official.separator import OfficialSeparator

        return OfficialSeparator.load(name, device, options)
