"""What the zero-shot measures ask of a model, and what they give back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from sam_audio.errors import MissingExtraError, ModelError, UserError

if TYPE_CHECKING:
    import numpy as np

Value = str | int | float | None
Row = Mapping[str, Value]
T = TypeVar("T")


class JointEncoder(Protocol):
    """Puts sounds, pictures and words into one space of D dimensions; every vector has length 1."""

    name: str

    def embed_text(self, texts: list[str], kind: str = "audio") -> np.ndarray:
        """(N, D), one row a text; `kind` is what they will be compared with: "audio", "video" or "audio_video"."""
        ...

    def embed_audio_file(self, path: Path, start_s: float = 0, duration_s: float | None = None) -> np.ndarray:
        """(D,); a UserError for a file that cannot be read or has no sound."""
        ...

    def embed_video_file(self, path: Path, start_s: float = 0, duration_s: float | None = None) -> np.ndarray:
        """(D,); a UserError for a file that cannot be read or has no picture."""
        ...

    def embed_audio_video_file(
        self, path: Path, start_s: float = 0, duration_s: float | None = None
    ) -> np.ndarray:
        """(D,) of a video with its sound; a UserError for a file that cannot be read or lacks one of them."""
        ...

    def embed_with_text(
        self, path: Path, texts: list[str], kind: str, start_s: float = 0, duration_s: float | None = None
    ) -> np.ndarray:
        """(N, D) of the file's "audio" or "video" together with each text, to compare with the other of them."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """A table, and a sentence for every file that could not be read and is therefore not in it."""

    rows: list[Row]
    unreadable: list[str]


def attempt(call: Callable[[], T], unreadable: list[str]) -> T | None:
    """The result of `call`; None if its file cannot be read, which `unreadable` then says.

    One damaged file among thousands must not cost the hours before it. What no other file would survive
    (a missing extra, a broken model) is raised.
    """
    try:
        return call()
    except (MissingExtraError, ModelError):
        raise
    except UserError as error:
        unreadable.append(str(error))
        return None


def ensure_some(n: int, unreadable: list[str]) -> None:
    """Raises UserError if there is nothing to measure."""
    if not n and unreadable:
        raise UserError(f"none of the clips could be read; the first of {len(unreadable)}: {unreadable[0]}")
    if not n:
        raise UserError("none of the clips has both sides of what is asked for: try another data set")
