"""What the flow is told besides its state: the mixture, the text, the masked video, the anchors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn


class VideoAligner(nn.Module):
    """Picture features as a gated addition. Shape: (B, C, T) -> (B, T, D)."""

    def __init__(self, channels: int, dim: int):
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(1))
        self.conv = nn.Conv1d(channels, dim, 1)
        self.layer_norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, video: Tensor) -> Tensor:
        return self.gate.tanh() * self.layer_norm(self.conv(video).transpose(1, 2))

    def without_video(self) -> Tensor:
        """What the release adds when there is no video, that is for features of zero: a constant (D,), not nothing."""
        return self.gate.tanh() * self.layer_norm(self.conv.bias)


class AnchorEmbedder(nn.Module):
    """Anchors as a gated addition. Shapes: ids (B, A), alignment (B, T) into them -> (B, T, D)."""

    def __init__(self, n_anchors: int, embedding_dim: int, dim: int):
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(1))
        # one more row: padding, which is read as it is stored
        self.embed = nn.ParameterDict({"weight": torch.zeros(n_anchors + 1, embedding_dim)})
        self.proj = nn.Linear(embedding_dim, dim, bias=False)

    def forward(self, ids: Tensor, alignment: Tensor) -> Tensor:
        tokens = self.proj(self.embed["weight"])[ids.gather(1, alignment)]
        return self.gate.tanh() * tokens


@dataclass(frozen=True)
class Conditioning:
    """All that stays the same along the flow, computed once a separation.

    Args:
        base: what the frames add to the projected state: mixture, video and anchors, (B, T, D).
        memory: projected texts (P, L, D), or None for no text.
        memory_valid: their tokens, (P, L) bool, or None for all.
        texts: which text each row has, (B,) int64.
        valid: frames that are sound, (B, T) bool, or None for all.
    """

    base: Tensor
    memory: Tensor | None
    memory_valid: Tensor | None
    texts: Tensor
    valid: Tensor | None

    def repeat(self, n: int) -> Conditioning:
        """Every row n times in a row; the texts are shared."""
        if n == 1:
            return self
        valid = None if self.valid is None else self.valid.repeat_interleave(n, 0)
        return replace(
            self,
            base=self.base.repeat_interleave(n, 0),
            texts=self.texts.repeat_interleave(n),
            valid=valid,
        )


def some_invalid(valid: Tensor | None) -> Tensor | None:
    """The mask, or None when it masks nothing: attention without a mask is faster."""
    return None if valid is None or bool(valid.all()) else valid
