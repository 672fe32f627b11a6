"""The text tower: a phrase goes in, a unit vector of the joint space comes out.

    text -> WordPiece tokens -> embedding -> transformer -> weighted mean over tokens -> linear -> unit length

The nano tower is a student of all-MiniLM-L6-v2 and lives in that model's space (384 dimensions).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from peav import checkpoints
from peav.checkpoints import CheckpointError

_BATCH = 512  # texts a forward pass: enough to be fast, and memory does not grow with the number of texts


@dataclass(frozen=True)
class TextConfig:
    """Sizes of a text tower."""

    vocabulary: int
    embedding: int = 192
    width: int = 256
    layers: int = 3
    heads: int = 4
    inner: int = 768
    longest: int = 32  # tokens; what follows is cut off
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


class TextTower(nn.Module):
    """Embeds text in the joint space; built directly, its weights are unset: use `from_pretrained`.

    >>> tower = TextTower.from_pretrained("nano")
    >>> dog, hound, piano = tower.embed(["a dog barking", "barking dogs", "piano"])
    >>> bool(dog @ hound > dog @ piano)
    True
    """

    def __init__(self, config: TextConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.enable_truncation(config.longest)
        self.embedding = Embedding(config.vocabulary, config.embedding)
        self.widen = Linear(config.embedding, config.width)
        self.positions = nn.Parameter(torch.zeros(config.longest, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.score = Linear(config.width, 1)  # how much a token counts in the mean
        self.head = Linear(config.width, config.output)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str] = "nano") -> TextTower:
        """Loads a tower that comes with the package, or the one at a path; it is ready to embed, on the CPU.

        Raises:
            CheckpointError: when there is none, or it is damaged.
        """
        checkpoint = checkpoints.load(name, "text")
        tokenizer = _load_tokenizer(checkpoint)
        tower = checkpoints.build(checkpoint, lambda **sizes: cls(TextConfig(**sizes), tokenizer))
        if tokenizer.get_vocab_size() != tower.config.vocabulary:
            raise CheckpointError(
                f"{checkpoint.path} has another vocabulary than its tokenizer: fetch the checkpoint again."
            )
        return tower.eval().requires_grad_(False)

    def reads(self, text: str) -> bool:
        """Whether any of a text is known; the vectors of texts of which nothing is are all alike."""
        return set(self.tokenizer.encode(text).ids) != {self.tokenizer.token_to_id("[UNK]")}

    def knows(self, word: str) -> bool:
        """Whether a word is known as a whole; others are read in pieces, which may mean something else."""
        return len(self.tokenizer.encode(word).ids) == 1 and self.reads(word)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Turns texts into token ids (N, L) and a mask (N, L), False on padding; L is at most `longest`.

        Raises:
            ValueError: when a text is empty.
        """
        if isinstance(texts, str):
            raise TypeError("Texts must be a list: put the single text in brackets.")
        encodings = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        for text, ids in zip(texts, encodings, strict=True):
            if not ids:
                raise ValueError(f"The text {text!r} is empty: describe a sound in a few words.")
        length = max(map(len, encodings), default=1)
        tokens = torch.zeros(len(encodings), length, dtype=torch.long)
        valid_mask = torch.zeros(len(encodings), length, dtype=torch.bool)
        for row, ids in enumerate(encodings):
            tokens[row, : len(ids)] = torch.tensor(ids)
            valid_mask[row, : len(ids)] = True
        return tokens, valid_mask

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
        tokens, valid_mask = self.tokenize(texts)
        device = self.head.weight.device
        out = torch.empty(len(tokens), self.config.output)
        for start in range(0, len(tokens), _BATCH):
            rows = slice(start, start + _BATCH)
            length = int(valid_mask[rows].sum(1).max())
            out[rows] = self(tokens[rows, :length].to(device), valid_mask[rows, :length].to(device)).cpu()
        return out


def _load_tokenizer(checkpoint: checkpoints.Checkpoint) -> Tokenizer:
    path = checkpoint.path.with_name(f"{checkpoint.path.stem}-tokenizer.json")
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: a text checkpoint needs its tokenizer beside it.")
    try:
        return Tokenizer.from_file(str(path))
    except Exception:  # noqa: BLE001  tokenizers raises bare Exception
        raise CheckpointError(f"{path} is not a readable tokenizer: fetch the checkpoint again.") from None
