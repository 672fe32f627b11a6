"""The video tower: pictures go in, a unit vector of the joint space comes out for each and for all of them.

    RGB frames -> EfficientNet-Lite0 -> 1280 features, 1000 ImageNet classes -> frame vectors -> attention over
    time -> clip vector

The backbone is the published ImageNet one. Its classes are words, so their probabilities are a first guess of
where a picture belongs in a space of words (Norouzi et al. 2013); what the classes lack, a small network on the
features adds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peav import checkpoints
from peav.checkpoints import Checkpoint
from peav.nano.pictures import GREY, IMAGE_SIZE
from peav.nano.sharing import metadata
from peav.nano.tower import Tower

N_FEATURES, N_CLASSES = 1280, 1000
_BATCH = 16  # frames a forward pass; memory does not grow with the length of the video

# (blocks, kernel, stride, expansion, channels) of each stage (Tan & Le 2019; the Lite variant has no gates)
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


@dataclass(frozen=True)
class VideoConfig:
    """Sizes of what stands on the backbone."""

    hidden: int = 256
    output: int = 384

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


class BackboneFeatures(NamedTuple):
    """features (N, 1280) and ImageNet logits (N, 1000)."""

    features: Tensor
    logits: Tensor


def prepare_frames(frames: Tensor) -> Tensor:
    """Fits uint8 frames (N, 3, H, W) into (N, 3, IMAGE_SIZE, IMAGE_SIZE) uint8, antialiased, on mid-grey bars."""
    height, width = frames.shape[-2:]
    scale = IMAGE_SIZE / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    if size != (height, width):
        resized = F.interpolate(frames.float(), size, mode="bilinear", antialias=True, align_corners=False)
        frames = resized.round().clamp(0, 255).to(torch.uint8)
    missing_y, missing_x = IMAGE_SIZE - size[0], IMAGE_SIZE - size[1]
    bars = (missing_x // 2, missing_x - missing_x // 2, missing_y // 2, missing_y - missing_y // 2)
    return F.pad(frames, bars, value=GREY)


class Inverted(nn.Module):
    """Inverted residual: expand, depthwise, project; batch norms are folded in."""

    def __init__(self, channels: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.stride = stride
        self.residual = stride == 1 and channels == channels_out
        self.expand = nn.Conv2d(channels, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = nn.Conv2d(inner, inner, kernel, stride, groups=inner)
        self.project = nn.Conv2d(inner, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu6(self.expand(x)) if isinstance(self.expand, nn.Conv2d) else x
        inner = F.relu6(self.depthwise(_same(inner, self.depthwise.kernel_size[0], self.stride)))
        out = self.project(inner)
        return x + out if self.residual else out


class Backbone(nn.Module):
    """EfficientNet-Lite0: uint8 frames (N, 3, 224, 224) -> features and ImageNet logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, channels_out in _STAGES:
            for repeat in range(repeats):
                blocks.append(
                    Inverted(channels, channels_out, kernel, stride if repeat == 0 else 1, expansion)
                )
                channels = channels_out
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Conv2d(channels, N_FEATURES, 1)
        self.classifier = nn.Linear(N_FEATURES, N_CLASSES)

    def forward(self, frames: Tensor) -> BackboneFeatures:
        mean = torch.tensor([123.675, 116.28, 103.53], device=frames.device)[:, None, None]
        std = torch.tensor([58.395, 57.12, 57.375], device=frames.device)[:, None, None]
        x = ((frames.float() - mean) / std).contiguous(memory_format=torch.channels_last)
        x = F.relu6(self.stem(_same(x, 3, 2)))
        for block in self.blocks:
            x = block(x)
        features = F.relu6(self.head(x)).mean((2, 3))
        return BackboneFeatures(features, self.classifier(features))


class JointHead(nn.Module):
    """Backbone features to the joint space."""

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        self.words = nn.Linear(N_CLASSES, config.output, bias=False)  # starts as the classes' text vectors
        self.temperature = nn.Parameter(torch.ones(1))
        self.norm = nn.LayerNorm(N_FEATURES)
        self.hidden = nn.Linear(N_FEATURES, config.hidden)
        self.head = nn.Linear(config.hidden, config.output)
        self.score = nn.Linear(N_FEATURES, 1)  # how much a frame counts in its clip
        self.logit_scale = nn.Parameter(torch.tensor(30.0))
        self.logit_bias = nn.Parameter(torch.tensor(-13.0))

    def forward(self, backbone: BackboneFeatures, frame_valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Args: features (B, N, 1280), logits (B, N, 1000), frame_valid (B, N).

        Returns:
            frame vectors (B, N, D), not normalised, and clip vectors (B, D), unit length.
        """
        frames, score = self.of_each(backbone)
        if frame_valid is not None:
            score = score.masked_fill(~frame_valid, -1e9)
        clip = (frames * score.softmax(-1)[..., None]).sum(-2)
        return frames.float(), F.normalize(clip.float(), dim=-1)

    def of_each(self, backbone: BackboneFeatures) -> tuple[Tensor, Tensor]:
        """Vectors of frames (..., D), and how much each counts in its clip (...,)."""
        normed = self.norm(backbone.features)
        guess = self.words((backbone.logits * self.temperature).softmax(-1))
        return guess + self.head(F.silu(self.hidden(normed))), self.score(normed)[..., 0]


class VideoTower(Tower):
    """Embeds pictures and videos in the joint space; use `from_pretrained`."""

    tower, told_in = "video", "nano-encoders.md"
    card = metadata("feature-extraction", "video", "image-feature-extraction")
    purpose = (
        "The video tower of PE-AV nano: vectors of pictures and videos, in one space with those of sounds."
    )
    config: VideoConfig

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone()
        self.joint = JointHead(config)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        return checkpoints.build(checkpoint, lambda **sizes: cls(VideoConfig(**sizes)))

    def forward(self, frames: Tensor, frame_valid: Tensor | None = None) -> Tensor:
        """Shapes: uint8 frames (B, N, 3, H, W), frame_valid (B, N) True on frames that count -> (B, D)."""
        b, n = frames.shape[:2]
        flat = frames.flatten(0, 1)
        parts = [self.backbone(prepare_frames(flat[i : i + _BATCH])) for i in range(0, b * n, _BATCH)]
        features = BackboneFeatures(
            *(torch.cat(part).unflatten(0, (b, n)) for part in zip(*parts, strict=True))
        )
        return self.joint(features, frame_valid)[1]


def _same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Pads as TensorFlow's SAME does, which is lopsided for even sizes and stride 2."""
    pads = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)
