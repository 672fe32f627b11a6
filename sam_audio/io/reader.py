"""Streaming reader: one interface to everything libsndfile or ffmpeg can decode, in constant memory."""

import math
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sam_audio.errors import AudioReadError
from sam_audio.io.sources import Decoder, open_source

MIN_RATE_HZ, MAX_RATE_HZ = 1000, 768000

_PEEK_FRAMES = 1024


class AudioReader:
    """An open sound file; made by `open_audio`, closed by `close` or a with statement.

    Attributes:
        name: of the file, for messages.
        path: of what is read, for streams that of their copy.
        sample_rate: in Hz.
        channels: C.
        frames: how many frames `blocks` will give, None if unknown (anything decoded by ffmpeg). It is
            what the header claims: a damaged file can end earlier.
        format: container, e.g. "WAV", "FLAC", "OGG", "MOV".
        subtype: encoding, e.g. "PCM_24", "FLOAT", "MPEG_LAYER_III", "OPUS", "AAC", "UNKNOWN".
        layout: where its channels belong, by ffmpeg's names, e.g. "5.1", "quad", "7.1(wide)", "FL+FR+TFL+TFR" or
            "ambisonic 1"; None if the file does not say. Channels come in the order of wav whatever the file's is.
        start_frame: where `blocks` begins in the file.
    """

    def __init__(
        self,
        source: Decoder,
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
        self.layout = source.layout
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

    @property
    def warnings(self) -> list[str]:
        """Sentences about what is not as it should be, though it can be read; reading may add some."""
        end_s = math.inf if self._limit is None else (self.start_frame + self._limit) / self.sample_rate
        return [f"{self.name} {trouble.what}" for trouble in self._source.troubles if trouble.at_s < end_s]

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

    def _seek_and_peek(self) -> np.ndarray:
        # Only the samples themselves tell whether there are any: headers claim and compressed files err.
        try:
            self._source.seek(self.start_frame)
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
        except OSError as error:
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
    source: str | Path | BinaryIO,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    track: int | None = None,
) -> AudioReader:
    """Open anything that libsndfile or ffmpeg can decode.

    Args:
        source: a path, "-" for standard input, or a binary file, read from where it stands. The latter two
            and named pipes are copied to a temporary file first, because decoding needs to seek.
        start_s: where to begin, in seconds; sample-accurate, rounded to the nearest sample.
        duration_s: how much to read at most, in seconds; None is all.
        track: number of the sound track of a video, from 1; None is the one that players choose.

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
        opened = open_source(path, name, track=track, is_stream=spool is not None)
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
        return False  # open_source says what is wrong
