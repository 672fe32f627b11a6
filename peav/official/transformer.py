"""The transformer that every PE tower shares: audio, video, audio-video, and the Judge's two.

    (B, L, D) -> class token + L -> convolutional residual block -> pre-norm blocks with rotary positions -> D

After "Pushing the Frontier of Audiovisual Perception with Large-Scale Multimodal Correspondence Learning"
(arXiv 2512.19687). Modules carry the names of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peav.checkpoints import CheckpointError
from peav.official.linear import Linear

_GROUP_NORM_EPS = 1e-5
_LEAST_THETA = 10000.0


@dataclass(frozen=True)
class TowerConfig:
    """Sizes of a tower."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    head_dim: int
    max_position_embeddings: int = 10000
    rms_norm_eps: float = 1e-5

    @property
    def theta(self) -> float:
        """Base of the rotary frequencies; the ``rope_theta`` of a config.json has no say in it."""
        return max(_LEAST_THETA, 2.0 * self.max_position_embeddings)

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str = "tower") -> TowerConfig:
        """From a config.json; fields that change nothing are passed over.

        Raises:
            CheckpointError: a size is missing or impossible.
        """
        known = {name: values[name] for name in cls.__dataclass_fields__ if values.get(name) is not None}
        wanted = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        for name in (*wanted, "head_dim", "max_position_embeddings"):
            value = known.get(name)
            if value is None and name not in wanted:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise CheckpointError(
                    f"The config's {where} needs a positive whole number as {name}, not {value!r}."
                )
        heads = known["num_attention_heads"]
        known.setdefault("head_dim", known["hidden_size"] // heads)
        if known["head_dim"] % 2:
            raise CheckpointError(f"The config's {where} has heads of odd width {known['head_dim']}.")
        if (values.get("num_key_value_heads") or heads) != heads:
            raise CheckpointError(
                f"The config's {where} shares keys between heads, which no published model does."
            )
        if values.get("attention_bias"):
            raise CheckpointError(f"The config's {where} has attention_bias, which no published model does.")
        return cls(**known)


class TowerOutput(NamedTuple):
    """last_hidden_state (B, L, D), one vector each step; pooler (B, D), that of the class token."""

    last_hidden_state: Tensor
    pooler: Tensor


class Tower(nn.Module):
    """Sequence encoder. Shapes: (B, L, D) -> `TowerOutput`."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.output = Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor, valid_mask: Tensor | None = None) -> TowerOutput:
        """Args: x (B, L, D); valid_mask (B, L), True where there is something. Returns outputs at all L steps,
        padded ones included."""
        if valid_mask is not None:
            valid_mask = F.pad(valid_mask.bool(), (1, 0), value=True)  # the class token
        x = self.embeddings(x, valid_mask)
        rotation = rotary_angles(x.shape[1], self.config.head_dim, self.config.theta, x.device)
        for layer in self.layers:
            x = layer(x, rotation, valid_mask)
        x = self.output(self.norm(x))
        return TowerOutput(x[:, 1:], x[:, 0])


class Embeddings(nn.Module):
    """Class token and residual block. Shape: (B, L, D) -> (B, L + 1, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.resnet_block = ResidualBlock(width)
        nn.init.normal_(self.cls_token, std=0.02)

    def forward(self, x: Tensor, valid_mask: Tensor | None) -> Tensor:
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        return self.resnet_block(x.transpose(1, 2), valid_mask).transpose(1, 2)


class ResidualBlock(nn.Module):
    """x + conv(conv(x)), each with a norm over the whole sequence. Shape: (B, D, L) -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block1 = NormConv(width)
        self.block2 = NormConv(width)

    def forward(self, x: Tensor, valid_mask: Tensor | None) -> Tensor:
        return x + self.block2(self.block1(x, valid_mask), valid_mask)


class NormConv(nn.Module):
    """GroupNorm with one group, SiLU, convolution over three steps. Shape: (B, D, L) -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.groupnorm = nn.GroupNorm(1, width, eps=_GROUP_NORM_EPS)
        self.project = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Tensor, valid_mask: Tensor | None) -> Tensor:
        if valid_mask is None:
            return self.project(F.silu(self.groupnorm(x)))
        return self.project(F.silu(masked_group_norm(x, valid_mask, self.groupnorm)))


def masked_group_norm(x: Tensor, valid_mask: Tensor, norm: nn.GroupNorm) -> Tensor:
    """A GroupNorm with one group that neither hears padding nor writes to it.

    Shapes: x (B, D, L), valid_mask (B, L) -> (B, D, L), zero where the mask is False.
    """
    keep = valid_mask[:, None, :]
    count = (keep.sum(-1, keepdim=True) * x.shape[1]).float()
    values = x.float()
    mean = (values * keep).sum((1, 2), keepdim=True) / count
    variance = ((values - mean).square() * keep).sum((1, 2), keepdim=True) / count
    normal = (values - mean) * torch.rsqrt(variance + norm.eps)
    return (keep * (normal * norm.weight.float()[:, None] + norm.bias.float()[:, None])).to(x.dtype)


class Block(nn.Module):
    """Pre-norm attention and gated feed-forward layer. Shape: (B, L, D) -> the same."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = GatedMLP(config.hidden_size, config.intermediate_size)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, rotation: Rotation, valid_mask: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rotation, valid_mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Attention(nn.Module):
    """Self-attention with normed queries and keys; only keys are masked. Shape: (B, L, D) -> the same."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        inner = self.heads * config.head_dim
        self.q_proj = Linear(config.hidden_size, inner, bias=False)
        self.k_proj = Linear(config.hidden_size, inner, bias=False)
        self.v_proj = Linear(config.hidden_size, inner, bias=False)
        self.o_proj = Linear(inner, config.hidden_size, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)

    def forward(self, x: Tensor, rotation: Rotation, valid_mask: Tensor | None) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(self.q_norm(q), rotation), rotate(self.k_norm(k), rotation)
        keys = None if valid_mask is None else valid_mask[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=keys)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class GatedMLP(nn.Module):
    """SwiGLU. Shape: (..., D) -> the same."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = Linear(width, inner, bias=False)
        self.up_proj = Linear(width, inner, bias=False)
        self.down_proj = Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class RMSNorm(nn.Module):
    """Root mean square norm, in float32 whatever comes in. Shape: (..., D) -> the same."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(x.dtype)


Rotation = tuple[Tensor, Tensor]  # cosines and sines, (L, head_dim / 2) each


def rotary_angles(length: int, head_dim: int, theta: float, device: torch.device) -> Rotation:
    """Rotations of positions 0 to length - 1, float32, for `rotate`."""
    exponent = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
    angle = torch.outer(torch.arange(length, dtype=torch.float32, device=device), theta**-exponent)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turns neighbouring pairs of channels by the angle of their position. Shape: (B, H, L, head_dim) -> the same."""
    cos, sin = rotation
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(x.dtype)
