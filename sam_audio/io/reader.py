"""Streaming reader: one interface to everything libsndfile or ffmpeg can decode, in constant memory."""

import math
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import soundfile

from sam_audio.errors import AudioReadError, MissingExtraError
from sam_audio.io.cutoff import part_there
from sam_audio.io.ffmpeg import FfmpegSource, UndecodableError

MIN_RATE_HZ, MAX_RATE_HZ = 1000, 768000

_SNIFF_BYTES = 4096
_PEEK_FRAMES = 1024
_LEAST_MISSING_S = 0.01  # some headers are wrong by a few samples
_UNKNOWN_LENGTH = 1 << 62  # libsndfile counts up to 2**63 - 1 frames where it cannot tell
# Containers of which libsndfile reads every kind that matters: refusing one of them means damage.
_KNOWN_STARTS = (b"RIFF", b"RF64", b"riff", b"FORM", b"fLaC", b"OggS", b"caff", b".snd")


class _Source(Protocol):
    sample_rate: int
    channels: int
    frames: int | None
    promised_frames: int | None  # by the header, which may be more
    format: str
    subtype: str

    def seek(self, frame: int) -> None: ...
    def read(self, frames: int) -> np.ndarray: ...
    def close(self) -> None: ...


class AudioReader:
    """An open sound file; made by `open_audio`, closed by `close` or a with statement.

    Attributes:
        name: of the file, for messages.
        path: of what is read, for streams that of their copy.
        sample_rate: in Hz.
        channels: C.
        frames: how many frames `blocks` will give, None if unknown (anything decoded by ffmpeg). It is
            what the header claims: a damaged mp3 or ogg file can end earlier.
        format: container, e.g. "WAV", "FLAC", "OGG", "MOV".
        subtype: encoding, e.g. "PCM_24", "FLOAT", "MPEG_LAYER_III", "OPUS", "AAC", "UNKNOWN".
        start_frame: where `blocks` begins in the file.
        warnings: sentences about what is not as it should be, though it can be read.
    """

    def __init__(
        self,
        source: _Source,
        name: str,
        start_s: float,
        duration_s: float | None,
        spool: "_Spool | None" = None,
        path: Path | None = None,
    ) -> None:
        self._source = source
        self._spool = spool
        self._closed = False
        self.name = name
        self.path = path
        self.sample_rate = source.sample_rate
        self.channels = source.channels
        self.format = source.format
        self.subtype = source.subtype
        if not MIN_RATE_HZ <= self.sample_rate <= MAX_RATE_HZ:
            raise AudioReadError(
                f"{name} has a sample rate of {self.sample_rate} Hz; sample rates from {MIN_RATE_HZ} to "
                f"{MAX_RATE_HZ} Hz can be separated: resample it first"
            )
        self.start_frame = round(start_s * self.sample_rate)
        self._limit = None if duration_s is None else max(1, round(duration_s * self.sample_rate))
        self.frames = source.frames
        if self.frames is not None:
            self.frames = max(0, self.frames - self.start_frame)
            if self._limit is not None:
                self.frames = min(self.frames, self._limit)
        self._head = self._seek_and_peek()
        self._moved = False
        self.warnings = self._cut_off()

    def blocks(self, block_frames: int) -> Iterator[np.ndarray]:
        """Yield float32 arrays of shape (C, T) with T = `block_frames`, less in the last one.

        Every call starts again at the beginning; one iteration at a time.

        Raises:
            AudioReadError: the file is damaged here, or a sample is NaN or infinite.
        """
        if block_frames < 1:
            raise ValueError(f"block_frames must be at least 1, got {block_frames}")
        if self._closed:
            raise ValueError(f"read of {self.name}, which is closed")
        if self._moved:
            self._head = self._seek_and_peek()
        self._moved = True
        head, self._head = self._head, self._head[:, :0]
        position = self.start_frame
        remaining = sys.maxsize if self._limit is None else self._limit
        while remaining > 0:
            wanted = min(block_frames, remaining)
            block, head = head[:, :wanted], head[:, wanted:]
            if block.shape[1] < wanted:
                more = self._read(wanted - block.shape[1], position + block.shape[1])
                block = np.concatenate([block, more], axis=1) if block.shape[1] else more
            if block.shape[1] == 0:
                return
            self._check_finite(block, position)
            position += block.shape[1]
            remaining -= block.shape[1]
            yield block

    def close(self) -> None:
        """Close the file, end the decoder and remove what was spooled."""
        self._closed = True
        self._source.close()
        if self._spool is not None:
            self._spool.close()

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _cut_off(self) -> list[str]:
        """A sentence if the file ends too early, unless what is read lies before."""
        frames, promised = self._source.frames, self._source.promised_frames
        if frames is None or promised is None or promised - frames < _LEAST_MISSING_S * self.sample_rate:
            return []
        if self._limit is not None and self.start_frame + self._limit <= frames:
            return []
        there_s, promised_s = frames / self.sample_rate, promised / self.sample_rate
        return [
            f"{self.name} is cut off: of the {promised_s:.2f} s that its header promises only {there_s:.2f} s "
            "are there, so copy or download it again"
        ]

    def _seek_and_peek(self) -> np.ndarray:
        # Only the samples themselves tell whether there are any: headers claim and compressed files err.
        try:
            self._source.seek(self.start_frame)
        except soundfile.SoundFileError:
            head = np.zeros((self.channels, 0), dtype=np.float32)
        except OSError as error:
            before_s = self.start_frame / self.sample_rate
            raise AudioReadError(f"{self.name} is damaged before {before_s:g} s: export it again") from error
        else:
            head = self._read(_PEEK_FRAMES, self.start_frame)
        if head.shape[1] == 0:
            if self.start_frame == 0:
                raise AudioReadError(f"{self.name} holds no audio: choose a file that does")
            start_s = self.start_frame / self.sample_rate
            raise AudioReadError(f"{self.name} ends before {start_s:g} s: choose an earlier start")
        return head

    def _read(self, frames: int, position: int) -> np.ndarray:
        try:
            return self._source.read(frames)
        except (soundfile.SoundFileError, OSError) as error:
            where_s = position / self.sample_rate
            raise AudioReadError(
                f"{self.name} is damaged after {where_s:.2f} s: export it again, or take only the part before"
            ) from error

    def _check_finite(self, block: np.ndarray, position: int) -> None:
        finite = np.isfinite(block)
        if finite.all():
            return
        first = int(np.argmin(finite.all(axis=0)))
        what = "NaN" if np.isnan(block[:, first]).any() else "infinite"
        where_s = (position + first) / self.sample_rate
        raise AudioReadError(
            f"{self.name} has {what} samples, the first at {where_s:.3f} s: export it again from its source"
        )


