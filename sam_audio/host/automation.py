"""Parameters that move over time."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from sam_audio.errors import UserError

SHAPES = ("linear", "hold")


@dataclass(frozen=True)
class Automation:
    """A parameter's value over time.

    Before the first point the first value holds, after the last the last.

    Args:
        target: ``gain_db``, ``pan``, or a parameter of the chain: ``0.cutoff_frequency_hz`` is that parameter of the
            first effect.
        points: (time in seconds, value in the parameter's own unit), times increasing.
        shape: ``linear`` between points, or ``hold`` until the next.

    Raises:
        UserError: no points, times that do not increase, a value that is no number.

    >>> fade = Automation("gain_db", ((0.0, -60.0), (2.0, 0.0)))
    >>> fade.at(np.array([1.0, 5.0])).tolist()
    [-30.0, 0.0]
    """

    target: str
    points: tuple[tuple[float, float], ...]
    shape: str = "linear"

    def __post_init__(self) -> None:
        if not self.points:
            raise UserError(
                f"the automation of {self.target} has no points: give at least one, like [0.0, -6.0]"
            )
        if self.shape not in SHAPES:
            raise UserError(f"{self.shape} is no shape of an automation: use {' or '.join(SHAPES)}")
        times = [time for time, _ in self.points]
        if any(b <= a for a, b in zip(times, times[1:], strict=False)) or times[0] < 0:
            raise UserError(f"the times in the automation of {self.target} must increase from 0 on")
        if not all(math.isfinite(number) for point in self.points for number in point):
            raise UserError(f"the automation of {self.target} holds a value that is no number")

    def at(self, times_s: np.ndarray) -> np.ndarray:
        """Values at those times, float64 of the same shape."""
        times, values = np.array(self.points, float).T
        if self.shape == "hold":
            return values[np.clip(np.searchsorted(times, times_s, side="right") - 1, 0, None)]
        return np.interp(times_s, times, values)

    @property
    def effect(self) -> int | None:
        """Which effect of the chain is meant; None for the fader itself."""
        index, dot, _ = self.target.partition(".")
        return int(index) if dot and re.fullmatch("[0-9]{1,4}", index) else None

    @property
    def parameter(self) -> str:
        return self.target.partition(".")[2] if self.effect is not None else self.target
