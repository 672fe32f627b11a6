"""The audio tower: sound goes in; a vector for each 40 ms frame and one for the whole come out.

    48 kHz waveform -> log-mel (10 ms) -> MobileNet trunk (YAMNet's layout) -> pyramid over time -> frames (40 ms)
                                                                            -> attention pooling -> clip

The trunk has the shape of YAMNet (MobileNetV1, 64 mel bands to 7.5 kHz), whose published weights are where its
training starts. Its four time scales (40 to 320 ms) are merged from coarse to fine, so that every frame knows
what is going on around it. Clip vectors are unit vectors of the joint space; frame vectors are not normalised:
their length says how sure the tower is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peav import checkpoints
from peav.checkpoints import Checkpoint
from peav.nano.sharing import metadata
from peav.nano.sound import (
    FRAME,
    LEVEL,
    LOG_OFFSET,
    LOUD,
    MAX_GAIN,
    MEL_HOP,
    MEL_N_FFT,
    MEL_WINDOW,
    STEP_FRAMES,
    WINDOW,
    WINDOW_MELS,
    mel_filters,
)
from peav.nano.tower import Tower

# (stride, channels out) of the separable layers after the first convolution (Howard et al. 2017)
_LAYERS = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *((1, 512),) * 5, (2, 1024), (1, 1024))
# index of the layer that ends each time scale, its channels, and the mel bands that are left there
SCALES = ((2, 128, 16), (4, 256, 8), (10, 512, 4), (12, 1024, 2))


@dataclass(frozen=True)
class AudioConfig:
    """Sizes of what stands on the trunk."""

    width: int = 192  # of the pyramid
    hidden: int = 512  # of the clip head
    output: int = 384

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


class AudioFeatures(NamedTuple):
    """frames (B, T, D), one each 40 ms; clip (B, D), unit length."""

    frames: Tensor
    clip: Tensor


class Sensed(NamedTuple):
    """frames (B, T, D); steps (B, S, D), one each STEP_FRAMES; scores (B, S), how much each step counts in a clip."""

    frames: Tensor
    steps: Tensor
    scores: Tensor


# ---- front end -----------------------------------------------------------------------------------------


def log_mel(waveform: Tensor, filters: Tensor) -> Tensor:
    """YAMNet's features of a 48 kHz waveform.

    Shapes: waveform (B, n), n a multiple of MEL_HOP -> (B, n // MEL_HOP, N_MELS). Frame k starts at k * 10 ms.
    """
    padded = F.pad(waveform, (0, MEL_WINDOW - MEL_HOP))
    frames = padded.unfold(-1, MEL_WINDOW, MEL_HOP) * torch.hann_window(MEL_WINDOW, device=waveform.device)
    # a third: a frame holds three times the samples it would have at 16 kHz
    magnitude = torch.fft.rfft(frames, MEL_N_FFT)[..., : len(filters)].abs() / 3
    return torch.log(magnitude @ filters + LOG_OFFSET)


def levelled(waveform: Tensor) -> Tensor:
    """Brings the loud part of each waveform (B, n) to one level, so that a quiet recording is heard as well."""
    return waveform * level_gain(waveform.square())


def level_gain(power: Tensor, at_most: float = MAX_GAIN) -> Tensor:
    """What `levelled` multiplies sounds of these powers (B, n) with, (B, 1)."""
    frames = F.pad(power, (0, -power.shape[-1] % FRAME)).unflatten(-1, (-1, FRAME)).mean(-1)
    loud = frames >= frames.amax(-1, keepdim=True) * LOUD
    level = ((frames * loud).sum(-1, keepdim=True) / loud.sum(-1, keepdim=True)).sqrt()
    return (LEVEL / level.clamp(min=1e-9)).clamp(max=at_most)


# ---- the network ---------------------------------------------------------------------------------------


class Separable(nn.Module):
    """Depthwise 3x3 and pointwise convolution, each with ReLU; batch norms are folded in."""

    def __init__(self, channels: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, padding=2 - stride, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            x = _extended(x)
        return F.relu(self.pointwise(F.relu(self.depthwise(x))))


class Trunk(nn.Module):
    """YAMNet without its classifier: log-mel (B, T, N_MELS) -> the maps of its four time scales.

    Sound is cut into windows of 0.96 s which do not see each other; the pyramid joins them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 3, 2)
        layers, channels = [], 32
        for stride, channels_out in _LAYERS:
            layers.append(Separable(channels, channels_out, stride))
            channels = channels_out
        self.layers = nn.ModuleList(layers)

    def forward(self, mel: Tensor) -> list[Tensor]:
        """Returns (B, C, T / 4, 16), (B, C, T / 8, 8), (B, C, T / 16, 4), (B, C, T / 32, 2)."""
        windows = mel.unflatten(1, (-1, WINDOW_MELS)).flatten(0, 1)
        x = F.relu(self.stem(_extended(windows[:, None].contiguous(memory_format=torch.channels_last))))
        maps = []
        taken = {index for index, _, _ in SCALES}
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in taken:  # (B * windows, C, t, mels) -> (B, C, windows * t, mels)
                maps.append(x.unflatten(0, (len(mel), -1)).transpose(1, 2).flatten(2, 3))
        return maps


