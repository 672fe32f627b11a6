"""The decoder of DAC-VAE and the watermark that it writes into its sound.

Both live in the same modules: each stage of the published decoder holds a piece of the main path and, with indices of
its own, a piece of the watermark's encoder (run from the last stage to the first) and decoder (first to last).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peav.checkpoints import CheckpointError
from peav.official.codec_layers import SHORT, ResidualUnit, Snake, conv, in_pieces

WATERMARK_RATES = (8, 5, 4, 2)
MESSAGE_BITS = 16
MESSAGE_WIDTH = 128


class Decoder(nn.Module):
    """Projected latents to sound.

    Args:
        latent_dim: channels of the input.
        width: channels after the first convolution; halves with every stage.
        rates: upsampling of the four stages.

    Raises:
        CheckpointError: there are not four stages, so that the watermark's do not fit.
    """

    def __init__(self, latent_dim: int, width: int, rates: tuple[int, ...]):
        super().__init__()
        if len(rates) != len(WATERMARK_RATES):
            raise CheckpointError(
                f"The codec's decoder_rates are {len(rates)} numbers instead of {len(WATERMARK_RATES)}, one a stage."
            )
        widths = [width // 2**i for i in range(len(rates) + 1)]
        stages = [
            Stage(widths[i], widths[i + 1], rate, watermark_rate)
            for i, (rate, watermark_rate) in enumerate(zip(rates, WATERMARK_RATES, strict=True))
        ]
        self.rates = rates
        self.model = nn.ModuleList([conv(latent_dim, width, 7), *stages])
        self.wm_model = Watermark(widths[-1], lstm_width=widths[0] // 3, channels=widths[-1] // 3)

    @property
    def stages(self) -> list[Stage]:
        return [stage for stage in self.model if isinstance(stage, Stage)]

    @property
    def context(self) -> int:
        """Frames before and after a frame of sound on whose latents it depends, counted generously."""
        return 3 + _reach(self.rates)

    def forward(self, hidden: Tensor, bits: Tensor | None = None) -> Tensor:
        """Shapes: hidden (B, latent_dim, T), bits (B, 16) int64 or None for no watermark -> (B, 1, T * hop)."""
        clean = in_pieces(self.clean, hidden, 1, math.prod(self.rates), self.context)
        return clean if bits is None else clean + self.wm_model.strength * self.watermark(clean, bits)

    def clean(self, hidden: Tensor) -> Tensor:
        """Sound without a mark. Shape: (B, latent_dim, T) -> (B, 1, T * hop).

        The last stages, which have the most steps, give little of the sound at once.
        """
        n_slow = 1 + len(self.rates) // 2
        for layer in self.model[:n_slow]:
            hidden = layer(hidden)
        rates = self.rates[n_slow - 1 :]
        hop = math.prod(rates)
        return in_pieces(self._finish, hidden, 1, hop, _reach(rates), SHORT // hop)

    def _finish(self, hidden: Tensor) -> Tensor:
        for layer in self.model[1 + len(self.rates) // 2 :]:
            hidden = layer(hidden)
        return self.wm_model.head(hidden)

    def watermark(self, clean: Tensor, bits: Tensor) -> Tensor:
        """What the mark adds to a clean sound, before its strength. Shapes: (B, 1, n), (B, 16) -> (B, 1, n)."""
        hop, step = math.prod(self.rates), math.prod(WATERMARK_RATES)
        if hop % step:  # the steps of the mark do not fall on the same samples in every piece
            return self._speak(self.wm_model.write(self._listen(clean), bits))[..., : clean.shape[-1]]
        # all causal, and no convolution of either part looks back further than two steps of the mark
        before, short = -(-2 * step // hop), SHORT // hop
        heard = in_pieces(self._listen, clean, hop, hop // step, before, short)
        return in_pieces(self._speak, self.wm_model.write(heard, bits), hop // step, hop, before, short)

    def _listen(self, clean: Tensor) -> Tensor:
        """Shape: (B, 1, n) -> (B, width / 3, n / 320)."""
        hidden = self.wm_model.listen(clean)
        for stage in reversed(self.stages):
            hidden = stage.watermark_down(hidden)
        return hidden

    def _speak(self, hidden: Tensor) -> Tensor:
        """Shape: (B, width / 3, t) -> (B, 1, 320 t)."""
        for stage in self.stages:
            hidden = stage.watermark_up(hidden)
        return self.wm_model.speak(hidden)


def _reach(rates: tuple[int, ...]) -> int:
    """Steps before and after a step on which the sound that the following stages make of it depends."""
    steps, step = 0.0, 1.0
    for rate in rates:
        steps += 2 * step + 3 * (1 + 3 + 9) * step / rate
        step /= rate
    return math.ceil(steps + 3 * step)


class Stage(nn.Module):
    """One stage of the decoder, with the watermark's layers of the same level.

    Args:
        width_in, width_out: channels of the main path.
        rate: its upsampling.
        watermark_rate: the watermark's; its widths are a third of the main path's.
    """

    def __init__(self, width_in: int, width_out: int, rate: int, watermark_rate: int):
        super().__init__()
        upper, lower, kernel = width_in // 3, width_out // 3, 2 * watermark_rate
        up = nn.ConvTranspose1d(width_in, width_out, 2 * rate, rate, -(-rate // 2), output_padding=rate % 2)
        # the indices are those of the published checkpoints; the missing ones have no parameters
        self.block = nn.ModuleDict(
            {
                "0": Snake(width_in),
                "1": up,
                "4": ResidualUnit(width_out, 1),
                "5": ResidualUnit(width_out, 3),
                "8": ResidualUnit(width_out, 9),
                "3": CausalUp(upper, lower, kernel, watermark_rate),
                "6": SmallUnit(lower),
                "7": SmallUnit(lower),
                "11": CausalConv(lower, upper, kernel, watermark_rate),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, width_in, T) -> (B, width_out, T * rate)."""
        for index in ("0", "1", "4", "5", "8"):
            x = self.block[index](x)
        return x

    def watermark_down(self, x: Tensor) -> Tensor:
        """Shape: (B, width_out / 3, T) -> (B, width_in / 3, T / watermark_rate)."""
        return self.block["11"](F.elu(self.block["7"](x)))

    def watermark_up(self, x: Tensor) -> Tensor:
        """Shape: (B, width_in / 3, T) -> (B, width_out / 3, T * watermark_rate)."""
        return self.block["6"](self.block["3"](F.elu(x)))


