"""The audio tower of PE-AV and PE-A-Frame: codec latents, one each 40 ms, to hidden states."""

from __future__ import annotations

from torch import Tensor, nn

from peav.official.linear import Linear
from peav.official.transformer import Tower, TowerConfig, TowerOutput


class AudioEncoder(nn.Module):
    """Shapes: latents (B, T, C) and their mask (B, T) -> `TowerOutput` of width D.

    Args:
        config: sizes of the tower.
        latent_dim: channels of the codec.
    """

    def __init__(self, config: TowerConfig, latent_dim: int) -> None:
        super().__init__()
        self.data_proj = Linear(latent_dim, config.hidden_size)
        self.audio_transformer = Tower(config)

    def forward(self, latents: Tensor, valid_mask: Tensor | None = None) -> TowerOutput:
        return self.audio_transformer(self.data_proj(latents), valid_mask)


def frame_mask(sample_mask: Tensor, hop: int) -> Tensor:
    """The mask of frames that goes with a mask of samples: (B, n) -> (B, ceil(n / hop)).

    >>> import torch
    >>> frame_mask(torch.tensor([[True, True, True, False]]), 2)
    tensor([[True, True]])
    """
    return sample_mask[:, ::hop].bool()
