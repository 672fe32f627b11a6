"""Audacity labels: a line per span, seconds with nine decimals. Sounds are imported beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sam_audio.export.workstation import SessionExporter

if TYPE_CHECKING:
    from sam_audio.export.timeline import Session


class Audacity(SessionExporter):
    """The spans; of a session without any, one label per track."""

    name, title, suffix = "audacity", "Audacity labels", ".txt"

    def write(self, session: Session, file: BinaryIO, folder: Path) -> None:
        file.write(labels(session).encode())


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
