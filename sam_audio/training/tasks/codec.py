"""Fine-tuning of descript-audio-codec, with the discriminators and losses of its own package.

Codec and discriminators learn in one step: the codec sees the discriminators as they are, and they see what the codec
makes of a sound as it is, so that the sum of the losses has the gradients of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from sam_audio.errors import MissingExtraError, UserError
from sam_audio.io.target import whole_file
from sam_audio.training import recipe, trainer
from sam_audio.training.codecs import DAC, DescriptCodec
from sam_audio.training.data.samples import SILENCE, sound_of
from sam_audio.training.data.shards import ShardStream, batched, decoded, expand
from sam_audio.training.trainer import Position, Share

WEIGHTS = "weights.pth"


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """Of the parts of the loss, as published."""

    mel: float = 15.0
    stft: float = 0.0
    waveform: float = 0.0
    adversarial: float = 1.0
    features: float = 2.0
    commitment: float = 0.25
    codebook: float = 1.0


class Settings(recipe.Settings, frozen=True, kw_only=True):
    """Keys of a recipe with ``task = "codec"``.

    Args:
        data: shards; any sounds.
        start: "dac", "dac-24khz", "dac-16khz", or a file of weights. Without, the codec is made of ``model``.
        model: arguments of dac.DAC for one that starts at random.
        discriminator: arguments of dac.model.Discriminator; they start at random.
        seconds: of an item.
        loss: weights of its parts.
    """

    data: str | list[str]
    start: str = ""
    model: dict[str, Any] = {}
    discriminator: dict[str, Any] = {}
    seconds: float = 0.38
    loss: Weights = Weights()


class Adversaries(nn.Module):
    """A codec, its discriminators, and the losses of both."""

    def __init__(self, codec: nn.Module, settings: Settings) -> None:
        import dac
        from dac.nn import loss

        super().__init__()
        self.codec, self.weights = codec, settings.loss
        self.sample_rate: int = codec.sample_rate  # type: ignore[assignment]
        self.gan = loss.GANLoss(
            dac.model.Discriminator(sample_rate=self.sample_rate, **settings.discriminator)
        )
        self.mel = loss.MelSpectrogramLoss(
            n_mels=[5, 10, 20, 40, 80, 160, 320],
            window_lengths=[32, 64, 128, 256, 512, 1024, 2048],
            mel_fmin=[0] * 7,
            mel_fmax=[None] * 7,
            pow=1.0,
            clamp_eps=1e-5,
            mag_weight=0.0,
        )
        self.stft, self.waveform = loss.MultiScaleSTFTLoss(), loss.L1Loss()

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Args: batch: waves (B, 1, n)."""
        from audiotools import AudioSignal

        told = self.codec(batch["waves"], self.sample_rate)
        real, made = (AudioSignal(waves, self.sample_rate) for waves in (batch["waves"], told["audio"]))
        adversarial, features = self._fooled(made, real)
        parts = {
            "mel": self.mel(made, real),
            "stft": self.stft(made, real) if self.weights.stft else real.audio_data.new_zeros(()),
            "waveform": self.waveform(made, real),
            "adversarial": adversarial,
            "features": features,
            "commitment": told["vq/commitment_loss"],
            "codebook": told["vq/codebook_loss"],
        }
        discriminator = self.gan.discriminator_loss(made, real)
        total = sum(getattr(self.weights, name) * value for name, value in parts.items()) + discriminator
        logged = {name: value.detach() for name, value in parts.items()}
        return {"loss": total, "discriminator": discriminator.detach(), **logged}

    def _fooled(self, made: Any, real: Any) -> tuple[Tensor, Tensor]:
        """What the codec loses to the discriminators, which learn nothing from it."""
        still = {name: p.detach() for name, p in self.gan.named_parameters()}
        return functional_call(_Generator(self.gan), {f"gan.{n}": p for n, p in still.items()}, (made, real))


class _Generator(nn.Module):
    def __init__(self, gan: nn.Module) -> None:
        super().__init__()
        self.gan = gan

    def forward(self, made: Any, real: Any) -> tuple[Tensor, Tensor]:
        return self.gan.generator_loss(made, real)  # type: ignore[operator]


class Task(trainer.Task):
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.codec = _codec(settings)
        try:
            self.network = Adversaries(self.codec, settings)
        except TypeError as error:
            raise UserError(
                f"there are no such discriminators ({error}): see dac.model.Discriminator"
            ) from None

    @property
    def n_samples(self) -> int:
        hop = int(self.codec.hop_length)
        return max(1, round(self.settings.seconds * self.codec.sample_rate / hop)) * hop

    def batches(
        self, share: Share, n: int, position: Position
    ) -> Iterator[tuple[dict[str, Tensor], Position]]:
        stream = ShardStream(expand(self.settings.data), self.settings.seed, share.rank, share.size)

        def decode(sample: dict[str, Any], rng: np.random.Generator) -> Tensor | None:
            sound, _ = sound_of(sample, self.codec.sample_rate, self.n_samples, rng)
            return torch.from_numpy(sound)[None] if np.abs(sound).max() > SILENCE else None

        for items, after in batched(decoded(stream.samples(position), decode, self.settings.workers), n):
            yield {"waves": torch.stack(items)}, after

    def example(self, n: int) -> dict[str, Tensor]:
        return {"waves": torch.randn(n, 1, self.n_samples)}

    def export(self, network: Adversaries, folder: Path) -> list[Path]:
        """Weights as dac.DAC.load and ``codec=FILE`` of a flow recipe read them."""
        kept = {"state_dict": network.codec.state_dict(), "metadata": {"kwargs": _arguments(network.codec)}}
        with whole_file(folder / WEIGHTS) as file:
            torch.save(kept, file)
        return [folder / WEIGHTS]


def _codec(settings: Settings) -> Any:
    try:
        import dac
    except ImportError:
        raise MissingExtraError("codecs need descript-audio-codec, which is not installed", "dac") from None
    if settings.start in DAC:
        opened = DescriptCodec.published(DAC[settings.start])
    elif settings.start:
        opened = DescriptCodec.read(Path(settings.start))
    else:
        try:
            return dac.DAC(**settings.model)
        except TypeError as error:
            raise UserError(f"dac makes no codec of these arguments ({error}): see dac.DAC") from None
    return opened.model.train().requires_grad_(True)


def _arguments(codec: Any) -> dict[str, Any]:
    """What makes a codec of the same sizes."""
    names = ("encoder_dim", "encoder_rates", "latent_dim", "decoder_dim", "decoder_rates")
    quantizers = codec.quantizer.quantizers
    return {
        **{name: getattr(codec, name) for name in names},
        "n_codebooks": codec.n_codebooks,
        "codebook_size": codec.codebook_size,
        "codebook_dim": [quantizer.codebook_dim for quantizer in quantizers],
        "quantizer_dropout": float(codec.quantizer.quantizer_dropout),
        "sample_rate": codec.sample_rate,
    }
