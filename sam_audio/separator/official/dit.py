"""The flow-matching transformer of SAM-Audio: a velocity for every latent frame, at one time of the flow.

A diffusion transformer (Peebles and Xie 2023) whose blocks are modulated by the time of the flow and read the text by
cross-attention. Axes: R rows, T frames, L text tokens, D width, H heads.

The published attention splits its projections into interleaved heads. `ordinary_heads` reorders the rows of their
weights when a checkpoint is loaded; everything here has ordinary, contiguous heads.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam_audio.separator.official.config import TransformerConfig

_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "swiglu": F.silu,  # times the third projection, see FeedForward
    "silu": F.silu,
    "relu": F.relu,
    "gelu": F.gelu,
    "approx_gelu": lambda x: F.gelu(x, approximate="tanh"),
    "srelu": lambda x: F.relu(x).square(),
}


def sinusoid(t: Tensor, dim: int) -> Tensor:
    """Embeds times (R,) in 0..1, taken as they are: cosines, then sines, (R, dim) float32."""
    half = dim // 2
    frequencies = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(half) / half).to(t.device)
    angles = t.float()[:, None] * frequencies
    return F.pad(torch.cat([angles.cos(), angles.sin()], dim=-1), (0, dim % 2))


def rotations(n_frames: int, head_dim: int, theta: float, device: torch.device) -> Tensor:
    """What the rotary embedding turns each pair of adjacent channels by: (n_frames, head_dim / 2) complex."""
    exponents = torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim
    angles = torch.outer(torch.arange(n_frames, device=device, dtype=torch.float32), theta**-exponents)
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Rotary positions. Shapes: x (R, H, T, D / H), turns from `rotations` -> float32 like x."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2)


def ordinary_heads(name: str, tensor: Tensor, n_heads: int) -> Tensor:
    """Reorders the rows of a published query, key or value projection; other tensors pass unchanged.

    The published view is (D / H, H): row d * H + h belongs to head h. Here it is row h * D / H + d.
    """
    if not re.search(r"attention\.w[qkv]\.(weight|bias)$", name):
        return tensor
    return tensor.unflatten(0, (-1, n_heads)).transpose(0, 1).flatten(0, 1)


def published_heads(name: str, tensor: Tensor, n_heads: int) -> Tensor:
    """Undoes `ordinary_heads`."""
    # the way back is to reorder as if there were D / H heads of width H
    return ordinary_heads(name, tensor, len(tensor) // n_heads) if tensor.ndim else tensor


class Linear(nn.Linear):
    """A linear layer that works in the dtype of its weight."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class Conv(nn.Conv1d):
    """Three frames wide, keeps the length, works in the dtype of its weight. Shape: (R, D, T) -> the same."""

    def __init__(self, dim: int):
        super().__init__(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class RMSNorm(nn.RMSNorm):
    """In float32, whatever comes in."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())


class FeedForward(nn.Module):
    """w2(f(w1 x)), or w2(silu(w1 x) * w3 x) for swiglu."""

    def __init__(self, dim_in: int, hidden: int, dim_out: int, non_linearity: str, bias: bool):
        super().__init__()
        self.function = _FUNCTIONS[non_linearity]
        self.w1 = Linear(dim_in, hidden, bias)
        self.w2 = Linear(hidden, dim_out, bias)
        self.w3 = Linear(dim_in, hidden, bias) if non_linearity == "swiglu" else None

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.function(self.w1(x))
        return self.w2(hidden if self.w3 is None else hidden * self.w3(x))


class Attention(nn.Module):
    """Multi-head attention with normalised queries and keys; ``keys_values`` is apart because it may outlive a call."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        dim, bias = config.dim, config.fc_bias
        self.head_dim = config.head_dim
        self.wq, self.wk, self.wv, self.wo = (Linear(dim, dim, bias) for _ in range(4))
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None

    def queries(self, x: Tensor) -> Tensor:
        """Shape: (R, T, D) -> (R, H, T, D / H)."""
        return self._split(self.wq(x), self.q_norm)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Shape: (R, L, D) -> twice (R, H, L, D / H)."""
        return self._split(self.wk(x), self.k_norm), self._split(self.wv(x), None)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, valid: Tensor | None) -> Tensor:
        """Shapes: (R, H, T, D / H), twice (R, H, L, D / H), valid keys (R, 1, 1, L) or None -> (R, T, D)."""
        queries, keys = queries.to(values.dtype), keys.to(values.dtype)
        mixed = F.scaled_dot_product_attention(queries, keys, values, valid)
        return self.wo(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor, norm: nn.Module | None) -> Tensor:
        heads = x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        return heads if norm is None else norm(heads)


class Block(nn.Module):
    """Self-attention and feed-forward, both modulated by the time, around an attention to the text."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.scale_shift_table = nn.Parameter(torch.zeros(6, config.dim))
        self.attention = Attention(config)
        self.cross_attention = Attention(config)
        self.feed_forward = FeedForward(
            config.dim, config.ffn_dim, config.dim, config.non_linearity, config.fc_bias
        )
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)

    def forward(
        self,
        h: Tensor,
        modulation: Tensor,
        memory: tuple[Tensor, Tensor, Tensor | None],
        turns: Tensor | None,
        valid: Tensor | None,
    ) -> Tensor:
        """One block.

        Args:
            h: (R, T, D) float32.
            modulation: (R or 1, 6, D), of the time.
            memory: keys and values of the text, (R, H, L, D / H) each, and which are valid, (R, 1, 1, L) or None.
            turns: from `rotations`, or None for no positions.
            valid: frames, (R, 1, 1, T) bool, or None for all.
        """
        table = (self.scale_shift_table + modulation)[:, :, None]
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = table.unbind(1)
        h = h + gate_a * self.self_attention(self.attention_norm(h) * (1 + scale_a) + shift_a, turns, valid)
        h = h + self.read(h, *memory)
        return h + gate_f * self.feed_forward(self.ffn_norm(h) * (1 + scale_f) + shift_f)

    def self_attention(self, x: Tensor, turns: Tensor | None, valid: Tensor | None) -> Tensor:
        """Shape: (R, T, D) -> the same."""
        queries, (keys, values) = self.attention.queries(x), self.attention.keys_values(x)
        if turns is not None:
            queries, keys = rotate(queries, turns), rotate(keys, turns)
        return self.attention.attend(queries, keys, values, valid)

    def read(self, h: Tensor, keys: Tensor, values: Tensor, valid: Tensor | None) -> Tensor:
        """Attention to the text. Shape: h (R, T, D) -> the same."""
        return self.cross_attention.attend(self.cross_attention.queries(h), keys, values, valid)


