"""DAC-VAE: sound at 48 kHz to and from 25 continuous latents a second.

The variational version of the Descript Audio Codec (Kumar et al. 2023). Modules carry the names of the published
checkpoints, with the weight norm of their convolutions folded into plain weights (`fold_weight_norm`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peav.checkpoints import CheckpointError
from peav.official.codec_decoder import MESSAGE_BITS, Decoder
from peav.official.codec_layers import SHORT, ResidualUnit, Snake, conv, in_pieces

_WEIGHT_NORMS = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)
STD_FLOOR = 1e-4  # of the latents' distribution


@dataclass(frozen=True)
class CodecConfig:
    """Sizes of a codec; the defaults are the official ones."""

    encoder_dim: int = 64
    encoder_rates: tuple[int, ...] = (2, 8, 10, 12)
    latent_dim: int = 1024
    decoder_dim: int = 1536
    decoder_rates: tuple[int, ...] = (12, 10, 8, 2)
    codebook_dim: int = 128
    sample_rate: int = 48000

    @property
    def hop(self) -> int:
        """Samples in a latent frame."""
        return math.prod(self.encoder_rates)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> CodecConfig:
        """From a config.json: the ``audio_codec`` of SAM-Audio and its Judge, or the ``dac_vae_encoder`` of PE.

        Missing fields take their defaults, and fields that change nothing are passed over.

        Raises:
            CheckpointError: a field that is used has an impossible value.
        """
        names = {
            "encoder_hidden_size": "encoder_dim",
            "downsampling_ratios": "encoder_rates",
            "decoder_hidden_size": "decoder_dim",
            "sampling_rate": "sample_rate",
        }
        known = {names.get(k, k): v for k, v in values.items() if v is not None}
        if "encoder_hidden_size" in values:
            # PE calls the bottleneck's input width codebook_size
            known.setdefault("latent_dim", known.get("codebook_size", cls.latent_dim))
        sizes = {name: _size(name, known[name]) for name in cls.__dataclass_fields__ if name in known}
        return cls(**sizes)


def _size(name: str, value: Any) -> Any:
    """A positive integer, or a tuple of them for the rates."""
    numbers = value if name.endswith("_rates") else [value]
    if not isinstance(numbers, list | tuple) or not numbers:
        raise CheckpointError(f"The codec's {name} is {value!r} instead of a list of whole numbers.")
    if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in numbers):
        raise CheckpointError(f"The codec's {name} is {value!r}, which has to be a positive whole number.")
    return tuple(numbers) if name.endswith("_rates") else value


class CodecEncoder(nn.Module):
    """Waveform to latents.

    Args:
        config: sizes.
        mean_only: the bottleneck has rows for the mean alone, as in the transformers format of PE.
    """

    def __init__(self, config: CodecConfig, mean_only: bool = False):
        super().__init__()
        self.config = config
        self.encoder = _Encoder(config)
        rows = config.codebook_dim if mean_only else 2 * config.codebook_dim
        self.quantizer = nn.ModuleDict({"in_proj": nn.Conv1d(config.latent_dim, rows, 1)})

    def forward(self, waveform: Tensor) -> Tensor:
        """The mean latents, which is what every published model uses.

        Args:
            waveform: (B, 1, n) at the config's sample rate; reflected at its end up to a whole frame.

        Returns:
            (B, codebook_dim, T) with T = ceil(n / hop).

        Raises:
            ValueError: the waveform is too short to be reflected that far.
        """
        return self.quantizer["in_proj"](self._encode(waveform))[:, : self.config.codebook_dim]

    def distribution(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents, (B, codebook_dim, T) each; see `forward`."""
        hidden = self._encode(waveform)
        mean, scale = self.quantizer["in_proj"](hidden).chunk(2, dim=1)
        return mean, F.softplus(scale) + STD_FLOOR

    @property
    def context(self) -> int:
        """Frames before and after a latent on whose sound it depends, counted generously."""
        return 1 + -(-_reach(self.config.encoder_rates) // self.config.hop)

    def _encode(self, waveform: Tensor) -> Tensor:
        padded = reflect_pad(waveform, self.config.hop)
        if any(
            rate % 2 for rate in self.config.encoder_rates
        ):  # such a stage gives a step less, wherever it is cut
            return self.encoder(padded)
        return in_pieces(self.encoder.in_short_pieces, padded, self.config.hop, 1, self.context)


class Codec(CodecEncoder):
    """The whole codec: waveform to latents and back."""

    def __init__(self, config: CodecConfig):
        super().__init__(config)
        self.quantizer["out_proj"] = nn.Conv1d(config.codebook_dim, config.latent_dim, 1)
        self.decoder = Decoder(config.latent_dim, config.decoder_dim, config.decoder_rates)

    def decode(
        self,
        latents: Tensor,
        *,
        watermark: bool = True,
        message: Tensor | None = None,
        rows_at_once: int = 1,
    ) -> Tensor:
        """Turns latents into sound.

        As published, the sound carries an inaudible watermark: 16 bits that a detector can find again. It marks
        the sound as made by a model; think before you leave it out.

        Args:
            latents: (B, codebook_dim, T).
            watermark: False leaves the mark out.
            message: bits 0 or 1 for every row, (B, 16). By default fresh ones are drawn for each row from torch's
                global CPU generator, so that only a seed or a message makes the sound reproducible.
            rows_at_once: rows that are decoded together; bounds memory and changes no value.

        Returns:
            (B, 1, T * hop).

        Raises:
            ValueError: the message is not of this form.
        """
        bits = message_bits(len(latents), message).to(latents.device) if watermark else None
        sounds = []
        for start in range(0, len(latents), rows_at_once):
            rows = slice(start, start + rows_at_once)
            hidden = self.quantizer["out_proj"](latents[rows])
            sounds.append(self.decoder(hidden, None if bits is None else bits[rows]))
        return torch.cat(sounds)


def message_bits(rows: int, message: Tensor | None = None) -> Tensor:
    """The watermark's bits, (rows, 16) int64: those of the message, or fresh ones.

    Raises:
        ValueError: the message has another shape or other values than 0 and 1.
    """
    if message is None:
        # drawn as floats: another dtype would take other numbers from the generator than the published decoder
        message = torch.randint(0, 2, (rows, MESSAGE_BITS), dtype=torch.float32)
    bits = message.long()
    if (
        bits.shape != (rows, MESSAGE_BITS)
        or not torch.equal(bits.to(message.dtype), message)
        or (bits >> 1).any()
    ):
        raise ValueError(f"a watermark message is {rows} rows of {MESSAGE_BITS} bits, each 0 or 1")
    return bits


def reflect_pad(waveform: Tensor, hop: int) -> Tensor:
    """Mirrors the end of a waveform (..., n) up to a multiple of the hop.

    Raises:
        ValueError: it is not longer than what has to be added.
    """
    n = waveform.shape[-1]
    missing = -n % hop
    if missing >= n:
        raise ValueError(f"{n} samples are too short for the codec: give it more than {hop // 2}")
    return F.pad(waveform, (0, missing), mode="reflect") if missing else waveform


class _Encoder(nn.Module):
    """Shape: (B, 1, n) -> (B, latent_dim, n / hop)."""

    def __init__(self, config: CodecConfig):
        super().__init__()
        width = config.encoder_dim
        layers: list[nn.Module] = [conv(1, width, 7)]
        for rate in config.encoder_rates:
            layers.append(_EncoderStage(width, rate))
            width *= 2
        self.block = nn.Sequential(*layers, Snake(width), conv(width, config.latent_dim, 3))

        self.rates = config.encoder_rates

    def forward(self, waveform: Tensor) -> Tensor:
        return self.block(waveform)

    def in_short_pieces(self, waveform: Tensor) -> Tensor:
        """The same; its first stages, which have the most steps, see little of the sound at once."""
        n_fast = len(self.rates) // 2
        rates, fast, slow = self.rates[:n_fast], self.block[: 1 + n_fast], self.block[1 + n_fast :]
        hop = math.prod(rates)
        return slow(in_pieces(fast, waveform, hop, 1, -(-_reach(rates) // hop), SHORT // hop))


def _reach(rates: tuple[int, ...]) -> int:
    """Samples before and after a step, on which the stages up to this step depend; counted generously."""
    samples, step = 3, 1
    for rate in rates:
        samples += step * (3 * (1 + 3 + 9) + 2 * rate)
        step *= rate
    return samples


class _EncoderStage(nn.Module):
    """Shape: (B, C, T) -> (B, 2 C, T / rate)."""

    def __init__(self, width: int, rate: int):
        super().__init__()
        units = [ResidualUnit(width, dilation) for dilation in (1, 3, 9)]
        self.block = nn.Sequential(*units, Snake(width), conv(width, 2 * width, 2 * rate, rate))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


def fold_weight_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replaces every pair of magnitude and direction by the weight they stand for; other tensors pass unchanged.

    Knows the names of both of torch's weight norms: ``weight_g``/``weight_v`` and
    ``parametrizations.weight.original0``/``original1``.

    Raises:
        CheckpointError: one of a pair is missing, or its shapes do not belong together.
    """
    folded: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        names = _weight_norm(name)
        if names is None:
            folded[name] = tensor
            continue
        stem, magnitude, direction = names
        if magnitude not in tensors or direction not in tensors:
            absent = direction if magnitude in tensors else magnitude
            raise CheckpointError(f"The checkpoint does not fit its config: {absent} is missing.")
        if name == direction:
            g = tensors[magnitude]
            ones = (1,) * (tensor.ndim - 1)
            if g.shape != (len(tensor), *ones):
                raise CheckpointError(
                    f"The checkpoint does not fit its config: {magnitude} has shape {tuple(g.shape)} "
                    f"instead of {(len(tensor), *ones)}."
                )
            norm = tensor.flatten(1).norm(dim=1).view(-1, *ones)
            folded[f"{stem}weight"] = tensor * (g / norm)
    return folded


def unfold_weight_norm(codec: nn.Module) -> dict[str, Tensor]:
    """The tensors of a codec with the weight norm that published files have: magnitude and direction of each weight."""
    tensors: dict[str, Tensor] = dict(codec.state_dict())
    for module_name, module in codec.named_modules():
        if type(module) in (nn.Conv1d, nn.ConvTranspose1d):
            weight = tensors.pop(f"{module_name}.weight")
            magnitude, direction = _WEIGHT_NORMS[0]
            norm = weight.flatten(1).norm(dim=1).view(-1, *(1 for _ in weight.shape[1:]))
            tensors[f"{module_name}.{magnitude}"], tensors[f"{module_name}.{direction}"] = norm, weight
    return tensors


def _weight_norm(name: str) -> tuple[str, str, str] | None:
    """What a name's weight norm is called: prefix, magnitude and direction; None when it has none."""
    for magnitude, direction in _WEIGHT_NORMS:
        for ending in (magnitude, direction):
            stem = name.removesuffix(ending)
            if stem != name and (not stem or stem.endswith(".")):
                return stem, stem + magnitude, stem + direction
    return None


def unfolded_shapes(codec: nn.Module, stored: Set[str]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a codec's tensors as a checkpoint with weight norm stores them; for a strict check.

    Args:
        codec: a `CodecEncoder` or a `Codec`, on any device.
        stored: names in the checkpoint, which tell the kind of weight norm. A convolution that is stored with a plain
            weight keeps it.
    """
    shapes: dict[str, tuple[int, ...]] = {n: tuple(t.shape) for n, t in codec.state_dict().items()}
    for module_name, module in codec.named_modules():
        name = f"{module_name}.weight"
        # the watermark's convolutions, which are of classes of their own, have no weight norm
        if type(module) not in (nn.Conv1d, nn.ConvTranspose1d) or name in stored:
            continue
        shape = shapes.pop(name)
        pairs = [tuple(f"{module_name}.{ending}" for ending in pair) for pair in _WEIGHT_NORMS]
        magnitude, direction = next((p for p in pairs if not stored.isdisjoint(p)), pairs[0])
        shapes[magnitude] = (shape[0], *(1 for _ in shape[1:]))
        shapes[direction] = shape
    return shapes


def from_pe_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of a PE audio codec to those of `CodecEncoder`.

    Takes the names of perception_models (``encoder.conv1.weight``, ``bottleneck.in_proj.weight``, relative to
    ``dac_vae_encoder.``) and of transformers (``dac_encoder.conv1.weight``, ``bottleneck.weight``; use with
    ``mean_only``). ``bottleneck.out_proj`` becomes ``quantizer.out_proj``, for which an encoder has no use. Names that
    belong to neither pass unchanged, for a strict load to report.
    """
    stages = {int(m[1]) for name in tensors if (m := re.match(r"(?:dac_)?encoder\.block\.(\d+)\.", name))}
    last = max(stages, default=-1) + 2
    return {_from_pe_name(name, last): tensor for name, tensor in tensors.items()}


def _from_pe_name(name: str, last: int) -> str:
    """``last``: number of the Snake after the encoder's stages."""
    name = re.sub(r"^dac_encoder\.", "encoder.", name)
    name = re.sub(r"^bottleneck\.(in_proj|out_proj)\.", r"quantizer.\1.", name)
    name = re.sub(r"^bottleneck\.(weight|bias)$", r"quantizer.in_proj.\1", name)
    for before, after in (("conv1", 0), ("snake1", last), ("conv2", last + 1)):
        name = re.sub(rf"^encoder\.{before}\.", f"encoder.block.{after}.", name)
    if stage := re.match(r"encoder\.block\.(\d+)\.(?=res_unit|snake1|conv1)", name):
        name = f"encoder.block.{int(stage[1]) + 1}.block.{name[stage.end() :]}"
        if unit := re.search(r"res_unit(\d+)\.", name):
            name = name.replace(unit[0], f"{int(unit[1]) - 1}.block.")
            places = {"snake1": 0, "conv1": 1, "snake2": 2, "conv2": 3}
        else:
            places = {"snake1": 3, "conv1": 4}
        for before, after in places.items():
            name = name.replace(f".{before}.", f".{after}.")
    return name
