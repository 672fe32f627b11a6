"""Encoders: float32 blocks in, bytes of one container out, into an open binary file.

wav is written here rather than by libsndfile for three reasons: a file that outgrows 4 GiB becomes RF64
(soundfile does not expose libsndfile's switch for that), equal samples give equal bytes (libsndfile stamps
float files with the time), and a full disk is an OSError at the write that met it.
"""

import struct
from typing import BinaryIO, Protocol

import numpy as np
import soundfile

from sam_audio.io.formats import INTEGER_BITS, compression, to_integers
from sam_audio.io.layout import AMBISONIC, mask_of_layout, to_xiph_order

_MAX_RIFF_BYTES = 0xFFFFFFFF
_FORMAT_PCM, _FORMAT_FLOAT, _FORMAT_EXTENSIBLE = 1, 3, 0xFFFE
# What follows the number of the format in the identifier of an extensible one.
_GUID_REST = bytes.fromhex("000000001000800000aa00389b71")
_GUID_REST_AMBISONIC = bytes.fromhex("00002107d3118644c8c1ca000000")

# libsndfile's lossy encoders take a block on their stack: large ones crash.
_SNDFILE_BLOCK = 4096
# Stems get processed further, so better than libsndfile's defaults: about 180-250 kbit/s for stereo.
_COMPRESSION = {"mp3": 0.0, "ogg": 0.3, "opus": 0.5}


class Encoder(Protocol):
    """Writes float32 samples of shape (C, T); `close` completes the container but leaves the file open."""

    def write(self, samples: np.ndarray) -> None: ...
    def close(self) -> None: ...


def make_encoder(
    file: BinaryIO,
    format: str,
    subtype: str,
    sample_rate: int,
    channels: int,
    layout: str | None = None,
    chunks: bytes = b"",
    bitrate_kbps: int | None = None,
) -> Encoder:
    """Start a container in an empty, seekable file opened for reading and writing.

    Args:
        layout: where the channels belong, which wav says; others have one for each count of channels.
        chunks: of an even length, which a wav file has before its samples; others have none.
        bitrate_kbps: of mp3, ogg or opus; None for a good quality.
    """
    if format == "wav":
        return WavEncoder(file, subtype, sample_rate, channels, layout, chunks)
    return SndfileEncoder(file, format, subtype, sample_rate, channels, bitrate_kbps)


