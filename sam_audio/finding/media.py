"""What kind of media a file is, and its vectors: one for the whole of it, or one for each stretch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sam_audio.errors import AudioReadError, ModelError, UserError
from sam_audio.io.containers import load_av, open_video
from sam_audio.io.pictures import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from sam_audio.types import Samples

if TYPE_CHECKING:
    from sam_audio.conditioning.embedding import Embedder

AUDIO, PICTURE, VIDEO = "audio", "picture", "video"
# What is worth opening when a folder is searched; a file that is named is opened whatever it is called.
_AUDIO_NAMES = (
    "wav wave w64 rf64 aif aiff aifc au snd caf flac ogg oga opus mp3 mp2 m4a m4b aac wma mka amr ac3"
)
AUDIO_SUFFIXES = frozenset(f".{name}" for name in _AUDIO_NAMES.split())


@dataclass(frozen=True)
class Segment:
    """A stretch of a file with its unit vector (D,); a picture has no times."""

    kind: str
    start_s: float | None
    end_s: float | None
    vector: Samples


def kind_of(path: str | Path) -> str | None:
    """AUDIO, PICTURE or VIDEO by the name of the file, None if it tells nothing.

    >>> kind_of("holiday/Dog.JPG"), kind_of("notes.txt")
    ('picture', None)
    """
    suffix = Path(path).suffix.lower()
    suffixes = {AUDIO: AUDIO_SUFFIXES, PICTURE: PICTURE_SUFFIXES, VIDEO: VIDEO_SUFFIXES}
    return next((kind for kind, those in suffixes.items() if suffix in those), None)


def text_kind(kind: str) -> str:
    """The ``kind`` that `Embedder.embed_text` takes for texts to be compared with this kind of media."""
    return "audio" if kind == AUDIO else "video"


def embed_file(embedder: Embedder, path: str | Path) -> tuple[str, Samples]:
    """The kind of a recording, picture or video, and one vector (D,) for it.

    Of a video, it is the sound that counts (AUDIO), and if it has none, the pictures (VIDEO).

    Raises:
        UserError: the file cannot be read, or not by this model.
    """
    kind = kind_of(path)
    if kind == PICTURE:
        return PICTURE, embedder.embed_picture_file(path)
    try:
        return AUDIO, embedder.embed_audio_file(path)
    except AudioReadError:
        if kind != VIDEO:
            raise
        return VIDEO, embedder.embed_video_file(path)


def embed_pictures(embedder: Embedder, path: str | Path) -> Samples:
    """One vector (D,) of a picture, or of the pictures of a video whatever it sounds like.

    Raises:
        UserError: the file cannot be read, or not by this model.
    """
    if kind_of(path) == VIDEO:
        return embedder.embed_video_file(path)
    return embedder.embed_picture_file(path)


def unit(vector: Samples) -> Samples | None:
    """The vector (D,) at length 1; None if it has no direction, as for silence, or is not finite."""
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length < 1e-6:
        return None
    return np.asarray(vector / length, np.float32)


def embed_segments(embedder: Embedder, path: Path, segment_s: float) -> tuple[list[Segment], str | None]:
    """The segments of a file that have a direction, and one sentence on what could not be read, or None.

    A video gives its sound and its moving pictures.

    Raises:
        ModelError: the model cannot be used for sound, which is no fault of the file.
    """
    kind = kind_of(path)
    readers = {PICTURE: [_picture], VIDEO: [_sound, _moving_pictures]}.get(kind or AUDIO, [_sound])
    segments: list[Segment] = []
    problem = None
    for read in readers:
        try:
            for segment in read(embedder, path, segment_s):
                vector = unit(segment.vector)
                if vector is not None:
                    segments.append(replace(segment, vector=vector))
        except UserError as error:
            if isinstance(error, ModelError) and read is _sound:
                raise
            problem = problem or str(error)
        except (OSError, UnicodeError) as error:  # gone meanwhile; or a name that a decoder does not take
            problem = problem or f"{path} cannot be read ({getattr(error, 'strerror', None) or error})"
    if kind == VIDEO and segments:
        problem = None  # many a video has no sound, or is nothing but sound
    return segments, problem


def _sound(embedder: Embedder, path: Path, segment_s: float) -> Iterator[Segment]:
    for start_s, end_s, vector in embedder.embed_audio_segments(path, segment_s):
        yield Segment(AUDIO, start_s, end_s, vector)


def _picture(embedder: Embedder, path: Path, segment_s: float) -> Iterator[Segment]:
    yield Segment(PICTURE, None, None, embedder.embed_picture_file(path))


def _moving_pictures(embedder: Embedder, path: Path, segment_s: float) -> Iterator[Segment]:
    duration_s = _video_duration_s(path)
    count = max(1, math.ceil(duration_s / segment_s - 0.1))  # the last one takes a short rest with it
    for number in range(count):
        start_s = number * segment_s
        end_s = duration_s if number == count - 1 else start_s + segment_s
        yield Segment(VIDEO, start_s, end_s, embedder.embed_video_file(path, start_s, end_s - start_s))


def _video_duration_s(path: Path) -> float:
    av = load_av()
    try:
        with open_video(path) as container:
            if not container.streams.video or not container.duration:
                raise AudioReadError(f"{path.name} has no moving pictures: choose another video")
            return container.duration / av.time_base
    except av.FFmpegError as error:
        raise AudioReadError(f"{path.name} is not a video that can be read ({error.strerror})") from None
