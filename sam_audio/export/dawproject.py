"""DAWproject: the open exchange format that Bitwig Studio, Studio One and Cubase read.

A zip archive of project.xml, metadata.xml and the sounds (https://github.com/bitwig/dawproject). Positions are in
seconds; written with as many digits as a float has, they give the sample back exactly.
"""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from xml.etree import ElementTree

from sam_audio.export.workstation import SessionExporter
from sam_audio.naming import distinct, slug
from sam_audio.version import __version__

if TYPE_CHECKING:
    from sam_audio.export.timeline import Session, Track


class Dawproject(SessionExporter):
    """The whole session with its sounds."""

    name, title, suffix = "dawproject", "DAWproject (Bitwig, Studio One, Cubase)", ".dawproject"
    holds_sounds = True

    def write(self, session: Session, file: BinaryIO, folder: Path) -> None:
        _archive(session, file)


def _archive(session: Session, file: BinaryIO) -> None:
    names = distinct(slug(track.name) for track in session.tracks)
    sounds = [f"audio/{name}{track.path.suffix}" for name, track in zip(names, session.tracks, strict=True)]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("project.xml", _xml(project(session, sounds)))
        archive.writestr("metadata.xml", _xml(metadata(session)))
        for track, sound in zip(session.tracks, sounds, strict=True):
            entry = zipfile.ZipInfo(sound)
            entry.compress_type = (
                zipfile.ZIP_STORED
            )  # sound hardly shrinks, and workstations play from the archive
            with track.path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1 << 20)


def metadata(session: Session) -> ElementTree.Element:
    root = ElementTree.Element("MetaData")
    _add(root, "Title", text=session.name)
    _add(root, "Comment", text="Stems by sam-audio; together they sum to the muted mixture.")
    return root


def project(session: Session, sounds: list[str]) -> ElementTree.Element:
    """project.xml; ``sounds`` are the tracks' files in the archive."""
    root = ElementTree.Element("Project", version="1.0")
    _add(root, "Application", name="sam-audio", version=__version__)
    transport = _add(root, "Transport")
    _add(
        transport,
        "Tempo",
        unit="bpm",
        value=_number(session.tempo),
        min="20",
        max="999",
        id="tempo",
        name="Tempo",
    )
    _add(transport, "TimeSignature", numerator="4", denominator="4", id="signature")
    structure = _add(root, "Structure")
    for number, track in enumerate(session.tracks):
        _track(structure, number, track)
    master = _add(structure, "Track", id="master-track", name="Master", contentType="tracks", loaded="true")
    channel = _add(master, "Channel", id="master", role="master", audioChannels="2", solo="false")
    _fader(channel, "master", 1.0, 0.0, False)

    arrangement = _add(root, "Arrangement", id="arrangement", name="Arrangement")
    lanes = _add(arrangement, "Lanes", id="lanes", timeUnit="seconds")
    for number, (track, sound) in enumerate(zip(session.tracks, sounds, strict=True)):
        _clip(_add(lanes, "Lanes", track=f"track-{number}", id=f"lanes-{number}"), session, track, sound)
    if session.spans:
        markers = _add(arrangement, "Markers", id="markers", timeUnit="seconds")
        for marked in session.spans:  # markers are points: a span is two of them
            _add(markers, "Marker", time=_number(marked.span.start_s), name=marked.name)
            _add(markers, "Marker", time=_number(marked.span.end_s), name=f"{marked.name} (end)")
    return root


def _track(structure: ElementTree.Element, number: int, track: Track) -> None:
    element = _add(
        structure, "Track", id=f"track-{number}", name=track.name, contentType="audio", loaded="true"
    )
    channel = _add(
        element,
        "Channel",
        id=f"channel-{number}",
        role="regular",
        audioChannels=str(track.channels),
        destination="master",
        solo=_boolean(track.solo),
    )
    _fader(channel, f"channel-{number}", track.gain, track.pan, track.mute)


def _fader(channel: ElementTree.Element, name: str, gain: float, pan: float, mute: bool) -> None:
    _add(channel, "Mute", value=_boolean(mute), id=f"{name}-mute", name="Mute")
    middle = _number((pan + 1) / 2)
    _add(channel, "Pan", unit="normalized", value=middle, min="0", max="1", id=f"{name}-pan", name="Pan")
    _add(channel, "Volume", unit="linear", value=_number(gain), min="0", id=f"{name}-volume", name="Volume")


def _clip(lanes: ElementTree.Element, session: Session, track: Track, sound: str) -> None:
    start, duration = session.seconds(track.start_frame), session.seconds(track.frames)
    clip = _add(
        _add(lanes, "Clips"),
        "Clip",
        time=_number(start),
        duration=_number(duration),
        contentTimeUnit="seconds",
        playStart="0",
        name=track.name,
    )
    audio = _add(
        clip,
        "Audio",
        duration=_number(duration),
        channels=str(track.channels),
        sampleRate=str(session.sample_rate),
    )
    _add(audio, "File", path=sound)


def _add(
    parent: ElementTree.Element, tag: str, text: str | None = None, **attributes: str
) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag, {key: _clean(value) for key, value in attributes.items()})
    element.text = _clean(text) if text is not None else None
    return element


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return "".join(c for c in text if c in "\t\n" or c >= " " and not "\ud800" <= c <= "\udfff")


def _number(value: float) -> str:
    return repr(float(value))


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _xml(root: ElementTree.Element) -> bytes:
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
