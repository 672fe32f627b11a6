"""When does each sound happen? PE-A-Frame, and in the nano family the separator beside it.

PE-A-Frame nano compares each frame with the words asked for, one by one. The nano separator shares the excerpt out
among all that may sound in it, and knows better when a prompt has its part (see `Timekeeper`): it costs as much as
separating, still many times faster than real time. A logistic regression weighs the two, and what they say of the ten
seconds around.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sam_audio.conditioning import embedding
from sam_audio.conditioning.embedding import FRAME, SAMPLE_RATE, mono_windows, with_context
from sam_audio.errors import ModelError
from sam_audio.separator.nano.timekeeping import Calibration, Evidence
from sam_audio.types import Samples

if TYPE_CHECKING:
    from sam_audio.separator.nano.model import NanoSeparator

# 7.68 s at a time, with 1.92 s on both sides that only lend context; whole windows of the audio tower.
CHUNK_SAMPLES = 8 * 46_080
CONTEXT_SAMPLES = 2 * 46_080


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

    return NanoLocator(NanoSeparator(device=device), Calibration.load())


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
        separated = heard.answer(replace(alone(vectors), together=True)).when
        if separated is None:
            raise ModelError(f"{self.name} does not tell when sounds happen: use the shipped separator")
        return separated, engine.resemblance(heard.vectors.frames, vectors)[:, : separated.shape[1]]
