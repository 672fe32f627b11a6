"""Pictures, and the frames of videos, as uint8 arrays (3, H, W)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sam_audio.errors import AudioReadError, MissingExtraError
from sam_audio.io.containers import load_av, open_video

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".mpg", ".mpeg", ".ogv"})
MAX_PIXELS = (
    50_000_000  # more than any camera's picture that is worth a look; keeps a bomb from filling memory
)


def read_picture(path: str | Path) -> np.ndarray:
    """A picture as uint8 (3, H, W); what is transparent becomes white.

    Raises:
        AudioReadError: it is not there, not a picture, or damaged.
        MissingExtraError: pillow is not installed.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingExtraError("pictures need pillow, which is not installed", "video") from None
    path = Path(path)
    if path.is_dir():
        raise AudioReadError(f"{path} is a folder: name a picture in it")
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise AudioReadError(
                    f"{path.name} has {picture.width} x {picture.height} pixels: shrink it first"
                )
            canvas = Image.new("RGBA", picture.size, "white")
            canvas.alpha_composite(picture.convert("RGBA"))
            return np.asarray(canvas.convert("RGB")).transpose(2, 0, 1).copy()
    except FileNotFoundError:
        raise AudioReadError(f"{path} does not exist: check the name and the folder") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError):
        raise AudioReadError(f"{path.name} is not a picture that can be read: convert it to png") from None
    except (OSError, ValueError) as error:
        raise AudioReadError(f"{path.name} is damaged or cannot be read ({error}): export it again") from None


def read_frames(
    path: str | Path, *, start_s: float = 0.0, duration_s: float | None = None, rate_hz: float | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Frames of a video one by one: (time in seconds, uint8 (3, H, W)); at most ``rate_hz`` a second.

    Raises:
        AudioReadError: it is not there, holds no picture, or is damaged.
        MissingExtraError: PyAV is not installed.
    """
    av = load_av()
    path = Path(path)
    with open_video(path) as container:
        if not container.streams.video:
            raise AudioReadError(f"{path.name} holds no picture: name a video, or use sound prompts")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        end_s = math.inf if duration_s is None else start_s + duration_s
        due = start_s
        found = False
        try:
            if start_s > 0:
                container.seek(int(start_s * av.time_base))
            for frame in container.decode(stream):
                time_s = float(frame.time or 0.0)
                if time_s >= end_s:
                    break
                if time_s + 1e-6 < due:
                    continue
                if rate_hz is not None:
                    due = max(due + 1 / rate_hz, time_s)
                found = True
                yield time_s, frame.to_ndarray(format="rgb24").transpose(2, 0, 1).copy()
        except av.FFmpegError:
            if not found:
                raise AudioReadError(f"{path.name} is damaged: export it again") from None
        if not found:
            raise AudioReadError(f"{path.name} has no picture after {start_s:g} s: choose an earlier start")
