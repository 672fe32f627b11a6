"""What a container of sound and pictures holds, and which kinds of containers may be opened at all.

Files come from strangers, and some kinds name other files: playlists, lists to concatenate, sequences of pictures. Only
demuxers that read nothing but the file itself are let in, whatever the file is called, and only local files.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio.errors import AudioReadError, MissingExtraError

if TYPE_CHECKING:
    from av.container import InputContainer

# By ffmpeg's names. Not hls, dash, concat, sdp, image2, lavfi, imf, vobsub and others, which reach for more.
DEMUXERS = (
    "3dostr,aa,aac,aax,ac3,ace,act,adp,ads,adx,aea,afc,aiff,aix,alaw,amr,amrnb,amrwb,"
    "apc,ape,apm,aptx,aptx_hd,argo_asf,asf,asf_o,ast,au,avi,avr,binka,bit,bonk,boa,brstm,"
    "bfstm,caf,codec2,daud,dfpwm,dsf,dss,dts,dtshd,dv,eac3,epaf,flac,flv,fsb,fwse,g722,"
    "g723_1,g726,g726le,g729,gsm,gxf,hca,hcom,iff,ilbc,ircam,iss,iv8,ivf,kux,kvag,laf,"
    "live_flv,lvf,lxf,loas,matroska,mca,mlp,mods,moflex,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "mpegtsraw,mpegvideo,msf,mtaf,mtv,mulaw,musx,mv,mxf,nc,nistsphere,nsp,nsv,nut,ogg,oma,"
    "osq,paf,pp_bnk,pva,pvf,qcp,qoa,r3d,rka,rl2,rm,rso,rsd,sbc,sds,sdx,shn,sln,sol,"
    "sox,spdif,svag,svs,tak,truehd,tta,ty,usm,vag,vivo,voc,vpk,vqf,w64,wav,wc3movie,"
    "webm,wsd,wtv,wv,xa,xmd,xmv,xvag,xwma"
)
GUARD = {"protocol_whitelist": "file,pipe", "format_whitelist": DEMUXERS}
GUARD_OPTIONS = [word for name, value in GUARD.items() for word in (f"-{name}", value)]  # for the command

PROBE_TIMEOUT_S = 60
_STREAM = re.compile(r"^  Stream #0:(\d+)(?:\[0x[0-9a-f]+\])?(?:\(([^)]*)\))?: (\w+): (.*)$")
# "5.1(side)", "4 channels (FL+FR+TFL+TFR)" or "10 channels"
_LAYOUT = re.compile(r" Hz, (?:(\d+) channels(?: \(([^)]*)\))?|([\w.+() ]+?))(?:,|$)")
_NO_PICTURES = ("(attached pic)", "(still image)", "(timed thumbnails)")


class UndecodableError(Exception):
    """ffmpeg does not recognise the file either."""


@dataclass(frozen=True)
class Track:
    """One stream of a container.

    Args:
        index: among all streams, from 0.
        kind: Audio, Video, Subtitle, Data or Attachment.
        codec: by ffmpeg's name; ``none`` if it knows none.
        language: as the file names it, e.g. ``eng``.
        title: as the file names it.
        details: the rest of what ffmpeg says.
    """

    index: int
    kind: str
    codec: str
    language: str | None
    details: str
    title: str | None = None

    @property
    def is_default(self) -> bool:
        """Whether players choose it by themselves."""
        return "(default)" in self.details

    @property
    def layout(self) -> str | None:
        """Where the channels of a sound track belong, by ffmpeg's name, e.g. "5.1(side)"; None if nobody knows."""
        found = _LAYOUT.search(self.details)
        return None if found is None else found[2] if found[1] else found[3]

    @property
    def n_unnamed(self) -> int:
        """How many channels a sound track has if ffmpeg has no name for their layout; else 0."""
        found = _LAYOUT.search(self.details)
        return int(found[1]) if found is not None and found[1] else 0


