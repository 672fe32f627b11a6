"""What a separation into memory gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sam_audio.io import AudioWriter, WriterGroup
from sam_audio.naming import distinct, slug
from sam_audio.report import RenderReport, StemReport
from sam_audio.types import Stem

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(repr=False)
class SeparationResult:
    """Stems and residual, at the mixture's own rate, channel count and length.

    ``sum(stems) + residual`` equals the mixture, sample for sample. Notebooks show players and the judge's scores.
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
        stems = self._all
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

    def plot(self) -> Figure:
        """Waveforms of stems and residual with the judge's overall scores, as a figure of matplotlib.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from sam_audio import notebook

        return notebook.plot(self._all, self._reports)

    @property
    def _all(self) -> list[Stem]:
        return [*self.stems.values(), self.residual]

    @property
    def _reports(self) -> dict[str, StemReport]:
        return {one.name: one for one in self.report.written}

    def __repr__(self) -> str:
        channels, length = self.residual.samples.shape
        return (
            f"SeparationResult({', '.join([*self.stems, self.residual.name])}: {length / self.sample_rate:.1f} s, "
            f"{channels} channel{'s' * (channels != 1)}, {self.sample_rate} Hz)"
        )

    def _repr_html_(self) -> str:
        from sam_audio import notebook

        return notebook.page(self._all, self._reports)
