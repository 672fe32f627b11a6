"""Layers that the two halves of the DAC-VAE codec share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

SNAKE_FLOOR = 1e-9
PIECE = 500  # frames (20 s) that pass through a codec at once; 0.4 GB at the official size
SHORT = 24000  # samples of sound that pass through its fastest layers at once, which are the largest by far


class Snake(nn.Module):
    """x + sin(a x)^2 / a, one a for each channel (Ziyin et al. 2020). Shape: (B, C, T) -> the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return x + torch.sin(self.alpha * x).square() / (self.alpha + SNAKE_FLOOR)
        wave = (self.alpha * x).sin_().square_()  # in place: most of a decoder's memory passes through here
        return wave.div_(self.alpha + SNAKE_FLOOR).add_(x)


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv1d:
    """A convolution with the codec's padding, which keeps the length when the stride is 1."""
    padding = (kernel - stride) * dilation // 2
    return nn.Conv1d(in_channels, out_channels, kernel, stride, padding, dilation)


class ResidualUnit(nn.Module):
    """Two convolutions with Snakes before them, and a way around. Shape: (B, C, T) -> the same."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        wide, narrow = conv(channels, channels, 7, dilation=dilation), conv(channels, channels, 1)
        self.block = nn.Sequential(Snake(channels), wide, Snake(channels), narrow)

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(x)
        return x + y if torch.is_grad_enabled() else y.add_(x)


def in_pieces(
    run: Callable[[Tensor], Tensor],
    x: Tensor,
    frame_in: int,
    frame_out: int,
    context: int,
    n_frames: int = PIECE,
) -> Tensor:
    """Runs a stack of convolutions on stretches of time, with the context that makes it equal one run on the whole.

    Args:
        run: (B, C, t * frame_in) -> (B, C', t * frame_out).
        x: (B, C, T * frame_in).
        frame_in, frame_out: samples in a frame, before and after.
        context: frames before and after a frame that its result depends on.
        n_frames: in a stretch; bounds the memory.
    """
    total, step = x.shape[-1] // frame_in, max(n_frames, 1)
    if total <= step:
        return run(x)
    pieces = []
    for start in range(0, total, step):
        stop = min(start + step, total)
        first, last = max(start - context, 0), min(stop + context, total)
        piece = run(x[..., first * frame_in : last * frame_in])
        pieces.append(piece[..., (start - first) * frame_out : (stop - first) * frame_out])
    return torch.cat(pieces, dim=-1)
