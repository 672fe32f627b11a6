"""Recordings on their way in: a file is copied into the visitor's private folder and opened to see what it is."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sam_audio.app.project import Media
from sam_audio.app.sounds import Sound
from sam_audio.errors import AudioReadError, UserError
from sam_audio.finding.media import VIDEO, kind_of
from sam_audio.io.containers import open_video
from sam_audio.types import Progress

_CHUNK = 1 << 20


def receive(
    source: BinaryIO, name: str, folder: Path, most_bytes: int, progress: Progress | None = None
) -> Path:
    """Copies what was sent into a folder, under a name of our own: of the sender's only the extension is kept.

    Args:
        progress: called with bytes done and bytes in all.

    Raises:
        UserError: there are more than ``most_bytes``.
    """
    path = folder / f"{folder.name}{extension(name)}"
    size, total = 0, source.seek(0, os.SEEK_END)
    source.seek(0)
    with path.open("wb") as copy:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > most_bytes:
                raise UserError(
                    f"{name} is larger than {most_bytes // 10**6} MB: start the editor with the file, "
                    "sam-audio app FILE, or cut it first"
                )
            copy.write(chunk)
            if progress is not None:
                progress(size, total)
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


def digest(path: Path, progress: Progress | None = None) -> str:
    """sha256 of a file's content, in hexadecimal; ``progress`` is called with bytes done and bytes in all."""
    sha = hashlib.sha256()
    size, total = 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha.update(chunk)
            size += len(chunk)
            if progress is not None:
                progress(size, total)
    return sha.hexdigest()


def look(path: Path, name: str, copy: Path, progress: Progress | None = None) -> tuple[Media, Sound]:
    """What a file is, and its sound, which is not read yet: its length may be an estimate.

    Args:
        copy: where a copy may be written that can be played from anywhere.
        progress: called with bytes read and bytes in all.

    Raises:
        AudioReadError: it cannot be separated; the sentence says why.
    """
    sound = Sound(path, copy, _seconds(path))
    found = Media(path, name, digest(path, progress), sound.source_rate, sound.channels, 0, sound.subtype)
    return measured(replace(found, picture=picture_size(path), layout=sound.layout), sound), sound


def measured(media: Media, sound: Sound) -> Media:
    """With what is known of its length and its damages by now."""
    warnings = tuple(called(text, media.path, media.name) for text in sound.warnings)
    return replace(media, frames=round(sound.seconds * media.sample_rate), warnings=warnings)


def _seconds(path: Path) -> float | None:
    """How long a container says it is."""
    try:
        with open_video(path) as container:
            return None if container.duration is None else container.duration / 1e6
    except UserError:
        return None


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
