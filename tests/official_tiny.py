"""Tiny PE-AV and PE-A-Frame models with random weights, as folders in both of the published layouts."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from peav.official import naming
from peav.official.frame import PEAudioFrame
from peav.official.model import PEAudioVideo
from peav.official.parts import published_shapes

WORDS = ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "dog", "barking", "rain", "a", "loud", "car")
TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
CODEC = {
    "encoder_hidden_size": 2,
    "downsampling_ratios": [2, 8, 10, 12],
    "codebook_size": 32,
    "codebook_dim": 6,
}
AUDIO = {"dac_vae_encoder": CODEC, "audio_transformer": TOWER | {"rope_theta": 7, "hidden_act": "silu"}}
TEXT = {
    "vocab_size": len(WORDS),
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "local_attention": 4,
    "pad_token_id": 2,
    "model_type": "modernbert",
}
SHARED = {"text_model": TEXT, "output_dim": 24, "nth_text_layer": 3}
FRAME_CONFIG = {"audio_model": AUDIO, **SHARED}
AV_CONFIG = {
    "audio_visual_model": {
        "audio_model": AUDIO,
        "visual_model": {"pe_encoder": "PE-Core-Tiny-Test", "visual_transformer": TOWER},
        "audio_visual_transformer": TOWER,
    },
    **SHARED,
}
_AUDIO_HF = {**TOWER, "dac_config": CODEC | {"sampling_rate": 16000}}
_TEXT_HF = TEXT | {"num_hidden_layers": 3}
FRAME_CONFIG_HF = {"audio_config": _AUDIO_HF, "text_config": _TEXT_HF}
AV_CONFIG_HF = {
    "audio_video_config": {
        **TOWER,
        "audio_config": _AUDIO_HF,
        "video_config": {**TOWER, "vision_config": {"architecture": "PE-Core-Tiny-Test"}},
    },
    "text_config": _TEXT_HF,
}
CONFIGS = {PEAudioVideo: (AV_CONFIG, AV_CONFIG_HF), PEAudioFrame: (FRAME_CONFIG, FRAME_CONFIG_HF)}


def tensors(kind, config_json, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors of a whole file, so that layers that start at zero or one hide no mistakes."""
    generator = torch.Generator().manual_seed(seed)
    shapes = published_shapes(kind, kind.read_config(config_json))
    stored = {}
    for name, shape in shapes.items():
        fan_in = shape[-1] if len(shape) == 2 else math.prod(shape[1:])
        scale = 0.3 if len(shape) == 1 else fan_in**-0.5
        stored[name] = torch.randn(shape, generator=generator) * scale
        if len(shape) == 1 and name.endswith("weight") or name.endswith("alpha"):
            stored[name] += 1.0
    return stored


def save(folder: Path, config_json, stored: dict[str, torch.Tensor]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config_json))
    save_file(
        {name: tensor.contiguous().clone() for name, tensor in stored.items()}, folder / "model.safetensors"
    )
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def make(folder: Path, kind, **changes) -> Path:
    """A folder in the perception_models layout; changes go to the top of config.json."""
    config_json = CONFIGS[kind][0] | changes
    return save(folder, config_json, tensors(kind, config_json))


def make_transformers(folder: Path, kind) -> Path:
    """The same weights in the transformers layout, and scales and biases for the logits."""
    config_json, config_hf = CONFIGS[kind]
    stored = naming.to_transformers(tensors(kind, config_json), kind.rules, config_json["nth_text_layer"])
    expected = published_shapes(kind, kind.read_config(config_hf))
    for i, name in enumerate(name for name in expected if name not in stored):
        stored[name] = torch.full(expected[name], 0.1 * (i + 1))
    return save(folder, config_hf, stored)


def sounds(*seconds: float) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [0.3 * torch.randn(1, round(s * 48000), generator=generator) for s in seconds]


def videos(*lengths: int, height: int = 40, width: int = 64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [
        torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=generator) for n in lengths
    ]
