"""What a model takes of memory, and how many rows of a batch fit into a budget."""

from __future__ import annotations

import math

from torch import nn

from peav.official.codec_layers import PIECE, SHORT
from sam_audio.errors import UserError
from sam_audio.separator.official.config import SAMAudioConfig
from sam_audio.separator.official.flow import FlowNetwork

# float32 values in flight, as multiples of the widths; measured on a CPU, and rounded up
_PER_FRAME_DIM, _PER_FRAME_FFN = 12, 3
_CODEC_TENSORS = 5
RUNTIME_BYTES = 600_000_000  # torch itself


def row_bytes(config: SAMAudioConfig, n_frames: int) -> int:
    """What the network takes to evaluate one row of ``n_frames`` latent frames, beyond its weights."""
    dit = config.transformer
    return 4 * n_frames * (_PER_FRAME_DIM * dit.dim + _PER_FRAME_FFN * dit.ffn_dim)


def codec_bytes(config: SAMAudioConfig) -> int:
    """What it takes to decode a piece of sound, beyond weights; encoding takes no more."""
    codec = config.audio_codec
    n_slow = len(codec.decoder_rates) // 2
    slow = codec.decoder_dim // 2**n_slow * math.prod(codec.decoder_rates[:n_slow]) * PIECE
    fast = codec.decoder_dim // 2 ** len(codec.decoder_rates) * SHORT
    return 4 * _CODEC_TENSORS * (slow + fast)


def needed(model: FlowNetwork, n_frames: int) -> int:
    """What a process takes to separate windows of ``n_frames`` one row at a time, weights and torch included.

    Video comes on top with the vision tower, and other models that are asked for with their own weights.
    """
    config = model.config
    return RUNTIME_BYTES + weight_bytes(model) + max(row_bytes(config, n_frames), codec_bytes(config))


def weight_bytes(model: nn.Module) -> int:
    """Size of a model's weights; of one on the meta device, what they would take."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def rows_within(model: FlowNetwork, n_frames: int, memory_bytes: int) -> int:
    """Rows that can be evaluated at once.

    Args:
        n_frames: of a window.
        memory_bytes: for the whole process.

    Raises:
        UserError: not even one row fits.
    """
    least = needed(model, n_frames)
    if least > memory_bytes:
        raise UserError(
            f"this model needs about {least / 1e9:.1f} GB for windows of this length, "
            f"not {memory_bytes / 1e9:.1f} GB: allow it more, or use a smaller model"
        )
    rest = memory_bytes - RUNTIME_BYTES - weight_bytes(model)
    return max(1, rest // row_bytes(model.config, n_frames))
