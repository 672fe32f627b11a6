"""When prompts sound, by what the separator and PE-A-Frame nano say of each frame: a logistic regression weighs it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from peav.nano.sound import sigmoid
from sam_audio.errors import ModelError
from sam_audio.types import Samples

CALIBRATION = Path(__file__).parent.parent / "weights" / "nano-locator.json"
NEAR, AROUND = 25, 251  # frames: a second, ten seconds
N_FACTS = 8


@dataclass(frozen=True)
class Calibration:
    """Logistic regression over the facts of a frame (see `facts`)."""

    weights: tuple[float, ...]
    bias: float

    @classmethod
    def load(cls, path: Path = CALIBRATION) -> Calibration:
        """Raises ModelError if the file is missing or does not hold N_FACTS weights and a bias."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            weights, bias = tuple(map(float, values["weights"])), float(values["bias"])
        except (OSError, ValueError, KeyError, TypeError):
            raise ModelError(
                f"{path} cannot be read as a calibration: install separate-by-prompt again"
            ) from None
        if len(weights) != N_FACTS:
            raise ModelError(
                f"{path} has {len(weights)} weights, not {N_FACTS}: install separate-by-prompt again"
            )
        return cls(weights, bias)

    def probability(self, found: Evidence) -> Samples:
        """(N, T) float32."""
        weights = np.array(self.weights, np.float32)
        logits = np.einsum("f,nft->nt", weights, facts(found)) + np.float32(self.bias)
        return sigmoid(logits)


class Evidence(NamedTuple):
    """Logits of N prompts in frames of 40 ms, (N, T) each: of the separator, and of PE-A-Frame."""

    separated: Samples
    heard: Samples


def facts(found: Evidence) -> Samples:
    """What a frame is judged by, (N, N_FACTS, T): of both opinions the frame itself, the mean of the second around it,
    and mean and maximum of the ten seconds around it."""
    rows = []
    for logits in found:
        x = logits.clip(-8, 8)  # surer than that nobody is
        padded = np.pad(x, ((0, 0), (AROUND // 2, AROUND // 2)), constant_values=-np.inf)
        highest = sliding_window_view(padded, AROUND, axis=-1).max(axis=-1)
        rows += [x, _mean_around(x, NEAR), _mean_around(x, AROUND), highest]
    return np.stack(rows, axis=1)


def _mean_around(x: Samples, size: int) -> Samples:
    """Means over ``size`` frames, an odd number, around each frame, as far as there are any: (N, T) -> (N, T)."""
    total = np.cumsum(np.pad(x, ((0, 0), (1, 0))), axis=-1, dtype=np.float64)
    middle = np.arange(x.shape[-1])
    start, stop = (middle - size // 2).clip(0), (middle + size // 2 + 1).clip(max=x.shape[-1])
    return ((total[:, stop] - total[:, start]) / (stop - start)).astype(np.float32)
