"""The audio-video tower of PE-AV: hidden states of both, brought to the audio's frames, to joint hidden states."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peav.official.linear import Linear
from peav.official.transformer import Tower, TowerConfig, TowerOutput


class FusionEncoder(Tower):
    """Shapes: audio (B, T, D), video (B, N, D) -> `TowerOutput` with T steps."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.modality_aligner = nn.ModuleDict(
            {"conv": nn.Conv1d(width, width, 1), "layer_norm": nn.LayerNorm(width, eps=1e-5)}
        )
        self.concat_modality_proj = Linear(2 * width, width)
        self.data_proj = Linear(width, width)

    def fuse(
        self,
        audio: Tensor,
        video: Tensor,
        audio_mask: Tensor | None = None,
        video_mask: Tensor | None = None,
    ) -> TowerOutput:
        """Joins the last hidden states of the audio tower (B, T, D) and of the video tower (B, N, D).

        The masks, (B, T) and (B, N), are True where there is something.
        """
        video = self.modality_aligner["conv"](video.transpose(1, 2)).transpose(1, 2)
        video = align(video, lengths(video, video_mask), audio.shape[1], lengths(audio, audio_mask))
        video = self.modality_aligner["layer_norm"](video)
        joint = self.concat_modality_proj(torch.cat([audio, video], dim=-1))
        return self(self.data_proj(joint), audio_mask)


def lengths(sequence: Tensor, valid_mask: Tensor | None) -> list[int]:
    """Valid steps of each row of (B, L, D)."""
    if valid_mask is None:
        return [sequence.shape[1]] * len(sequence)
    return valid_mask.sum(1).tolist()


def align(video: Tensor, video_lengths: list[int], steps: int, audio_lengths: list[int]) -> Tensor:
    """Stretches each video to its audio by repeating or dropping steps; zeros follow.

    Args:
        video: (B, N, D).
        video_lengths: valid steps of each, at most N.
        steps: T, length of the result.
        audio_lengths: valid steps to fill in each, at most T.

    Returns:
        (B, T, D); the video itself when nothing has to be stretched.
    """
    if video.shape[1] == steps and video_lengths == audio_lengths:
        return video
    aligned = video.new_zeros(len(video), steps, video.shape[-1])
    for row, (have, want) in enumerate(zip(video_lengths, audio_lengths, strict=True)):
        if have and want:
            valid = video[row, :have].T[None]
            aligned[row, :want] = F.interpolate(valid, want, mode="nearest")[0].T
    return aligned
