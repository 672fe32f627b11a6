"""Small videos to test with."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

RATE = 48_000
SIZE, FPS = (160, 96), 8  # width and height


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: int,
    sound: np.ndarray | None = None,
    codec: str = "mpeg4",
) -> Path:
    """Writes an mp4; tests that call it are skipped where PyAV is not installed.

    Args:
        path: of the file.
        frames: pictures (H, W, 3), uint8 RGB, all of one size.
        fps: how many of them a second.
        sound: mono samples (T,) at 48 kHz; None for a video without sound.
        codec: of the pictures, as ffmpeg calls it.
    """
    av = pytest.importorskip("av")
    pictures = [av.VideoFrame.from_ndarray(frame, "rgb24") for frame in frames]
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=fps)
        video.width, video.height, video.pix_fmt = pictures[0].width, pictures[0].height, "yuv420p"
        video.bit_rate = 4_000_000
        audio = None if sound is None else out.add_stream("aac", rate=RATE, layout="mono")
        for picture in pictures:
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
        if audio is not None:
            whole = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), "fltp", "mono")
            whole.sample_rate, whole.pts, whole.time_base = RATE, 0, Fraction(1, RATE)
            split = av.AudioResampler("fltp", "mono", RATE, frame_size=1024)  # AAC's frames
            for part in [*split.resample(whole), *split.resample(None)]:
                out.mux(audio.encode(part))
            out.mux(audio.encode(None))
    return path


def picture(x: int, y: int = 30, side: int = 32) -> np.ndarray:
    """A chequered red square on blue noise, (H, W, 3)."""
    rng = np.random.default_rng(0)
    frame = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    frame[..., 2] = rng.integers(60, 120, frame.shape[:2])
    square = np.kron(np.indices((4, 4)).sum(axis=0) % 2, np.ones((side // 4, side // 4)))
    frame[y : y + side, x : x + side, 0] = 155 + 100 * square
    frame[y : y + side, x : x + side, 1:] = 0
    return frame


def video(path, frames, sound=True):
    t = np.arange(len(frames) * RATE // FPS) / RATE
    swept = 0.1 * np.sin(2 * np.pi * (300 + 400 * t) * t)
    return write_video(path, frames, FPS, swept if sound else None)
