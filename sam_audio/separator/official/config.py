"""What a SAM-Audio config.json says. Missing fields take the defaults of the release, unknown ones are passed over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from peav.checkpoints import read_json
from peav.official.codec import CodecConfig
from sam_audio.errors import ModelError, UserError, as_model_error

ACTIVATIONS = ("swiglu", "relu", "gelu", "approx_gelu", "srelu", "silu")


@dataclass(frozen=True)
class TextConfig:
    """The text encoder, a T5 that is kept outside the checkpoint."""

    name: str = "t5-base"
    max_length: int = 512
    pad_mode: str = "longest"
    dim: int = 768


@dataclass(frozen=True)
class VisionConfig:
    """The frame encoder, a PE-Core tower; ``batch_size`` frames at once, all of them if not positive."""

    name: str = "PE-Core-L14-336"
    dim: int = 1024
    batch_size: int = 300
    normalize_feature: bool = True
    interpolation_mode: str = "BICUBIC"
    image_size: int = 336


@dataclass(frozen=True)
class TransformerConfig:
    """The flow-matching transformer."""

    dim: int = 2048
    n_heads: int = 16
    n_layers: int = 16
    norm_eps: float = 1e-5
    qk_norm: bool = True
    fc_bias: bool = False
    ffn_exp: float = 4
    ffn_dim_multiplier: float = 1
    multiple_of: int = 64
    non_linearity: str = "swiglu"
    use_rope: bool = True
    max_positions: int = 10000
    frequency_embedding_dim: int = 256
    timestep_non_linearity: str = "swiglu"
    t_block_non_linearity: str = "silu"
    t_block_bias: bool = True
    context_dim: int = 2048
    context_non_linearity: str = "swiglu"
    context_norm: bool = False
    out_channels: int = 256
    in_channels: int | None = None

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_heads

    @property
    def rope_theta(self) -> float:
        return max(10000, 2 * self.max_positions)

    @property
    def ffn_dim(self) -> int:
        """Hidden width of the feed-forward layers."""
        hidden = int(self.ffn_exp * self.dim)
        if self.non_linearity == "swiglu":
            hidden = 2 * hidden // 3
        hidden = int(self.ffn_dim_multiplier * hidden)
        return -(-hidden // self.multiple_of) * self.multiple_of


@dataclass(frozen=True)
class SAMAudioConfig:
    """A whole model. ``span_predictor`` names a PE-A-Frame; rankers are described as the release does."""

    in_channels: int = 768
    audio_codec: CodecConfig = field(default_factory=CodecConfig)
    text_encoder: TextConfig = field(default_factory=TextConfig)
    vision_encoder: VisionConfig = field(default_factory=VisionConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    num_anchors: int = 3
    anchor_embedding_dim: int = 128
    visual_ranker: Mapping[str, Any] | None = None
    text_ranker: Mapping[str, Any] | None = None
    span_predictor: str | None = "pe-a-frame-large"

    @property
    def state_dim(self) -> int:
        """Channels of the flow's state: target and residual latents."""
        return 2 * self.audio_codec.codebook_dim

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> SAMAudioConfig:
        """From the content of a config.json.

        Raises:
            ModelError: it describes no SAM-Audio; the message names the field.
        """
        parts: dict[str, Any] = {
            "text_encoder": _part(TextConfig, "text_encoder", values),
            "vision_encoder": _part(VisionConfig, "vision_encoder", values),
            "transformer": _part(TransformerConfig, "transformer", values),
        }
        with as_model_error():
            parts["audio_codec"] = CodecConfig.of(_mapping("audio_codec", values))
        config = _part(cls, "", {"": {**values, **parts}})
        config._check()
        return config

    def _check(self) -> None:
        """Refuses sizes that do not fit together."""
        dit = self.transformer
        for name in ("dim", "n_heads", "n_layers", "multiple_of", "frequency_embedding_dim"):
            if getattr(dit, name) < 1:
                raise ModelError(
                    f"the config's transformer.{name} is {getattr(dit, name)}: it has to be positive"
                )
        for name in (
            "non_linearity",
            "timestep_non_linearity",
            "t_block_non_linearity",
            "context_non_linearity",
        ):
            if getattr(dit, name) not in ACTIVATIONS:
                raise ModelError(
                    f"the config's transformer.{name} is {getattr(dit, name)!r}: known are {', '.join(ACTIVATIONS)}"
                )
        if dit.t_block_non_linearity == "swiglu":
            raise ModelError(
                "the config's transformer.t_block_non_linearity is swiglu, which has no place there"
            )
        if dit.dim % (2 * dit.n_heads):
            raise ModelError(
                f"the config's transformer.dim is {dit.dim}, not a multiple of twice {dit.n_heads} heads"
            )
        for name, value, wanted in (
            ("transformer.context_dim", dit.context_dim, dit.dim),
            ("transformer.out_channels", dit.out_channels, self.state_dim),
            ("in_channels", self.in_channels, 3 * self.state_dim),
        ):
            if value != wanted:
                raise ModelError(f"the config's {name} is {value}, but its other sizes ask for {wanted}")


def read_config(path: Path, changes: Mapping[str, Any] | None = None) -> SAMAudioConfig:
    """Reads a config.json.

    Args:
        changes: fields in place of its own.

    Raises:
        ModelError: it is missing, unreadable, or describes no SAM-Audio.
        UserError: there is no field that should be changed.
    """
    changes = changes or {}
    known = [entry.name for entry in fields(SAMAudioConfig)]
    if unknown := [name for name in changes if name not in known]:
        raise UserError(
            f"a SAM-Audio has no field {unknown[0]!r} in its config: there are {', '.join(known)}"
        )
    if not path.exists():
        raise ModelError(f"{path} is missing: a SAM-Audio folder holds a config.json and a checkpoint.pt")
    with as_model_error():
        values = read_json(path)
    try:
        return SAMAudioConfig.of({**values, **changes})
    except ModelError as error:
        raise ModelError(f"{path} cannot be used: {error}") from None


Part = TypeVar("Part", SAMAudioConfig, TextConfig, VisionConfig, TransformerConfig)

_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
    "int | None": (int, type(None)),
    "str | None": (str, type(None)),
    "Mapping[str, Any] | None": (dict, type(None)),
}


def _part(kind: type[Part], name: str, values: Mapping[str, Any]) -> Part:
    """Fills a dataclass from the part of the config that is called so."""
    given = _mapping(name, values)
    known = {}
    for entry in fields(kind):
        if entry.name not in given:
            continue
        value = given[entry.name]
        allowed = _KINDS.get(str(entry.type))
        if allowed and (not isinstance(value, allowed) or isinstance(value, bool) != (allowed == (bool,))):
            raise ModelError(
                f"the config's {name}{'.' if name else ''}{entry.name} is {value!r}, not {entry.type}"
            )
        known[entry.name] = value
    return kind(**known)


def _mapping(name: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    part = values.get(name)
    if part is None:
        return {}
    if not isinstance(part, Mapping):
        raise ModelError(f"the config's {name} is {part!r}, not a set of fields")
    return part
