"""PE-A-Frame: which 40 ms frames of a sound have what a text describes (arXiv 2512.19687).

The audio tower of PE-AV with a head for each frame, and a text tower with one for the whole text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from peav.official import naming
from peav.official.config import PEAudioFrameConfig
from peav.official.parts import Builders, Head, Logit, PartedModel, shared_builders

THRESHOLD = 0.3

Spans: TypeAlias = list[tuple[float, float]]  # start and end in seconds, in order; no two touch


@dataclass
class PEAudioFrameOutput:
    """What a call of `PEAudioFrame` gives, float32; logits are of text b on sound b."""

    audio_embeds: Tensor  # (B, T, output_dim)
    text_embeds: Tensor  # (B, output_dim)
    unscaled_logits: Tensor  # (B, T), dot products
    logits: Tensor  # (B, T)
    probs: Tensor  # (B, T)
    codec_features: Tensor  # (B, T, codebook_dim)
    feature_padding_mask: Tensor | None  # (B, T)
    audio_last_hidden_state: Tensor  # (B, T, D)
    text_pooler: Tensor  # (B, H)
    spans: list[Spans] | None = None  # of each row, see `PEAudioFrame.spans`


class PEAudioFrame(PartedModel):
    """PE-A-Frame, with random weights; `from_pretrained` gives it published ones.

    Inputs are what `PEAudioFrameProcessor` makes: waveforms ``input_values`` (B, 1, n) at 48 kHz with
    ``padding_mask`` (B, n), texts ``input_ids`` and ``attention_mask`` (B, L). Without a mask everything counts.
    Codec latents ``input_features`` (B, T, C) may take the place of waveforms; their padding_mask is one of frames,
    (B, T). Wrong shapes raise ValueError.
    """

    prefixes = naming.FRAME_PARTS
    rules = naming.FRAME_RULES
    config_class = PEAudioFrameConfig
    card = {
        "license": "apache-2.0",
        "library_name": "separate-by-prompt",
        "pipeline_tag": "feature-extraction",
        "tags": ["audio", "text", "sound-event-detection"],
    }
    purpose = "PE-A-Frame (arXiv 2512.19687): when a sound has what a text describes, each 40 ms."
    config: PEAudioFrameConfig

    @classmethod
    def builders(cls, config: PEAudioFrameConfig) -> Builders:
        return {
            **shared_builders(config),
            "text_head": lambda: Head(config.text.hidden_size, config.output_dim),
            "logit": Logit,
        }

    @classmethod
    def read_config(cls, values: Mapping[str, Any]) -> PEAudioFrameConfig:
        return PEAudioFrameConfig.of(values)

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.config.codec.hop / self.config.codec.sample_rate

    def encode_audio(
        self,
        input_values: Tensor | None = None,
        padding_mask: Tensor | None = None,
        *,
        input_features: Tensor | None = None,
    ) -> Tensor:
        """Vectors of the frames of sounds, (B, T, output_dim)."""
        heard = self._hear(input_values, padding_mask, input_features)
        return self.part("audio_head")(heard.output.last_hidden_state)

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Vectors of texts, (B, output_dim)."""
        return self.part("text_head")(self._read(input_ids, attention_mask)[:, 0])

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        input_values: Tensor | None = None,
        padding_mask: Tensor | None = None,
        *,
        input_features: Tensor | None = None,
        threshold: float = THRESHOLD,
        return_spans: bool = True,
        clip: bool = False,
    ) -> PEAudioFrameOutput:
        """Looks for each text in the sound of the same row.

        Args:
            threshold: probability above which a frame counts for the spans.
            return_spans: find the spans, too.
            clip: leave padding out of them. As published, spans may reach into the padding of a shorter sound.

        Raises:
            ValueError: a shape is wrong, or there are not as many texts as sounds.
        """
        heard = self._hear(input_values, padding_mask, input_features)
        states = heard.output.last_hidden_state
        if len(states) != len(input_ids):
            raise ValueError(
                f"there are {len(input_ids)} texts for {len(states)} sounds: see pairwise_logits"
            )
        text = self._read(input_ids, attention_mask)[:, 0]
        audio_embeds, text_embeds = self.part("audio_head")(states), self.part("text_head")(text)
        products = (audio_embeds @ text_embeds[:, :, None]).squeeze(-1)
        logits = self.part("logit")(products)
        found = PEAudioFrameOutput(
            audio_embeds,
            text_embeds,
            products,
            logits,
            logits.sigmoid(),
            heard.codec_features,
            heard.valid_mask,
            states,
            text,
        )
        if return_spans:
            found.spans = self._spans(found, threshold, clip)
        return found

    def pairwise_logits(self, audio_embeds: Tensor, text_embeds: Tensor) -> Tensor:
        """Logits of every text on every sound.

        Shapes: audio_embeds (A, T, output_dim), text_embeds (B, output_dim) -> (A, B, T).
        """
        return self.part("logit")(torch.einsum("atd,bd->abt", audio_embeds, text_embeds))

    def spans(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        input_values: Tensor | None = None,
        padding_mask: Tensor | None = None,
        *,
        input_features: Tensor | None = None,
        threshold: float = THRESHOLD,
        clip: bool = False,
    ) -> list[Spans]:
        """When each text is heard in the sound of the same row; arguments as of `forward`."""
        heard = self(
            input_ids,
            attention_mask,
            input_values,
            padding_mask,
            input_features=input_features,
            return_spans=False,
        )
        return self._spans(heard, threshold, clip)

    def _spans(self, heard: PEAudioFrameOutput, threshold: float, clip: bool) -> list[Spans]:
        active = heard.probs > threshold
        if clip and heard.feature_padding_mask is not None:
            active &= heard.feature_padding_mask
        return [runs(row, self.config.codec.hop, self.config.codec.sample_rate) for row in active]


def runs(active: Tensor, hop: int, sample_rate: int) -> Spans:
    """Stretches of frames that are True, (start, end) in seconds, computed in float32 as published.

    Args:
        active: (T,) bool.
        hop: samples in a frame.
        sample_rate: in Hz.

    >>> runs(torch.tensor([False, True, True, False, True]), 2, 4)
    [(0.5, 1.5), (2.0, 2.5)]
    """
    change = torch.diff(active.int(), prepend=active.new_zeros(1).int(), append=active.new_zeros(1).int())
    edges = (change.nonzero().flatten().float() * hop / sample_rate).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))
