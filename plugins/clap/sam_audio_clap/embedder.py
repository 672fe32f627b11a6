"""CLAP (arXiv 2211.06687) as a joint space of words and sounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sam_audio.errors import ModelError
from sam_audio.separator.official.text import no_progress_bars
from sam_audio.types import Samples


class ClapEmbedder:
    """Unit vectors of texts and of sounds of any length.

    Args:
        model: a `transformers.ClapModel`.
        processor: its `transformers.ClapProcessor`.
    """

    dim = None  # takes texts, not vectors of its space

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.sample_rate: int = processor.feature_extractor.sampling_rate

    @classmethod
    def load(cls, name: str, device: str = "cpu") -> ClapEmbedder:
        """By folder or hub id.

        Raises:
            ModelError: it cannot be found or loaded.
        """
        from transformers import ClapModel, ClapProcessor

        try:
            with no_progress_bars():
                return cls(ClapModel.from_pretrained(name).to(device), ClapProcessor.from_pretrained(name))
        except Exception as error:  # anything from network to tokenizer libraries
            first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise ModelError(f"the CLAP {name} cannot be loaded: {first}") from error

    @torch.inference_mode()
    def embed_text(self, texts: list[str]) -> np.ndarray:
        """(N, D), one row a text."""
        tokens = self.processor.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        return _vectors(self.model.get_text_features(**tokens.to(self.model.device)))

    @torch.inference_mode()
    def embed_audio(self, samples: Samples) -> np.ndarray:
        """(n,) float32 at the model's rate -> (D,): the mean direction of equal pieces that it can hear at once."""
        hear = self.processor.feature_extractor
        pieces = np.array_split(samples, max(1, -(-len(samples) // hear.nb_max_samples)))
        heard = hear(pieces, sampling_rate=self.sample_rate, return_tensors="pt").to(self.model.device)
        # no piece is cut: else one of them, drawn at random, would be taken for longer than it is
        heard["is_longer"] = torch.zeros(len(pieces), 1, dtype=torch.bool, device=self.model.device)
        mean = _vectors(self.model.get_audio_features(**heard)).mean(axis=0)
        return mean / max(float(np.linalg.norm(mean)), 1e-12)


def _vectors(features: Any) -> np.ndarray:
    """What the getters give, which since transformers 5 is a whole output."""
    return getattr(features, "pooler_output", features).float().cpu().numpy()
