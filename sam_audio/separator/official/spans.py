"""When the sound asked for is there, found out by a PE-A-Frame from the latents of the mixture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Unpack

import torch
from torch import Tensor

from sam_audio.errors import as_model_error

if TYPE_CHECKING:
    from peav.hub import HubOptions


class SpanPredictor(Protocol):
    """Anything that finds spans."""

    def __call__(
        self, features: Tensor, valid: Tensor, descriptions: Sequence[str]
    ) -> list[list[tuple[float, float]]]:
        """Spans for each recording, (start, end) in seconds. Shapes: features (B, T, 128), valid (B, T) bool."""
        ...


def load_span_predictor(
    name: str | Path, device: torch.device, **options: Unpack[HubOptions]
) -> SpanPredictor:
    """A PE-A-Frame by its folder or hub name.

    Raises:
        ModelError: it cannot be found or loaded.
    """
    from peav.official.frame import PEAudioFrame
    from peav.official.processing import PEAudioFrameProcessor

    with as_model_error():
        processor = PEAudioFrameProcessor.from_pretrained(name, **options)
        model = PEAudioFrame.from_pretrained(name, device=device, **options)

    def predict(
        features: Tensor, valid: Tensor, descriptions: Sequence[str]
    ) -> list[list[tuple[float, float]]]:
        texts = processor.read(descriptions)
        return model.spans(
            texts["input_ids"], texts["attention_mask"], input_features=features, padding_mask=valid
        )

    return predict
