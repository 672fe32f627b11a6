"""PE-AV between its features and its vectors: the part that is trained, at any size.

    features of sound (codec latents, or frames of another tower) -> audio tower -+-> heads -> vectors of pairs
    features of frames ------------------------------------------> video tower -+-+
                                                           fusion tower of both --+
    vectors of captions ----------------------------------------------------------> a head for each kind of pair

The modules are those of `peav.official`, and carry the names of its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peav.losses import parts
from peav.official.audio import AudioEncoder
from peav.official.fusion import FusionEncoder
from peav.official.parts import Head
from peav.official.transformer import TowerConfig
from peav.official.video import VideoEncoder

_SPACES = {"A": "audio", "V": "visual", "AV": "audio_visual"}


@dataclass(frozen=True)
class JointSizes:
    """Of the towers, and of the joint space."""

    width: int = 128
    inner: int = 256
    heads: int = 4
    audio_layers: int = 2
    video_layers: int = 1
    fusion_layers: int = 1
    output: int = 128

    def tower(self, layers: int) -> TowerConfig:
        return TowerConfig(self.width, self.inner, layers, self.heads, self.width // self.heads)


@dataclass(frozen=True)
class JointConfig:
    """What comes in, and how large all else is."""

    audio_width: int
    video_width: int
    text_width: int
    sizes: JointSizes = JointSizes()


class JointEncoder(nn.Module):
    """Unit vectors of sounds, videos, both, and captions, in one space for each kind of pair.

    Args:
        unit: whether vectors are brought to unit length; the published models leave theirs as they are.
    """

    def __init__(self, config: JointConfig, unit: bool = True) -> None:
        super().__init__()
        self.config, self.unit = config, unit
        sizes = config.sizes
        self.audio = AudioEncoder(sizes.tower(sizes.audio_layers), config.audio_width)
        self.video = VideoEncoder(sizes.tower(sizes.video_layers), config.video_width)
        self.fusion = FusionEncoder(sizes.tower(sizes.fusion_layers))
        for space in _SPACES.values():
            setattr(self, f"{space}_head", Head(sizes.width, sizes.output))
            setattr(self, f"{space}_text_head", Head(config.text_width, sizes.output))
        for space in ("audio", "visual"):
            setattr(self, f"{space}_plus_text_head", Head(sizes.width + config.text_width, sizes.output))

    def forward(
        self,
        wanted: Sequence[str],
        audio: Tensor | None = None,
        audio_valid: Tensor | None = None,
        video: Tensor | None = None,
        video_valid: Tensor | None = None,
        texts: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Those vectors that are wanted, (B, output) each, by their names in `peav.losses`.

        Args:
            audio: (B, T, audio_width), with audio_valid (B, T) bool.
            video: (B, N, video_width), with video_valid (B, N) bool.
            texts: by kind (Ta, Tv, Tav), (B, text_width).
        """
        poolers: dict[str, Tensor] = {}
        needs = {part for name in wanted for part in parts(name)}
        heard = seen = None
        if "A" in needs:
            assert audio is not None
            heard = self.audio(audio, audio_valid)
            poolers["A"] = heard.pooler
        if "V" in needs:
            assert video is not None
            seen = self.video(video, video_valid)
            poolers["V"] = seen.pooler
        if "AV" in wanted:
            assert heard is not None and seen is not None
            both = self.fusion.fuse(heard.last_hidden_state, seen.last_hidden_state, audio_valid, video_valid)
            poolers["AV"] = both.pooler
        return pair_vectors(wanted, poolers, texts or {}, lambda name: getattr(self, name), self.unit)


def pair_vectors(
    wanted: Sequence[str],
    poolers: Mapping[str, Tensor],
    texts: Mapping[str, Tensor],
    head: Callable[[str], nn.Module],
    unit: bool,
) -> dict[str, Tensor]:
    """Vectors by their names in `peav.losses`, from what the towers say of whole clips and captions.

    Args:
        poolers: of A, V and AV, (B, width) each.
        texts: of Ta, Tv and Tav, (B, text_width) each.
        head: by its published name.
        unit: whether they are brought to unit length.
    """
    vectors = {}
    for name in wanted:
        if "@" in name:
            kind, space = name.split("@")
            vectors[name] = head(f"{_SPACES[space]}_text_head")(texts[kind])
        elif "+" in name:
            space, kind = name.split("+")
            both = torch.cat([poolers[space], texts[kind]], dim=-1)
            vectors[name] = head(f"{_SPACES[space]}_plus_text_head")(both)
        else:
            vectors[name] = head(f"{_SPACES[name]}_head")(poolers[name])
    return {name: F.normalize(v, dim=-1) if unit else v for name, v in vectors.items()}
