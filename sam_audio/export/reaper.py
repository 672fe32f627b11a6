"""REAPER project files: text of nested blocks, positions in seconds, spans as regions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sam_audio.errors import UserError
from sam_audio.export.workstation import SessionExporter

if TYPE_CHECKING:
    from sam_audio.export.timeline import Session, Track

SOURCES = {".wav": "WAVE", ".aiff": "WAVE", ".aif": "WAVE", ".flac": "FLAC", ".mp3": "MP3", ".ogg": "VORBIS"}


class Reaper(SessionExporter):
    """The whole session; sounds are named relative to the project's own folder."""

    name, title, suffix = "reaper", "REAPER", ".rpp"

    def check(self, source: str) -> None:
        super().check(source)
        _kind(Path(source))

    def write(self, session: Session, file: BinaryIO, folder: Path) -> None:
        file.write(project(session, folder).encode())


def project(session: Session, folder: Path) -> str:
    lines = [
        '<REAPER_PROJECT 0.1 "7.0/sam-audio" 0',
        f"  SAMPLERATE {session.sample_rate} 1 0",
        f"  TEMPO {float(session.tempo)!r} 4 4",
    ]
    for number, marked in enumerate(session.spans, 1):
        lines.append(f"  MARKER {number} {float(marked.span.start_s)!r} {quoted(marked.name)} 1")
        lines.append(f'  MARKER {number} {float(marked.span.end_s)!r} "" 1')
    for track in session.tracks:
        lines += ["  " + line for line in _track(session, track, folder)]
    return "\n".join([*lines, ">", ""])


def _track(session: Session, track: Track, folder: Path) -> list[str]:
    kind = _kind(track.path)
    name = quoted(track.name)
    return [
        "<TRACK",
        f"  NAME {name}",
        f"  VOLPAN {track.gain!r} {float(track.pan)!r} -1 -1 1",
        f"  MUTESOLO {int(track.mute)} {int(track.solo)} 0",
        f"  NCHAN {max(2, track.channels + track.channels % 2)}",
        "  <ITEM",
        f"    POSITION {session.seconds(track.start_frame)!r}",
        f"    LENGTH {session.seconds(track.frames)!r}",
        "    FADEIN 0 0 0 0 0 0 0",  # no automatic fades: stems are to sum to the mixture
        "    FADEOUT 0 0 0 0 0 0 0",
        "    LOOP 0",
        f"    NAME {name}",
        "    SOFFS 0",
        f"    <SOURCE {kind}",
        f"      FILE {quoted(_relative(track.path, folder))}",
        "    >",
        "  >",
        ">",
    ]


def _kind(path: Path) -> str:
    kind = SOURCES.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"REAPER's projects take no {path.suffix} files: have {path.name} as wav or flac")
    return kind


def quoted(text: str) -> str:
    """As REAPER quotes: in the first of the three quotation marks that the text does not hold.

    >>> quoted('say "no"')
    '\\'say "no"\\''
    """
    text = " ".join(text.split())
    for mark in "\"'`":
        if mark not in text:
            return mark + text + mark
    return "`" + text.replace("`", "'") + "`"


def _relative(path: Path, folder: Path) -> str:
    try:
        return os.path.relpath(path, folder)
    except ValueError:  # another drive
        return str(path)