def open_audio(
    source: str | Path | BinaryIO, *, start_s: float = 0.0, duration_s: float | None = None
) -> AudioReader:
    """Open anything that libsndfile or ffmpeg can decode.

    Args:
        source: a path, "-" for standard input, or a binary file, read from where it stands. The latter two
            and named pipes are copied to a temporary file first, because decoding needs to seek.
        start_s: where to begin, in seconds; sample-accurate, rounded to the nearest sample.
        duration_s: how much to read at most, in seconds; None is all.

    Raises:
        AudioReadError: there is no sound to be had from this; the message says why and what would help.
        MissingExtraError: ffmpeg is needed and not there.
    """
    if not (math.isfinite(start_s) and start_s >= 0):
        raise AudioReadError(f"a start of {start_s:g} s lies before the sound: use 0 or more")
    if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
        raise AudioReadError(f"a duration of {duration_s:g} s leaves nothing to read: use more than 0")
    spool = None
    opened = None
    try:
        if isinstance(source, (str, Path)) and str(source) != "-":
            name, path = Path(source).name or str(source), Path(source)
            if _is_pipe(path):
                with path.open("rb") as stream:
                    spool = _Spool(stream, name)
        elif isinstance(source, (str, Path)):
            name = "standard input"
            if sys.stdin.isatty():
                raise AudioReadError(
                    "nothing is sent to standard input: pipe a sound into it, or name a file"
                )
            spool = _Spool(sys.stdin.buffer, name)
        else:
            given = getattr(source, "name", None)
            name = os.path.basename(given) if isinstance(given, str) and given else "the given file"
            spool = _Spool(source, name)
        if spool is not None:
            path = spool.path
        opened = _open_source(path, name)
        return AudioReader(opened, name, start_s, duration_s, spool, path)
    except BaseException:
        if opened is not None:
            opened.close()
        if spool is not None:
            spool.close()
        raise


