"""A checkpoint of the published Judge with few weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from judge.official import JudgeConfig, published_shapes

TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
CONFIG = {
    "audio_codec": {"encoder_dim": 2, "latent_dim": 12, "codebook_dim": 6},
    "transformer": TOWER,
    "finetune_transformer": TOWER | {"hidden_size": 8, "num_hidden_layers": 1},
    "text_model": {
        "vocab_size": 20,
        "hidden_size": 12,
        "intermediate_size": 8,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "pad_token_id": 0,
    },
    "nth_text_layer": 2,
    "bottleneck_dim": 10,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "barks", "loudly", "while", "rain", "falls"]


def random_tensors() -> dict[str, torch.Tensor]:
    """A whole checkpoint; random everywhere, and louder than usual, so that everything matters for the scores."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(shape, generator=generator) * (shape[-1] ** -0.5 if len(shape) > 1 else 1.0)
        for name, shape in published_shapes(JudgeConfig.of(CONFIG)).items()
    }
    return {n: 1 + t.abs() if n.endswith(("weight_g", "alpha", "std")) else t for n, t in tensors.items()}


def write(folder: Path, tensors: object, config: object = CONFIG) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(tensors, folder / "checkpoint.pt")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
