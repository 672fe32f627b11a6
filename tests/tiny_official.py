"""A SAM-Audio with random weights, small enough for tests, in the published form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from peav.official.parts import unset
from sam_audio.separator.official.config import SAMAudioConfig
from sam_audio.separator.official.model import SAMAudio
from sam_audio.separator.official.weights import PICTURE_TEXT, expected_shapes

TEXT_DIM = 12
_TRANSFORMER = {
    "dim": 32,
    "n_heads": 2,
    "n_layers": 2,
    "context_dim": 32,
    "out_channels": 16,
    "multiple_of": 8,
}


def values(**transformer: Any) -> dict[str, Any]:
    """Content of a config.json: 25 latents a second of sound at 400 Hz."""
    return {
        "in_channels": 48,
        "audio_codec": {
            "encoder_dim": 4,
            "encoder_rates": [2, 2, 2, 2],
            "latent_dim": 16,
            "decoder_dim": 96,
            "decoder_rates": [2, 2, 2, 2],
            "codebook_dim": 8,
            "sample_rate": 400,
        },
        "text_encoder": {"name": "no-such-t5", "dim": TEXT_DIM},
        "vision_encoder": {"name": "PE-Core-Tiny-Test", "dim": 40, "image_size": 48, "batch_size": 3},
        "transformer": {**_TRANSFORMER, **transformer},
        "span_predictor": None,
    }


def tensors(config: SAMAudioConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of a checkpoint."""
    generator = torch.Generator().manual_seed(seed)
    with unset():
        model = SAMAudio(config)
    sizes = {
        "ln_final.weight": (8,),
        "positional_embedding": (4, 8),
        "token_embedding.weight": (6, 8),
    }
    stored = {PICTURE_TEXT + name: size for name, size in sizes.items()}
    shapes = expected_shapes(model, model.audio_codec, config, stored)
    drawn = {}
    for name, shape in shapes.items():
        fan_in = max(1, torch.Size(shape[1:]).numel()) if len(shape) > 1 else 100
        drawn[name] = torch.randn(shape, generator=generator) / fan_in**0.5
        if name.endswith(("alpha", "weight_g", "gate")) or ("norm" in name and name.endswith("weight")):
            drawn[name] = drawn[name].abs() + 0.5
        if name.endswith("weight_g"):
            drawn[name] *= 0.45  # else the decoder's tanh would saturate
    return drawn


def write(folder: Path, seed: int = 0, **transformer: Any) -> Path:
    """A model's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = values(**transformer)
    (folder / "config.json").write_text(json.dumps(content))
    torch.save(tensors(SAMAudioConfig.of(content), seed), folder / "checkpoint.pt")
    return folder


class FakeText:
    """Stands in for the T5: features that depend on the text alone."""

    loaded = False

    def __call__(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [
            torch.randn(3, TEXT_DIM, generator=torch.Generator().manual_seed(len(text))) for text in texts
        ]
        return torch.stack(rows), torch.ones(len(texts), 3, dtype=torch.bool)


def load(folder: Path, **options: Any) -> SAMAudio:
    model = SAMAudio.from_pretrained(folder, cache=False, **options)
    model.text_encoder = FakeText()  # type: ignore[assignment]
    return model
