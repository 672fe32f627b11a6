"""When does each sound happen? PE-A-Frame, and in the nano family the separator beside it.

PE-A-Frame nano compares each frame with the words asked for, one by one. The nano separator shares the excerpt out
among all that may sound in it, and knows better when a prompt has its part (see `Timekeeper`): it costs as much as
separating, still many times faster than real time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sam_audio import embedding
from sam_audio.embedding import FRAME, SAMPLE_RATE, mono_windows, with_context
from sam_audio.errors import ModelError
from sam_audio.types import Samples

if TYPE_CHECKING:
    from torch import Tensor

    from sam_audio.separator.nano import NanoSeparator

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
    from sam_audio.separator.nano import NanoSeparator

    return NanoLocator(NanoSeparator(device=device))


class NanoLocator:
    """The nano separator's opinion of when each prompt sounds.

    Args:
        separator: one that tells when, and listens through the audio tower.
    """

    frame_rate = SAMPLE_RATE / FRAME

    def __init__(self, separator: NanoSeparator) -> None:
        self.name, self.separator = separator.name, separator

    def activity(self, path: str | Path, prompts: list[str]) -> Samples:
        """Probability of every prompt in every 40 ms frame, (N, T) float32."""
        vectors = self.separator.text_tower.embed(prompts)
        windows = with_context(mono_windows(path, CHUNK_SAMPLES), CONTEXT_SAMPLES)
        blocks: Iterator[Samples] = (
            self._activity(sound, vectors)[:, before // FRAME :][:, : -(-length // FRAME)]
            for before, length, sound in windows
        )
        return np.concatenate(list(blocks), axis=1)

    def _activity(self, sound: Samples, vectors: Tensor) -> Samples:
        """Shapes: sound (n,), vectors (N, 384) -> (N, ceil(n / FRAME))."""
        import torch
        import torch.nn.functional as F

        from sam_audio.separator.bands import power, stft, to_bands
        from sam_audio.separator.nano import ask, autocast

        separator = self.separator
        padded = F.pad(torch.from_numpy(sound), (0, -len(sound) % FRAME)).to(separator.device)
        with torch.inference_mode(), autocast(separator.device.type):
            answer = ask(
                separator.network,
                separator.audio_tower,
                padded[None, None],
                to_bands(power(stft(padded)[..., :-1]))[None],
                vectors[None].to(separator.device),
                torch.ones(1, len(vectors), dtype=torch.bool, device=separator.device),
            )
        if answer.sounding is None:
            raise ModelError(f"{self.name} does not tell when sounds happen: use the shipped separator")
        return answer.sounding[0].cpu().numpy()
