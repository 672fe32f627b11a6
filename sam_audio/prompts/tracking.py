"""Follows a thing through the pictures of a video, with OpenCV's CSRT tracker (Lukezic et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_audio.errors import MissingExtraError
from sam_audio.io.target import FileTarget, writing

Box = tuple[float, float, float, float]  # x, y, width, height in pixels
_WIDEST = 240  # pixels of the pictures that the tracker sees
_BORDER = 24  # pixels around them: it needs to look beside what it follows
_SQUARE = 224  # pixels of the crops that are embedded
_GREY = 118  # around crops that are not square, as the video tower pads


def opencv() -> Any:
    """The module cv2.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise MissingExtraError("regions need opencv, which is not installed", "video") from None
    return cv2


def shrunk(frame: NDArray[np.uint8], widest: int = 480) -> NDArray[np.uint8]:
    """A picture (3, H, W) with no side longer than that, so that those of a whole video can be held."""
    height, width = frame.shape[1:]
    scale = widest / max(height, width)
    if scale >= 1:
        return frame
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = opencv().resize(
        np.ascontiguousarray(frame.transpose(1, 2, 0)), size, interpolation=opencv().INTER_AREA
    )
    return small.transpose(2, 0, 1)


def track(frames: Sequence[NDArray[np.uint8]], box: Box, at: int) -> list[Box]:
    """Where the thing in ``box`` of frame ``at`` is in every frame; shape of frames (3, H, W)."""
    forward = _follow(frames[at:], box)
    backward = _follow(frames[at::-1], box)
    return [*backward[:0:-1], *forward]


def _follow(frames: Sequence[NDArray[np.uint8]], box: Box) -> list[Box]:
    cv2 = opencv()
    height, width = frames[0].shape[1:]
    scale = min(1.0, _WIDEST / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if len(frames) == 1 or min(box[2], box[3]) * scale < 4 or (box[2] >= width - 1 and box[3] >= height - 1):
        return [box] * len(frames)  # nothing to follow, or too small to be followed
    tracker = cv2.TrackerCSRT_create()
    found = [box]
    for number, frame in enumerate(frames):
        small = cv2.resize(np.ascontiguousarray(frame.transpose(1, 2, 0)[..., ::-1]), size)
        padded = cv2.copyMakeBorder(small, *(_BORDER,) * 4, cv2.BORDER_REPLICATE)
        try:
            if number == 0:
                x, y, w, h = (round(v * scale) for v in box)
                tracker.init(padded, (x + _BORDER, y + _BORDER, w, h))
                continue
            seen, place = tracker.update(padded)
        except cv2.error:  # nothing beside the box to tell it from
            return [*found, *[found[-1]] * (len(frames) - len(found))]
        x, y, w, h = place
        found.append(
            ((x - _BORDER) / scale, (y - _BORDER) / scale, w / scale, h / scale) if seen else found[-1]
        )
    return found


def box_around(frame: NDArray[np.uint8], x: float, y: float) -> Box:
    """The patch of one colour that a point lies in; where there is none, a quarter of the picture around it.

    Colours may differ more and more within the patch until it is no longer tiny.
    """
    cv2 = opencv()
    height, width = frame.shape[1:]
    picture = cv2.GaussianBlur(np.ascontiguousarray(frame.transpose(1, 2, 0)), (5, 5), 0)
    for tolerance in (8, 16, 32, 64):
        seen = np.zeros((height + 2, width + 2), np.uint8)
        limits = (tolerance,) * 3, (tolerance,) * 3
        only_mask = cv2.FLOODFILL_MASK_ONLY
        _, _, _, patch = cv2.floodFill(picture, seen, (int(x), int(y)), 0, *limits, only_mask)
        if 0.02 <= patch[2] * patch[3] / (width * height) <= 0.5:
            return tuple(float(v) for v in patch)  # type: ignore[return-value]
    w, h = width / 2, height / 2
    return min(max(x - w / 2, 0), width - w), min(max(y - h / 2, 0), height - h), w, h


def box_of(mask: NDArray[np.bool_]) -> Box:
    """The smallest box around what a mask (H, W) marks, which must be something."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    y, x = int(rows[0]), int(columns[0])
    return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def crop(frame: NDArray[np.uint8], box: Box, mask: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """What is in a box (and of that, what a mask (H, W) marks), fitted into a grey square: (3, 224, 224)."""
    cv2 = opencv()
    height, width = frame.shape[1:]
    left, top = min(max(round(box[0]), 0), width - 1), min(max(round(box[1]), 0), height - 1)
    right, bottom = max(left + 1, round(box[0] + box[2])), max(top + 1, round(box[1] + box[3]))
    part = frame[:, top:bottom, left:right]
    if mask is not None:
        part = np.where(mask[None, top:bottom, left:right], part, np.uint8(_GREY))
    scale = _SQUARE / max(part.shape[1:])
    h, w = (max(1, round(side * scale)) for side in part.shape[1:])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    fitted = cv2.resize(np.ascontiguousarray(part.transpose(1, 2, 0)), (w, h), interpolation=way)
    square = np.full((3, _SQUARE, _SQUARE), _GREY, np.uint8)
    y, x = (_SQUARE - h) // 2, (_SQUARE - w) // 2
    square[:, y : y + h, x : x + w] = fitted.transpose(2, 0, 1)
    return square


def write_preview(path: Path, frame: NDArray[np.uint8], wanted: NDArray[np.bool_]) -> None:
    """The picture with what is wanted outlined, and beside it the mask: white is wanted. A file there is replaced.

    Raises:
        AudioWriteError: it cannot be written.
    """
    cv2 = opencv()
    picture = np.ascontiguousarray(frame.transpose(1, 2, 0)[..., ::-1])
    mask = wanted.astype(np.uint8) * 255
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    dimmed = (picture * np.where(wanted, 1.0, 0.4)[..., None]).astype(np.uint8)
    outlined = cv2.drawContours(dimmed, outlines, -1, (255, 255, 255), 2)
    both = np.concatenate([outlined, np.repeat(mask[..., None], 3, axis=2)], axis=1)
    _, data = cv2.imencode(".png", both)
    target = FileTarget(path, overwrite=True)  # whether it may be is asked before anything is separated
    try:
        with writing(target.name):
            target.file.write(data.tobytes())
            target.sync()
            target.publish()
    finally:
        target.discard()
