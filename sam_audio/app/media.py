"""Recordings on their way in, and the small parts of them that a browser gets.

A file is copied into the visitor's private folder, opened by `sam_audio.io` to see what it is, and read once from
end to end for its overview. The browser never gets a whole recording, but excerpts of at most EXCERPT_S seconds.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sam_audio.app.project import Media
from sam_audio.errors import AudioReadError, UserError
from sam_audio.finding.media import VIDEO, kind_of
from sam_audio.finding.spans import Spectrogram, spectrogram
from sam_audio.io import AudioWriter, open_audio
from sam_audio.types import Samples

EXCERPT_S = 90.0
_COLUMNS = 900  # peaks of an excerpt: more than the widest page has pixels
_OVERVIEW_COLUMNS = 800
_MOST_HZ = 48_000  # of an excerpt
_CHUNK = 1 << 20


def receive(source: BinaryIO, name: str, folder: Path, most_bytes: int) -> Path:
    """Copies what was sent into a folder, under a name of our own: of the sender's only the extension is kept.

    Raises:
        UserError: there are more than ``most_bytes``.
    """
    path = folder / f"{folder.name}{extension(name)}"
    size = 0
    with path.open("wb") as copy:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > most_bytes:
                raise UserError(
                    f"{name} is larger than {most_bytes // 10**6} MB: start the editor with the file, "
                    "sam-audio app FILE, or cut it first"
                )
            copy.write(chunk)
    return path


def extension(name: str) -> str:
    """The last part of a file's name with its dot if it is a plain one, else nothing.

    >>> extension("../a.WAV"), extension("a.m3u8/.."), extension("wav")
    ('.WAV', '', '')
    """
    found = re.search(r"\.[A-Za-z0-9]{1,8}\Z", name)
    return found[0] if found else ""


def is_zip(path: Path) -> bool:
    """Whether a file means to be a zip: by its name, or by how it begins."""
    with path.open("rb") as file:
        return path.suffix.lower() == ".zip" or file.read(4) == b"PK\x03\x04"


def digest(path: Path) -> str:
    """sha256 of a file's content, in hexadecimal."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha.update(chunk)
    return sha.hexdigest()


def look(path: Path, name: str) -> tuple[Media, Spectrogram]:
    """What a file is, and its overview; reads it once, in constant memory.

    Raises:
        AudioReadError: it cannot be separated; the sentence says why.
    """
    with open_audio(path) as reader:
        rate, channels, subtype = reader.sample_rate, reader.channels, reader.subtype
        layout = reader.layout
    overview = spectrogram(path, _OVERVIEW_COLUMNS)
    frames = round(overview.duration_s * rate)
    picture = picture_size(path)
    warnings = tuple(called(text, path, name) for text in overview.warnings)
    return Media(
        path, name, digest(path), rate, channels, frames, subtype, picture, layout, warnings
    ), overview


def called(text: str, path: Path, name: str) -> str:
    """A sentence on a file that was sent: it speaks of it as its sender calls it, not of where it lies here."""
    return text.replace(str(path), name).replace(str(path.with_suffix("")), name).replace(path.name, name)


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height of a video's pictures in pixels, None for sound alone."""
    if kind_of(path) != VIDEO:
        return None
    try:
        frame = picture_at(path, 0.0)
    except UserError:  # no pictures, or nothing that could read them: its sound can still be separated
        return None
    return frame.shape[1], frame.shape[0]


def picture_at(path: Path, time_s: float) -> np.ndarray:
    """The picture of a video at a time in seconds, or its last one before; (H, W, 3) uint8.

    Raises:
        AudioReadError, MissingExtraError: as `sam_audio.io.pictures.read_frames`.
    """
    from sam_audio.io.pictures import read_frames

    try:
        _, frame = next(read_frames(path, start_s=time_s))
    except (AudioReadError, StopIteration):
        if time_s <= 0:
            raise
        return picture_at(path, max(0.0, time_s - 1.0))
    return np.ascontiguousarray(frame.transpose(1, 2, 0))


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a track for the browser.

    Args:
        path: of an ogg file, at most stereo and 48 kHz.
        peaks: the highest magnitude of each of up to 900 equal stretches, 0..1.
        start_s, duration_s: of the stretch.
    """

    path: Path
    peaks: tuple[float, ...]
    start_s: float
    duration_s: float


def excerpt(source: Path, out: Path, start_s: float, duration_s: float = EXCERPT_S) -> Excerpt:
    """Writes an excerpt of a sound file; what plays is at most EXCERPT_S long."""
    duration_s = min(duration_s, EXCERPT_S)
    with open_audio(source, start_s=start_s, duration_s=duration_s) as reader:
        rate = min(reader.sample_rate, _MOST_HZ)
        channels = min(reader.channels, 2)
        loudest: list[Samples] = []
        writer = AudioWriter(
            out,
            sample_rate=rate,
            channels=channels,
            input_rate=reader.sample_rate,
            format="ogg",
            overwrite=True,
            clip_mode="clamp",
        )
        with writer:
            each = max(1, round(duration_s * reader.sample_rate / _COLUMNS))
            for block in reader.blocks(each * 100):
                heard = playable(block)
                magnitudes = np.abs(heard).max(axis=0)
                loudest.append(np.maximum.reduceat(magnitudes, np.arange(0, len(magnitudes), each)))
                writer.write(heard)
        seconds = writer.frames / rate
    peaks = np.concatenate(loudest)
    return Excerpt(out, tuple(round(float(p), 3) for p in peaks), start_s, seconds)


def playable(block: Samples) -> Samples:
    """At most two channels (C, n): of more, those with even numbers go left and the others right."""
    if len(block) <= 2:
        return block
    return np.stack([block[0::2].mean(axis=0), block[1::2].mean(axis=0)]).astype(np.float32)
