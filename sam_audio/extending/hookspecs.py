"""What a plugin may add, as pluggy hooks. Every hook returns objects with a ``name`` that nobody else has.

A plugin is a distribution with an entry point in the group ``sam_audio`` that names a module with functions
marked with :data:`hookimpl`. See docs/plugins.md. This module imports nothing heavy, and plugin modules should
not either: they are imported to show their options in ``separate --help``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pluggy

from sam_audio.separator.family import SeparatorType

if TYPE_CHECKING:
    from judge.types import Ranker
    from sam_audio.conditioning.source import Recording
    from sam_audio.report import RenderReport
    from sam_audio.separator.base import SeparationStream
    from sam_audio.types import Condition, Samples

__all__ = [
    "Caption",
    "Captioner",
    "Exporter",
    "Option",
    "PostProcessor",
    "PromptType",
    "RankerType",
    "SeparatorType",
    "TextNormaliser",
    "hookimpl",
]

GROUP = "sam_audio"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@dataclass(frozen=True)
class Option:
    """An option of ``separate``; in job files and in Python it goes by its key.

    Args:
        flag: on the command line, ``--like``.
        metavar: what the help shows for its value.
        help: one sentence.
        many: may be given several times; its key then is a plural and takes a list.
        key: in job files and Python; by default the flag without hyphens, and with an s if there may be many.
        file: whether its value names a file that is read, or one that is written. Jobs and sessions are data of other
            people: what they name to write stays in the job's folder, and what a session names to read in the session.
        media: what the file holds, so that the editor can ask for one: ``sound``.
        hint: how the editor tells of a value, which {} stands for: ``in {} s``; by default the key.
    """

    flag: str
    metavar: str
    help: str
    many: bool = False
    key: str = ""
    file: Literal["read", "write"] | None = None
    media: Literal["sound"] | None = None
    hint: str = ""

    def __post_init__(self) -> None:
        name = self.flag.lstrip("-").replace("-", "_")
        object.__setattr__(self, "key", self.key or name + "s" * self.many)


class PromptType(Protocol):
    """A way to ask for a sound. ``name`` also names the stem of a prompt that has no text."""

    name: str

    @property
    def options(self) -> Sequence[Option]: ...

    def parse(self, values: Mapping[str, Any]) -> Any:
        """Checks what was given, before any model is loaded.

        Args:
            values: by key, those of the type's options that were given: texts from the command line, and from
                Python whatever the type likes to take. An option with ``many`` has a list.

        Raises:
            PromptError: one sentence that says what is wrong and what would be right.
        """
        ...

    def encode(self, value: Any, condition: Condition, recording: Recording) -> Condition:
        """The condition with what this prompt adds: a vector, anchors, masks. All times are the recording's.

        Args:
            value: what :meth:`parse` gave.
            condition: of the text, if there is one, and of the prompt types before.

        Raises:
            UserError: a file cannot be read, or does not fit the recording.
        """
        ...


class RankerType(Protocol):
    """A judge or another measure that says which of several candidates is best; see `judge.rank`.

    With a method ``open(model, device)`` it may be asked for another model, by folder or hub id.
    """

    name: str

    def load(self, device: str) -> Ranker: ...


class Exporter(ABC):
    """Makes something of finished stems, for ``--export NAME``: a session for a DAW, a table, a video.

    Attributes:
        name: that it is asked for by.
        needs_all: whether it needs stems of the whole recording; of a part of it, nothing is separated then.
    """

    name: str
    needs_all: bool = False

    def check(self, source: str) -> None:  # noqa: B027 - most have nothing to look at
        """Looks at the path of a recording, ``-`` for standard input, before anything is separated.

        Raises:
            UserError: nothing could be made of it.
        """

    @abstractmethod
    def export(self, report: RenderReport, overwrite: bool) -> list[Path]:
        """Returns the files that it wrote, beside the stems.

        Raises:
            UserError: it cannot.
        """


class PostProcessor(Protocol):
    """Changes stems on their way out, for ``--post NAME``; the residual takes up the difference."""

    name: str

    def wrap(
        self, stream: SeparationStream, conditions: Sequence[Condition], channels: int, sample_rate: int
    ) -> SeparationStream:
        """A stream that passes on every sample of ``stream``, once and in order."""
        ...


class TextNormaliser(Protocol):
    """Rewrites texts before they are encoded, say from another language; stems keep the name that was asked."""

    name: str

    def normalise(self, text: str) -> str: ...


@dataclass(frozen=True)
class Caption:
    """A description of a sound and how sure the captioner is, 0..1."""

    text: str
    confidence: float


class Captioner(Protocol):
    """Describes sounds, well or badly: several weak captioners together label recordings for training.

    With an attribute ``pictures`` that is true it describes pictures instead.
    """

    name: str

    def caption(self, samples: Samples, sample_rate: int) -> list[Caption]:
        """Captions of samples (channels, T); of pictures, uint8 (N, 3, H, W) and their number a second."""
        ...


class Hooks:
    """The hooks themselves. Each is a function without arguments that returns a list."""

    @hookspec
    def prompt_types(self) -> list[PromptType]:  # type: ignore[empty-body]
        """Ways to ask for a sound."""

    @hookspec
    def separators(self) -> list[SeparatorType]:  # type: ignore[empty-body]
        """Separation models by name."""

    @hookspec
    def rankers(self) -> list[RankerType]:  # type: ignore[empty-body]
        """Judges that choose among candidates."""

    @hookspec
    def exporters(self) -> list[Exporter]:  # type: ignore[empty-body]
        """What can be made of finished stems."""

    @hookspec
    def post_processors(self) -> list[PostProcessor]:  # type: ignore[empty-body]
        """Changes to stems as they are made."""

    @hookspec
    def text_normalisers(self) -> list[TextNormaliser]:  # type: ignore[empty-body]
        """Rewriting of texts before they are encoded; all of them are applied, in the order of their names."""

    @hookspec
    def captioners(self) -> list[Captioner]:  # type: ignore[empty-body]
        """Weak captioners for a data engine."""


HOOKS = tuple(name for name in vars(Hooks) if not name.startswith("_"))
