"""A region of the video: what is seen there is what shall be heard."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio.errors import AudioReadError, PromptError
from sam_audio.extending.hookspecs import Option
from sam_audio.prompts import existing_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sam_audio.conditioning.source import Recording
    from sam_audio.prompts.tracking import Box
    from sam_audio.types import Condition, MaskedVideo, Samples

# pictures a second that the tracker sees, and how many at most: fewer a second in long videos
_TRACKED = 8.0, 160
_WHOLE_VIDEO = 25.0, 750  # for models that watch: one for each of their latent frames
_MOST_EMBEDDED = 32


@dataclass(frozen=True)
class Selection:
    """A box (x, y, w, h) or point (x, y) in pixels at a time, or the file of a mask."""

    numbers: tuple[float, ...] = ()
    at_s: float | None = None
    mask: Path | None = None
    preview: Path | None = None


class Region:
    """``--region``, ``--point`` and ``--mask``."""

    name = "region"
    options = (
        Option(
            "--region",
            "X,Y,W,H[@T]",
            "A box in the video, in pixels, at T seconds; it is followed.",
            hint="box {} in the picture",
        ),
        Option("--point", "X,Y[@T]", "A point on the thing in the video.", hint="at {} in the picture"),
        Option("--mask", "FILE", "A picture or video of the video's size, white on the thing.", file="read"),
        Option(
            "--preview",
            "OUT.png",
            "Write a picture of what is marked: white is what is wanted.",
            file="write",
        ),
    )

    def parse(self, values: Mapping[str, Any]) -> Selection:
        marked = [key for key in ("region", "point", "mask") if key in values]
        if not marked:
            raise PromptError("a preview shows what is marked: add a region, a point or a mask")
        if len(marked) > 1:
            raise PromptError(
                f"--{marked[0]} and --{marked[1]} exclude each other: mark the thing in one way"
            )
        preview = _preview(values.get("preview"))
        if marked == ["mask"]:
            mask = existing_file(values["mask"], "the mask", "name a picture or video")
            return Selection(mask=mask, preview=preview)
        names = "X,Y,W,H" if marked == ["region"] else "X,Y"
        return _selection(values[marked[0]], marked[0], names, preview)

    def encode(self, value: Selection, condition: Condition, recording: Recording) -> Condition:
        from sam_audio.prompts.tracking import write_preview

        whole = "video" in recording.model.takes
        limits = _WHOLE_VIDEO if whole else _TRACKED
        pictures = _read(recording.path, recording, limits)
        frames = pictures.frames
        if value.mask is None:
            at = _nearest(pictures, value.at_s, recording)
            boxes: list[Any] = _boxes(value, pictures, at)
            masks: list[Any] = [None] * len(frames)
            wanted = _filled(boxes[at], frames[at].shape[1:])
        else:
            boxes, masks, at = _masked(value.mask, pictures, recording, limits)
            wanted = masks[at]
        if value.preview is not None:
            write_preview(value.preview, frames[at], wanted)
        if whole:
            return replace(condition, video=_blacked_out(pictures, boxes, masks))
        return condition.towards(_seen(frames, boxes, masks, recording))


def _seen(frames: list[Any], boxes: list[Any], masks: list[Any], recording: Recording) -> Samples:
    """The vector of what is marked, (384,)."""
    import numpy as np

    from sam_audio.prompts.tracking import crop

    marked = np.array([i for i, box in enumerate(boxes) if box is not None])
    places = np.linspace(0, len(marked) - 1, min(len(marked), _MOST_EMBEDDED)).round().astype(int)
    crops = [crop(frames[i], boxes[i], masks[i]) for i in marked[places]]
    return recording.embedder().embed_frames(np.stack(crops))


def _blacked_out(pictures: Pictures, boxes: list[Any], masks: list[Any]) -> MaskedVideo:
    """The pictures without what is marked."""
    import numpy as np

    from sam_audio.types import MaskedVideo

    frames = np.stack(pictures.frames)
    for frame, box, mask in zip(frames, boxes, masks, strict=True):
        if box is not None:
            frame[:, _filled(box, frame.shape[1:]) if mask is None else mask] = 0
    return MaskedVideo(tuple(pictures.times_s), frames)


def _preview(value: Any) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)) or Path(value).suffix.lower() != ".png":
        raise PromptError(f"the preview {value} is no png: name it like preview.png")
    return Path(value)


def _selection(value: Any, kind: str, names: str, preview: Path | None) -> Selection:
    from sam_audio.prompts.times import parse_time

    text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    numbers, at, time = text.partition("@")
    try:
        parsed = tuple(float(number) for number in numbers.split(","))
    except ValueError:
        parsed = ()
    if len(parsed) != names.count(",") + 1 or not all(map(math.isfinite, parsed)):
        raise PromptError(
            f"{text!r} is no {kind}: write {names} in pixels, and @T for a time, like {_EXAMPLES[kind]}"
        )
    if len(parsed) == 4 and min(parsed[2:]) <= 0:
        raise PromptError(f"the region {text!r} has no area: give it a width and a height in pixels")
    return Selection(parsed, parse_time(time) if at else None, preview=preview)


_EXAMPLES = {"region": "120,80,200,160@2.5", "point": "220,160@2.5"}


@dataclass(frozen=True)
class Pictures:
    """Times in seconds, pictures (3, H, W) shrunk to what is needed, and the size (W, H) they came in."""

    times_s: list[float]
    frames: list[NDArray[np.uint8]]
    size: tuple[int, int]


def _read(path: Path, recording: Recording, limits: tuple[float, int]) -> Pictures:
    """Pictures of the part that is separated, at most so many a second and in all (twice that if nobody can tell).

    Raises:
        AudioReadError: there are none.
    """
    from sam_audio.io.pictures import read_frames
    from sam_audio.prompts.tracking import shrunk

    seconds = recording.duration_s or max((recording.seconds or 0.0) - recording.start_s, 0.0)
    most_hz, most = limits
    rate = min(most_hz, most / max(seconds, 1e-3))
    times, frames, size = [], [], (0, 0)
    for time_s, frame in read_frames(
        path, start_s=recording.start_s, duration_s=recording.duration_s, rate_hz=rate
    ):
        times.append(time_s)
        frames.append(shrunk(frame))
        size = frame.shape[2], frame.shape[1]
        if len(times) == 2 * most:  # the file did not tell how long it is
            break
    return Pictures(times, frames, size)


def _nearest(pictures: Pictures, at_s: float | None, recording: Recording) -> int:
    """Index of the picture at a time; the first by default."""
    if at_s is None:
        return 0
    times = pictures.times_s
    step = (times[-1] - times[0]) / max(len(times) - 1, 1)
    if not times[0] - step - 0.05 <= at_s <= times[-1] + step + 0.05:
        raise PromptError(
            f"{recording.title} has no picture at {at_s:g} s: choose {times[0]:.1f} to {times[-1]:.1f} s"
        )
    return min(range(len(times)), key=lambda i: abs(times[i] - at_s))


def _boxes(value: Selection, pictures: Pictures, at: int) -> list[Box]:
    """Where the thing is, in pixels of the shrunk pictures."""
    from sam_audio.prompts.tracking import box_around, track

    width, height = pictures.size
    x, y, w, h = (*value.numbers, 0.0, 0.0)[:4]
    outside = x < 0 or y < 0 or x + w > width or y + h > height
    if len(value.numbers) == 2 and (outside or x >= width or y >= height):
        raise PromptError(
            f"the point {x:g},{y:g} lies outside the picture, which is {width} x {height} pixels"
        )
    if outside:
        raise PromptError(
            f"the region {x:g},{y:g},{w:g},{h:g} reaches outside the picture, which is {width} x {height} pixels"
        )
    scale = pictures.frames[at].shape[2] / width
    x, y, w, h = (v * scale for v in (x, y, w, h))
    box = (x, y, w, h) if len(value.numbers) == 4 else box_around(pictures.frames[at], x, y)
    return track(pictures.frames, box, at)


def _filled(box: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The mask (H, W) of a box."""
    import numpy as np

    mask = np.zeros(shape, bool)
    x, y, w, h = (round(v) for v in box)
    mask[max(y, 0) : y + h, max(x, 0) : x + w] = True
    return mask


