"""ModernBERT (arXiv 2412.13663), the text tower of PE-AV, PE-A-Frame and the Judge.

    token ids -> embedding -> layers with rotary positions; every third sees all, the others 64 tokens either way

The published models read it before its last layers and before its final norm. Written out rather than taken from
transformers, whose version of it is what the tests compare with: importing that takes longer than loading this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peav.checkpoints import CheckpointError
from peav.official.linear import Linear

Rotation = tuple[Tensor, Tensor]  # cosines and sines, (L, head_dim) each


@dataclass(frozen=True)
class TextConfig:
    """Sizes of a text tower; the defaults are the official ones."""

    vocab_size: int = 50368
    hidden_size: int = 1024
    intermediate_size: int = 2624
    num_hidden_layers: int = 28
    num_attention_heads: int = 16
    global_attn_every_n_layers: int = 3
    local_attention: int = 128  # tokens in the window of a local layer
    global_rope_theta: float = 160000.0
    local_rope_theta: float = 10000.0
    norm_eps: float = 1e-5
    pad_token_id: int = 50283
    nth_layer: int | None = 22  # layers that are run, without the final norm; None runs all, and the norm

    @property
    def depth(self) -> int:
        """Layers that are run."""
        return self.num_hidden_layers if self.nth_layer is None else self.nth_layer

    @classmethod
    def of(cls, values: Mapping[str, Any], nth_layer: int | None) -> TextConfig:
        """From the ``text_model`` or ``text_config`` of a config.json; other fields are passed over.

        Raises:
            CheckpointError: a size is impossible.
        """
        known = {name: values[name] for name in cls.__dataclass_fields__ if values.get(name) is not None}
        for kind, name in (
            ("full_attention", "global_rope_theta"),
            ("sliding_attention", "local_rope_theta"),
        ):
            theta = ((values.get("rope_parameters") or {}).get(kind) or {}).get("rope_theta")
            if theta is not None:  # where newer versions of transformers write it
                known[name] = theta
        for name, value in known.items():
            if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
                raise CheckpointError(
                    f"The config's text model needs a positive number as {name}, not {value!r}."
                )
        config = cls(**known | {"nth_layer": nth_layer})
        if nth_layer is not None and not 0 <= nth_layer <= config.num_hidden_layers:
            raise CheckpointError(
                f"The config's nth_text_layer is {nth_layer}, but the text model has {config.num_hidden_layers} layers."
            )
        return config


class TextTower(nn.Module):
    """Token ids to hidden states. The vector of a text is that of its first token."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = nn.ModuleDict(
            {
                "tok_embeddings": nn.Embedding(config.vocab_size, config.hidden_size),
                "norm": _norm(config),
            }
        )
        self.layers = nn.ModuleList(_Layer(config, i) for i in range(config.depth))
        self.final_norm = _norm(config) if config.nth_layer is None else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Args: input_ids (B, L); attention_mask (B, L), nonzero on tokens. Returns (B, L, hidden_size)."""
        length, config = input_ids.shape[1], self.config
        head_dim = config.hidden_size // config.num_attention_heads
        device = input_ids.device
        rotations = [
            rotary_angles(length, head_dim, theta, device)
            for theta in (config.global_rope_theta, config.local_rope_theta)
        ]
        seen = views(input_ids, attention_mask, config.local_attention // 2)
        x = self.embeddings["norm"](self.embeddings["tok_embeddings"](input_ids))
        for i, layer in enumerate(self.layers):
            local = bool(i % config.global_attn_every_n_layers)
            x = layer(x, rotations[local], seen[local])
        return x if self.final_norm is None else self.final_norm(x)


@dataclass(frozen=True)
class View:
    """What tokens may look at: mask (B or 1, 1, L or 1, L), and which of them nothing is left for, (B, 1, L, 1)."""

    mask: Tensor | None = None
    blind: Tensor | None = None


def views(tokens: Tensor, valid_mask: Tensor | None, reach: int) -> tuple[View, View]:
    """The views of global and of local layers.

    Args:
        tokens: (B, L), for its shape and device.
        valid_mask: (B, L), nonzero on tokens and zero on padding.
        reach: tokens that a local layer sees to either side.
    """
    place = torch.arange(tokens.shape[1], device=tokens.device)
    near = ((place[:, None] - place).abs() <= reach)[None, None]
    if valid_mask is None:
        return View(), View(near)
    keys = valid_mask.bool()[:, None, None, :]
    blind = ~(near & keys).any(-1, keepdim=True)  # padding far from any token
    return View(keys), View(near & keys | blind, blind)


class _Layer(nn.Module):
    """Shape: (B, L, D) -> the same."""

    def __init__(self, config: TextConfig, index: int) -> None:
        super().__init__()
        self.attn_norm = _norm(config) if index else nn.Identity()
        self.attn = _Attention(config)
        self.mlp_norm = _norm(config)
        self.mlp = _GatedMLP(config)

    def forward(self, x: Tensor, rotation: Rotation, view: View) -> Tensor:
        x = x + self.attn(self.attn_norm(x), rotation, view)
        return x + self.mlp(self.mlp_norm(x))


class _Attention(nn.Module):
    """Shape: (B, L, D) -> the same."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.Wqkv = Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.Wo = Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor, rotation: Rotation, view: View) -> Tensor:
        q, k, v = self.Wqkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(
            rotate(q, rotation), rotate(k, rotation), v, attn_mask=view.mask
        )
        if view.blind is not None:  # not left to the kernels, some of which answer NaN
            mixed = mixed.masked_fill(view.blind, 0.0)
        return self.Wo(mixed.transpose(1, 2).flatten(2))


class _GatedMLP(nn.Module):
    """Shape: (..., D) -> the same."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.Wi = Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.Wo = Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.Wi(x).chunk(2, dim=-1)
        return self.Wo(F.gelu(value) * gate)


def _norm(config: TextConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=False)


def rotary_angles(length: int, head_dim: int, theta: float, device: torch.device) -> Rotation:
    """Rotations of positions 0 to length - 1, float32, for `rotate`."""
    exponent = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
    angle = torch.outer(torch.arange(length, dtype=torch.float32, device=device), theta**-exponent).repeat(
        1, 2
    )
    return angle.cos(), angle.sin()


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turns channel j and channel j + head_dim / 2 as a pair. Shape: (B, H, L, head_dim) -> the same."""
    cos, sin = rotation
    first, second = x.float().chunk(2, dim=-1)
    return (x.float() * cos + torch.cat([-second, first], dim=-1) * sin).to(x.dtype)
