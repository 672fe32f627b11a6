"""Judge nano: how good is a stem, judged by ear and without the true sources?

It sees mixture, stem and what the stem left, as band energies; and it hears them through PE-AV nano: how much
each of the three sounds like the prompt, as a whole and frame by frame.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from judge.types import Judgement, Prompt
from judge.windows import LEAST_S, RunningJudgement, is_silent, judgement
from peav import checkpoints
from peav.checkpoints import CheckpointError
from peav.nano.audio import CLIP, FRAME, FRAME_LEVEL, SAMPLE_RATE, AudioFeatures, AudioTower, levelled
from peav.nano.text import TextTower
from sam_audio.errors import AudioReadError, PromptError
from sam_audio.types import Samples

N_FFT, HOP = 2048, FRAME  # 40 ms, the frames of PE-A-Frame
N_BANDS = 64
WINDOW = 8 * 46_080  # samples judged at once, 7.68 s: whole windows of the audio tower
_FLOOR_DB = -80.0
_SILENT_SHARE = 1e-7  # of the mixture's energy: a stem with less is silent
_PERFECT, _WRONG = (5.0,) * 4, (1.0, 5.0, 1.0, 1.0)  # stems of a silent mixture
N_FACTS = 3 + 3 * 3 + 2  # see `listen`


@lru_cache(maxsize=1)
def band_edges() -> tuple[int, ...]:
    """First bin of each of N_BANDS bands: narrow at the bottom, widening like a mel scale; then the last bin."""
    mel = np.linspace(0, np.log1p(24_000 / 700), N_BANDS + 1)
    edges = np.round(700 * np.expm1(mel) / SAMPLE_RATE * N_FFT).astype(int)
    for i in range(1, len(edges)):
        edges[i] = max(edges[i], edges[i - 1] + 1)
    return (*map(int, edges[:-1]), N_FFT // 2 + 1)


def band_levels(signals: Tensor) -> Tensor:
    """Band energies of mixture, stem and rest against the mixture's mean, in units of 40 dB.

    Shape: (B, 3, n), n a multiple of HOP, mixture first -> (B, 3, N_BANDS, n / HOP) in -2..about 1.
    """
    n_frames = signals.shape[-1] // HOP
    padded = F.pad(signals, (0, N_FFT - HOP))
    spectrum = torch.fft.rfft(padded.unfold(-1, N_FFT, HOP) * torch.hann_window(N_FFT))
    energy = (spectrum.real.square() + spectrum.imag.square()).transpose(-1, -2)
    edges = band_edges()
    index = torch.repeat_interleave(torch.arange(N_BANDS), torch.tensor(edges).diff())
    bands = energy.new_zeros(*energy.shape[:2], N_BANDS, n_frames).index_add_(2, index, energy)
    mean = bands[:, :1].mean((2, 3), keepdim=True).clamp(min=1e-9)
    return (10 * torch.log10(bands / mean + 10 ** (_FLOOR_DB / 10))) / 40


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
    """Band levels, activity tracks and facts in; four scores and the logit of presence out."""

    def __init__(self, widths: Sequence[int] = (32, 64, 96), hidden: int = 128) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3 + 3, widths[0], 4, 2, padding=1)  # 2x2 downsampled, overlapping
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
        self.head = nn.Linear(hidden, 5)

    def forward(self, levels: Tensor, tracks: Tensor, facts: Tensor) -> tuple[Tensor, Tensor]:
        """Shapes: levels (B, 3, N_BANDS, T), tracks (B, 3, T), facts (B, N_FACTS) -> (B, 4) in 1..5, (B,)."""
        x = torch.cat([levels, tracks[:, :, None].expand(-1, -1, N_BANDS, -1)], dim=1)
        x = F.pad(x, (0, -x.shape[-1] % 8))
        x = self.stages(self.patches(x))
        weight = self.score(x).flatten(2).softmax(-1)
        flat = x.flatten(2)
        pooled = torch.cat([flat.mean(-1), flat.amax(-1), (flat * weight).sum(-1)], dim=1)
        h = F.silu(self.facts(facts) + self.pooled(pooled))
        out = self.head(F.silu(self.hidden(h)) + h)
        return 1 + 4 * torch.sigmoid(out[:, :4].float()), out[:, 4].float()


def listen(tower: AudioTower, signals: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
    """What PE-AV nano hears of the prompt in mixture, stem and rest.

    Shapes: signals (3, n), vector (384,) -> activity (3, T) in 0..1 and facts (N_FACTS,): clip logits; the mean,
    the highest, and the energy-weighted mean of frame logits of each; levels of stem and rest in units of 40 dB.
    """
    return compare(tower, tower(signals), signals, vector)


def compare(
    tower: AudioTower, heard: AudioFeatures, signals: Tensor, vector: Tensor
) -> tuple[Tensor, Tensor]:
    """As `listen`, of what the tower heard already."""
    clip = tower.logits(heard.clip @ vector, CLIP)
    frame = tower.logits(heard.frames @ vector, FRAME_LEVEL)
    energy = signals.unflatten(-1, (-1, FRAME)).square().mean(-1)
    weight = energy / energy.sum(-1, keepdim=True).clamp(min=1e-12)
    loudness = 10 * torch.log10(energy.mean(-1) / energy[0].mean().clamp(min=1e-12) + 1e-8) / 40
    parts = [clip, frame.mean(-1), frame.amax(-1), (frame * weight).sum(-1)]
    facts = torch.cat([torch.stack(parts, 1).flatten() / 10, loudness[1:]])
    return frame.sigmoid(), facts


class NanoJudge:
    """Judge nano, ready to judge; implements `judge.types.Judge`.

    Silence has defined scores. Of a silent mixture, a silent stem is perfect (5 throughout) and any other is wrong
    (1, but nothing was lost: recall 5); nothing is present. A silent stem of a mixture gets what `judge.scales` says
    of it, weighed by presence: 1 throughout if the sound is there, 5 if it is not.
    """

    sample_rate = SAMPLE_RATE
    window_s = WINDOW / SAMPLE_RATE
    vector_dim = 384  # of prompts that are no text: vectors of the joint space

    def __init__(self, name: str | os.PathLike[str] = "nano", audio: AudioTower | None = None) -> None:
        """Raises CheckpointError when the weights are missing or damaged."""
        checkpoint = checkpoints.load(name, "judge")
        settings = checkpoint.config.get("model", {})
        try:
            with torch.device("meta"):
                self.network = JudgeNetwork(**settings)
        except TypeError:
            raise CheckpointError(f"The config of {checkpoint.path} does not describe Judge nano.") from None
        checkpoints.fill(self.network, checkpoint)
        self.network.eval().requires_grad_(False)
        self.name = str(name)
        self.audio = audio or AudioTower.from_pretrained("nano")
        self._text: TextTower | None = None
        # windows of a recording ask for the same again
        self._embed = lru_cache(maxsize=256)(self._embed_text)

    def judge(self, mixture: Samples, stems: Sequence[Samples], prompts: Sequence[Prompt]) -> list[Judgement]:
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
        vectors = [self._vector(prompt) for prompt in prompts]
        running = RunningJudgement(
            lambda mixed, parts: self._judge_window(mixed, parts, vectors),
            len(stems),
            WINDOW,
            round(LEAST_S * SAMPLE_RATE),
        )
        running.push(np.stack([mixture, *stems]).astype(np.float32, copy=False))
        return running.finish()

    def _vector(self, prompt: Prompt) -> Tensor:
        if isinstance(prompt, str):
            return self._embed(prompt)
        if np.shape(prompt) != (self.vector_dim,):
            raise PromptError(
                f"a prompt vector of shape {np.shape(prompt)} is of no use to Judge nano: "
                f"use one of {self.vector_dim} dimensions, or words"
            )
        return torch.from_numpy(np.asarray(prompt, np.float32))

    def _hear(self, signals: Tensor) -> AudioFeatures:
        """As the tower itself, at half the cost where the processor computes bfloat16 natively."""
        mel = self.audio.mel(levelled(signals))
        with torch.autocast("cpu", torch.bfloat16, enabled=_cpu_has_bfloat16()):
            return self.audio.from_mel(mel, signals.shape[-1] // FRAME)

    @torch.inference_mode()
    def _embed_text(self, prompt: str) -> Tensor:
        if self._text is None:
            self._text = TextTower.from_pretrained("nano")
        return self._text.embed([prompt])[0]

    @torch.inference_mode()
    def _judge_window(self, mixture: Samples, stems: Samples, vectors: Sequence[Tensor]) -> list[Judgement]:
        """Shapes: mixture (n,), stems (N, n)."""
        if is_silent(mixture):
            return [judgement(_PERFECT if is_silent(stem) else _WRONG, 0.0) for stem in stems]
        padding = (0, -len(mixture) % FRAME)
        mixed = F.pad(torch.from_numpy(mixture)[None], padding)
        heard = self._hear(mixed)  # once, however many stems there are
        judgements = []
        for stem, vector in zip(torch.from_numpy(stems), vectors, strict=True):
            part = F.pad(stem[None], padding)
            signals = torch.cat([mixed, part, mixed - part])
            both = self._hear(signals[1:])
            features = AudioFeatures(
                torch.cat([heard.frames, both.frames]), torch.cat([heard.clip, both.clip])
            )
            tracks, facts = compare(self.audio, features, signals, vector)
            scores, logit = self.network(band_levels(signals[None]), tracks[None], facts[None])
            present = float(logit[0].sigmoid())
            if float(part.square().sum()) <= _SILENT_SHARE * float(mixed.square().sum()):
                scores = torch.full_like(scores, 5 - 4 * present)
            judgements.append(judgement(scores[0].tolist(), present))
        return judgements


def _cpu_has_bfloat16() -> bool:
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(check and check())