class Patcher(nn.Module):
    """Two normalised convolutions with a way around. Shape: (R, D, T) -> the same, float32."""

    def __init__(self, dim: int):
        super().__init__()
        self.block = nn.ModuleDict(
            {
                name: nn.ModuleDict({"groupnorm": nn.GroupNorm(1, dim), "project": Conv(dim)})
                for name in ("block1", "block2")
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for part in self.block.values():
            assert isinstance(part, nn.ModuleDict)
            y = part["project"](F.silu(part["groupnorm"](y.float())))
        return x + y


class Projection(nn.Module):
    """A feed-forward layer under the name ``projection``, with an optional norm before it."""

    def __init__(
        self, dim_in: int, dim: int, non_linearity: str, config: TransformerConfig, norm: bool = False
    ):
        super().__init__()
        self.norm = RMSNorm(dim_in, config.norm_eps) if norm else None
        self.projection = FeedForward(dim_in, dim, dim, non_linearity, config.fc_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(x if self.norm is None else self.norm(x))


@dataclass(frozen=True)
class Instant:
    """All that depends on the time of the flow and on the text, but not on the state.

    ``time`` (P, D) and ``modulation`` (P, 6, D) for P texts, or one row when all share a time; ``keys_values`` of every
    block, twice (P, H, L, D / H); ``valid`` tokens (P, 1, 1, L) or None for all.
    """

    time: Tensor
    modulation: Tensor
    keys_values: list[tuple[Tensor, Tensor]]
    valid: Tensor | None

    def of(self, texts: Tensor) -> Instant:
        """The same for rows (R,) that name their text by its number."""

        def rows(x: Tensor) -> Tensor:
            return x if len(x) == 1 else x[texts]

        pairs = [(keys[texts], values[texts]) for keys, values in self.keys_values]
        return Instant(
            rows(self.time), rows(self.modulation), pairs, None if self.valid is None else self.valid[texts]
        )


class FlowTransformer(nn.Module):
    """The transformer; `at` prepares a time of the flow, the call itself evaluates one state."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        dim = config.dim
        self.x_embedder = Patcher(dim)
        self.t_embedder = Projection(
            config.frequency_embedding_dim, dim, config.timestep_non_linearity, config
        )
        self.t_block = Linear(dim, 6 * dim, config.t_block_bias)
        self.y_embedder = Projection(
            config.context_dim, dim, config.context_non_linearity, config, norm=config.context_norm
        )
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(dim, config.norm_eps)
        self.final_layer_scale_shift_table = nn.Parameter(torch.zeros(2, dim))
        self.output = Linear(dim, config.out_channels, config.fc_bias)

    @property
    def blocks(self) -> list[Block]:
        return [layer for layer in self.layers if isinstance(layer, Block)]

    def at(self, t: Tensor, memory: Tensor | None = None, valid: Tensor | None = None) -> Instant:
        """Prepares a time of the flow.

        Args:
            t: (1,) for one time, or (P,) for one of each text; 0..1.
            memory: projected texts (P, L, D); None for no text at all.
            valid: which tokens count, (P, L) bool; None for all.
        """
        time = self.t_embedder(sinusoid(t, self.config.frequency_embedding_dim))
        function = _FUNCTIONS[self.config.t_block_non_linearity]
        modulation = self.t_block(function(time)).unflatten(-1, (6, -1))
        token = sinusoid(t, self.config.context_dim)[:, None]
        context = self.y_embedder(token if memory is None else memory + token)
        pairs = [block.cross_attention.keys_values(context) for block in self.blocks]
        return Instant(time, modulation, pairs, None if valid is None else valid[:, None, None])

    def forward(self, h: Tensor, instant: Instant, valid: Tensor | None = None) -> Tensor:
        """Velocities.

        Args:
            h: the state, projected and conditioned, (R, T, D) float32.
            instant: from `at`; of R rows or of one.
            valid: which frames are sound, (R, T) bool; None for all. The others are computed too.

        Returns:
            (R, T, out_channels) float32.
        """
        config = self.config
        turns = (
            rotations(h.shape[1], config.head_dim, config.rope_theta, h.device) if config.use_rope else None
        )
        keys_valid = None if valid is None else valid[:, None, None]
        h = self.x_embedder(h.transpose(1, 2)).transpose(1, 2)
        for block, (keys, values) in zip(self.blocks, instant.keys_values, strict=True):
            h = block(h, instant.modulation, (keys, values, instant.valid), turns, keys_valid)
        shift, scale = (self.final_layer_scale_shift_table + instant.time[:, None])[:, :, None].unbind(1)
        return self.output(self.norm(h) * (1 + scale) + shift).float()

    def cast_body(self, dtype: torch.dtype) -> None:
        """Puts the large matrices into another dtype; norms, the time's path and the output stay in float32."""
        for part in (self.layers, self.x_embedder, self.y_embedder):
            for module in part.modules():
                if isinstance(module, Linear | Conv):
                    module.to(dtype)
