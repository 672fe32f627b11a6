"""How many rows of a batch fit into a memory budget."""

from __future__ import annotations

import math

from peav.official.codec_layers import PIECE, SHORT
from sam_audio.errors import UserError
from sam_audio.official.config import SAMAudioConfig
from sam_audio.official.flow import FlowNetwork

# float32 values in flight, as multiples of the widths; measured on a CPU, and rounded up
_PER_FRAME_DIM, _PER_FRAME_FFN = 12, 3
_CODEC_TENSORS = 5
_RUNTIME_BYTES = 600_000_000  # torch itself


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


def rows_within(model: FlowNetwork, n_frames: int, memory_bytes: int) -> int:
    """Rows that can be evaluated at once.

    Args:
        n_frames: of a window.
        memory_bytes: for the whole process.

    Raises:
        UserError: not even one row fits.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    one = row_bytes(model.config, n_frames)
    needed = _RUNTIME_BYTES + weights + max(one, codec_bytes(model.config))
    if needed > memory_bytes:
        raise UserError(
            f"this model needs about {needed / 1e9:.1f} GB for windows of this length, "
            f"not {memory_bytes / 1e9:.1f} GB: allow it more, or use a smaller model"
        )
    return max(1, (memory_bytes - _RUNTIME_BYTES - weights) // one)