def read_audio(path: str | Path | BinaryIO) -> tuple[np.ndarray, int]:
    """Read a short file whole: float32 samples of shape (C, T), and the sample rate in Hz.

    Raises:
        AudioReadError, MissingExtraError: as `open_audio`.
    """
    with open_audio(path) as reader:
        return np.concatenate(list(reader.blocks(1 << 16)), axis=1), reader.sample_rate


class _SndfileSource:
    def __init__(self, path: Path) -> None:
        # names of files need not be text, except on Windows
        name = str(path) if sys.platform == "win32" else os.fsencode(path)
        self._file = soundfile.SoundFile(name)
        self.sample_rate = self._file.samplerate
        self.channels = self._file.channels
        self.frames = self._file.frames if self._file.frames < _UNKNOWN_LENGTH else None
        there = part_there(path) if self.frames else 1.0
        self.promised_frames = round(self._file.frames / there) if there else None
        self.format = self._file.format
        self.subtype = self._file.subtype

    def seek(self, frame: int) -> None:
        self._file.seek(min(frame, self._file.frames))

    def read(self, frames: int) -> np.ndarray:
        return np.ascontiguousarray(self._file.read(frames, dtype="float32", always_2d=True).T)

    def close(self) -> None:
        self._file.close()


class _Spool:
    """A stream copied to a named temporary file, since decoders seek and ffmpeg wants a path."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sam-audio-")
        self.path = Path(self._folder.name) / "input"
        try:
            with self.path.open("wb") as copy:
                shutil.copyfileobj(stream, copy, 1 << 20)
        except BaseException as error:
            self.close()
            if not isinstance(error, OSError):
                raise
            where = tempfile.gettempdir()
            raise AudioReadError(
                f"{name} could not be copied to {where} ({error.strerror or error}): "
                "free some space there, or name a file instead"
            ) from error

    def close(self) -> None:
        self._folder.cleanup()


def _is_pipe(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except (OSError, ValueError):
        return False  # _read_start says what is wrong


def _open_source(path: Path, name: str) -> _Source:
    start = _read_start(path, name)
    if not start:
        raise AudioReadError(f"{name} is empty: choose a file that holds sound")
    if _is_text(start):
        # Before any decoder sees it: libsndfile may take it for mp3, and ffmpeg for a playlist that names
        # other files.
        raise AudioReadError(f"{name} is a text file: choose an audio or video file")
    try:
        return _SndfileSource(path)
    except TypeError:  # named .raw, into which soundfile does not look
        raise AudioReadError(f"{name} is named as raw samples without a header: convert it to wav") from None
    except soundfile.SoundFileError:
        pass
    damaged = start.startswith(_KNOWN_STARTS) and start[8:11] != b"AVI"
    try:
        return FfmpegSource(path, name)
    except (UndecodableError, MissingExtraError) as error:
        if damaged:
            raise AudioReadError(f"{name} is damaged or cut off at its beginning: export it again") from None
        if isinstance(error, MissingExtraError):
            raise
        raise AudioReadError(
            f"{name} is not an audio or video file that can be read: convert it to wav or flac"
        ) from None


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
