"""``--hum FILE``: the sound that has this melody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio.errors import PromptError
from sam_audio.extending.hookspecs import Option, PromptType, hookimpl
from sam_audio.prompts import existing_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sam_audio.conditioning.source import Recording
    from sam_audio.types import Condition

RATE_HZ, HOP = 22_050, 256
LOWEST_HZ, HIGHEST_HZ = 65.0, 1400.0


@dataclass(frozen=True)
class Contour:
    """A pitch every HOP samples at RATE_HZ, (K,) in Hz, 0 where there is none."""

    hz: NDArray[np.float64]

    def __call__(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shape: (T,) -> (1, T)."""
        import numpy as np

        index = np.round(times_s * RATE_HZ / HOP).astype(int)
        known = (index >= 0) & (index < len(self.hz))
        return np.where(known, self.hz[np.clip(index, 0, len(self.hz) - 1)], 0.0)[None]


def follow(path: Path) -> Contour:
    """The pitch of a hummed or played melody, by probabilistic YIN (Mauch and Dixon 2014).

    Raises:
        PromptError: there is no melody in it.
        AudioReadError: it cannot be read.
    """
    import librosa
    import numpy as np

    from sam_audio.io import read_audio
    from sam_audio.io.resample import Resampler

    samples, rate = read_audio(path)
    resampler = Resampler(rate, RATE_HZ, 1)
    mono = samples.mean(axis=0, keepdims=True, dtype=np.float32)
    sound = np.concatenate([resampler.push(mono), resampler.finish()], axis=1)[0]
    hz, voiced, _ = librosa.pyin(
        sound, fmin=LOWEST_HZ, fmax=HIGHEST_HZ, sr=RATE_HZ, hop_length=HOP, frame_length=2048
    )
    contour = np.where(voiced & np.isfinite(hz), hz, 0.0)
    if not contour.any():
        raise PromptError(f"no melody is heard in {path.name}: hum louder, or one note at a time")
    return Contour(contour)


class Hum:
    """The partials of a hummed melody, in time with the recording."""

    name = "hum"
    options = (
        Option("--hum", "FILE", "The melody of the sound, hummed in time with the recording.", file="read"),
    )

    def parse(self, values: Mapping[str, Any]) -> Path:
        return existing_file(values["hum"], "the melody", "name a recording of it")

    def encode(self, value: Path, condition: Condition, recording: Recording) -> Condition:
        from sam_audio.conditioning.priors import HarmonicPrior

        return replace(condition, masks=(*condition.masks, HarmonicPrior(follow(value))))


@hookimpl
def prompt_types() -> list[PromptType]:
    return [Hum()]
