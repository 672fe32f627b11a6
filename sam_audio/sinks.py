"""Where a separation goes: memory, files, levels, progress; the judge's place is in `sam_audio.selection.judging`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from sam_audio.report import SILENCE_DB
from sam_audio.separation import Sink
from sam_audio.types import Block, Progress, Samples

ENERGY_FLOOR = 1e-12


class Memory(Sink):
    """Keeps all parts (N + 1, C, T)."""

    def __init__(self, n_parts: int, channels: int) -> None:
        self._blocks = [np.zeros((n_parts, channels, 0), np.float32)]

    def write(self, block: Block) -> None:
        self._blocks.append(block.parts)

    @property
    def parts(self) -> Samples:
        return np.concatenate(self._blocks, axis=-1)


class Writer(Protocol):
    """Takes samples (C, n), as `sam_audio.io.AudioWriter` does."""

    def write(self, samples: Samples) -> object: ...


class Files(Sink):
    """Writes some of the parts: by their rows, the residual last."""

    def __init__(self, writers: Sequence[tuple[int, Writer]]) -> None:
        self._writers = list(writers)

    def write(self, block: Block) -> None:
        for row, writer in self._writers:
            writer.write(block.parts[row])


class Levels(Sink):
    """Energies of the mixture and its parts."""

    def __init__(self, n_parts: int) -> None:
        self.frames = 0
        self._mixture = 0.0
        self._parts = np.zeros(n_parts)

    def write(self, block: Block) -> None:
        self.frames += block.mixture.shape[-1]
        self._mixture += float(np.square(block.mixture, dtype=np.float64).sum())
        self._parts += np.square(block.parts, dtype=np.float64).sum(axis=(1, 2))

    @property
    def silent(self) -> bool:
        """Whether the mixture was."""
        return self._mixture <= ENERGY_FLOOR

    def level_db(self, row: int) -> float:
        """A part's energy against that of the mixture, in dB; SILENCE_DB when either is silent."""
        energy = float(self._parts[row])
        if energy <= ENERGY_FLOOR or self.silent:
            return SILENCE_DB
        return round(max(SILENCE_DB, 10 * float(np.log10(energy / self._mixture))), 2)


class Told(Sink):
    """Says how far it is: frames done, and frames in all when known."""

    calls_back = True

    def __init__(self, progress: Progress, frames: int | None) -> None:
        self._progress, self._all, self._done = progress, frames, 0

    def write(self, block: Block) -> None:
        self._done += block.mixture.shape[-1]
        self._progress(self._done, self._all)
