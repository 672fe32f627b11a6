"""Files that libsndfile decodes, with ffmpeg at hand for what it gives up."""

import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile

from sam_audio.errors import AudioReadError, MissingExtraError
from sam_audio.io.ffmpeg import FfmpegDecoder, UndecodableError
from sam_audio.io.findings import Trouble
from sam_audio.io.layout import ambisonic, from_xiph_order, layout_of_count, layout_of_mask
from sam_audio.io.ogg import opus_mapping_family

_UNKNOWN_LENGTH = 1 << 62  # libsndfile counts up to 2**63 - 1 frames where it cannot tell
_SNIFF_BYTES = 4096
_DROP_FRAMES = 65536
_EXTENSIBLE = 0xFFFE
_AMBISONIC_GUID = struct.pack("<HH8B", 0x0721, 0x11D3, 0x86, 0x44, 0xC8, 0xC1, 0xCA, 0, 0, 0)


class Decoder(Protocol):
    """What decodes a file: libsndfile or ffmpeg."""

    sample_rate: int
    channels: int
    frames: int | None
    format: str
    subtype: str
    layout: str | None
    troubles: list[Trouble]  # may grow while it reads

    def seek(self, frame: int) -> None: ...
    def read(self, frames: int) -> np.ndarray: ...
    def close(self) -> None: ...


class SndfileDecoder:
    """A file open in libsndfile; where that fails on the way, ffmpeg goes on.

    Attributes:
        sample_rate, channels, frames, format, subtype, layout: as of an `AudioReader`.
        troubles: found while reading too.
        is_plain: whether libsndfile can be trusted with it: it knows the length and can seek, or knows it alone.

    Raises:
        soundfile.SoundFileError, TypeError: libsndfile cannot read it.
    """

    def __init__(self, path: Path, name: str) -> None:
        # names of files need not be text, except on Windows
        self._path, self._name = path, name
        self._open()
        self._instead: FfmpegDecoder | None = None
        self._gone = False  # nothing decodes what is left
        self._position = 0
        self.sample_rate = self._file.samplerate
        self.channels = self._file.channels
        self.frames = self._file.frames if self._file.frames < _UNKNOWN_LENGTH else None
        self.format = self._file.format
        self.subtype = self._file.subtype
        self.layout, self._order = _arrangement(path, self.format, self.subtype, self.channels)
        self.troubles: list[Trouble] = []

    @property
    def is_plain(self) -> bool:
        if self.frames is None or self.format == "RAW":  # without a header, but named .au or the like
            return False
        return self._file.seekable() or self.subtype.startswith("NMS_ADPCM")  # which ffmpeg takes for AMR

    def seek(self, frame: int) -> None:
        """Continue reading at `frame`, or at the end if that comes first.

        Raises:
            OSError: it is damaged before, and ffmpeg finds nothing there either.
        """
        before, self._position = self._position, frame
        self._gone = False
        if self._instead is None:
            try:
                if not self._file.seekable():
                    self._wind(before, frame)
                else:
                    self._file.seek(min(frame, self._file.frames))
                return
            except soundfile.SoundFileError:
                if not self._take_over():
                    self._rewind(frame)  # seeking may fail where reading does not
                    return
        assert self._instead is not None  # for mypy: it has taken over
        self._instead.seek(frame)

    def read(self, frames: int) -> np.ndarray:
        """The next `frames` frames, fewer at the end or where the rest cannot be decoded, as float32 (C, T)."""
        if self._instead is None and not self._gone:
            try:
                samples = self._file.read(frames, dtype="float32", always_2d=True).T
            except soundfile.SoundFileError:
                return self._read_on(frames)
            if self._order is not None:
                samples = samples[self._order]
            self._position += samples.shape[1]
            return np.ascontiguousarray(samples)
        if self._instead is None:
            return np.zeros((self.channels, 0), np.float32)
        samples = self._instead.read(frames)
        self._position += samples.shape[1]
        return samples

    def close(self) -> None:
        self._file.close()
        if self._instead is not None:
            self._instead.close()

    def _open(self) -> None:
        # names of files need not be text, except on Windows
        path = str(self._path) if sys.platform == "win32" else os.fsencode(self._path)
        self._file = soundfile.SoundFile(path)

    def _wind(self, position: int, frame: int) -> None:
        """Get from `position` to `frame` without seeking."""
        if frame < position:
            self._file.close()
            self._open()
            position = 0
        while position < frame:
            dropped = len(self._file.read(min(_DROP_FRAMES, frame - position), dtype="float32"))
            if dropped == 0:
                return
            position += dropped

    def _rewind(self, frame: int) -> None:
        try:
            self._wind(frame + 1, frame)
        except soundfile.SoundFileError as error:
            raise OSError(str(error)) from error

    def _read_on(self, frames: int) -> np.ndarray:
        """What is behind the place where libsndfile gave up, by ffmpeg; that place is told."""
        at_s = self._position / self.sample_rate
        samples = np.zeros((self.channels, 0), np.float32)
        if self._take_over():
            assert self._instead is not None
            try:
                self._instead.seek(self._position)
                samples = self._instead.read(frames)
            except OSError:  # ffmpeg gives it up too
                self._gone = True
        else:
            self._gone = True
        rest = "what comes after may be incomplete" if samples.shape[1] else "only what comes before was read"
        trouble = Trouble(at_s, f"is damaged after {at_s:.2f} s: {rest}, so export or copy it again")
        if trouble not in self.troubles:
            self.troubles.append(trouble)
        self._position += samples.shape[1]
        return samples

    def _take_over(self) -> bool:
        """Have ffmpeg read from now on, if it can read the same sound."""
        try:
            instead = FfmpegDecoder(self._path, self._name)
        except (UndecodableError, MissingExtraError, AudioReadError):
            return False
        if (instead.sample_rate, instead.channels) != (self.sample_rate, self.channels):
            instead.close()
            return False
        self._instead = instead
        return True


def _arrangement(
    path: Path, format: str, subtype: str, channels: int
) -> tuple[str | None, Sequence[int] | None]:
    """The layout of a file's channels, and for each its place in the file where that is not the order of wav."""
    if format == "OGG" and subtype in ("VORBIS", "OPUS"):
        with path.open("rb") as file:
            family = opus_mapping_family(file.read(_SNIFF_BYTES)) if subtype == "OPUS" else None
        if family in (2, 3):
            return ambisonic(channels), None
        if family == 255 or channels > 8:
            return None, None
        order = from_xiph_order(channels)
        return layout_of_count(channels), None if order is None else list(order)
    if channels <= 2 or format in ("FLAC", "OGG"):
        return layout_of_count(channels), None
    if format in ("WAV", "WAVEX", "RF64", "W64"):
        return _wav_layout(path, channels), None
    return None, None


def _wav_layout(path: Path, channels: int) -> str | None:
    with path.open("rb") as file:
        start = file.read(_SNIFF_BYTES)
    at = start.find(b"fmt ")
    # the size of the chunk, 4 bytes in wav and 20 (after the rest of a GUID) in w64, lies before its content
    at += 24 if start.startswith(b"riff") else 8
    body = start[at : at + 40]
    if at < 24 - 8 or len(body) < 40 or int.from_bytes(body[:2], "little") != _EXTENSIBLE:
        return None
    if body[28:] == _AMBISONIC_GUID:
        return ambisonic(channels)
    return layout_of_mask(int.from_bytes(body[20:24], "little"), channels)
