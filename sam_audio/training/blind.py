"""Networks that separate without being told what: those of asteroid, and one that learns on a CPU."""

from __future__ import annotations

from typing import Any

import asteroid.models
import torch
from asteroid.masknn import TDConvNet
from asteroid.models.base_models import BaseEncoderMaskerDecoder
from asteroid_filterbanks import make_enc_dec
from torch import Tensor
from torch.nn import functional as F


def network(name: str) -> Any:
    """The class of a network by its name.

    Raises:
        ValueError: there is none.
    """
    return MagnitudeMask if name == MagnitudeMask.__name__ else asteroid.models.get(name)


class MagnitudeMask(BaseEncoderMaskerDecoder):  # type: ignore[misc]  # asteroid has no types
    """Masks of the spectrogram, made from its logarithm by the network of Conv-TasNet; the sources sum to the mixture.

    Windows of 32 ms are sixteen times as long as those that Conv-TasNet learns: it is as much cheaper, and learns on a
    CPU.
    """

    def __init__(
        self,
        n_src: int,
        sample_rate: int = 16_000,
        kernel_size: int = 512,
        stride: int = 256,
        n_blocks: int = 8,
        n_repeats: int = 3,
        bn_chan: int = 128,
        hid_chan: int = 256,
    ) -> None:
        self._arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        encoder, decoder = make_enc_dec(
            "stft", kernel_size=kernel_size, n_filters=kernel_size, stride=stride, sample_rate=sample_rate
        )
        n = encoder.n_feats_out // 2
        masker = TDConvNet(n, n_src, n, n_blocks, n_repeats, bn_chan, hid_chan, bn_chan, mask_act="softmax")
        super().__init__(encoder, masker, decoder)

    def forward(self, wav: Tensor) -> Tensor:
        edge = self._arguments["kernel_size"]  # so that windows overlap everywhere
        spare = edge + -wav.shape[-1] % self._arguments["stride"]
        return super().forward(F.pad(wav, (edge, spare)))[..., edge : edge + wav.shape[-1]]

    def forward_masker(self, tf_rep: Tensor) -> Tensor:
        real, imaginary = tf_rep.chunk(2, -2)
        masks = self.masker(torch.log(real.square() + imaginary.square() + 1e-6))
        return torch.cat([masks, masks], -2)

    def get_model_args(self) -> dict[str, Any]:
        return dict(self._arguments)
