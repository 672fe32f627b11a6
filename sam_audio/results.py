"""What a separation into memory gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sam_audio.io import AudioWriter, WriterGroup
from sam_audio.naming import distinct, slug
from sam_audio.report import RenderReport
from sam_audio.types import Stem


@dataclass
class SeparationResult:
    """Stems and residual, at the mixture's own rate, channel count and length.

    ``sum(stems) + residual`` equals the mixture, sample for sample.
    """

    stems: dict[str, Stem]
    residual: Stem
    sample_rate: int
    report: RenderReport

    def save(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Writes every stem and the residual as float32 wav files into ``folder``; all of them or none.

        Raises:
            OutputExistsError: a file is there already and ``overwrite`` is False.
            AudioWriteError: the folder cannot be written.
        """
        stems = [*self.stems.values(), self.residual]
        names = distinct([slug(stem.name) for stem in stems[:-1]], taken=[slug(self.residual.name)])
        paths = [Path(folder) / f"{name}.wav" for name in [*names, slug(self.residual.name)]]
        with WriterGroup() as group:
            for path, stem in zip(paths, stems, strict=True):
                writer = AudioWriter(
                    path,
                    sample_rate=stem.sample_rate,
                    channels=stem.samples.shape[0],
                    subtype="FLOAT",
                    overwrite=overwrite,
                )
                group.add(writer).write(stem.samples)
        return paths
