"""The text tower: a phrase goes in, a unit vector of the joint space comes out.

    text -> WordPiece tokens -> embedding -> transformer -> weighted mean over tokens -> linear -> unit length

The nano tower is a student of all-MiniLM-L6-v2 and lives in that model's space (384 dimensions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peav import checkpoints
from peav.checkpoints import Checkpoint, CheckpointError
from peav.nano.sharing import metadata
from peav.nano.tower import Tower
from peav.nano.words import LONGEST, Words


@dataclass(frozen=True)
class TextConfig:
    """Sizes of a text tower."""

    vocabulary: int
    embedding: int = 192
    width: int = 256
    layers: int = 3
    heads: int = 4
    inner: int = 768
    longest: int = LONGEST  # tokens; what follows is cut off
    output: int = 384

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


class Linear(nn.Linear):
    """A linear layer whose weights are left unset, since drawing random ones costs more time than loading."""

    def reset_parameters(self) -> None:
        pass


class Embedding(nn.Embedding):
    """An embedding table whose weights are left unset."""

    def reset_parameters(self) -> None:
        pass


class Block(nn.Module):
    """One pre-norm transformer layer over tokens (B, L, D)."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(config.width)
        self.query_key_value = Linear(config.width, 3 * config.width)
        self.mix = Linear(config.width, config.width)
        self.inner_norm = nn.LayerNorm(config.width)
        self.expand = Linear(config.width, config.inner)
        self.contract = Linear(config.inner, config.width)

    def forward(self, x: Tensor, valid_mask: Tensor) -> Tensor:
        """Args: x (B, L, D); valid_mask (B, L), True on tokens and False on padding. Returns (B, L, D)."""
        b, length, width = x.shape
        qkv = self.query_key_value(self.attention_norm(x)).view(b, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        # written out: at a handful of tokens this is a third faster than the fused call
        scores = (q @ k.transpose(-1, -2)).float() * (width // self.heads) ** -0.5
        weight = scores.masked_fill(~valid_mask[:, None, None, :], float("-inf")).softmax(-1)
        mixed = weight.to(v.dtype) @ v
        x = x + self.mix(mixed.transpose(1, 2).reshape(b, length, width))
        return x + self.contract(F.gelu(self.expand(self.inner_norm(x))))


class TextTower(Tower):
    """Embeds text in the joint space; built directly, its weights are unset: use `from_pretrained`.

    >>> tower = TextTower.from_pretrained("nano")
    >>> dog, hound, piano = tower.embed(["a dog barking", "barking dogs", "piano"])
    >>> bool(dog @ hound > dog @ piano)
    True
    """

    tower, told_in = "text", "nano-text.md"
    card = metadata("feature-extraction", "text", "sentence-similarity")
    purpose = (
        "The text tower of PE-AV nano: vectors of phrases, in one space with those of sounds and pictures."
    )
    config: TextConfig

    def __init__(self, config: TextConfig, words: Words) -> None:
        super().__init__()
        self.config = config
        self.words = words
        self.embedding = Embedding(config.vocabulary, config.embedding)
        self.widen = Linear(config.embedding, config.width)
        self.positions = nn.Parameter(torch.zeros(config.longest, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.score = Linear(config.width, 1)  # how much a token counts in the mean
        self.head = Linear(config.width, config.output)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        words = Words.beside(checkpoint)
        tower = checkpoints.build(checkpoint, lambda **sizes: cls(TextConfig(**sizes), words))
        if len(words.wordpiece.vocabulary) != tower.config.vocabulary:
            raise CheckpointError(
                f"{checkpoint.path} has another vocabulary than its tokenizer: fetch the checkpoint again."
            )
        return tower

    def write_towers(self, folder: Path) -> list[Path]:
        written = super().write_towers(folder)
        tokenizer = self.words.write_beside(written[0])
        return [*(path for path in written if path != tokenizer), tokenizer]

    def reads(self, text: str) -> bool:
        """Whether any of a text is known; the vectors of texts of which nothing is are all alike."""
        return self.words.reads(text)

    def knows(self, word: str) -> bool:
        """Whether a word is known as a whole; others are read in pieces, which may mean something else."""
        return self.words.knows(word)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Turns texts into token ids (N, L) and a mask (N, L), False on padding; L is at most `longest`.

        Raises:
            ValueError: when a text is empty.
        """
        tokens, valid_mask = self.words.tokenize(texts)
        return torch.from_numpy(tokens), torch.from_numpy(valid_mask)

    def forward(self, tokens: Tensor, valid_mask: Tensor) -> Tensor:
        """Maps token ids (B, L) and their mask (B, L) to unit vectors (B, 384)."""
        x = self.widen(self.embedding(tokens)) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, valid_mask)
        weight = self.score(x).float().masked_fill(~valid_mask[..., None], float("-inf")).softmax(1)
        return F.normalize(self.head((weight * x).sum(1)).float(), dim=-1)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Embeds texts: unit vectors (N, 384), float32; a text's vector does not depend on its neighbours.

        Raises:
            ValueError: when a text is empty.
        """
        device = self.head.weight.device
        out = [
            self(*(torch.from_numpy(x).to(device) for x in some)).cpu() for some in self.words.batches(texts)
        ]
        return torch.cat(out) if out else torch.empty(0, self.config.output)
