"""``--box`` and ``--lasso``: stretches of time and frequency, as they are drawn on a spectrogram."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sam_audio.errors import PromptError
from sam_audio.extending.hookspecs import Option, PromptType, hookimpl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sam_audio.conditioning.source import Recording
    from sam_audio.types import Condition, Grid, Samples

Points = tuple[tuple[float, float], ...]  # (seconds, Hz) of each corner


@dataclass(frozen=True)
class AreaPrior:
    """1 inside any of the polygons, 0 outside, and in between on the edge."""

    areas: tuple[Points, ...]

    def gains(self, spectrum: NDArray[np.complex64], grid: Grid) -> Samples:
        """Shape: (C, F, T) -> (1, F, T)."""
        import numpy as np

        hop_s, bin_hz = grid.hop_length / grid.sample_rate, grid.sample_rate / 2 / (grid.n_bins - 1)
        total = np.zeros((grid.n_bins, grid.n_frames), np.float32)
        for area in self.areas:
            share = np.zeros_like(total)
            for dt in (-0.25, 0.25):  # four points a cell: the share of it that lies inside
                for df in (-0.25, 0.25):
                    times, hertz = grid.times_s + dt * hop_s, grid.frequencies_hz + df * bin_hz
                    share += _inside(area, times[None], np.maximum(hertz, 0)[:, None]) / 4
            np.maximum(total, share, out=total)
        return total[None]


def _inside(area: Points, t: NDArray[np.float64], f: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Even-odd rule; shapes (1, T) and (F, 1) -> (F, T)."""
    import numpy as np

    inside = np.zeros(np.broadcast_shapes(t.shape, f.shape), bool)
    for (t1, f1), (t2, f2) in zip(area, (*area[1:], area[0]), strict=True):
        if f1 == f2:
            continue
        crosses = (f1 > f) != (f2 > f)
        inside ^= crosses & (t < (t2 - t1) * (f - f1) / (f2 - f1) + t1)
    return inside


class Box:
    """A rectangle ``3.2-5.0,200-4k``, or a polygon ``3.2,200 4,4k 5,300``."""

    name = "box"
    options = (
        Option(
            "--box",
            "A-B,F-G",
            "From A to B seconds and F to G Hz, like 3.2-5.0,200-4k.",
            many=True,
            key="boxes",
        ),
        Option("--lasso", "T,F T,F...", "Corners of a polygon: seconds and Hz.", many=True),
    )

    def parse(self, values: Mapping[str, Any]) -> tuple[Points, ...]:
        return (*map(_box, values.get("boxes", ())), *map(_lasso, values.get("lassos", ())))

    def encode(self, value: tuple[Points, ...], condition: Condition, recording: Recording) -> Condition:
        seconds = recording.seconds
        for area in value:
            if seconds is not None and min(t for t, _ in area) >= seconds:
                raise PromptError(
                    f"a box starts after the end of {recording.title}, which is {seconds:g} s long: move it"
                )
        return replace(condition, masks=(*condition.masks, AreaPrior(value)))


def _box(text: Any) -> Points:
    from sam_audio.prompts.times import parse_span

    times, comma, hertz = str(text).partition(",")
    low, dash, high = hertz.partition("-")
    if not comma or not dash:
        raise PromptError(f"{text!r} is no box: write seconds and Hz like 3.2-5.0,200-4k")
    span, bottom, top = parse_span(times), _hertz(low), _hertz(high)
    if bottom >= top:
        raise PromptError(f"the box {text!r} has no height: write the lower frequency first")
    return (span.start_s, bottom), (span.end_s, bottom), (span.end_s, top), (span.start_s, top)


def _lasso(text: Any) -> Points:
    from sam_audio.prompts.times import parse_time

    corners = []
    for corner in str(text).split():
        time, comma, hertz = corner.partition(",")
        if not comma:
            raise PromptError(f"{corner!r} is no corner: write seconds and Hz like 3.2,400")
        corners.append((parse_time(time), _hertz(hertz)))
    if len(corners) < 3:
        raise PromptError(f"a lasso of {len(corners)} corner(s) holds nothing: give three or more")
    return tuple(corners)


def _hertz(text: str) -> float:
    number = text.strip().lower().removesuffix("hz")
    scale = 1000.0 if number.endswith("k") else 1.0
    try:
        value = float(number.removesuffix("k")) * scale
    except ValueError:
        raise PromptError(f"{text!r} is not a frequency: write Hz like 400, or 4k") from None
    if not 0 <= value < 1e6:
        raise PromptError(f"{text!r} is not a frequency that can be heard: write Hz like 400, or 4k")
    return value


@hookimpl
def prompt_types() -> list[PromptType]:
    return [Box()]
