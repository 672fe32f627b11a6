"""The video tower of PE-AV: unit vectors of frames, from the image tower, to hidden states."""

from __future__ import annotations

from torch import Tensor, nn

from peav.official.linear import Linear
from peav.official.transformer import Tower, TowerConfig, TowerOutput

FIXED_FRAMES = 16  # what the 16-frame variants look at


class VideoEncoder(nn.Module):
    """Shapes: features (B, N, F), unit length, and their mask (B, N) -> `TowerOutput` of width D.

    Args:
        config: sizes of the tower.
        feature_dim: width of the features.
    """

    def __init__(self, config: TowerConfig, feature_dim: int) -> None:
        super().__init__()
        self.proj = Linear(feature_dim, config.hidden_size, bias=False)
        self.data_proj = Linear(config.hidden_size, config.hidden_size)
        self.visual_transformer = Tower(config)

    def forward(self, features: Tensor, valid_mask: Tensor | None = None) -> TowerOutput:
        return self.visual_transformer(self.data_proj(self.proj(features)), valid_mask)


def sample_frames(video: Tensor, count: int = FIXED_FRAMES) -> Tensor:
    """Evenly spaced frames of a video (N, ...), the first and the last among them.

    Raises:
        ValueError: it has fewer frames than that.

    >>> import torch
    >>> sample_frames(torch.arange(31)).tolist()[:4]
    [0, 2, 4, 6]
    """
    if len(video) < count:
        raise ValueError(f"this model looks at {count} frames, and the video has only {len(video)}")
    return video[spread(len(video), count)]


def spread(length: int, count: int = FIXED_FRAMES) -> list[int]:
    """Evenly spaced places in something of a length, the first and the last among them; some repeat where it is short.

    >>> spread(7, 4)
    [0, 2, 4, 6]
    """
    return [i * (length - 1) // (count - 1) for i in range(count)]
