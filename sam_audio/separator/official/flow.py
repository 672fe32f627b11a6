"""The flow network: everything of a SAM-Audio that is evaluated along the ODE, and what is prepared for it once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam_audio.separator.official.conditioning import AnchorEmbedder, Conditioning, VideoAligner, some_invalid
from sam_audio.separator.official.config import SAMAudioConfig
from sam_audio.separator.official.dit import FlowTransformer


class FlowNetwork(nn.Module):
    """The velocity of the latents of target and residual. Axes: B rows, T latent frames, D width, L text tokens."""

    def __init__(self, config: SAMAudioConfig):
        super().__init__()
        dim = config.transformer.dim
        self.config = config
        self.transformer = FlowTransformer(config.transformer)
        self.proj = nn.Linear(config.in_channels, dim)
        self.align_masked_video = VideoAligner(config.vision_encoder.dim, dim)
        self.embed_anchors = AnchorEmbedder(config.num_anchors, config.anchor_embedding_dim, dim)
        self.memory_proj = nn.Linear(config.text_encoder.dim, dim)

    def condition(
        self,
        audio_features: Tensor,
        text_features: Tensor | None = None,
        text_valid: Tensor | None = None,
        texts: Tensor | None = None,
        video: Tensor | None = None,
        anchors: tuple[Tensor, Tensor] | None = None,
        valid: Tensor | None = None,
    ) -> Conditioning:
        """Prepares all that does not depend on the state or the time.

        Args:
            audio_features: latents of the mixture, twice on top of each other, (B, T, 256).
            text_features: (P, L, text width); None for no text.
            text_valid: which tokens count, (P, L) bool.
            texts: number of the text of each row, (B,) int64; by default row b has text b.
            video: from ``align_masked_video``, (B, T, D), or (D,) for no pictures. None leaves the term out, which no
                separation does: without video the release adds a constant.
            anchors: ids (B, A) and alignment (B, T) int64; None leaves their term out likewise.
            valid: frames that are sound, (B, T) bool.
        """
        base = self._project_features(audio_features)
        if video is not None:
            base = base + video
        if anchors is not None:
            base = base + self.embed_anchors(*anchors)
        if text_features is None:
            memory, texts = None, torch.zeros(len(base), dtype=torch.int64, device=base.device)
        else:
            memory = self.memory_proj(text_features)
            texts = torch.arange(len(base), device=base.device) if texts is None else texts
        return Conditioning(base, memory, some_invalid(text_valid), texts, some_invalid(valid))

    def project_state(self, state: Tensor) -> Tensor:
        """The state's part of the input projection. Shape: (B, T, 256) -> (B, T, D)."""
        return F.linear(state, self.proj.weight[:, : self.config.state_dim])

    def _project_features(self, audio_features: Tensor) -> Tensor:
        """The mixture's part; the channels between the two are zero in every published model, and left out."""
        return F.linear(audio_features, self.proj.weight[:, -self.config.state_dim :], self.proj.bias)

    def forward(
        self,
        noisy_audio: Tensor,
        audio_features: Tensor,
        text_features: Tensor | None,
        time: Tensor,
        masked_video_features: Tensor | None = None,
        text_mask: Tensor | None = None,
        anchor_ids: Tensor | None = None,
        anchor_alignment: Tensor | None = None,
        audio_pad_mask: Tensor | None = None,
    ) -> Tensor:
        """One evaluation of the velocity from raw conditions, with a time for every row; see `condition`.

        Args:
            noisy_audio: the state, (B, T, 256).
            time: (B,) in 0..1.

        Returns:
            (B, T, 256).
        """
        video = None if masked_video_features is None else self.align_masked_video(masked_video_features)
        anchors = None if anchor_ids is None or anchor_alignment is None else (anchor_ids, anchor_alignment)
        c = self.condition(
            audio_features,
            text_features,
            text_mask if text_features is not None else None,
            video=video,
            anchors=anchors,
            valid=audio_pad_mask,
        )
        instant = self.transformer.at(time, c.memory, c.memory_valid)
        return self.transformer(self.project_state(noisy_audio) + c.base, instant, c.valid)
