"""Small videos to test with."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

RATE = 48_000


def write_video(path: Path, frames: Iterable[np.ndarray], fps: int, sound: np.ndarray | None = None) -> Path:
    """Writes an mp4; tests that call it are skipped where PyAV is not installed.

    Args:
        path: of the file.
        frames: pictures (H, W, 3), uint8 RGB, all of one size.
        fps: how many of them a second.
        sound: mono samples (T,) at 48 kHz; None for a video without sound.
    """
    av = pytest.importorskip("av")
    pictures = [av.VideoFrame.from_ndarray(frame, "rgb24") for frame in frames]
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=fps)
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
