"""What every exporter of sessions takes: tracks, spans, a sample rate and a tempo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar

from msgspec import Meta

from sam_audio.documents import Document, parse_json, read_text, structured
from sam_audio.errors import AudioReadError, UserError
from sam_audio.io import open_audio
from sam_audio.naming import RESIDUAL
from sam_audio.types import Span

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif")
MOST_DB = 60.0
MOST_S = 1e7  # of an event: longer than any recording
T = TypeVar("T")


@dataclass(frozen=True)
class Track:
    """One sound on one track.

    Args:
        name: for people; the prompt.
        path: of the sound, which starts at its first sample.
        frames: its length in samples.
        channels: C.
        gain_db, pan, mute, solo: the fader; pan from -1 (left) to 1 (right).
        start_frame: where it begins in the session, in samples.
    """

    name: str
    path: Path
    frames: int
    channels: int
    gain_db: float = 0.0
    pan: float = 0.0
    mute: bool = False
    solo: bool = False
    start_frame: int = 0

    @property
    def gain(self) -> float:
        """Linear."""
        return 10 ** (self.gain_db / 20)


@dataclass(frozen=True)
class MarkedSpan:
    """A span with the name of what is heard in it."""

    name: str
    span: Span


@dataclass(frozen=True)
class Session:
    """Tracks on one time line.

    Args:
        name: of the song or scene.
        tracks: at least one, all at ``sample_rate``.
        spans: become markers.
        sample_rate: in Hz.
        tempo: in beats a minute; it places nothing, for everything here is placed in seconds or samples.

    Raises:
        UserError: a session that no workstation could open.
    """

    name: str
    tracks: tuple[Track, ...]
    sample_rate: int
    spans: tuple[MarkedSpan, ...] = ()
    tempo: float = 120.0

    def __post_init__(self) -> None:
        if not self.tracks:
            raise UserError("a session needs at least one track: give a mixture or stems")
        if not 20 <= self.tempo <= 999:
            raise UserError(f"a tempo of {self.tempo:g} beats a minute is out of range: use 20 to 999")
        for track in self.tracks:
            if not -1 <= track.pan <= 1 or not track.gain_db <= MOST_DB:
                raise UserError(
                    f"the fader of {track.name} is out of range: use pan -1 to 1 and at most {MOST_DB:g} dB"
                )

    @property
    def frames(self) -> int:
        """Where the last track ends, in samples."""
        return max(track.start_frame + track.frames for track in self.tracks)

    def seconds(self, frames: int) -> float:
        return frames / self.sample_rate


def session_of(
    mixture: Path,
    stems: Path,
    *,
    names: Mapping[str, str] | None = None,
    gains_db: Mapping[str, float] | None = None,
    pans: Mapping[str, float] | None = None,
    spans: Sequence[MarkedSpan] = (),
    tempo: float = 120.0,
) -> Session:
    """A session of a mixture, muted on the first track, and every stem of a folder.

    Args:
        mixture: the recording that was separated.
        stems: folder of its stems; the residual comes last.
        names: prompt by file name without extension; hyphens become spaces otherwise.
        gains_db, pans: by file name without extension.
        spans: become markers.
        tempo: in beats a minute.

    Raises:
        UserError: a stem that does not fit the mixture, or none at all.
    """
    names, gains_db, pans = names or {}, gains_db or {}, pans or {}
    if not stems.is_dir():
        raise UserError(f"there is no folder {stems}: give the one that the stems were written to")
    paths = sorted(p for p in stems.iterdir() if p.suffix.lower() in SOUNDS and not p.name.startswith("."))
    paths = [p for p in paths if not (mixture.exists() and p.samefile(mixture))]
    if not paths:
        raise UserError(f"{stems} holds no stems: separate {mixture.name} first")
    for key in (*gains_db, *pans):
        if key not in [path.stem for path in paths]:
            known = ", ".join(path.stem for path in paths)
            raise UserError(f"{stems} holds no stem {key}: use one of {known}")
    paths.sort(key=lambda p: p.stem == RESIDUAL)
    titles = {path: names.get(path.stem, path.stem.replace("-", " ")) for path in paths}
    session = session_of_files(mixture, titles, spans=spans, tempo=tempo)
    faders = [(0.0, 0.0), *((gains_db.get(path.stem, 0.0), pans.get(path.stem, 0.0)) for path in paths)]
    tracks = zip(session.tracks, faders, strict=True)
    return replace(
        session, tracks=tuple(replace(track, gain_db=gain_db, pan=pan) for track, (gain_db, pan) in tracks)
    )


def session_of_files(
    mixture: Path, stems: Mapping[Path, str], *, spans: Sequence[MarkedSpan] = (), tempo: float = 120.0
) -> Session:
    """A session of a mixture, muted on the first track, and of stems in their order, all faders at rest.

    Args:
        mixture: the recording that was separated.
        stems: what each is called.
        spans: become markers.
        tempo: in beats a minute.

    Raises:
        UserError: a stem that does not fit the mixture.
    """
    rate, frames, channels = _measure(mixture)
    tracks = [Track(f"{mixture.stem} (mixture)", mixture.resolve(), frames, channels, mute=True)]
    for path, name in stems.items():
        stem_rate, stem_frames, stem_channels = _measure(path)
        if (stem_rate, stem_frames) != (rate, frames):
            raise UserError(
                f"{path.name} has {stem_frames} samples at {stem_rate} Hz and {mixture.name} {frames} at {rate} Hz: "
                "give the stems of this mixture, written as wav or flac"
            )
        tracks.append(Track(name, path.resolve(), stem_frames, stem_channels))
    return Session(mixture.stem, tuple(tracks), rate, tuple(spans), tempo)


class _Stem(Document):
    path: str
    prompt: str | None = None


class _Recording(Document):
    stems: list[_Stem] = []


class _Report(Document):
    """What of a report of ``separate`` is looked at."""

    files: list[_Recording] = []


class _Event(Document):
    prompt: str
    start_s: Annotated[float, Meta(ge=0, le=MOST_S)]
    end_s: Annotated[float, Meta(ge=0, le=MOST_S)]


class _Events(Document):
    """What of a report of ``sam-audio locate`` is looked at."""

    events: list[_Event]


def prompts_of_report(path: Path) -> dict[str, str]:
    """Prompt by file name, from what ``separate --report FILE`` wrote."""
    report = _read(path, _Report, "what separate --report wrote")
    stems = [stem for file in report.files for stem in file.stems]
    return {Path(stem.path).stem: stem.prompt for stem in stems if stem.prompt}


def spans_of_events(path: Path) -> list[MarkedSpan]:
    """Spans, from what ``sam-audio locate --json FILE`` wrote."""
    found = _read(path, _Events, "what sam-audio locate --json wrote").events
    for event in found:
        if event.end_s < event.start_s:
            raise UserError(
                f"{path} has an event that ends before it starts, at {event.start_s:g} s: remove it"
            )
    return [MarkedSpan(event.prompt, Span(event.start_s, event.end_s)) for event in found]


def _read(path: Path, kind: type[T], what: str) -> T:
    values = parse_json(read_text(path, what), str(path))
    return structured(values, kind, f"{path} is not {what}: it", closed=False)


def _measure(path: Path) -> tuple[int, int, int]:
    """Rate in Hz, frames and channels of a sound; counted where the header does not tell."""
    with open_audio(path) as reader:
        frames = reader.frames
        if frames is None:
            frames = sum(block.shape[-1] for block in reader.blocks(reader.sample_rate))
        if frames == 0:
            raise AudioReadError(f"{path.name} holds no audio: choose a file that does")
        return reader.sample_rate, frames, reader.channels