class TimeBlock(nn.Module):
    """Residual convolutions over time, (B, width, T)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.expand = nn.Conv1d(width, 2 * width, 1)
        self.contract = nn.Conv1d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.contract(F.silu(self.expand(self.depthwise(self.norm(x)))))


class AudioTower(Tower):
    """Embeds sound in the joint space; built directly, its weights are random: use `from_pretrained`."""

    tower, told_in = "audio", "nano-encoders.md"
    card = metadata("feature-extraction", "text", "sound-event-detection")
    purpose = (
        "The audio tower of PE-AV nano and PE-A-Frame nano: vectors of sound, as a whole and each 40 ms."
    )
    config: AudioConfig

    filters: Tensor

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        # made by numpy: a tower is built on the meta device, where torch could not compute them
        self.register_buffer("filters", torch.from_numpy(mel_filters()), persistent=False)
        self.trunk = Trunk()
        width = config.width
        self.laterals = nn.ModuleList(nn.Conv2d(c, width, (1, mels)) for _, c, mels in SCALES)
        self.blocks = nn.ModuleList(TimeBlock(width) for _ in SCALES)
        self.frame_norm = nn.GroupNorm(1, width)
        self.frame_head = nn.Conv1d(width, config.output, 1)
        top = SCALES[-1][1]
        self.attention = nn.Conv1d(top, 1, 1)
        self.clip_hidden = nn.Linear(2 * top, config.hidden)
        self.clip_head = nn.Linear(config.hidden, config.output)
        self.coarse_gain = nn.Parameter(torch.tensor(1.0))
        self.logit_scale = nn.Parameter(torch.tensor([30.0, 10.0, 25.0]))
        self.logit_bias = nn.Parameter(torch.tensor([-13.0, -5.0, -12.0]))

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        return checkpoints.build(checkpoint, lambda **sizes: cls(AudioConfig(**sizes)))

    def forward(self, waveform: Tensor, frame_valid: Tensor | None = None) -> AudioFeatures:
        """Args: waveform (B, n) at 48 kHz, any level; frame_valid (B, ceil(n / FRAME)), True on frames that count."""
        n_frames = -(-waveform.shape[-1] // FRAME)
        return self.from_mel(self.mel(levelled(waveform)), n_frames, frame_valid)

    def logits(self, dots: Tensor, kind: int) -> Tensor:
        """Turns dot products with text vectors into logits; ``kind`` is CLIP, FRAME_LEVEL or TEACHER."""
        return dots * self.logit_scale[kind] + self.logit_bias[kind]

    def mel(self, waveform: Tensor) -> Tensor:
        """Log-mel of a waveform (B, n), padded with silence to whole windows."""
        return log_mel(F.pad(waveform, (0, -waveform.shape[-1] % WINDOW)), self.filters)

    def from_mel(self, mel: Tensor, n_frames: int, frame_valid: Tensor | None = None) -> AudioFeatures:
        """Args: mel (B, T, N_MELS), T a multiple of WINDOW_MELS; n_frames: how many 40 ms frames to return."""
        return self.from_maps(self.trunk(mel), n_frames, frame_valid)

    def from_maps(
        self, maps: list[Tensor], n_frames: int, frame_valid: Tensor | None = None
    ) -> AudioFeatures:
        """What the trunk gave becomes vectors of the joint space; see `from_mel`."""
        heard = self.sensed(maps, n_frames)
        if frame_valid is None:
            frame_valid = heard.scores.new_ones(len(heard.scores), n_frames, dtype=torch.bool)
        padded = F.pad(frame_valid, (0, heard.scores.shape[-1] * STEP_FRAMES - frame_valid.shape[-1]))
        share = padded.unflatten(-1, (-1, STEP_FRAMES)).float().mean(-1)
        return AudioFeatures(heard.frames, pooled(heard.steps, heard.scores + share.clamp(min=1e-9).log()))

    def sensed(self, maps: list[Tensor], n_frames: int) -> Sensed:
        """The same before it is pooled, so that any stretch of it can be."""
        x: Tensor | None = None
        for feature, lateral, block in zip(
            reversed(maps), reversed(self.laterals), reversed(self.blocks), strict=True
        ):
            side = lateral(feature)[..., 0]
            x = side if x is None else side + x.repeat_interleave(2, dim=-1)
            x = block(x)
        assert x is not None
        top = maps[-1]
        both = torch.cat([top.mean(-1), top.amax(-1)], dim=1).mT  # (B, T / 32, 2C)
        # contiguous: torch would copy the weights for each excerpt
        steps = self.clip_head(F.silu(self.clip_hidden(both.contiguous()))).float()
        fine = self.frame_head(F.silu(self.frame_norm(x)))[..., :n_frames].transpose(1, 2)
        # what is heard comes from the steps, as for clips; when exactly, from the pyramid
        coarse = F.normalize(steps, dim=-1).repeat_interleave(STEP_FRAMES, dim=1)[:, :n_frames]
        scores = self.attention(top.mean(-1))[:, 0].float()
        return Sensed(fine.float() + self.coarse_gain * coarse, steps, scores)


def pooled(steps: Tensor, scores: Tensor) -> Tensor:
    """The clip vector of a stretch of steps, (B, D): see `Sensed`."""
    return F.normalize((steps * scores.softmax(-1)[..., None]).sum(1), dim=-1)


def _extended(x: Tensor) -> Tensor:
    """Pads for a stride of 2 as YAMNet does: a map of even size is extended at its end only."""
    return F.pad(x, (0, 1, 0, 1))
