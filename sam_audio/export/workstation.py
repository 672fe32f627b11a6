"""Exporters of sessions: ``separate --export NAME``, ``sam-audio session export`` and the editor take the same ones."""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sam_audio.errors import UserError
from sam_audio.extending.hookspecs import Exporter

if TYPE_CHECKING:
    from sam_audio.export.timeline import Session
    from sam_audio.report import RenderReport


class SessionExporter(Exporter):
    """Writes a session for an audio workstation, as one file.

    Attributes:
        title: for people, who know the workstation by it.
        suffix: of its files, with the dot.
        holds_sounds: whether the file holds its sounds, rather than naming those beside it.
    """

    title: str
    suffix: str
    holds_sounds: bool = False
    needs_all = True  # the mixture is on its first track

    @abstractmethod
    def write(self, session: Session, file: BinaryIO, folder: Path) -> None:
        """Writes a session to a file that will be in ``folder``.

        Raises:
            UserError: the format cannot hold this session.
        """

    def check(self, source: str) -> None:
        if source == "-" or Path(source).is_fifo():
            raise UserError(
                f"{self.name} needs a recording that stays, not a pipe: name a file, or leave the export out"
            )

    def export(self, report: RenderReport, overwrite: bool) -> list[Path]:
        """One session beside the stems, named after the recording."""
        from sam_audio.export.timeline import session_of_files

        stems = {Path(part.path): part.prompt or part.name for part in report.written}
        session = session_of_files(Path(report.mixture), stems)
        folder = Path(os.path.commonpath([path.parent for path in stems]))
        return [self.save(session, folder / f"{report.track}{self.suffix}", overwrite=overwrite)]

    def save(self, session: Session, path: Path, *, overwrite: bool = False) -> Path:
        """Writes a session to ``path``, whole or not at all.

        Raises:
            UserError: the format cannot hold this session.
            AudioWriteError: the file exists, or cannot be written.
        """
        from sam_audio.io.target import FileTarget, writing

        target = FileTarget(path, overwrite, [track.path for track in session.tracks])
        try:
            with writing(target.name):
                self.write(session, target.file, path.parent.resolve())
                target.sync()
                target.publish()
        except BaseException:
            target.discard()
            raise
        return path


def session_exporters() -> dict[str, SessionExporter]:
    """Those that there are, of the package and of plugins, by name."""
    from sam_audio.extending.registry import registry

    return {one.name: one for one in registry().all("exporters") if isinstance(one, SessionExporter)}


def session_exporter(name: str) -> SessionExporter:
    """The one of that name.

    Raises:
        UserError: there is none.
    """
    known = session_exporters()
    if name not in known:
        raise UserError(f"{name} is not a session format: use one of {', '.join(known)}")
    return known[name]
