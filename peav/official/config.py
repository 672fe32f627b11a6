"""Sizes of the published PE-AV and PE-A-Frame models, and how to read them from a config.json.

There are two layouts of these files and of the names in the weights beside them: that of the perception_models
repository (revision ``perception_models`` on the hub) and that of the transformers library (revision ``main``).
Fields that change nothing are passed over in both, and missing ones take the official values where there are any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from peav.checkpoints import CheckpointError
from peav.official.codec import CodecConfig
from peav.official.text import TextConfig
from peav.official.transformer import TowerConfig
from peav.official.vision import VISION_CONFIGS, VisionConfig

_OUTPUT_DIM = 1024
_NTH_TEXT_LAYER = 22
_VISION = "PE-Core-L14-336"


@dataclass(frozen=True)
class PEAudioFrameConfig:
    """Sizes of a PE-A-Frame model."""

    audio: TowerConfig
    codec: CodecConfig = field(default_factory=CodecConfig)
    text: TextConfig = field(default_factory=TextConfig)
    output_dim: int = _OUTPUT_DIM
    transformers: bool = False  # layout of the file; in PE-AV, this one has scales and biases for logits

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> PEAudioFrameConfig:
        """From a config.json of either layout.

        Raises:
            CheckpointError: a field that is used is missing or has an impossible value.
        """
        if transformers := "audio_config" in values:
            codec, tower = _transformers_audio(values)
        else:
            codec, tower = _audio(values)
        return cls(tower, codec, **_text(values, transformers))

    def values(self) -> dict[str, Any]:
        """The content of a config.json in the layout of perception_models."""
        return {"audio_model": _audio_values(self), **_text_values(self)}


@dataclass(frozen=True)
class PEAudioVideoConfig:
    """Sizes of a PE-AV model."""

    audio: TowerConfig
    video: TowerConfig
    fusion: TowerConfig
    codec: CodecConfig = field(default_factory=CodecConfig)
    vision: VisionConfig = VISION_CONFIGS[_VISION]
    text: TextConfig = field(default_factory=TextConfig)
    output_dim: int = _OUTPUT_DIM
    fixed_len_video: bool = False  # a video is 16 frames, whatever its length
    transformers: bool = False  # layout of the file; in PE-AV, this one has scales and biases for logits

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> PEAudioVideoConfig:
        """From a config.json of either layout.

        Raises:
            CheckpointError: a field that is used is missing or has an impossible value.
        """
        if transformers := "audio_video_config" in values:
            both = _section(values, "audio_video_config")
            codec, audio = _transformers_audio(both)
            visual = _section(both, "video_config")
            video = TowerConfig.of(visual, "video_config")
            fusion = TowerConfig.of(both, "audio_video_config")
            vision = VisionConfig.of_timm(_section(visual, "vision_config", {}))
        else:
            both = _section(values, "audio_visual_model")
            codec, audio = _audio(both)
            visual = _section(both, "visual_model")
            video = TowerConfig.of(_section(visual, "visual_transformer"), "visual_transformer")
            fusion = TowerConfig.of(_section(both, "audio_visual_transformer"), "audio_visual_transformer")
            vision = VisionConfig.named(str(visual.get("pe_encoder", _VISION)))
        return cls(
            audio,
            video,
            fusion,
            codec,
            vision,
            fixed_len_video=bool(visual.get("fixed_len_video", False)),
            **_text(values, transformers),
        )

    def values(self) -> dict[str, Any]:
        """The content of a config.json in the layout of perception_models, whose image towers have names.

        Raises:
            CheckpointError: the image tower is none of these.
        """
        named = [name for name, sizes in VISION_CONFIGS.items() if sizes == self.vision]
        if not named:
            raise CheckpointError(f"An image tower of these sizes has no name: {self.vision}.")
        visual = {
            "pe_encoder": named[0],
            "visual_transformer": asdict(self.video),
            "fixed_len_video": self.fixed_len_video,
        }
        both = {
            "audio_model": _audio_values(self),
            "visual_model": visual,
            "audio_visual_transformer": asdict(self.fusion),
        }
        return {"audio_visual_model": both, **_text_values(self)}


def _audio_values(config: PEAudioFrameConfig | PEAudioVideoConfig) -> dict[str, Any]:
    codec = config.codec
    sizes = {
        "encoder_hidden_size": codec.encoder_dim,
        "downsampling_ratios": list(codec.encoder_rates),
        "decoder_hidden_size": codec.decoder_dim,
        "codebook_size": codec.latent_dim,
        "codebook_dim": codec.codebook_dim,
        "sampling_rate": codec.sample_rate,
    }
    return {"dac_vae_encoder": sizes, "audio_transformer": asdict(config.audio)}


def _text_values(config: PEAudioFrameConfig | PEAudioVideoConfig) -> dict[str, Any]:
    text = asdict(config.text)
    return {"nth_text_layer": text.pop("nth_layer"), "text_model": text, "output_dim": config.output_dim}


def _section(values: Mapping[str, Any], name: str, default: Any = None) -> Mapping[str, Any]:
    section = values.get(name, default)
    if not isinstance(section, Mapping):
        raise CheckpointError(f"The config lacks {name}: this is a model of another kind.")
    return section


def _audio(values: Mapping[str, Any]) -> tuple[CodecConfig, TowerConfig]:
    section = _section(values, "audio_model")
    # an empty section is the official codec
    codec = CodecConfig.of({"encoder_hidden_size": 64} | dict(_section(section, "dac_vae_encoder", {})))
    return codec, TowerConfig.of(_section(section, "audio_transformer"), "audio_transformer")


def _transformers_audio(values: Mapping[str, Any]) -> tuple[CodecConfig, TowerConfig]:
    section = _section(values, "audio_config")
    codec = CodecConfig.of({"encoder_hidden_size": 64} | dict(_section(section, "dac_config", {})))
    # transformers does not read the rate here, so a file may hold the default of its DAC, 16 kHz
    return replace(codec, sample_rate=CodecConfig.sample_rate), TowerConfig.of(section, "audio_config")


def _text(values: Mapping[str, Any], transformers: bool) -> dict[str, Any]:
    if transformers:
        # it stores only the layers that are used, and reads the last one before its norm
        section = {"num_hidden_layers": _NTH_TEXT_LAYER} | dict(_section(values, "text_config", {}))
        text = TextConfig.of(section, section["num_hidden_layers"])
        return {"text": text, "output_dim": text.hidden_size, "transformers": True}
    text = TextConfig.of(_section(values, "text_model", {}), values.get("nth_text_layer", _NTH_TEXT_LAYER))
    return {"text": text, "output_dim": values.get("output_dim", _OUTPUT_DIM)}


def _tower(width: int, inner: int, layers: int) -> TowerConfig:
    return TowerConfig(width, inner, layers, num_attention_heads=width // 128, head_dim=128)


_SIZES = {"small": (768, 2048, 12), "base": (1024, 2752, 16), "large": (1792, 4800, 28)}  # width, MLP, layers


def _presets() -> dict[str, PEAudioVideoConfig | PEAudioFrameConfig]:
    presets: dict[str, PEAudioVideoConfig | PEAudioFrameConfig] = {}
    for size, (width, inner, layers) in _SIZES.items():
        audio, video, fusion = (_tower(width, inner, n) for n in (layers, 4, 6))
        config = PEAudioVideoConfig(audio, video, fusion)
        presets[f"pe-av-{size}"] = config
        presets[f"pe-av-{size}-16-frame"] = replace(config, fixed_len_video=True)
        presets[f"pe-a-frame-{size}"] = PEAudioFrameConfig(audio)
    return presets


CONFIGS = _presets()
"""The published models by name, in the perception_models layout."""
