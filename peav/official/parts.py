"""Models made of parts that are built and loaded when they are first needed.

A search in text and audio has no use for the image tower, and the large models are gigabytes. So a published file is
checked whole when it is opened, by names and shapes alone, and then mapped into memory part by part.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, Unpack

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from peav import hub
from peav.checkpoints import CheckpointError
from peav.devices import Device, DeviceMap, choose_device, choose_dtype
from peav.official import naming
from peav.official.audio import AudioEncoder, frame_mask
from peav.official.codec import CodecEncoder, from_pe_names
from peav.official.config import CONFIGS, PEAudioFrameConfig, PEAudioVideoConfig
from peav.official.linear import Linear
from peav.official.text import TextTower
from peav.official.transformer import TowerOutput
from peav.sharing import SharedModel

Config = PEAudioVideoConfig | PEAudioFrameConfig
Builders = Mapping[str, Callable[[], nn.Module]]

# of all models: building is rare, a lock of their own could not be copied with them, and torch's default device is
# not safe to change in two threads
_LOCK = threading.RLock()
_NAMES_SHOWN = 3


class Head(nn.Module):
    """Where a tower's vector enters a joint space. Shape: (..., width) -> (..., output), float32, of any length."""

    def __init__(self, width: int, output: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(width, eps=1e-6)
        self.proj = Linear(width, output, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.layer_norm(x)).float()


class Logit(nn.Module):
    """Scale and bias that turn dot products into logits; the scale is used as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, products: Tensor) -> Tensor:
        return products * self.scale.float() + self.bias.float()


@dataclass(frozen=True)
class AudioFeatures:
    """What the audio tower makes of sound."""

    codec_features: Tensor  # (B, T, C)
    valid_mask: Tensor | None  # (B, T)
    output: TowerOutput


class PartedModel(SharedModel, nn.Module):
    """Base of PE-AV and PE-A-Frame.

    Args:
        config: sizes.
        weights: where the parts come from; without, they are all built at once with random weights.
    """

    prefixes: ClassVar[dict[str, str]]  # part -> prefix of its tensors in perception_models
    rules: ClassVar[naming.Rules]  # from there to transformers
    config_class: ClassVar[type[Config]]
    _place: Tensor

    def __init__(self, config: Any, weights: hub.TensorFile | None = None) -> None:
        super().__init__()
        self.config = config
        self._weights = weights
        # follows .to(), for the parts that are built later
        self.register_buffer("_place", torch.empty(0), persistent=False)
        if weights is None:
            self.load()

    @classmethod
    def builders(cls, config: Any) -> Builders:
        """What builds each part."""
        raise NotImplementedError

    @classmethod
    def read_config(cls, values: Mapping[str, Any]) -> Any:
        """Sizes from a config.json."""
        raise NotImplementedError

    @classmethod
    def fitted(cls, config: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """The sizes with what only the weights tell."""
        return config

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str],
        *,
        revision: str | None = None,
        device: Device | None = None,
        dtype: str | torch.dtype | None = None,
        device_map: DeviceMap = None,
        **options: Unpack[hub.HubOptions],
    ) -> Self:
        """Opens a published model, ready to encode; its parts are loaded when they are first needed.

        Args:
            name_or_folder: a folder with config.json and model.safetensors, or a model on the Hugging Face hub,
                e.g. "facebook/pe-av-small"; the owner may be left out.
            revision: branch, tag or commit on the hub; by default "perception_models" of the published models, whose
                "main" has the same weights in the layout of transformers, and the main one of others.
            device, device_map: where to compute, see `peav.devices.choose_device`; by default on the CPU.
            dtype: what to compute in, float32 by default; "auto" is what the device is fast in. The codec stays in
                float32, and so do the results.
            options: of the hub's client: ``token``, ``cache_dir``, ``local_files_only``.

        Raises:
            CheckpointError: it is not there, cannot be fetched, is damaged, or is a model of another kind.
            ValueError: no model can be on such a device, or compute in such numbers.
        """
        place = choose_device(device, device_map)
        numbers = choose_dtype(dtype, place)
        revision = hub.published_revision(name_or_folder, revision, hub.PE_REVISION)
        values = hub.read_json(hub.find(name_or_folder, "config.json", revision, **options))
        config = cls.read_config(values)
        weights = hub.TensorFile.open(hub.find(name_or_folder, hub.WEIGHTS, revision, **options))
        config = cls.fitted(config, weights.shapes)
        check(weights, published_shapes(cls, config))
        model = cls(config, weights).to(place, numbers).eval()
        model.values = values
        return model

    @classmethod
    def from_config(
        cls, name_or_folder: str | os.PathLike[str], pretrained: bool = False, **how: Any
    ) -> Self:
        """Upstream's constructor: a model of published sizes.

        Args:
            name_or_folder: as for `from_pretrained`, which gets all further arguments.
            pretrained: with its weights; else they are random, and nothing is fetched for a published name.

        Raises:
            CheckpointError, ValueError: as of `from_pretrained`.
        """
        if pretrained:
            return cls.from_pretrained(name_or_folder, **how)
        place = choose_device(how.pop("device", None), how.pop("device_map", None))
        numbers = choose_dtype(how.pop("dtype", None), place)
        revision = hub.published_revision(name_or_folder, how.pop("revision", None), hub.PE_REVISION)
        config = CONFIGS.get(os.fspath(name_or_folder).removeprefix("facebook/"))
        if config is None:
            config = cls.read_config(hub.read_json(hub.find(name_or_folder, "config.json", revision, **how)))
        if not isinstance(config, cls.config_class):
            raise CheckpointError(f"{name_or_folder} is a model of another kind.")
        return cls(config).to(place, numbers)

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the parts that have been built."""
        return tuple(name for name in self.builders(self.config) if name in self._modules)

    def load(self, *parts: str) -> Self:
        """Builds and loads parts now, all of them by default.

        Raises:
            CheckpointError: the file has gone or changed since it was opened.
        """
        for name in parts or self.builders(self.config):
            self.part(name)
        return self

    def part(self, name: str) -> Any:
        """A part, which is built and loaded if it has not been; safe to call from several threads."""
        module = self._modules.get(name)
        if module is None:
            with _LOCK:
                module = self._modules.get(name)
                if module is None:
                    module = self._build(name)
                    self.add_module(name, module)
        return module

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self.load()
        return super().state_dict(*args, **kwargs)

    def config_values(self) -> Mapping[str, Any]:
        return self.config.values()

    def published_tensors(self) -> dict[str, Tensor]:
        """Its weights by their published names, in the layout that it came in: parts that have been built as they are
        now, all others as they are stored."""
        now = {
            f"{self.prefixes[part]}{name}": tensor
            for part in self.loaded
            for name, tensor in self._published(part).items()
        }
        if self.config.transformers:
            now = naming.to_transformers(now, self.rules)
        if self._weights is not None:
            return {**self._weights.read(n for n in self._weights.shapes if n not in now), **now}
        dead = {n: s for n, s in published_shapes(type(self), self.config).items() if n not in now}
        return {**now, **{name: torch.zeros(shape) for name, shape in dead.items()}}

    def _published(self, part: str) -> dict[str, Tensor]:
        inside: dict[str, Tensor] = self.part(part).state_dict()
        if part != "codec":
            return inside
        if self.config.transformers:  # the half of the bottleneck that it leaves out is left out again
            inside = {n: torch.cat([t, t]) if ".in_proj." in n else t for n, t in inside.items()}
        stages = len(self.config.codec.encoder_rates)
        return {naming.to_pe_codec(name, stages): tensor for name, tensor in inside.items()}

    def _build(self, name: str) -> nn.Module:
        build = self.builders(self.config)[name]
        if self._weights is None:
            return build()
        with unset():
            module = build()
        tensors = read_part(type(self), self._weights, name)
        try:
            # what is stored but never used is mapped, not read
            module.load_state_dict({n: tensors[n] for n in module.state_dict() if n in tensors}, assign=True)
        except RuntimeError:
            raise CheckpointError(
                f"{self._weights.path} has changed since it was opened: open it again."
            ) from None
        dtype = torch.float32 if name == "codec" else self._place.dtype
        return module.to(self._place.device, dtype).requires_grad_(False).train(self.training)

    def _here(self, tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(self._place.device)

    def _vectors(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._place.device, self._place.dtype)

    # ---- what PE-AV and PE-A-Frame share ----------------------------------------------------------------

    def _hear(
        self, input_values: Tensor | None, padding_mask: Tensor | None, input_features: Tensor | None
    ) -> AudioFeatures:
        """Runs the audio tower on waveforms (B, 1, n) with a mask of samples, or on codec features (B, T, C) with a
        mask of frames."""
        padding_mask = self._here(padding_mask)
        if input_features is None:
            if input_values is None or input_values.ndim != 3 or input_values.shape[1] != 1:
                shape = None if input_values is None else tuple(input_values.shape)
                raise ValueError(f"waveforms must have shape (B, 1, n), not {shape}")
            check_mask(
                padding_mask, (input_values.shape[0], input_values.shape[2]), "padding_mask", "samples"
            )
            codec: CodecEncoder = self.part("codec")
            kind = next(codec.parameters()).dtype
            latents = codec(input_values.to(self._place.device, kind)).transpose(1, 2)
            mask = None if padding_mask is None else frame_mask(padding_mask, codec.config.hop)
        else:
            if input_features.ndim != 3 or input_features.shape[2] != self.config.codec.codebook_dim:
                raise ValueError(
                    f"codec features must have shape (B, frames, {self.config.codec.codebook_dim}), "
                    f"not {tuple(input_features.shape)}"
                )
            check_mask(padding_mask, input_features.shape[:2], "padding_mask", "frames of the codec features")
            latents = input_features
            mask = None if padding_mask is None else padding_mask.bool()
        latents = self._vectors(latents)
        return AudioFeatures(latents, mask, self.part("audio")(latents, mask))

    def _read(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Hidden states of texts, (B, L, D); the text's own vector comes first."""
        if input_ids.ndim != 2:
            raise ValueError(f"input_ids must have shape (B, tokens), not {tuple(input_ids.shape)}")
        check_mask(attention_mask, input_ids.shape, "attention_mask", "tokens")
        return self.part("text")(self._here(input_ids), self._here(attention_mask))


def check_mask(mask: Tensor | None, shape: Sequence[int], name: str, of: str) -> None:
    """Raises ValueError when a mask does not have the shape (B, L), or leaves nothing of a row."""
    if mask is None:
        return
    if tuple(mask.shape) != tuple(shape):
        raise ValueError(
            f"{name} must have shape {tuple(shape)}, one for each of the {of}, not {tuple(mask.shape)}"
        )
    if not mask.bool().any(1).all():
        raise ValueError(f"{name} leaves nothing of row {int(mask.bool().any(1).logical_not().nonzero()[0])}")


def shared_builders(config: Config) -> dict[str, Callable[[], nn.Module]]:
    """Builders of the parts that both kinds of models have."""
    return {
        "codec": lambda: CodecEncoder(config.codec, mean_only=config.transformers),
        "audio": lambda: AudioEncoder(config.audio, config.codec.codebook_dim),
        "text": lambda: TextTower(config.text),
        "audio_head": lambda: Head(config.audio.hidden_size, config.output_dim),
    }


# ---- files ---------------------------------------------------------------------------------------------


def published_shapes(model: type[PartedModel], config: Config) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in the file of a model of these sizes, those that are never used included."""
    whole = replace(config, text=replace(config.text, nth_layer=None), transformers=False)
    codec = config.codec
    tensors: dict[str, Tensor] = {}
    builders = {**model.builders(config), **model.builders(whole)}
    with unset():
        for part, build in builders.items():
            inside = dict(build().state_dict())
            if part == "codec":
                inside["quantizer.out_proj.weight"] = torch.empty(codec.latent_dim, codec.codebook_dim, 1)
                inside["quantizer.out_proj.bias"] = torch.empty(codec.latent_dim)
                inside = {naming.to_pe_codec(n, len(codec.encoder_rates)): t for n, t in inside.items()}
            tensors |= {model.prefixes[part] + n: t for n, t in inside.items()}
        if config.transformers:
            tensors = naming.to_transformers(tensors, model.rules)
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def check(weights: hub.TensorFile, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raises CheckpointError when names or shapes in a file are not the expected ones."""
    found = weights.shapes
    faults = [f"{name} is missing" for name in expected if name not in found]
    faults += [f"{name} should not be there" for name in found if name not in expected]
    faults += [
        f"{name} has shape {found[name]} instead of {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if faults:
        more = f" and {len(faults) - _NAMES_SHOWN} more" if len(faults) > _NAMES_SHOWN else ""
        raise CheckpointError(
            f"{weights.path} does not fit its config: {', '.join(faults[:_NAMES_SHOWN])}{more}."
        )


def read_part(model: type[PartedModel], weights: hub.TensorFile, part: str) -> dict[str, Tensor]:
    """Tensors of a part by its own names, those that are never used included."""
    names = [n for n in weights.shapes if naming.part_of(n, model.prefixes, model.rules) == part]
    tensors = naming.from_transformers(weights.read(names), model.rules)
    tensors = {n.removeprefix(model.prefixes[part]): t for n, t in tensors.items()}
    return from_pe_names(tensors) if part == "codec" else tensors


class _Skip(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs or {})


@contextmanager
def unset() -> Iterator[None]:
    """Modules that are built in here have shapes only: drawing random weights would take longer than loading some."""
    with _LOCK, torch.device("meta"), _Skip():
        yield
