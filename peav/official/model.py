"""PE-AV: text, sound and video in one space (arXiv 2512.19687).

    waveform -> codec -> audio tower ----------+-> heads
    frames -> image tower -> video tower --+---+-> heads
                                audio-video tower -> head
    text -> ModernBERT ------------------------+-> heads, one for each kind of pair

Vectors are compared by their dot product and not normalised: sound with `audio_text` vectors, video with
`visual_text`, both together with `audio_visual_text`; sound with video; sound and text together with video, and
video and text together with sound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from peav.official import naming
from peav.official.config import PEAudioVideoConfig
from peav.official.fusion import FusionEncoder
from peav.official.parts import AudioFeatures, Builders, Head, Logit, PartedModel, check_mask, shared_builders
from peav.official.transformer import TowerOutput
from peav.official.video import VideoEncoder
from peav.official.vision import VisionTower

_LABELS = "video_model.video_encoder.embedder.vision_model.timm_model.head.weight"

# logits: rows, columns
LOGIT_PAIRS = {
    "audio_text": ("audio_embeds", "audio_text_embeds"),
    "video_text": ("visual_embeds", "visual_text_embeds"),
    "audio_video": ("audio_embeds", "visual_embeds"),
    "audio_video_text": ("audio_visual_embeds", "audio_visual_text_embeds"),
    "audio_plus_text_video": ("audio_plus_text_embeds", "visual_embeds"),
    "video_plus_text_audio": ("visual_plus_text_embeds", "audio_embeds"),
}


@dataclass
class PEAudioVideoOutput:
    """What a call of `PEAudioVideo` gives; None where the inputs for it were not there.

    Vectors are (B, output_dim), float32. Then come the stages on the way, and the logits, if the checkpoint has
    scales for them: by the names of LOGIT_PAIRS, (B, B) each.
    """

    audio_embeds: Tensor | None = None
    visual_embeds: Tensor | None = None
    audio_visual_embeds: Tensor | None = None
    audio_text_embeds: Tensor | None = None
    visual_text_embeds: Tensor | None = None
    audio_visual_text_embeds: Tensor | None = None
    audio_plus_text_embeds: Tensor | None = None
    visual_plus_text_embeds: Tensor | None = None
    codec_features: Tensor | None = None  # (B, T, codebook_dim)
    audio_feature_mask: Tensor | None = None  # (B, T)
    audio_last_hidden_state: Tensor | None = None  # (B, T, D)
    audio_pooler: Tensor | None = None  # (B, D)
    pe_features: Tensor | None = None  # (B, N, F), unit length
    visual_last_hidden_state: Tensor | None = None  # (B, N, D)
    visual_pooler: Tensor | None = None  # (B, D)
    av_last_hidden_state: Tensor | None = None  # (B, T, D)
    av_pooler: Tensor | None = None  # (B, D)
    text_last_hidden_state: Tensor | None = None  # (B, L, H)
    text_pooler: Tensor | None = None  # (B, H)
    logits: dict[str, Tensor] | None = None


@dataclass(frozen=True)
class Seen:
    """What the video tower makes of frames."""

    pe_features: Tensor  # (B, N, F)
    valid_mask: Tensor | None  # (B, N)
    output: TowerOutput


class PEAudioVideo(PartedModel):
    """PE-AV, with random weights; `from_pretrained` gives it published ones.

    Inputs are what `PEAudioVideoProcessor` makes: waveforms ``input_values`` (B, 1, n) at 48 kHz with
    ``padding_mask`` (B, n), frames ``pixel_values_videos`` (B, N, 3, S, S) with ``padding_mask_videos`` (B, N),
    texts ``input_ids`` and ``attention_mask`` (B, L). Without a mask everything counts. Codec latents
    ``input_features`` (B, T, C) may take the place of waveforms; their padding_mask is one of frames, (B, T).
    Unit vectors of frames ``pe_features`` (B, N, F), as `frame_features` gives, may take the place of frames.
    Wrong shapes raise ValueError.
    """

    prefixes = naming.AV_PARTS
    rules = naming.AV_RULES
    config_class = PEAudioVideoConfig
    card = {
        "license": "apache-2.0",
        "library_name": "separate-by-prompt",
        "pipeline_tag": "feature-extraction",
        "tags": ["audio", "video", "text", "retrieval"],
    }
    purpose = "PE-AV (arXiv 2512.19687): text, sound and video in one space."
    config: PEAudioVideoConfig

    @classmethod
    def builders(cls, config: PEAudioVideoConfig) -> Builders:
        widths = {
            "visual_head": config.video.hidden_size,
            "audio_visual_head": config.fusion.hidden_size,
            "audio_text_head": config.text.hidden_size,
            "visual_text_head": config.text.hidden_size,
            "audio_visual_text_head": config.text.hidden_size,
            "audio_plus_text_head": config.audio.hidden_size + config.text.hidden_size,
            "visual_plus_text_head": config.video.hidden_size + config.text.hidden_size,
        }
        parts: dict[str, Callable[[], nn.Module]] = {
            **shared_builders(config),
            "vision": lambda: VisionTower(config.vision, proj_bias=config.transformers),
            "video": lambda: VideoEncoder(config.video, config.vision.output),
            "fusion": lambda: FusionEncoder(config.fusion),
            **{name: partial(Head, width, config.output_dim) for name, width in widths.items()},
        }
        if config.transformers:
            parts["logits"] = lambda: nn.ModuleDict({name: Logit() for name in LOGIT_PAIRS})
        return parts

    @classmethod
    def read_config(cls, values: Mapping[str, Any]) -> PEAudioVideoConfig:
        return PEAudioVideoConfig.of(values)

    @classmethod
    def fitted(cls, config: PEAudioVideoConfig, shapes: Mapping[str, tuple[int, ...]]) -> PEAudioVideoConfig:
        # transformers calls them labels, and stores their number in several places that do not always agree
        found = shapes.get(_LABELS)
        if not config.transformers or found is None:
            return config
        return replace(config, vision=replace(config.vision, output=found[0]))

    def encode_audio(
        self,
        input_values: Tensor | None = None,
        padding_mask: Tensor | None = None,
        *,
        input_features: Tensor | None = None,
    ) -> Tensor:
        """Vectors of sounds, (B, output_dim)."""
        return self.part("audio_head")(self._hear(input_values, padding_mask, input_features).output.pooler)

    def encode_video(
        self,
        pixel_values_videos: Tensor | None = None,
        padding_mask_videos: Tensor | None = None,
        *,
        pe_features: Tensor | None = None,
    ) -> Tensor:
        """Vectors of videos, (B, output_dim)."""
        seen = self._watch(pixel_values_videos, padding_mask_videos, pe_features)
        return self.part("visual_head")(seen.output.pooler)

    def encode_audio_video(
        self,
        input_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        padding_mask: Tensor | None = None,
        padding_mask_videos: Tensor | None = None,
        *,
        input_features: Tensor | None = None,
        pe_features: Tensor | None = None,
    ) -> Tensor:
        """Vectors of videos with sound, (B, output_dim)."""
        heard = self._hear(input_values, padding_mask, input_features)
        seen = self._watch(pixel_values_videos, padding_mask_videos, pe_features)
        return self.part("audio_visual_head")(self._fuse(heard, seen).pooler)

    def encode_audio_text(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Vectors of texts to compare with sounds, (B, output_dim)."""
        return self.part("audio_text_head")(self._read(input_ids, attention_mask)[:, 0])

    def encode_video_text(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Vectors of texts to compare with videos, (B, output_dim)."""
        return self.part("visual_text_head")(self._read(input_ids, attention_mask)[:, 0])

    def encode_audio_video_text(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Vectors of texts to compare with videos with sound, (B, output_dim)."""
        return self.part("audio_visual_text_head")(self._read(input_ids, attention_mask)[:, 0])

    def encode_audio_plus_text(
        self,
        input_ids: Tensor,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        padding_mask: Tensor | None = None,
        *,
        input_features: Tensor | None = None,
    ) -> Tensor:
        """Vectors of sounds and texts together, to compare with videos, (B, output_dim)."""
        heard = self._hear(input_values, padding_mask, input_features)
        text = self._read(input_ids, attention_mask)[:, 0]
        return self.part("audio_plus_text_head")(torch.cat([heard.output.pooler, text], dim=-1))

    def encode_video_plus_text(
        self,
        input_ids: Tensor,
        pixel_values_videos: Tensor | None = None,
        attention_mask: Tensor | None = None,
        padding_mask_videos: Tensor | None = None,
        *,
        pe_features: Tensor | None = None,
    ) -> Tensor:
        """Vectors of videos and texts together, to compare with sounds, (B, output_dim)."""
        seen = self._watch(pixel_values_videos, padding_mask_videos, pe_features)
        text = self._read(input_ids, attention_mask)[:, 0]
        return self.part("visual_plus_text_head")(torch.cat([seen.output.pooler, text], dim=-1))

    def frame_features(self, frames: Tensor) -> Tensor:
        """Unit vectors of the frames of one video, some at a time, for ``pe_features``.

        Args:
            frames: (N, 3, H, W) uint8, of any length and size.

        Returns:
            (N, F).
        """
        vision: VisionTower = self.part("vision")
        return vision.frame_features(frames)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        input_values: Tensor | None = None,
        padding_mask: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        padding_mask_videos: Tensor | None = None,
        *,
        input_features: Tensor | None = None,
        pe_features: Tensor | None = None,
    ) -> PEAudioVideoOutput:
        """Every vector that the inputs allow; those given have the same number of rows.

        Raises:
            ValueError: nothing is given, or a shape is wrong.
        """
        out = PEAudioVideoOutput()
        heard = seen = None
        if input_values is not None or input_features is not None:
            heard = self._hear(input_values, padding_mask, input_features)
            out.codec_features, out.audio_feature_mask = heard.codec_features, heard.valid_mask
            out.audio_last_hidden_state, out.audio_pooler = heard.output
            out.audio_embeds = self.part("audio_head")(out.audio_pooler)
        if pixel_values_videos is not None or pe_features is not None:
            seen = self._watch(pixel_values_videos, padding_mask_videos, pe_features)
            out.pe_features = seen.pe_features
            out.visual_last_hidden_state, out.visual_pooler = seen.output
            out.visual_embeds = self.part("visual_head")(out.visual_pooler)
        if heard and seen:
            out.av_last_hidden_state, out.av_pooler = self._fuse(heard, seen)
            out.audio_visual_embeds = self.part("audio_visual_head")(out.av_pooler)
        if input_ids is not None:
            out.text_last_hidden_state = self._read(input_ids, attention_mask)
            out.text_pooler = out.text_last_hidden_state[:, 0]
            self._add_text(out, out.text_pooler)
        elif not (heard or seen):
            raise ValueError("give texts, sounds or videos, or some of them together")
        if self.config.transformers:
            out.logits = self._logits(out)
        return out

    def _watch(self, pixels: Tensor | None, valid_mask: Tensor | None, features: Tensor | None) -> Seen:
        """Runs the video tower on frames (B, N, 3, S, S), or on their vectors (B, N, F)."""
        if features is None:
            if pixels is None or pixels.ndim != 5:
                shape = None if pixels is None else tuple(pixels.shape)
                raise ValueError(f"videos must have shape (B, frames, 3, height, width), not {shape}")
            check_mask(valid_mask, pixels.shape[:2], "padding_mask_videos", "frames")
            features = self.part("vision").features(pixels)
        elif features.ndim != 3 or features.shape[2] != self.config.vision.output:
            width = self.config.vision.output
            raise ValueError(
                f"frame features must have shape (B, frames, {width}), not {tuple(features.shape)}"
            )
        else:
            check_mask(valid_mask, features.shape[:2], "padding_mask_videos", "frames")
        features = self._vectors(features)
        valid_mask = None if valid_mask is None else valid_mask.to(features.device).bool()
        return Seen(features, valid_mask, self.part("video")(features, valid_mask))

    def _fuse(self, heard: AudioFeatures, seen: Seen) -> TowerOutput:
        fusion: FusionEncoder = self.part("fusion")
        states = heard.output.last_hidden_state, seen.output.last_hidden_state
        if len(states[0]) != len(states[1]):
            raise ValueError(f"there are {len(states[0])} sounds for {len(states[1])} videos")
        return fusion.fuse(*states, heard.valid_mask, seen.valid_mask)

    def _add_text(self, out: PEAudioVideoOutput, text: Tensor) -> None:
        sound, video = out.audio_pooler, out.visual_pooler
        if sound is not None:
            out.audio_text_embeds = self.part("audio_text_head")(text)
            out.audio_plus_text_embeds = self.part("audio_plus_text_head")(torch.cat([sound, text], dim=-1))
        if video is not None:
            out.visual_text_embeds = self.part("visual_text_head")(text)
            out.visual_plus_text_embeds = self.part("visual_plus_text_head")(torch.cat([video, text], dim=-1))
        if (sound is None) == (video is None):
            out.audio_visual_text_embeds = self.part("audio_visual_text_head")(text)

    def _logits(self, out: PEAudioVideoOutput) -> dict[str, Tensor]:
        vectors = {
            name: (getattr(out, rows), getattr(out, columns)) for name, (rows, columns) in LOGIT_PAIRS.items()
        }
        return {
            name: self.part("logits")[name](a @ b.T)
            for name, (a, b) in vectors.items()
            if a is not None and b is not None
        }


PEAudioVisual = PEAudioVideo  # upstream's name
