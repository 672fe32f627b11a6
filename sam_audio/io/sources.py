"""Chooses what decodes a file, after a look at its first bytes and its structure."""

import stat
from pathlib import Path

import soundfile

from sam_audio.errors import AudioReadError, MissingExtraError
from sam_audio.io.cutoff import never_finished, part_there
from sam_audio.io.ffmpeg import FfmpegDecoder, UndecodableError
from sam_audio.io.findings import Findings, Trouble, cut_off
from sam_audio.io.mpeg import looks_like_mpeg, scan_mpeg
from sam_audio.io.ogg import scan_ogg
from sam_audio.io.sndfile import Decoder, SndfileDecoder

_SNIFF_BYTES = 4096
# Containers of which libsndfile reads every kind that matters: refusing one of them means damage.
_KNOWN_STARTS = (b"RIFF", b"RF64", b"riff", b"FORM", b"fLaC", b"OggS", b"caff", b".snd")
_MPEG_SUFFIXES = (".mp1", ".mp2", ".mp3", ".mpa", ".mpga")


def open_source(path: Path, name: str, *, track: int | None = None, is_stream: bool = False) -> Decoder:
    """Open a file in libsndfile where that reads it right, and otherwise in ffmpeg.

    Args:
        path: of the file.
        name: of it, for messages.
        track: number of the sound track, from 1; None is the one that players choose.
        is_stream: whether it came through a pipe, in which a header cannot say how long it will be.

    Raises:
        AudioReadError, MissingExtraError: as `open_audio`.
    """
    start = _read_start(path, name)
    if not start:
        raise AudioReadError(f"{name} is empty: choose a file that holds sound")
    if _is_text(start):
        # Before any decoder sees it: libsndfile may take it for mp3, and ffmpeg for a playlist that names
        # other files.
        raise AudioReadError(f"{name} is a text file: choose an audio or video file")
    findings = _look(path, start, is_stream)
    if findings is not None and findings.plain and track in (None, 1):
        sndfile = _open_sndfile(path, name)
        if sndfile is not None and sndfile.is_plain and findings.frames in (None, sndfile.frames):
            sndfile.troubles += findings.troubles
            return sndfile
        if sndfile is not None:
            sndfile.close()
    try:
        source = FfmpegDecoder(path, name, track, findings.channels if findings is not None else None)
    except (UndecodableError, MissingExtraError) as error:
        sndfile = None if findings is None else _open_sndfile(path, name)
        if findings is not None and sndfile is not None:
            if sndfile.format != "RAW":
                return _in_part(sndfile, findings)
            sndfile.close()
        known = start.startswith(_KNOWN_STARTS) and start[8:11] != b"AVI"
        if isinstance(error, MissingExtraError) and not known:
            raise
        if known:
            raise AudioReadError(f"{name} is damaged or cut off at its beginning: export it again") from None
        raise AudioReadError(
            f"{name} is not an audio or video file that can be read: convert it to wav or flac"
        ) from None
    if findings is not None:
        source.troubles += findings.troubles
    return source


def _look(path: Path, start: bytes, is_stream: bool) -> Findings | None:
    """What the structure of a file tells; None if it must not be shown to libsndfile."""
    if start.startswith(b"OggS"):
        return scan_ogg(path)
    if start.startswith(_KNOWN_STARTS):
        return Findings() if is_stream else never_finished(path)
    if looks_like_mpeg(start) or path.suffix.lower() in _MPEG_SUFFIXES:
        return scan_mpeg(path)
    return Findings()


def _open_sndfile(path: Path, name: str) -> SndfileDecoder | None:
    try:
        source = SndfileDecoder(path, name)
    except TypeError:  # named .raw, into which soundfile does not look
        raise AudioReadError(f"{name} is named as raw samples without a header: convert it to wav") from None
    except soundfile.SoundFileError:
        return None
    if source.frames and (there := part_there(path)):
        there_s = source.frames / source.sample_rate
        source.troubles += cut_off(there_s, there_s / there)
    return source


def _in_part(source: SndfileDecoder, findings: Findings) -> SndfileDecoder:
    """libsndfile where ffmpeg would read it better, and what that may lose is told."""
    source.troubles += findings.troubles
    there, whole = source.frames, findings.frames
    if there is not None and whole is not None and there < whole:
        there_s, whole_s = there / source.sample_rate, whole / source.sample_rate
        source.troubles.append(
            Trouble(
                there_s,
                f"is an uncommon mp3, of which only {there_s:.2f} s of {whole_s:.2f} s can be read without ffmpeg: "
                "install ffmpeg",
            )
        )
    return source


def _read_start(path: Path, name: str) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise AudioReadError(f"{path} is a folder: name a file in it")
        if not stat.S_ISREG(mode):
            raise AudioReadError(f"{path} is not a regular file: name an audio or video file")
        with path.open("rb") as file:
            return file.read(_SNIFF_BYTES)
    except FileNotFoundError:
        raise AudioReadError(f"{path} does not exist: check the name and the folder") from None
    except PermissionError:
        raise AudioReadError(f"{path} may not be read by you: change its permissions") from None
    except OSError as error:
        raise AudioReadError(
            f"{path} cannot be read ({error.strerror}): check the name and the disk"
        ) from error
    except ValueError:
        raise AudioReadError(f"{name!r} is not a file name: check it") from None  # holds a NUL


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        if len(start) < _SNIFF_BYTES or error.start < len(start) - 3:  # else: a character cut in two
            return False
        text = start[: error.start].decode()
    return all(character >= " " or character in "\t\n\r\f\x1b" for character in text)
