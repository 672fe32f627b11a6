"""For Audacity: labels, a line per span with seconds of nine decimals; and a list of files that opens all sounds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sam_audio.errors import UserError
from sam_audio.export.workstation import SessionExporter

if TYPE_CHECKING:
    from sam_audio.export.timeline import Session


class Audacity(SessionExporter):
    """The spans; of a session without any, one label per track."""

    name, title, suffix = "audacity", "Audacity labels", ".txt"

    def write(self, session: Session, file: BinaryIO, folder: Path) -> None:
        file.write(labels(session).encode())


class ListOfFiles(SessionExporter):
    """A .lof file: Audacity opens the mixture and all stems, each where it begins."""

    name, title, suffix = "lof", "Audacity, all sounds", ".lof"

    def write(self, session: Session, file: BinaryIO, folder: Path) -> None:
        for track in session.tracks:
            path = os.path.relpath(track.path.resolve(), folder)
            if any(c in path for c in '"\n\r'):
                raise UserError(f"a list of files cannot hold the name {path!r}: rename it")
            begin_s = session.seconds(track.start_frame)
            file.write(f'file "{path}" offset {begin_s:.9f}\n'.encode(errors="surrogateescape"))


def labels(session: Session) -> str:
    """The text of a label track: File > Import > Labels."""
    rows = [(marked.span.start_s, marked.span.end_s, marked.name) for marked in session.spans]
    if not rows:
        rows = [
            (
                session.seconds(track.start_frame),
                session.seconds(track.start_frame + track.frames),
                track.name,
            )
            for track in session.tracks
        ]
    return "".join(f"{start:.9f}\t{end:.9f}\t{' '.join(name.split())}\n" for start, end, name in rows)
