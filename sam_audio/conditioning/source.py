"""What prompt types may ask of the recording that is being separated."""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sam_audio.errors import PromptError, UserError

if TYPE_CHECKING:
    import numpy as np

    from sam_audio.conditioning.embedding import Embedder
    from sam_audio.separator.base import SeparationModel
    from sam_audio.types import Samples


class Recording:
    """A recording and the model it is given to; nothing is read before it is asked for.

    Args:
        source: a path, ``-`` for standard input, or samples (channels, T).
        model: what will separate it.
        sample_rate: of samples, in Hz.
        start_s, duration_s: the part of a file that is separated.
    """

    def __init__(
        self,
        source: str | Path | np.ndarray,
        model: SeparationModel,
        sample_rate: int | None = None,
        start_s: float = 0.0,
        duration_s: float | None = None,
    ) -> None:
        self.source, self.model = source, model
        self.start_s, self.duration_s = start_s, duration_s
        self._sample_rate = sample_rate

    @property
    def title(self) -> str:
        """How messages call it."""
        if isinstance(self.source, (str, Path)):
            return "standard input" if str(self.source) == "-" else Path(self.source).name
        return "the recording"

    @property
    def path(self) -> Path:
        """Of its file.

        Raises:
            PromptError: it has none.
        """
        if not isinstance(self.source, (str, Path)) or str(self.source) == "-":
            raise PromptError(f"{self.title} has no pictures to look at: give the path of a video")
        return Path(self.source)

    @cached_property
    def seconds(self) -> float | None:
        """Length of the whole recording; None when only reading it to its end would tell."""
        if not isinstance(self.source, (str, Path)):
            return self.source.shape[-1] / (self._sample_rate or 1)
        if str(self.source) == "-":
            return None
        from sam_audio.io import open_audio

        with open_audio(self.source) as reader:
            if reader.frames is not None:
                return reader.frames / reader.sample_rate
        return _container_seconds(Path(self.source))

    def embedder(self) -> Embedder:
        """PE-AV of the space that the model listens in; loaded once a process."""
        return _embedder()

    def embed_text(self, text: str) -> Samples:
        """Unit vector of a text as the model reads it, (384,).

        Raises:
            PromptError: the model has no vectors.
        """
        vector = self.model.encode([text])[0].vector
        if vector is None:
            raise PromptError(
                f"the model {self.model.name} does not take this kind of prompt: use model='nano'"
            )
        return vector


def _container_seconds(path: Path) -> float | None:
    """What a container says of its length."""
    from sam_audio.io.containers import open_video

    try:
        with open_video(path) as container:
            return container.duration / 1e6 if container.duration else None  # ffmpeg's AV_TIME_BASE
    except UserError:  # no PyAV, or no container
        return None


@cache
def _embedder() -> Embedder:
    from sam_audio.conditioning.embedding import load_embedder

    return load_embedder("nano")