class Watermark(nn.Module):
    """The ends of the watermark's path, and the output layer of the main one (which is stored here).

    Args:
        width: channels of the decoder's last stage.
        lstm_width: channels where the path is narrowest in time.
        channels: channels at its ends.
    """

    def __init__(self, width: int, lstm_width: int, channels: int):
        super().__init__()
        self.strength = channels / MESSAGE_WIDTH
        pre = {"0": Snake(width), "1": conv(width, 1, 7), "3": CausalConv(1, channels, 7)}
        post = {"0": ResidualLSTM(lstm_width), "2": CausalConv(lstm_width, MESSAGE_WIDTH, 7)}
        self.encoder_block = Ends(pre, post)
        self.msg_processor = MessageTable()
        pre = {"0": CausalConv(MESSAGE_WIDTH, lstm_width, 7), "1": ResidualLSTM(lstm_width)}
        self.decoder_block = Ends(pre, {"1": CausalConv(channels, 1, 7)})

    def head(self, hidden: Tensor) -> Tensor:
        """The clean sound. Shape: (B, width, n) -> (B, 1, n) within -1..1."""
        pre = self.encoder_block.pre
        return torch.tanh(pre["1"](pre["0"](hidden)))

    def listen(self, clean: Tensor) -> Tensor:
        """Shape: (B, 1, n) -> (B, channels, n)."""
        return self.encoder_block.pre["3"](clean)

    def write(self, hidden: Tensor, bits: Tensor) -> Tensor:
        """Adds the message at every step. Shapes: (B, lstm_width, t), (B, 16) -> (B, lstm_width, t)."""
        post, pre = self.encoder_block.post, self.decoder_block.pre
        marked = post["2"](F.elu(post["0"](hidden))) + self.msg_processor(bits)[..., None]
        return pre["1"](pre["0"](marked))

    def speak(self, hidden: Tensor) -> Tensor:
        """Shape: (B, channels, n) -> (B, 1, n)."""
        return self.decoder_block.post["1"](F.elu(hidden))


class Ends(nn.Module):
    """Layers before and after those of the stages, by their published indices."""

    def __init__(self, pre: dict[str, nn.Module], post: dict[str, nn.Module]):
        super().__init__()
        self.pre = nn.ModuleDict(pre)
        self.post = nn.ModuleDict(post)


class MessageTable(nn.Module):
    """A vector for every bit and its value. Shape: (B, 16) of 0 and 1 -> (B, MESSAGE_WIDTH)."""

    def __init__(self) -> None:
        super().__init__()
        # an Embedding would fill itself with normal_, which on the meta device imports torch._dynamo
        self.msg_processor = nn.ParameterDict({"weight": torch.zeros(2 * MESSAGE_BITS, MESSAGE_WIDTH)})

    def forward(self, bits: Tensor) -> Tensor:
        rows = 2 * torch.arange(MESSAGE_BITS, device=bits.device) + bits
        return self.msg_processor["weight"][rows].sum(dim=1)


class CausalConv(nn.Conv1d):
    """A convolution that sees nothing later. Shape: (B, C, T) -> (B, C', ceil(T / stride))."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1):
        super().__init__(in_channels, out_channels, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        (kernel,), (stride,) = self.kernel_size, self.stride
        return super().forward(F.pad(x, (kernel - stride, -x.shape[-1] % stride)))


class CausalUp(nn.ConvTranspose1d):
    """Its transpose. Shape: (B, C, T) -> (B, C', T * stride)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int):
        super().__init__(in_channels, out_channels, kernel, stride)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(x)[..., : x.shape[-1] * self.stride[0]]


class SmallUnit(nn.Module):
    """Shape: (B, C, T) -> the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.block = nn.ModuleDict(
            {"1": CausalConv(channels, channels // 2, 3), "3": CausalConv(channels // 2, channels, 1)}
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block["3"](F.elu(self.block["1"](F.elu(x))))


class ResidualLSTM(nn.Module):
    """Shape: (B, C, T) -> the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        sequence = x.transpose(1, 2)
        return (self.lstm(sequence)[0] + sequence).transpose(1, 2)
