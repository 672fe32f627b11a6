"""Pictures: reading them, blacking out what a mask marks, and laying them on the latent frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from sam_audio.errors import PromptError
from sam_audio.io.pictures import read_frames

BRIGHT = 127.5  # of 255, above which a pixel of a mask's file marks

T = TypeVar("T")


def check_frames(frames: Tensor, name: str = "a video") -> Tensor:
    """The frames, when they are (N, 3, H, W) uint8 with N > 0.

    Raises:
        PromptError: they are not.
    """
    if (
        not isinstance(frames, Tensor)
        or frames.ndim != 4
        or frames.shape[1] != 3
        or frames.dtype != torch.uint8
    ):
        what = (
            f"{frames.dtype} of shape {tuple(frames.shape)}"
            if isinstance(frames, Tensor)
            else type(frames).__name__
        )
        raise PromptError(f"{name} has to be a uint8 tensor of shape (frames, 3, height, width), not {what}")
    if not frames.numel():
        raise PromptError(f"{name} has no pictures: give it at least one")
    return frames


def mask_videos(
    videos: Sequence[Tensor | str | Path], masks: Sequence[Tensor | str | Path], keep: bool = False
) -> list[Tensor]:
    """Blacks out what masks mark, or with ``keep`` all else.

    As published, the marked object is what disappears.

    Args:
        videos: (N, 3, H, W) uint8 each, or files, of which all frames are read.
        masks: (N, H, W) or (N, 1, H, W) for each video; what is not zero is marked. Or a video file for each, whose
            bright parts mark, since codecs do not keep zero.

    Returns:
        the videos, (N, 3, H, W) uint8.

    Raises:
        PromptError: a mask does not belong to its video.
    """
    if len(videos) != len(masks):
        raise PromptError(f"{len(videos)} videos came with {len(masks)} masks: give one for each")
    return [
        _mask_video(n, video, mask, keep) for n, (video, mask) in enumerate(zip(videos, masks, strict=True))
    ]


def _mask_video(n: int, video: Tensor | str | Path, mask: Tensor | str | Path, keep: bool) -> Tensor:
    frames = check_frames(read_all(video) if isinstance(video, str | Path) else video, f"video {n}")
    if isinstance(mask, str | Path):
        mask = read_all(mask).float().mean(dim=1) > BRIGHT
    mask = torch.as_tensor(mask, device=frames.device)
    if mask.ndim == 3:
        mask = mask[:, None]
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise PromptError(
            f"the mask of video {n} has shape {tuple(mask.shape)}: it has to be (frames, height, width)"
        )
    if len(mask) != len(frames):
        raise PromptError(f"the mask of video {n} has {len(mask)} frames, but the video has {len(frames)}")
    if mask.shape[2:] != frames.shape[2:]:
        size, wanted = ("x".join(map(str, x.shape[:1:-1])) for x in (mask, frames))
        raise PromptError(f"the mask of video {n} is {size} pixels, but the video is {wanted}")
    return frames * ((mask != 0) == keep)


def on_latent_frames(frames: Tensor, n_latents: int) -> Tensor:
    """Spreads frames evenly over latent frames. Shape: (N, ...) -> (n_latents, ...)."""
    chosen = torch.linspace(0, len(frames) - 1, n_latents).round().long()  # halves go to the even number
    return frames[chosen.to(frames.device)]


def read_all(path: str | Path) -> Tensor:
    """All pictures of a video file, (N, 3, H, W) uint8.

    Raises:
        AudioReadError: the file cannot be read, or has no pictures.
        MissingExtraError: what reads videos is not installed.
    """
    return torch.stack([torch.from_numpy(picture) for _, picture in read_frames(path)])


def read_at(path: str | Path, times_s: Sequence[float]) -> Tensor:
    """For each of some ascending times the picture of a video file that is nearest, the earlier one of two.

    Returns:
        (N, 3, H, W) uint8.

    Raises:
        AudioReadError, MissingExtraError: as for `read_all`.
    """
    return torch.stack([torch.from_numpy(picture) for picture in nearest(read_frames(path), times_s)])


def nearest(timed: Iterator[tuple[float, T]], times_s: Sequence[float]) -> Iterator[T]:
    """Of things with ascending times, the one nearest to each of some ascending times; holds two of them.

    >>> list(nearest(iter([(0.0, "a"), (1.0, "b")]), [0.0, 0.5, 0.6, 7.0]))
    ['a', 'a', 'b', 'b']
    """
    before = next(timed, None)
    after = next(timed, None)
    for time_s in times_s:
        while after is not None and before is not None and abs(time_s - after[0]) < abs(time_s - before[0]):
            before, after = after, next(timed, None)
        if before is not None:
            yield before[1]
