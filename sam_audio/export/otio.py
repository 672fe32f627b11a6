"""OpenTimelineIO: what film and video editors exchange. Positions are samples at the session's rate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sam_audio.errors import MissingExtraError
from sam_audio.export.workstation import SessionExporter

if TYPE_CHECKING:
    from sam_audio.export.timeline import Session


class Otio(SessionExporter):
    """A .otio file; sounds are named by absolute file URLs."""

    name, title, suffix = "otio", "OpenTimelineIO (video editors)", ".otio"

    def check(self, source: str) -> None:
        super().check(source)
        _opentimelineio()

    def write(self, session: Session, file: BinaryIO, folder: Path) -> None:
        file.write(timeline(session).to_json_string().encode())


def _opentimelineio() -> Any:
    try:
        import opentimelineio
    except ImportError:
        raise MissingExtraError("OTIO files need opentimelineio, which is not installed", "daw") from None
    return opentimelineio


def timeline(session: Session) -> Any:
    """An ``opentimelineio.schema.Timeline``. Faders are metadata under ``sam_audio``; a muted track is disabled.

    Raises:
        MissingExtraError: opentimelineio is not installed.
    """
    otio = _opentimelineio()

    def time(samples: float) -> Any:
        return otio.opentime.RationalTime(samples, session.sample_rate)

    def stretch(start: float, length: float) -> Any:
        return otio.opentime.TimeRange(time(start), time(length))

    line = otio.schema.Timeline(name=session.name)
    line.metadata["sam_audio"] = {"tempo": session.tempo, "sample_rate": session.sample_rate}
    for track in session.tracks:
        media = otio.schema.ExternalReference(track.path.as_uri(), stretch(0, track.frames))
        clip = otio.schema.Clip(track.name, media, stretch(0, track.frames))
        row = otio.schema.Track(track.name, kind=otio.schema.TrackKind.Audio)
        row.enabled = not track.mute
        fader = {"gain_db": track.gain_db, "pan": track.pan, "mute": track.mute, "solo": track.solo}
        row.metadata["sam_audio"] = fader
        if track.start_frame:
            row.append(otio.schema.Gap(source_range=stretch(0, track.start_frame)))
        row.append(clip)
        line.tracks.append(row)
    for marked in session.spans:
        start, end = (round(t * session.sample_rate) for t in (marked.span.start_s, marked.span.end_s))
        line.tracks.markers.append(otio.schema.Marker(marked.name, stretch(start, end - start)))
    return line