def _masked(
    path: Path, pictures: Pictures, recording: Recording, limits: tuple[float, int]
) -> tuple[list[Any], list[Any], int]:
    """Boxes, masks (H, W), and the index of the first picture that is marked."""
    from sam_audio.io.pictures import PICTURE_SUFFIXES, read_picture
    from sam_audio.prompts.tracking import box_of, shrunk, track

    still = path.suffix.lower() in PICTURE_SUFFIXES
    try:
        if still:
            picture = read_picture(path)
            given = Pictures([0.0], [shrunk(picture)], (picture.shape[2], picture.shape[1]))
        else:
            given = _read(path, recording, limits)
    except AudioReadError as error:
        raise PromptError(f"the mask cannot be used: {error}") from None
    if given.size != pictures.size:
        (w, h), (width, height) = given.size, pictures.size
        raise PromptError(
            f"the mask {path.name} is {w} x {h} pixels, but the video is {width} x {height}: make it of that size"
        )
    marked = [frame.mean(axis=0) >= 128 for frame in given.frames]
    if not any(mask.any() for mask in marked):
        raise PromptError(f"the mask {path.name} is black: paint the thing white")
    if still:
        boxes = track(pictures.frames, box_of(marked[0]), 0)
        return boxes, [marked[0], *[None] * (len(boxes) - 1)], 0
    import numpy as np

    distances = np.abs(np.subtract.outer(pictures.times_s, given.times_s))
    nearest = distances.argmin(axis=1)
    masks = [marked[i] if marked[i].any() else None for i in nearest]
    places = [None if mask is None else box_of(mask) for mask in masks]
    at = next((i for i, place in enumerate(places) if place is not None), None)
    if at is None:
        raise PromptError(f"the mask {path.name} is black where the video plays: paint the thing white")
    return places, masks, at
