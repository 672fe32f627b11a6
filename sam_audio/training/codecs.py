"""Codecs that a generative separator can work on, by name: sound to latents and back.

``dac`` is Descript's open codec, by the API of its own package; a folder or hub id of a SAM-Audio stands for its
DAC-VAE. ``frames`` is none: sound cut into frames, for tests and toys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sam_audio.errors import MissingExtraError, ModelError

DAC = {"dac": "44khz", "dac-24khz": "24khz", "dac-16khz": "16khz"}


class AudioCodec(Protocol):
    """A codec whose weights stay as they are."""

    sample_rate: int
    hop: int  # samples of a latent frame
    width: int  # channels of the latents

    def to(self, device: torch.device) -> Any: ...

    def encode(self, waves: Tensor) -> Tensor:
        """Shape: (B, 1, n), n a multiple of the hop -> (B, n / hop, width)."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Shape: (B, T, width) -> (B, 1, T * hop)."""
        ...


def load_codec(name: str) -> AudioCodec:
    """A codec by its name.

    Raises:
        ModelError: there is none, or it cannot be loaded.
    """
    if name == "frames":
        return Frames()
    if name in DAC:
        return DescriptCodec.published(DAC[name])
    if Path(name).is_file():
        return DescriptCodec.read(Path(name))
    return VariationalCodec(name)


class Frames(nn.Module):
    """The cosine transform of short frames: invertible, knows nothing of sound."""

    sample_rate, hop, width = 1600, 16, 16
    basis: Tensor

    def __init__(self) -> None:
        super().__init__()
        n = torch.arange(self.hop, dtype=torch.float64)
        basis = torch.cos(torch.pi / self.hop * (n[:, None] + 0.5) * n) * (2 / self.hop) ** 0.5
        basis[:, 0] /= 2**0.5
        self.register_buffer("basis", basis.float())

    def encode(self, waves: Tensor) -> Tensor:
        return waves[:, 0].unflatten(-1, (-1, self.hop)) @ self.basis

    def decode(self, latents: Tensor) -> Tensor:
        return (latents @ self.basis.T).flatten(1)[:, None]


class DescriptCodec(nn.Module):
    """descript-audio-codec; its latents are those that it would quantise, projected to a few channels a codebook."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.sample_rate, self.hop = int(model.sample_rate), int(model.hop_length)
        self.width = sum(quantizer.codebook_dim for quantizer in model.quantizer.quantizers)

    @classmethod
    def published(cls, kind: str) -> DescriptCodec:
        """Downloaded once, by the package."""
        try:
            from dac.utils import download
        except ImportError:
            raise MissingExtraError(
                "this codec needs descript-audio-codec, which is not installed", "dac"
            ) from None
        try:
            return cls.read(Path(download(model_type=kind)))
        except OSError as error:
            raise ModelError(f"the codec cannot be fetched ({error}): name a file of its weights") from None

    @classmethod
    def read(cls, path: Path) -> DescriptCodec:
        """From a file of weights; not by the package's own loader, which would run code from it."""
        import dac

        try:
            stored = torch.load(path, "cpu", weights_only=True)
            model = dac.DAC(**stored["metadata"]["kwargs"])
            model.load_state_dict(stored["state_dict"])
        except Exception as error:
            raise ModelError(f"{path} is no codec of descript-audio-codec ({error}): name another") from None
        return cls(model)

    @torch.no_grad()
    def encode(self, waves: Tensor) -> Tensor:
        return self.model.encode(waves)[2].transpose(1, 2)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        quantized = self.model.quantizer.from_latents(latents.transpose(1, 2))[0]
        n = latents.shape[1] * self.hop
        sound = self.model.decode(quantized)[..., :n]
        return nn.functional.pad(sound, (0, n - sound.shape[-1]))


class VariationalCodec(nn.Module):
    """The DAC-VAE of a SAM-Audio, by hub id or folder; what it decodes carries no watermark while training."""

    def __init__(self, name: str) -> None:
        super().__init__()
        from sam_audio.separator.official.model import SAMAudio

        self.codec = SAMAudio.from_pretrained(name).audio_codec.eval().requires_grad_(False)
        config = self.codec.config
        self.sample_rate, self.hop, self.width = config.sample_rate, config.hop, config.codebook_dim

    @torch.no_grad()
    def encode(self, waves: Tensor) -> Tensor:
        return self.codec(waves).transpose(1, 2)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        return self.codec.decode(latents.transpose(1, 2), watermark=False)
