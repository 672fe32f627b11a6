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

from sam_audio.conditioning import embedding
from sam_audio.conditioning.embedding import FRAME, SAMPLE_RATE, mono_windows, with_context
from sam_audio.errors import ModelError
from sam_audio.types import Samples

if TYPE_CHECKING:
    from torch import Tensor

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
            raise ModelError(f"{path} cannot be read as a calibration: install sam-audio again") from None
        if len(weights) != N_FACTS:
            raise ModelError(f"{path} has {len(weights)} weights, not {N_FACTS}: install sam-audio again")
        return cls(weights, bias)

    def probability(self, found: Evidence) -> Samples:
        """(N, T) float32."""
        import torch

        weights = torch.tensor(self.weights)
        return (torch.einsum("f,nft->nt", weights, facts(found)) + self.bias).sigmoid().numpy()


class Evidence(NamedTuple):
    """Logits of N prompts in frames of 40 ms, (N, T) each: of the separator, and of PE-A-Frame."""

    separated: Tensor
    heard: Tensor


def facts(found: Evidence) -> Tensor:
    """What a frame is judged by, (N, N_FACTS, T): of both opinions the frame itself, the mean of the second around it,
    and mean and maximum of the ten seconds around it."""
    import torch
    import torch.nn.functional as F

    rows = []
    for logits in found:
        x = logits.clamp(-8, 8)[:, None]  # surer than that nobody is
        near, around = (
            F.avg_pool1d(x, size, 1, size // 2, count_include_pad=False) for size in (NEAR, AROUND)
        )
        rows += [x, near, around, F.max_pool1d(x, AROUND, 1, AROUND // 2)]
    return torch.cat(rows, dim=1)


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
        import torch

        vectors = self.separator.text_tower.embed(prompts).numpy()
        blocks = []
        for before, length, sound in with_context(windows, CONTEXT_SAMPLES):
            frames = slice(before // FRAME, before // FRAME - (-length // FRAME))
            blocks.append([logits[:, frames] for logits in self._listen(sound, vectors)])
        return Evidence(
            *(torch.from_numpy(np.concatenate(parts, axis=1)) for parts in zip(*blocks, strict=True))
        )

    def _listen(self, sound: Samples, vectors: Samples) -> tuple[Samples, Samples]:
        """What both say of each frame: sound (n,), vectors (N, 384) -> (N, ceil(n / FRAME)) each."""
        import torch

        from sam_audio.separator.nano.bands import band_energies
        from sam_audio.separator.nano.overhearing import alone

        engine = self.separator.engine
        padded = np.pad(sound, (0, -len(sound) % FRAME))
        heard = engine.listen(padded[None], band_energies(torch.from_numpy(padded)).numpy())
        separated = heard.when(replace(alone(vectors), together=True))
        if separated is None:
            raise ModelError(f"{self.name} does not tell when sounds happen: use the shipped separator")
        return separated, engine.resemblance(heard.vectors.frames, vectors)[:, : separated.shape[1]]
