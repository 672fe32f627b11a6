"""A T5 with random weights and a tokenizer of a few words, as the folder that a SAM-Audio's config names."""

from __future__ import annotations

import json
from pathlib import Path

import tiny_official
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from sam_audio.separator.official.config import SAMAudioConfig

RATE = 48_000

WORDS = ("<pad>", "</s>", "<unk>", "dog", "barking", "rain", "a", "loud", "car")


def write(folder: Path, dim: int) -> Path:
    """Its folder.

    Args:
        dim: width of its features.
    """
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    # as the published one: an empty text is one end token
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    fast.save_pretrained(folder)
    config = T5Config(vocab_size=len(WORDS), d_model=dim, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    torch.manual_seed(0)
    T5EncoderModel(config).save_pretrained(folder)
    return folder


def write_model(folder: Path) -> Path:
    """A tiny SAM-Audio at 48 kHz, with its text encoder in its folder."""
    folder.mkdir(parents=True)
    values = tiny_official.values()
    rates = {"encoder_rates": [2, 8, 10, 12], "decoder_rates": [12, 10, 8, 2], "sample_rate": RATE}
    values["audio_codec"] |= rates
    values["text_encoder"]["name"] = "t5"
    (folder / "config.json").write_text(json.dumps(values))
    torch.save(tiny_official.tensors(SAMAudioConfig.of(values)), folder / "checkpoint.pt")
    write(folder / "t5", tiny_official.TEXT_DIM)
    return folder
