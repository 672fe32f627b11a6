"""Strength without the network: the masks of a separation are kept on disk and bent anew.

Strength only bends the masks that nano's network made (see `share_out` of `sam_audio.separator.nano.synthesis`), so
another strength needs the spectrogram and its inverse, but neither the network nor the audio tower. What comes out is
the same to the last bit. Other models do not let go of their masks; they separate again.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from sam_audio.types import Samples

if TYPE_CHECKING:
    from sam_audio.api import Separator


def with_memory(separator: Separator, file: Path) -> Separator:
    """A separator that keeps its masks in a file, or takes them from there if it is complete."""
    from sam_audio.separator.nano.model import NanoSeparator

    if not isinstance(separator.model, NanoSeparator):
        return separator
    remembering = copy.copy(separator)  # shares the weights
    remembering.model = _remembering(separator.model, file)
    return remembering


def _remembering(model: Any, file: Path) -> Any:
    from sam_audio.separator.nano.bands import N_BANDS
    from sam_audio.separator.nano.engine import Engine
    from sam_audio.separator.nano.stream import NanoStream

    class Recorded(NanoStream):
        """Runs the network and writes its masks; the file appears under its name when it is complete."""

        _part: BinaryIO | None = None

        def _masks(self, n_frames: int) -> Samples:
            masks = super()._masks(n_frames)
            if self._part is None:
                file.parent.mkdir(parents=True, exist_ok=True)
                self._part = file.with_suffix(".part").open("wb")
            self._part.write(masks.tobytes())
            return masks

        def finish(self) -> Any:
            rest = super().finish()
            if self._part is not None:
                self._part.close()
                os.replace(self._part.name, file)
            return rest

    class Replayed(NanoStream):
        """Reads masks instead of running the network."""

        _from: BinaryIO | None = None

        def overhear(self, engine: Engine, vectors: Samples) -> None:
            """Nothing is heard."""

        def _masks(self, n_frames: int) -> Samples:
            self._from = self._from or file.open("rb")
            shape = len(self.conditions), N_BANDS, n_frames
            values = np.frombuffer(self._from.read(4 * int(np.prod(shape))), np.float32)
            return values.reshape(shape).copy()

        def finish(self) -> Any:
            rest = super().finish()
            if self._from is not None:
                self._from.close()
            return rest

    remembering = copy.copy(model)
    stream = Replayed if file.is_file() else Recorded
    remembering.open = lambda conditions, channels, strength=1.0: stream(
        model.engine, conditions, channels, strength, model.predict_spans
    )
    return remembering
