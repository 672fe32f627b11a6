"""What each output format can hold, and the exact values it stores."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sam_audio.errors import AudioWriteError

DEPTHS = {"int16": "PCM_16", "int24": "PCM_24", "int32": "PCM_32", "float32": "FLOAT"}
INTEGER_BITS = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32}

_SUBTYPES = {  # format -> the subtypes it stores, the default first
    "wav": ("PCM_16", "PCM_24", "PCM_32", "FLOAT"),
    "flac": ("PCM_16", "PCM_24"),
    "mp3": ("MPEG_LAYER_III",),
    "ogg": ("VORBIS",),
    "opus": ("OPUS",),
}
FORMATS = tuple(_SUBTYPES)
_MAX_CHANNELS = {"wav": 1024, "flac": 8, "mp3": 2, "ogg": 255, "opus": 255}
_RATES_HZ = {
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    "opus": (8000, 12000, 16000, 24000, 48000),
}
# Beyond 200 kHz libsndfile's vorbis encoder does not refuse but crashes the process.
_MAX_RATE_HZ = {"flac": 655350, "ogg": 200000}

# The depth that keeps an input's own; whatever is not listed (8 bit, companded, lossy) fits into 16 bits
# or has no depth of its own.
_KEPT_DEPTH = {
    "PCM_24": "PCM_24",
    "PCM_32": "PCM_32",
    "FLOAT": "FLOAT",
    "DOUBLE": "FLOAT",
    "ALAC_20": "PCM_24",
    "ALAC_24": "PCM_24",
    "ALAC_32": "PCM_32",
}


@dataclass(frozen=True)
class OutputSpec:
    """How a stem is stored.

    Attributes:
        format: "wav", "flac", "mp3", "ogg" or "opus".
        subtype: libsndfile's name of the encoding, e.g. "PCM_24".
        extension: of the file name, with its dot.
        sample_rate: in Hz; where it differs from the source's, `AudioWriter` resamples.
        bitrate_kbps: about how much a second of a lossy file takes, in kbit/s; None is the encoder's good quality.
    """

    format: str
    subtype: str
    extension: str
    sample_rate: int
    bitrate_kbps: int | None = None


class SourceInfo(Protocol):
    """The properties of an input that its outputs depend on; an `AudioReader` has them."""

    @property
    def sample_rate(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def subtype(self) -> str: ...
    @property
    def layout(self) -> str | None: ...


def resolve_output(
    format: str | None, depth: str | None, source: SourceInfo, bitrate_kbps: int | None = None
) -> OutputSpec:
    """Choose encoding and sample rate of the stems of one source.

    The depth is the input's own unless asked otherwise (16 bits for 8-bit and lossy inputs; 24 bits where
    flac cannot hold the input's 32). The sample rate is the input's own; only opus, which has five rates,
    gets the nearest valid higher one, and its highest, 48 kHz, for sources above that.

    Args:
        format: "wav" (also for None), "flac", "mp3", "ogg" or "opus".
        depth: "int16", "int24", "int32", "float32", or None to keep the input's.
        source: an `AudioReader`, or anything with `sample_rate`, `channels` and `subtype`.
        bitrate_kbps: of mp3, ogg or opus, in kbit/s.

    Raises:
        AudioWriteError: the format cannot hold this depth, rate, bit rate or channel count.
    """
    format = (format or "wav").lower().lstrip(".")
    _check_format(format)
    if depth is not None and depth not in DEPTHS:
        raise AudioWriteError(f"{depth} is not a sample depth: use one of {_listed(DEPTHS)}")
    subtypes = _SUBTYPES[format]
    if len(subtypes) == 1:
        if depth is not None:
            raise AudioWriteError(f"{format} has no sample depth: leave {depth} out, or write wav or flac")
        subtype = subtypes[0]
    elif depth is not None:
        subtype = DEPTHS[depth]
    else:
        kept = _KEPT_DEPTH.get(source.subtype, "PCM_16")
        subtype = kept if kept in subtypes else subtypes[-1]
    sample_rate = source.sample_rate
    if format == "opus":
        valid = _RATES_HZ["opus"]
        sample_rate = next((rate for rate in valid if rate >= sample_rate), valid[-1])
    check_output(format, subtype, sample_rate, source.channels)
    if bitrate_kbps is not None:
        compression(format, bitrate_kbps, sample_rate, source.channels)
    return OutputSpec(format, subtype, f".{format}", sample_rate, bitrate_kbps)


# kbit/s by quality 0, 0.1 .. 1 of libvorbis, nominal for two channels
_VORBIS_KBPS = (64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 500)


def compression(format: str, bitrate_kbps: int, sample_rate: int, channels: int) -> float:
    """libsndfile's compression level, 0 (best) to 1, for about so many kbit/s.

    Raises:
        AudioWriteError: the format has no bit rate, or not this one.

    >>> compression("opus", 131, 48_000, 1)
    0.5
    """
    if format == "mp3":
        # MPEG-1, and MPEG-2 with its lower rates; the encoder takes the nearest of those that it knows
        least, most = (32, 320) if sample_rate >= 32_000 else (8, 160) if sample_rate >= 16_000 else (8, 64)
        level = (most - bitrate_kbps) / (most - least)
    elif format == "ogg":
        table = [kbps * (1 if channels > 1 else 0.5) * max(channels / 2, 1) for kbps in _VORBIS_KBPS]
        least, most = round(table[0]), round(table[-1])
        level = 1 - float(np.interp(bitrate_kbps, table, np.linspace(0, 1, len(table))))
    elif format == "opus":
        least, most = 6 * channels, 256 * channels
        level = (most - bitrate_kbps) / (most - least)
    else:
        raise AudioWriteError(f"{format} has no bit rate: leave it out, or write mp3, ogg or opus")
    if not least <= bitrate_kbps <= most:
        raise AudioWriteError(
            f"{format} of {sample_rate} Hz and {channels} channel{'s' * (channels > 1)} takes {least} to {most} "
            f"kbit/s, not {bitrate_kbps}"
        )
    return level


def check_output(format: str, subtype: str | None, sample_rate: int, channels: int) -> str:
    """Return the subtype to use (the format's default for None).

    Raises:
        AudioWriteError: the format is unknown or cannot hold this subtype, rate or channel count.
    """
    _check_format(format)
    subtypes = _SUBTYPES[format]
    subtype = subtype or subtypes[0]
    names = {value: key for key, value in DEPTHS.items()}
    if subtype not in subtypes:
        valid = _listed([names.get(s, s) for s in subtypes])
        raise AudioWriteError(
            f"{format} cannot store {names.get(subtype, subtype)} samples: use {valid}, or write wav"
        )
    if channels < 1 or channels > _MAX_CHANNELS[format]:
        limit = _MAX_CHANNELS[format]
        raise AudioWriteError(f"{format} holds 1 to {limit} channels, not {channels}: write wav instead")
    if format in _RATES_HZ and sample_rate not in _RATES_HZ[format]:
        valid = _listed(_RATES_HZ[format])
        raise AudioWriteError(f"{format} cannot hold {sample_rate} Hz: use {valid} Hz, or write wav or flac")
    if sample_rate > _MAX_RATE_HZ.get(format, sample_rate):
        limit = _MAX_RATE_HZ[format]
        raise AudioWriteError(f"{format} holds at most {limit} Hz, not {sample_rate}: write wav instead")
    return subtype


def quantise(samples: np.ndarray, subtype: str) -> np.ndarray:
    """Round samples to exactly the values that a file of this subtype will give back.

    Integer subtypes round half to even and saturate at full scale; float and lossy subtypes are left as
    they are. There is no dither: its noise would differ from stem to stem, so that stems and residual
    would no longer sum to the mixture, and copying a 16-bit file would change it. Values that came from an
    integer file lie on its grid already and have no rounding error for dither to hide.

    Args:
        samples: float32 of any shape, full scale +-1.0.
        subtype: "PCM_16", "PCM_24", "PCM_32", "FLOAT" or a lossy one.

    Returns:
        float32 of the same shape.

    >>> quantise(np.array([0.5 / 32768, 1.5 / 32768, 2.0], dtype=np.float32), "PCM_16") * 32768
    array([0.0000e+00, 2.0000e+00, 3.2767e+04], dtype=float32)
    """
    samples = np.asarray(samples, dtype=np.float32)
    bits = INTEGER_BITS.get(subtype)
    if bits is None:
        return samples
    return _on_grid(samples, bits).astype(np.float32) / np.float32(2 ** (bits - 1))


def to_integers(samples: np.ndarray, bits: int) -> np.ndarray:
    """The int32 sample values behind `quantise`, between -2**(bits-1) and 2**(bits-1) - 1."""
    return _on_grid(samples, bits).astype(np.int32)


def full_scale(subtype: str) -> float:
    """The largest positive value a subtype stores; 1.0 for float and lossy ones."""
    bits = INTEGER_BITS.get(subtype)
    return 1.0 if bits is None else 1.0 - 2.0 ** (1 - bits)


def _on_grid(samples: np.ndarray, bits: int) -> np.ndarray:
    # A power of two scales float32 exactly, and its 24-bit significand holds every 24-bit integer; the
    # limits of 32-bit integers need float64.
    work = samples.astype(np.float64) if bits > 24 else samples
    work = np.rint(work * 2 ** (bits - 1))
    return np.clip(work, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1, out=work)


def _check_format(format: str) -> None:
    if format not in _SUBTYPES:
        raise AudioWriteError(f"{format} is not an output format: use one of {_listed(_SUBTYPES)}")


def _listed(values) -> str:
    return ", ".join(str(value) for value in values)
