"""``--pan left|right|centre|-30..30``: where in the stereo image."""

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

WIDTH_DEG = 8.0
SPEAKERS_DEG = 30.0  # loudspeakers stand at -30 and 30 degrees
_WORDS = {"left": -30.0, "right": 30.0, "centre": 0.0, "center": 0.0, "middle": 0.0}


@dataclass(frozen=True)
class PanPrior:
    """Bins whose levels in the two channels put them near an angle (the tangent law of amplitude panning)."""

    angle_deg: float

    def gains(self, spectrum: NDArray[np.complex64], grid: Grid) -> Samples:
        """Shape: (2, F, T) -> (1, F, T)."""
        import numpy as np

        if len(spectrum) != 2:
            raise PromptError(f"--pan needs a stereo recording, and this one has {len(spectrum)} channel(s)")
        left, right = np.abs(spectrum)
        balance = (right - left) / (right + left + 1e-12)
        angle = np.degrees(np.arctan(np.tan(np.radians(SPEAKERS_DEG)) * balance))
        return np.exp(-0.5 * np.square((angle - self.angle_deg) / WIDTH_DEG))[None].astype(np.float32)


class Pan:
    """A mask of the panning angle."""

    name = "pan"
    options = (Option("--pan", "PLACE", "left, right, centre, or degrees from -30 (left) to 30."),)

    def parse(self, values: Mapping[str, Any]) -> float:
        place = str(values["pan"]).strip().lower()
        try:
            angle = _WORDS[place] if place in _WORDS else float(place)
        except ValueError:
            raise PromptError(
                f"{place!r} is no place: use left, right, centre, or degrees like -15"
            ) from None
        if not -SPEAKERS_DEG <= angle <= SPEAKERS_DEG:
            raise PromptError(f"{angle:g} degrees lie outside the loudspeakers: use -30 (left) to 30 (right)")
        return angle

    def encode(self, value: float, condition: Condition, recording: Recording) -> Condition:
        return replace(condition, masks=(*condition.masks, PanPrior(value)))


@hookimpl
def prompt_types() -> list[PromptType]:
    return [Pan()]
