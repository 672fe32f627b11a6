"""Videos that beep and flash at the same moments, and when they do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from sam_audio.io import open_audio
from sam_audio.io.containers import open_video
from sam_audio.io.ffmpeg import find_ffmpeg

AT_S = (0.5, 1.25, 2.0)
LENGTH_S = 3.0
FPS = 20
_ON = "+".join(f"between(t,{at},{at + 0.1})" for at in AT_S)
PICTURES = [
    "-f",
    "lavfi",
    "-i",
    f"color=black:s=64x48:r={FPS}:d={LENGTH_S},drawbox=c=white:t=fill:enable='{_ON}'",
]
X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
B_FRAMES = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", "250", "-pix_fmt", "yuv420p"]


def sound(volume: float = 0.5, hz: int = 1000, filters: str = "anull") -> list[str]:
    """Beeps, as an input of ffmpeg."""
    return [
        "-f",
        "lavfi",
        "-i",
        f"aevalsrc='{volume}*sin(2*PI*{hz}*t)*({_ON})':s=48000:d={LENGTH_S},{filters}",
    ]


def ffmpeg(*words: str | Path) -> None:
    """Runs ffmpeg; tests that call it are skipped where there is none."""
    executable = find_ffmpeg()
    if executable is None:
        pytest.skip("there is no ffmpeg")
    command = [executable, "-nostdin", "-y", "-loglevel", "error", *map(str, words)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def make_video(path: Path, *options: str, inputs: list[str] | None = None) -> Path:
    """A video of beeps and flashes; ``options`` come before the name of the file."""
    ffmpeg(*PICTURES, *(inputs or sound()), *(options or X264), path)
    return path


def beeps_s(path: Path, track: int | None = None) -> list[float]:
    """When a file begins to beep, from the start of what is read of it."""
    with open_audio(path, track=track) as reader:
        loud = np.abs(np.concatenate(list(reader.blocks(1 << 16)), axis=1)).max(axis=0) > 0.1
        rate = reader.sample_rate
    on = np.flatnonzero(loud)
    return [float(n) / rate for n, gap in zip(on, np.diff(on, prepend=-rate), strict=True) if gap > rate / 4]


def flashes_s(path: Path) -> tuple[list[float], int]:
    """When a video begins to flash, from the start of its container; and how many pictures it has."""
    times, was_bright, count = [], False, 0
    with open_video(path) as container:
        start_s = (container.start_time or 0) / 1e6
        for frame in container.decode(video=0):
            bright = frame.to_ndarray(format="gray").mean() > 128
            if bright and not was_bright:
                times.append(float(frame.time) - start_s)
            was_bright, count = bright, count + 1
    return times, count