@dataclass
class Contents:
    """What a container holds.

    Args:
        format: the first of ffmpeg's names for it, e.g. "matroska".
        start_s: when its first stream begins, in its own time.
        tracks: all streams.
    """

    format: str
    start_s: float = 0.0
    tracks: list[Track] = field(default_factory=list)

    @property
    def sounds(self) -> list[Track]:
        """The sound tracks that can be decoded."""
        return [track for track in self.tracks if track.kind == "Audio" and track.codec != "none"]

    @property
    def pictures(self) -> Track | None:
        """The first track of moving pictures; a cover is none."""
        shown = (
            t
            for t in self.tracks
            if t.kind == "Video" and not any(word in t.details for word in _NO_PICTURES)
        )
        return next(shown, None)

    def sound(self, number: int | None, name: str) -> Track:
        """The sound track of a number from 1; without one, the first that players choose.

        Raises:
            AudioReadError: there is no sound, or no track of that number; ``name`` is the file's, for the message.
        """
        if not self.sounds:
            raise AudioReadError(f"{name} has no sound: choose a file with an audio track")
        if number is None:
            return next((track for track in self.sounds if track.is_default), self.sounds[0])
        check_track(number, len(self.sounds), name)
        return self.sounds[number - 1]

    def describe(self, chosen: Track) -> str:
        """The number of a sound track, with language and title where the file names them."""
        number = f"number {self.sounds.index(chosen) + 1}"
        about = [word for word in (chosen.language, chosen.title) if word and word != "und"]
        return f"{number} ({', '.join(about)})" if about else number


def check_track(number: int, count: int, name: str) -> None:
    """Raises AudioReadError if a file has no sound track of that number, from 1."""
    if not 1 <= number <= count:
        has = "one sound track" if count == 1 else f"{count} sound tracks"
        use = "leave the track out" if count == 1 else f"use 1 to {count}"
        raise AudioReadError(f"{name} has no sound track {number}, but {has}: {use}")


def probe(executable: str, path: Path) -> Contents:
    """What a file holds, by the word of an ffmpeg.

    Raises:
        UndecodableError: it is no container that may be opened.
    """
    command = [executable, "-nostdin", "-hide_banner", *GUARD_OPTIONS, "-i", f"file:{path.resolve()}"]
    try:
        ran = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise UndecodableError(path) from None
    return _parse(ran.stderr.decode(errors="replace"))


def _parse(messages: str) -> Contents:
    container = re.search(r"^Input #0, (\w+)", messages, re.MULTILINE)
    if container is None:
        raise UndecodableError(messages)
    contents = Contents(container[1])
    start = re.search(r"^  Duration: .*?start: (-?[\d.]+)", messages, re.MULTILINE)
    if start is not None:
        contents.start_s = float(start[1])
    for line in messages.splitlines():
        if (found := _STREAM.match(line)) is not None:
            index, language, kind, details = found.groups()
            codec = re.match(r"[\w.]+", details)
            contents.tracks.append(Track(int(index), kind, codec[0] if codec else "none", language, details))
        elif contents.tracks and (titled := re.match(r"      title\s*: (.+)", line)) is not None:
            last = contents.tracks[-1]
            contents.tracks[-1] = Track(
                last.index, last.kind, last.codec, last.language, last.details, titled[1].strip()
            )
    return contents


def open_video(path: str | Path) -> InputContainer:
    """A container in PyAV, for its pictures.

    Raises:
        MissingExtraError: PyAV is not installed.
        AudioReadError: it cannot be opened; ``av.FFmpegError`` may come later, while it is read.
    """
    av = load_av()
    path = Path(path)
    if not path.exists():
        raise AudioReadError(f"{path} does not exist: check the name and the folder")
    try:
        # titles need not be UTF-8; "file:" keeps a name from being taken for an address
        return av.open(f"file:{path.resolve()}", metadata_errors="ignore", options=GUARD)
    except (av.FFmpegError, OSError, ValueError):  # the last of names that are no text
        raise AudioReadError(f"{path.name} is not a video that can be read: convert it to mp4") from None


def load_av() -> Any:
    """The module av; raises MissingExtraError where it is not installed."""
    try:
        import av
    except ImportError:
        raise MissingExtraError("videos need PyAV, which is not installed", "video") from None
    return av
