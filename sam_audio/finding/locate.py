"""When does each sound happen? PE-A-Frame, and in the nano family the separator beside it.

PE-A-Frame nano compares each frame with the words asked for, one by one. The nano separator shares the excerpt out
among all that may sound in it, and knows better when a prompt has its part (see `Timekeeper`): it costs as much as
separating, still many times faster than real time. A logistic regression weighs the two, and what they say of the ten
seconds around.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from peav.nano.sound import sigmoid
from sam_audio.conditioning import embedding
from sam_audio.conditioning.embedding import FRAME, SAMPLE_RATE, mono_windows, with_context
from sam_audio.errors import ModelError
from sam_audio.types import Samples

if TYPE_CHECKING:
    from sam_audio.separator.nano.model import NanoSeparator

CALIBRATION = Path(__file__).parent.parent / "separator" / "weights" / "nano-locator.json"
# 7.68 s at a time, with 1.92 s on both sides that only lend context; whole windows of the audio tower.
CHUNK_SAMPLES = 8 * 46_080
CONTEXT_SAMPLES = 2 * 46_080
NEAR, AROUND = 25, 251  # frames: a second, ten seconds
N_FACTS = 8


class Locator(Protocol):
    """Says when prompts sound."""

    name: str
    frame_rate: float  # of activity, in Hz

    def activity(self, path: str | Path, prompts: list[str]) -> Samples:
        """Probability of every prompt in every frame, (N, T) float32 in 0..1."""
        ...


def load_locator(name: str = "nano", device: str = "cpu") -> Locator:
    """By name ("nano"), hub id or folder of a PE-A-Frame checkpoint.

    Raises:
        ModelError: there is no such model, or it cannot be loaded.
    """
    if name != "nano":
        return embedding.load_frame_encoder(name, device)
    from sam_audio.separator.nano.model import NanoSeparator

    return NanoLocator(NanoSeparator(device=device), Calibration.load(CALIBRATION))


@dataclass(frozen=True)
class Calibration:
    """Logistic regression over the facts of a frame (see `facts`)."""

    weights: tuple[float, ...]
    bias: float

    @classmethod
    def load(cls, path: Path) -> Calibration:
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


class NanoLocator:
    """The nano separator's and PE-A-Frame nano's opinion of when each prompt sounds.

    Args:
        separator: one that tells when, and listens through the audio tower.
        calibration: how the two are weighed.
    """

    frame_rate = SAMPLE_RATE / FRAME

    def __init__(self, separator: NanoSeparator, calibration: Calibration) -> None:
        self.name, self.separator, self.calibration = separator.name, separator, calibration

    def activity(self, path: str | Path, prompts: list[str]) -> Samples:
        """Probability of every prompt in every 40 ms frame, (N, T) float32."""
        return self.calibration.probability(self.evidence(mono_windows(path, CHUNK_SAMPLES), prompts))

    def evidence(self, windows: Iterator[Samples], prompts: list[str]) -> Evidence:
        """What both say of mono sound at 48 kHz that comes in windows of CHUNK_SAMPLES."""
        vectors = self.separator.text_tower.embed(prompts)
        blocks = []
        for before, length, sound in with_context(windows, CONTEXT_SAMPLES):
            frames = slice(before // FRAME, before // FRAME - (-length // FRAME))
            blocks.append([logits[:, frames] for logits in self._listen(sound, vectors)])
        return Evidence(*(np.concatenate(parts, axis=1) for parts in zip(*blocks, strict=True)))

    def _listen(self, sound: Samples, vectors: Samples) -> tuple[Samples, Samples]:
        """What both say of each frame: sound (n,), vectors (N, 384) -> (N, ceil(n / FRAME)) each."""
        from sam_audio.separator.nano.overhearing import alone
        from sam_audio.separator.nano.synthesis import band_energies, centred_spectra

        engine = self.separator.engine
        padded = np.pad(sound, (0, -len(sound) % FRAME))
        heard = engine.listen(padded[None], band_energies(centred_spectra(padded[None])))
        separated = heard.when(replace(alone(vectors), together=True))
        if separated is None:
            raise ModelError(f"{self.name} does not tell when sounds happen: use the shipped separator")
        return separated, engine.resemblance(heard.vectors.frames, vectors)[:, : separated.shape[1]]
