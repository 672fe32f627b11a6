"""Judge nano's network in torch, and what it sees of what was measured: `judge.nano` runs them as a graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from judge import WEIGHTS
from peav import checkpoints
from peav.checkpoints import Checkpoint
from sam_audio.separator.nano.bands import N_BANDS

N_ROWS = N_BANDS // 2  # cells are two bands by 40 ms, the frames of PE-A-Frame
N_FACTS = 4 + 3 + 2 + 7  # see `Given`
WHEN_FACTS = slice(4, 7)  # of them: when the prompt sounds to the separator
_FLOOR_DB = -80.0


class Given(NamedTuple):
    """What the network is given of N stems.

    image (N, 4, N_ROWS, T): levels of mixture, stem and rest, and the separator's mask. tracks (N, 2, T): when the
    mixture sounds like the prompt to the audio tower, and to the separator, 0..1. facts (N, N_FACTS): the mixture's
    clip logit; the mean, the highest and the energy-weighted mean of its frame logits, and of the separator's; levels
    of stem and rest; what the masks expect.
    """

    image: Tensor
    tracks: Tensor
    facts: Tensor


def given(
    energies: Tensor,
    masks: Tensor,
    when: Tensor,
    clip: Tensor,
    frames: Tensor,
    weights: Tensor,
    loudness: Tensor,
) -> Given:
    """What the network is given of what `judge.nano.Compared` holds."""
    share = _cells(masks * energies[:, 0]) / _cells(energies[:, 0]).clamp(min=1e-12)
    told = torch.stack([clip, *_summed_up(frames, weights), *_summed_up(when, weights)], dim=1)
    return Given(
        torch.cat([levels(energies), share[:, None]], dim=1),
        torch.stack([frames, when], dim=1).sigmoid(),
        torch.cat([told / 10, 10 * torch.log10(loudness + 1e-8) / 40, expected(masks, energies)], dim=1),
    )


def _summed_up(logits: Tensor, weights: Tensor) -> list[Tensor]:
    """Mean, highest, and mean by ``weights`` (T,), of logits (N, T)."""
    return [logits.mean(-1), logits.amax(-1), logits @ weights]


def expected(mask: Tensor, energies: Tensor) -> Tensor:
    """What can be expected of stems if the mask says how likely each cell belongs to the target.

    Shapes: mask (..., N_BANDS, T) in 0..1, energies (..., 3, N_BANDS, T) of mixture, stem and rest -> (..., 7), in
    units of 20 dB: SI-SDR, target kept, interference against stem, target lost, stem against target, target against
    mixture; and the share of the mixture that is in doubt, 0..1.
    """
    mixture, stem = energies[..., 0, :, :], energies[..., 1, :, :]

    def total(x: Tensor) -> Tensor:
        return (x * mixture).sum((-2, -1))

    gain = (stem / mixture.clamp(min=1e-12)).sqrt().clamp(max=1.5)
    everything = total(torch.ones_like(mask))
    floor = 1e-6 * everything + 1e-12
    target, estimate, cross = total(mask), total(gain.square()), total(gain * mask)
    wrong = total(gain.square() * (1 - mask))
    lost = total((1 - gain).clamp(min=0) * mask)
    cosine = (cross.square() / ((estimate + floor) * (target + floor))).clamp(0.0, 0.9999)
    ratios = [
        cosine / (1 - cosine),
        cross / (target + floor),
        wrong / (estimate + floor),
        lost / (target + floor),
        estimate / (target + floor),
        target / (everything + floor),
    ]
    decibels = 10 * torch.log10(torch.stack(ratios, dim=-1) + 1e-4) / 20
    doubt = total(mask * (1 - mask)) / (everything + floor)
    return torch.cat([decibels, doubt[..., None]], dim=-1)


def _cells(x: Tensor) -> Tensor:
    """Means over two bands by two frames: (..., N_BANDS, T) -> (..., N_ROWS, T / 2)."""
    return x.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).mean(dim=(-3, -1))


def levels(energies: Tensor) -> Tensor:
    """Energies of mixture, stem and rest against the mixture's mean, in units of 40 dB.

    Shape: (..., 3, N_BANDS, T), mixture first -> (..., 3, N_ROWS, T / 2) in -2..about 1.
    """
    cells = _cells(energies)
    mean = cells[..., :1, :, :].mean((-2, -1), keepdim=True).clamp(min=1e-9)
    return (10 * torch.log10(cells / mean + 10 ** (_FLOOR_DB / 10))) / 40


class Block(nn.Module):
    """Residual 3x3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(self.norm(x)))))


class JudgeNetwork(nn.Module):
    """What is given of stems in; four scores and the logit of presence out.

    Args:
        widths: channels of the stages over bands and frames.
        hidden: width of what is made of all together.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 96), hidden: int = 128) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3 + 1 + 2, widths[0], 4, 2, padding=1)  # 2x2 downsampled, overlapping
        stages: list[nn.Module] = []
        for i, width in enumerate(widths):
            if i:
                stages.append(nn.Conv2d(widths[i - 1], width, 2, 2))
            stages.append(Block(width))
        self.stages = nn.Sequential(*stages)
        self.score = nn.Conv2d(widths[-1], 1, 1)
        self.facts = nn.Linear(N_FACTS, hidden)
        self.pooled = nn.Linear(3 * widths[-1], hidden)
        self.hidden = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(hidden, 5)
        self.direct = nn.Linear(N_FACTS, 5, bias=False)  # much of the truth is linear in what is expected

    def forward(self, image: Tensor, tracks: Tensor, facts: Tensor) -> tuple[Tensor, Tensor]:
        """Scores as they are if the sound is there, not bounded to 1..5, and the logit of its being there.

        Shapes: see `Given` -> (N, 4), (N,).
        """
        x = torch.cat([image, tracks[:, :, None].expand(-1, -1, N_ROWS, -1)], dim=1)
        x = F.pad(x, (0, 7))
        x = x[..., : x.shape[-1] // 8 * 8]  # to a multiple of 8, in a way that torch.export follows
        x = self.stages(self.patches(x))
        weight = self.score(x).flatten(2).softmax(-1)
        flat = x.flatten(2)
        pooled = torch.cat([flat.mean(-1), flat.amax(-1), (flat * weight).sum(-1)], dim=1)
        h = self.dropout(F.silu(self.facts(facts) + self.pooled(self.dropout(pooled))))
        out = (self.head(F.silu(self.hidden(h)) + h) + self.direct(facts)).float()
        return 3 + out[:, :4], out[:, 4]


def load_judge(name: str | os.PathLike[str] = "nano") -> JudgeNetwork:
    """The network of a checkpoint; raises CheckpointError when it is missing, damaged or of another kind."""
    return network_of(checkpoints.load(name, "judge", WEIGHTS))


def network_of(checkpoint: Checkpoint) -> JudgeNetwork:
    """The same of a checkpoint that was read."""
    return checkpoints.build(checkpoint, JudgeNetwork).eval().requires_grad_(False)


def in_torch(checkpoint: Checkpoint) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """What judges stems by what `judge.nano.Compared` holds: gives scores (N, 4) and probabilities (N,)."""
    network = network_of(checkpoint)

    @torch.inference_mode()
    def judge(found: Sequence[np.ndarray]) -> list[np.ndarray]:
        scores, logits = network(*given(*(torch.from_numpy(x) for x in found)))
        return [scores.numpy(), logits.sigmoid().numpy()]

    return judge
