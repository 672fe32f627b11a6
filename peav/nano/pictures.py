"""What surrounds the video tower, in numpy: pictures fitted into its square."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IMAGE_SIZE = 224
GREY = 118  # of the bars beside a picture that is no square
Pictures = NDArray[np.uint8]


def fitted(frames: Pictures) -> Pictures:
    """Fits frames (N, 3, H, W) into (N, 3, IMAGE_SIZE, IMAGE_SIZE), antialiased, on mid-grey bars;
    `peav.nano.video.prepare_frames` is the same in torch."""
    height, width = frames.shape[-2:]
    scale = IMAGE_SIZE / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    if size != (height, width):
        down, across = _means(height, size[0]), _means(width, size[1])
        # one after another: memory does not grow with the number of frames
        resized = (down @ frame.astype(np.float32) @ across.T for frame in frames)
        frames = np.stack([frame.round().clip(0, 255).astype(np.uint8) for frame in resized])
    missing_y, missing_x = IMAGE_SIZE - size[0], IMAGE_SIZE - size[1]
    bars = [(n // 2, n - n // 2) for n in (missing_y, missing_x)]
    return np.pad(frames, [(0, 0), (0, 0), *bars], constant_values=GREY)


def _means(n: int, n_out: int) -> NDArray[np.float32]:
    """Weights (n_out, n) of the pixels that make each new one: triangles, as wide as a new pixel if that is larger."""
    width = max(n / n_out, 1.0)
    centres = (np.arange(n_out) + 0.5) * n / n_out
    weights = (1 - np.abs(np.arange(n) + 0.5 - centres[:, None]) / width).clip(0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
