"""Judge nano: how good is a stem, judged by ear and without the true sources?

It sees mixture, stem and what the stem left, as band energies; it hears the mixture through PE-AV nano: how much it
sounds like the prompt, as a whole and frame by frame; and it knows how the nano separator would share out the mixture,
which is an opinion of every cell, with its doubts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from judge import WEIGHTS
from judge.scales import scores_of_absent
from judge.types import Judge, Judgement, JudgeWindow, StemPrompt
from judge.windows import LEAST_S, RunningJudgement, is_silent, judgement
from peav import checkpoints
from peav.checkpoints import CheckpointError
from peav.nano.audio import CLIP, FRAME, SAMPLE_RATE, pooled
from peav.nano.text import TextTower
from sam_audio.errors import AudioReadError, ModelError, PromptError
from sam_audio.separator.base import SeparationStream
from sam_audio.separator.nano.bands import HOP, N_BANDS, power, stft, to_bands
from sam_audio.separator.nano.engine import Engine, load_engine
from sam_audio.separator.nano.overhearing import Opinion, Overheard, alone, opinion
from sam_audio.types import Samples

N_ROWS = N_BANDS // 2  # cells are two bands by 40 ms, the frames of PE-A-Frame
WINDOW = 16 * 46_080  # samples judged at once, 15.36 s: whole windows of the audio tower
SURELY_NOT = 0.1  # probability of being there below which scores turn into those of something that is not
_FLOOR_DB = -80.0
_SILENT_SHARE = 1e-7  # of the mixture's energy: a stem with less is silent
_PERFECT, _WRONG = (5.0,) * 4, (1.0, 5.0, 1.0, 1.0)  # stems of a silent mixture
N_FACTS = 4 + 2 + 7  # see `Given`
AT_ONCE = 8  # stems looked at together; bounds memory


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
        self.patches = nn.Conv2d(3 + 1 + 1, widths[0], 4, 2, padding=1)  # 2x2 downsampled, overlapping
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

    def forward(self, image: Tensor, track: Tensor, facts: Tensor) -> tuple[Tensor, Tensor]:
        """Scores as they are if the sound is there, not bounded to 1..5, and the logit of its being there.

        Shapes: see `Given` -> (N, 4), (N,).
        """
        x = torch.cat([image, track[:, None, None].expand(-1, -1, N_ROWS, -1)], dim=1)
        x = F.pad(x, (0, -x.shape[-1] % 8))
        x = self.stages(self.patches(x))
        weight = self.score(x).flatten(2).softmax(-1)
        flat = x.flatten(2)
        pooled = torch.cat([flat.mean(-1), flat.amax(-1), (flat * weight).sum(-1)], dim=1)
        h = self.dropout(F.silu(self.facts(facts) + self.pooled(self.dropout(pooled))))
        out = (self.head(F.silu(self.hidden(h)) + h) + self.direct(facts)).float()
        return 3 + out[:, :4], out[:, 4]


# ---- what it is given ----------------------------------------------------------------------------------


@dataclass
class MixtureWindow:
    """One window of a mixture, before any stem is known.

    ``samples`` (n,), n a multiple of FRAME; its ``spectrum`` (N_BINS, T); energies of its bands (N_BANDS, T); and what
    was ``heard`` in it for P prompts.
    """

    samples: Tensor
    spectrum: Tensor
    energies: Tensor
    heard: Opinion

    @classmethod
    def of(cls, samples: Tensor, heard: Callable[[Samples], Opinion]) -> MixtureWindow:
        """``heard`` tells what is heard in a mixture with these energies."""
        spectrum = stft(samples)[..., :-1]
        energies = to_bands(power(spectrum))
        return cls(samples, spectrum, energies, heard(energies.numpy()))


class Given(NamedTuple):
    """What the network is given of N stems.

    image (N, 4, N_ROWS, T): levels of mixture, stem and rest, and the separator's mask. track (N, T): when the mixture
    sounds like the prompt, 0..1. facts (N, N_FACTS): the mixture's clip logit; the mean, the highest and the
    energy-weighted mean of its frame logits; levels of stem and rest; what the masks expect.

    How stem and rest sound to the audio tower is not asked: it told nothing more, and took a quarter of the time.
    """

    image: Tensor
    track: Tensor
    facts: Tensor


def listen(engine: Engine, samples: Tensor, vectors: Samples) -> MixtureWindow:
    """Listens to one window of a mixture, (n,), for prompts with these vectors (P, 384)."""
    return MixtureWindow.of(
        samples, lambda energies: opinion(engine.listen(samples[None].numpy(), energies), alone(vectors))
    )


def compare(
    engine: Engine, mixed: MixtureWindow, stems: Tensor, rows: Sequence[int], vectors: Samples
) -> Given:
    """All that the network is given of N stems of one mixture.

    Args:
        engine: turns similarities into logits.
        mixed: the mixture, of n samples.
        stems: (N, n).
        rows: of each stem's prompt in what was heard; with its vector in ``vectors`` (N, 384).
    """
    samples, (masks, (frames, steps, scores)) = mixed.samples, mixed.heard
    clip = torch.from_numpy(engine.resemblance(_pooled(steps, scores), vectors, CLIP))
    frame = torch.from_numpy(engine.resemblance(frames, vectors))
    energy = samples.unflatten(-1, (-1, FRAME)).square().mean(-1)
    weight = energy / energy.sum().clamp(min=1e-12)
    told = torch.stack([clip, frame.mean(-1), frame.amax(-1), frame @ weight], dim=1)
    parts = torch.stack([stems, samples - stems], dim=1)
    loudness = parts.square().mean(-1) / samples.square().mean().clamp(min=1e-12)
    spectra = stft(stems)[..., :-1]
    both = torch.stack([to_bands(power(spectra)), to_bands(power(mixed.spectrum - spectra))], dim=1)
    energies = torch.cat([mixed.energies.expand(len(stems), 1, -1, -1), both], dim=1)
    theirs = torch.from_numpy(masks[list(rows)])
    share = _cells(theirs * energies[:, 0]) / _cells(energies[:, 0]).clamp(min=1e-12)
    return Given(
        torch.cat([levels(energies), share[:, None]], dim=1),
        frame.sigmoid(),
        torch.cat([told / 10, 10 * torch.log10(loudness + 1e-8) / 40, expected(theirs, energies)], dim=1),
    )


def _pooled(steps: Samples, scores: Samples) -> Samples:
    """The vector of a clip, (384,): see `peav.nano.audio.Sensed`."""
    return pooled(torch.from_numpy(steps)[None], torch.from_numpy(scores)[None])[0].numpy()


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
    cosine = (cross.square() / ((estimate + floor) * (target + floor))).clamp(0, 0.9999)
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


# ---- the judge -----------------------------------------------------------------------------------------


class NanoJudge(Judge):
    """Judge nano, ready to judge; implements `judge.types.Judge`.

    Silence has defined scores. Of a silent mixture, a silent stem is perfect (5 throughout) and any other is wrong
    (1, but nothing was lost: recall 5); nothing is present. A silent stem of a mixture gets what `judge.scales` says
    of it: 1 throughout if the sound is there, 5 if it is not.
    """

    sample_rate = SAMPLE_RATE
    window_s = WINDOW / SAMPLE_RATE
    vector_dim = 384  # of prompts that are no text: vectors of the joint space

    def __init__(self, name: str | os.PathLike[str] = "nano", engine: Engine | None = None) -> None:
        """``engine`` is what it listens with, by default the shipped one.

        Raises:
            CheckpointError: the weights are missing or damaged.
        """
        self.network = load_judge(name).eval().requires_grad_(False)
        self.name = str(name)
        self.engine = engine or listener()
        self._text: TextTower | None = None
        # windows of a recording ask for the same again
        self._embed = lru_cache(maxsize=256)(self._embed_text)

    def judge(
        self, mixture: Samples, stems: Sequence[Samples], prompts: Sequence[StemPrompt]
    ) -> list[Judgement]:
        """Judges each stem by its prompt; a prompt is text or a vector of the joint space.

        Shapes: mixture (n,) and each stem (n,), float32, mono, at 48 kHz. Long sound is judged in windows (see
        `RunningJudgement`).

        Raises:
            AudioReadError: lengths differ, or samples are not finite.
            PromptError: there is not one prompt for each stem, or a vector is of another space.
        """
        if len(stems) != len(prompts):
            raise PromptError(f"there are {len(stems)} stems and {len(prompts)} prompts: give one for each")
        for sound in (mixture, *stems):
            if np.ndim(sound) != 1 or np.shape(sound) != np.shape(mixture):
                raise AudioReadError(
                    f"the stem has {np.shape(sound)[-1]} samples and the mixture {np.shape(mixture)[-1]}: "
                    "align them first, both mono"
                )
            if not np.isfinite(sound).all():
                raise AudioReadError("the sounds hold NaN or infinite values: replace them first")
        vectors = self._vectors(prompts)
        running = RunningJudgement(
            lambda mixed, parts: self._judge_window(mixed, parts, vectors),
            len(stems),
            WINDOW,
            round(LEAST_S * SAMPLE_RATE),
        )
        running.push(np.stack([mixture, *stems]).astype(np.float32, copy=False))
        return running.finish()

    def along(self, stream: SeparationStream, prompts: Sequence[StemPrompt]) -> JudgeWindow | None:
        """Judges window after window by what a separation hears on its way, where that listens with the same engine:
        nothing is then listened to twice."""
        vectors = self._vectors(prompts)
        overheard: Overheard | None = stream.overhear(self.engine, vectors)
        if overheard is None:
            return None
        return lambda mixture, stems: self._judge_window(mixture, stems, vectors, overheard)

    def _vectors(self, prompts: Sequence[StemPrompt]) -> Samples:
        """(N, 384)."""
        return np.array([self._vector(prompt) for prompt in prompts], np.float32).reshape(-1, self.vector_dim)

    def _vector(self, prompt: StemPrompt) -> Samples:
        if isinstance(prompt, str):
            return self._embed(prompt)
        if np.shape(prompt) != (self.vector_dim,):
            raise PromptError(
                f"a prompt vector of shape {np.shape(prompt)} is of no use to Judge nano: "
                f"use one of {self.vector_dim} dimensions, or words"
            )
        return np.asarray(prompt, np.float32)

    def _embed_text(self, prompt: str) -> Samples:
        if self._text is None:
            self._text = TextTower.from_pretrained("nano")
        return self._text.embed([prompt])[0].numpy()

    @torch.inference_mode()
    def _judge_window(
        self, mixture: Samples, stems: Samples, vectors: Samples, overheard: Overheard | None = None
    ) -> list[Judgement]:
        """Shapes: mixture (n,), stems (N, n); vectors of their prompts (N, 384)."""
        if not len(vectors):
            return []
        padding = (0, -len(mixture) % FRAME)
        told = None if overheard is None else overheard.take((len(mixture) + padding[1]) // HOP)
        if is_silent(mixture):
            return [judgement(_PERFECT if is_silent(stem) else _WRONG, 0.0) for stem in stems]
        samples = F.pad(torch.from_numpy(mixture), padding)
        # once, however many stems there are
        mixed = (
            listen(self.engine, samples, vectors)
            if told is None
            else MixtureWindow.of(samples, lambda _: told)
        )
        parts = F.pad(torch.from_numpy(stems), padding)
        judgements = []
        for start in range(0, len(parts), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            rows = range(len(parts))[some]
            given = compare(self.engine, mixed, parts[some], rows, vectors[some])
            for row, scores, logit in zip(rows, *self.network(*given), strict=True):
                judgements.append(_weighed(scores, logit, stems[row], mixture))
        return judgements


def _weighed(scores: Tensor, logit: Tensor, stem: Samples, mixture: Samples) -> Judgement:
    """The scores (4,) as if the sound is there, unless it surely is not."""
    present = float(logit.sigmoid())
    there = scores.clamp(1, 5).numpy()
    if float(np.square(stem).sum()) <= _SILENT_SHARE * float(np.square(mixture).sum()):
        there = np.ones_like(there)
    share = min(present / SURELY_NOT, 1.0)
    weighed = share * there + (1 - share) * scores_of_absent(stem, mixture)
    return judgement(weighed.tolist(), present)


def load_judge(name: str | os.PathLike[str] = "nano") -> JudgeNetwork:
    """The network of a checkpoint; raises CheckpointError when it is missing, damaged or of another kind."""
    return checkpoints.build(checkpoints.load(name, "judge", WEIGHTS), JudgeNetwork)


def listener() -> Engine:
    """The shipped networks, which a judge listens with.

    Raises:
        CheckpointError: weights are missing or damaged.
    """
    try:
        return load_engine()
    except ModelError as error:
        raise CheckpointError(str(error)) from None