class WavEncoder:
    """wav that turns into RF64 (EBU Tech 3306) at close if it has outgrown 4 GiB."""

    def __init__(
        self,
        file: BinaryIO,
        subtype: str,
        sample_rate: int,
        channels: int,
        layout: str | None = None,
        chunks: bytes = b"",
    ) -> None:
        self._file = file
        # One and two channels belong where everybody puts them without being told.
        self._layout = layout if channels > 2 else None
        self._chunks = chunks
        self._subtype = subtype
        self._channels = channels
        self._frame_bytes = channels * INTEGER_BITS.get(subtype, 32) // 8
        self._sample_rate = sample_rate
        self._data_bytes = 0
        file.write(self._header())

    def write(self, samples: np.ndarray) -> None:
        interleaved = np.ascontiguousarray(samples.T)
        bits = INTEGER_BITS.get(self._subtype)
        if bits is None:
            data = interleaved.astype("<f4").tobytes()
        elif bits == 16:
            data = to_integers(interleaved, bits).astype("<i2").tobytes()
        else:
            wide = to_integers(interleaved, bits).astype("<i4").view(np.uint8).reshape(-1, 4)
            data = wide[:, : bits // 8].tobytes()
        self._file.write(data)
        self._data_bytes += len(data)

    def close(self) -> None:
        if self._data_bytes % 2:
            self._file.write(b"\0")  # chunks have an even length; the pad is not counted
        self._file.seek(0)
        self._file.write(self._header())
        self._file.seek(0, 2)

    def _header(self) -> bytes:
        is_float = self._subtype == "FLOAT"
        bits = self._frame_bytes // self._channels * 8
        byte_rate = self._sample_rate * self._frame_bytes
        frames = self._data_bytes // self._frame_bytes
        kind = _FORMAT_FLOAT if is_float else _FORMAT_PCM
        mask, is_ambisonic = mask_of_layout(self._layout), (self._layout or "").startswith(AMBISONIC)
        extension = b""
        if mask or is_ambisonic:
            rest = _GUID_REST_AMBISONIC if is_ambisonic else _GUID_REST
            extension = struct.pack("<HHIH", 22, bits, mask, kind) + rest
        shape = (_FORMAT_EXTENSIBLE if extension else kind, self._channels, self._sample_rate, byte_rate)
        fmt = (
            struct.pack("<4sIHHIIHH", b"fmt ", 16 + len(extension), *shape, self._frame_bytes, bits)
            + extension
        )
        fact_bytes = 12 if is_float else 0
        # "WAVE", the place kept for ds64, fmt, fact, others, the data chunk's own header, the data and its pad
        before = 4 + 36 + len(fmt) + fact_bytes + len(self._chunks)
        riff_bytes = before + 8 + self._data_bytes + self._data_bytes % 2
        if riff_bytes <= _MAX_RIFF_BYTES:
            start = struct.pack("<4sI4s4sI28x", b"RIFF", riff_bytes, b"WAVE", b"JUNK", 28)
            data_bytes, fact_frames = self._data_bytes, frames
        else:
            unknown = 0xFFFFFFFF  # "see ds64"
            sizes = (riff_bytes, self._data_bytes, frames, 0)
            start = struct.pack("<4sI4s4sIQQQI", b"RF64", unknown, b"WAVE", b"ds64", 28, *sizes)
            data_bytes = fact_frames = unknown
        fact = struct.pack("<4sII", b"fact", 4, fact_frames) if is_float else b""
        return start + fmt + fact + self._chunks + struct.pack("<4sI", b"data", data_bytes)


class SndfileEncoder:
    """flac, mp3, ogg and opus through libsndfile."""

    def __init__(
        self,
        file: BinaryIO,
        format: str,
        subtype: str,
        sample_rate: int,
        channels: int,
        bitrate_kbps: int | None = None,
    ) -> None:
        self._proxy = _ErrorKeeper(file)
        self._bits = INTEGER_BITS.get(subtype)
        order = to_xiph_order(channels) if format in ("ogg", "opus") else None
        self._order = None if order is None else list(order)
        major = {"flac": "FLAC", "mp3": "MP3"}.get(format, "OGG")
        level, mode = _COMPRESSION.get(format), None
        if bitrate_kbps is not None:
            level = min(compression(format, bitrate_kbps, sample_rate, channels), 0.99)  # mp3 refuses 1
            mode = "CONSTANT" if format == "mp3" else None
        self._sndfile = self._proxy.guard(
            lambda: soundfile.SoundFile(
                self._proxy,
                "w",
                sample_rate,
                channels,
                subtype,
                format=major,
                compression_level=level,
                bitrate_mode=mode,
            )
        )

    def write(self, samples: np.ndarray) -> None:
        if self._order is not None:
            samples = samples[self._order]
        interleaved = np.ascontiguousarray(samples.T)
        if self._bits is not None:
            # Integers, so that the rounding is ours; libsndfile takes the upper bits of an int32.
            interleaved = to_integers(interleaved, self._bits) << (32 - self._bits)
        for start in range(0, len(interleaved), _SNDFILE_BLOCK):
            block = interleaved[start : start + _SNDFILE_BLOCK]
            self._proxy.guard(lambda block=block: self._sndfile.write(block))

    def close(self) -> None:
        self._proxy.guard(self._sndfile.close)


class _ErrorKeeper:
    """A file for libsndfile's callbacks, through which no exception can pass: the first one is kept."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: OSError | None = None

    def guard(self, call):
        """Run `call`; whatever libsndfile makes of it, an OSError of the file below comes out as itself."""
        try:
            result = call()
        except (soundfile.SoundFileError, AssertionError) as error:  # soundfile asserts that all was written
            raise self._error or OSError(0, str(error)) from error
        if self._error is not None:
            raise self._error
        return result

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self._error = self._error or error
            return 0

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)  # flushes, so it can meet a full disk too
        except OSError as error:
            self._error = self._error or error
            return -1

    def tell(self) -> int:
        return self._file.tell()
