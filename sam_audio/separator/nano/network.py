"""The nano separator's network: one analysis of the mixture, any number of prompts.

The convolutional trunk does not see the prompt. It gives K mask bases per band and frame, tokens that
summarise what the excerpt contains, and one vector per 80 ms. A small conditioner turns each prompt into K+1
coefficients per frame; a mask is ``sigmoid(bases . coefficients + bias)``. Adding a prompt therefore costs
next to nothing, and in training every source of a mixture is a target at once. The mask-basis idea follows
Zhao et al., "The Sound of Pixels" (2018); the prompt reads the tokens by cross-attention so that it can adapt
to how the sound asked for sounds in this very recording.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peav.nano.audio import SCALES
from peav.nano.sound import mel_position
from sam_audio.separator.nano.bands import (
    N_BANDS,
    N_FFT,
    SAMPLE_RATE,
    TIME_MULTIPLE,
    band_edges,
    newest,
    padded_frames,
)
from sam_audio.separator.nano.rivals import COARSE, Candidates, Rivalry, coarse


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes; stored beside the weights."""

    channels: tuple[int, ...] = (48, 96, 192, 256)
    blocks: tuple[int, ...] = (1, 2, 2, 2)
    attention_layers: int = 2
    n_bases: int = 32
    prompt_dim: int = 384
    query_dim: int = 256
    n_reads: int = 2  # times that a prompt looks at what the excerpt holds, by cross-attention
    frame_dim: int = 96
    hears: bool = False  # whether the trunk is given what PE-A-Frame nano's trunk heard
    n_labels: int = 0  # of the vocabulary that rivals are taken from; 0: prompts do not compete
    n_hypernyms: int = 0
    tells_when: bool = False  # whether it says in which frames each prompt sounds

    def grows_from(self, smaller: NetworkConfig) -> bool:
        """Whether a network of this config can go on from one of ``smaller``: what it has more adds nothing at
        first."""
        deeper = replace(
            smaller,
            blocks=self.blocks,
            attention_layers=self.attention_layers,
            tells_when=self.tells_when or smaller.tells_when,
        )
        return (
            deeper == self
            and len(self.blocks) == len(smaller.blocks)
            and all(mine >= its for mine, its in zip(self.blocks, smaller.blocks, strict=True))
            and self.attention_layers >= smaller.attention_layers
        )

    @classmethod
    def of(cls, values: dict[str, Any]) -> NetworkConfig:
        """From the json beside the weights, whose lists stand for tuples."""
        sizes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**sizes)


@dataclass
class Conditions:
    """What is asked for: N prompts for each of B excerpts.

    ``vectors`` (B, N, 384) in the joint space and ``vector_valid`` (B, N) bool (False: the prompt has no text,
    picture or example, only spans). ``tracks`` (B, N, 4, T) at the network's 20 ms frames, or None when no
    prompt has any: activity in 0..1, whether the activity is known, present spans, absent spans.
    """

    vectors: Tensor
    vector_valid: Tensor
    tracks: Tensor | None = None


@dataclass
class Analysis:
    """What the trunk found in B excerpts, before any prompt is known.

    Shapes: bases (B, T, K, N_BANDS), see :func:`_shuffle`; tokens (B, L, C) with L = bands/16 * T/16; frames
    (B, C, T/4).
    """

    bases: Tensor
    tokens: Tensor
    frames: Tensor
    n_frames: int = field(default=0)  # before padding to TIME_MULTIPLE


def silence(layer: nn.Module) -> None:
    """Zeroes a layer, so that the branch it closes adds nothing until it has learned to."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        silence(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(self.norm(x)))))


class Feedforward(nn.Sequential):
    def __init__(self, dim: int, expansion: int = 2):
        super().__init__(
            nn.LayerNorm(dim), nn.Linear(dim, dim * expansion), nn.SiLU(), nn.Linear(dim * expansion, dim)
        )


class Attention(nn.Module):
    """Pre-norm multi-head attention; queries and keys may come from different places."""

    def __init__(self, dim: int, context_dim: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.context_norm = nn.LayerNorm(context_dim)
        self.to_q = nn.Linear(dim, dim)
        self.to_kv = nn.Linear(context_dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Shapes: x (B, N, dim), context (B, L, context_dim) -> (B, N, dim)."""
        q = self.to_q(self.norm(x))
        k, v = self.to_kv(self.context_norm(context)).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        # spelled out: the backward pass of torch's fused attention is many times slower on so few tokens
        mixed = (q * q.shape[-1] ** -0.5 @ k.mT).softmax(dim=-1) @ v
        return x + self.out(mixed.transpose(1, 2).flatten(-2))


class Hearing(nn.Module):
    """Brings the maps of the audio tower's trunk to the levels of the U-Net.

    That trunk knows the sounds of AudioSet, of which a separator of this size could learn little by itself. Each
    of its four time scales (40 to 320 ms) has a level of the same scale here; its mel rows are interpolated to
    where the bands of that level lie.
    """

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        self.laterals = nn.ModuleList()
        for level, ((_, heard, rows), own) in enumerate(zip(SCALES, channels, strict=True)):
            lateral = nn.Conv2d(heard, own, 1)
            silence(lateral)
            self.laterals.append(nn.Sequential(nn.GroupNorm(1, heard), lateral))
            weights = torch.from_numpy(_rows_to_rows(rows, N_BANDS // 2 ** (level + 1)))
            self.register_buffer(f"rows{level}", weights, persistent=False)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """What to add at each level: maps of the tower's trunk, of the excerpt and no more, (B, C, t, mel rows) each
        -> (B, C of the level, bands, t) each."""
        added = []
        for level, (lateral, heard) in enumerate(zip(self.laterals, maps, strict=True)):
            x = lateral(heard.contiguous())
            weights = getattr(self, f"rows{level}").to(x.dtype)
            added.append(weights @ x.mT)
        return added


def _rows_to_rows(n_mels: int, n_rows: int) -> np.ndarray:
    """Linear interpolation from rows of mel bands to rows of our bands, (n_rows, n_mels) float32."""
    hertz = np.asarray(band_edges()) * SAMPLE_RATE / N_FFT
    edges = hertz[:: N_BANDS // n_rows]
    position = mel_position((edges[:-1] + edges[1:]) / 2) * n_mels - 0.5
    position = position.clip(
        0, n_mels - 1
    )  # there are no mel bands above 7.5 kHz: the highest one speaks for all
    distance = np.abs(position[:, None] - np.arange(n_mels))
    return (1 - distance).clip(0).astype(np.float32)


class Trunk(nn.Module):
    """U-Net over the spectrogram, with attention over the tokens of its lowest level."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        channels = config.channels
        self.stem = nn.Conv2d(2, channels[0], 4, stride=2, padding=1)
        self.band_embedding = nn.Parameter(torch.empty(1, channels[0], N_BANDS // 2, 1))
        # not normal_, which on the meta device imports torch._dynamo and sympy: three seconds
        nn.init.uniform_(self.band_embedding, -0.17, 0.17)
        self.encoders = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(c) for _ in range(n)))
            for c, n in zip(channels, config.blocks, strict=True)
        )
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, 2, stride=2) for a, b in zip(channels[:-1], channels[1:], strict=True)
        )
        self.hearing = Hearing(channels) if config.hears else None
        bottom = channels[-1]
        self.attentions = nn.ModuleList(Attention(bottom, bottom, 8) for _ in range(config.attention_layers))
        self.feedforwards = nn.ModuleList(Feedforward(bottom, 3) for _ in range(config.attention_layers))
        for added in (*self.attentions, *self.feedforwards):
            silence(added.out if isinstance(added, Attention) else added[-1])
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in zip(channels[:-1], channels[1:], strict=True)
        )
        self.decoders = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(c) for _ in range(n)))
            for c, n in zip(channels[:-1], config.blocks[:-1], strict=True)
        )
        self.to_bases = nn.Sequential(
            nn.GroupNorm(1, channels[0]), nn.SiLU(), nn.Conv2d(channels[0], config.n_bases * 4, 1)
        )

    def forward(self, x: Tensor, maps: list[Tensor] | None = None) -> Analysis:
        """Shapes: x (B, 2, N_BANDS, T), T a multiple of TIME_MULTIPLE; maps: see :class:`Hearing`."""
        heard = self.hearing(maps) if self.hearing and maps else None
        x = self.stem(x) + self.band_embedding
        skips = []
        for level, encoder in enumerate(self.encoders):
            x = encoder(x if heard is None else x + heard[level])
            if level < len(self.downs):
                skips.append(x)
                x = self.downs[level](x)
        shape = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        for attention, feedforward in zip(self.attentions, self.feedforwards, strict=True):
            tokens = attention(tokens, tokens)
            tokens = tokens + feedforward(tokens)
        x = tokens.transpose(1, 2).reshape(shape)
        frames = x
        for level in reversed(range(len(self.ups))):
            x = self.decoders[level](self.ups[level](x) + skips[level])
            if level == 1:
                frames = x.mean(dim=2)
        return Analysis(_shuffle(self.to_bases(x)), tokens, frames)


class Conditioner(nn.Module):
    """Turns prompts into mask coefficients over time."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        dim, bottom, frame_dim = config.query_dim, config.channels[-1], config.frame_dim
        self.n_rows = N_BANDS // 2 ** len(config.channels)
        self.from_vector = nn.Sequential(nn.Linear(config.prompt_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.no_vector = nn.Parameter(torch.zeros(dim))
        self.from_spans = nn.Sequential(nn.Linear(2 * bottom + 2, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.reads = nn.ModuleList(Attention(dim, bottom, 4) for _ in range(config.n_reads))
        self.feedforwards = nn.ModuleList(Feedforward(dim) for _ in range(config.n_reads))
        self.out_norm = nn.LayerNorm(dim)
        self.to_coefficients = nn.Linear(dim, config.n_bases + 1)
        self.query_to_frame = nn.Linear(dim, 2 * frame_dim)
        self.frame_in = nn.Conv1d(config.channels[1], 2 * frame_dim, 3, padding=1)
        # no bias: all-zero tracks (nothing known) then change nothing
        self.track_in = nn.Conv1d(4, frame_dim, 3, padding=1, bias=False)
        self.frame_mid = nn.Conv1d(frame_dim, frame_dim, 5, padding=2)
        self.frame_out = nn.Conv1d(frame_dim, config.n_bases + 1, 1)
        for added in (*self.reads, *self.feedforwards):  # the prompt itself comes first
            silence(added.out if isinstance(added, Attention) else added[-1])
        silence(self.frame_out)  # starts as a network without time-varying coefficients

    def forward(self, analysis: Analysis, conditions: Conditions) -> tuple[Tensor, Tensor, Tensor]:
        """Returns coefficients and bias at 80 ms frames, (B, N, K+1, T/4), and what they were made of: the query
        (B, N, query_dim) and its reading of the frames (B, N, frame_dim, T/4)."""
        valid = conditions.vector_valid[..., None]
        # a unit vector's entries are small: brought to unit variance, or the layers below would hear mostly
        # their own biases and learn to ignore the prompt
        vectors = conditions.vectors * conditions.vectors.shape[-1] ** 0.5
        query = torch.where(valid, self.from_vector(vectors), self.no_vector)
        if conditions.tracks is not None:
            query = query + self._span_summary(analysis.tokens, conditions.tracks)
        for read, feedforward in zip(self.reads, self.feedforwards, strict=True):
            query = read(query, analysis.tokens)
            query = query + feedforward(query)
        query = self.out_norm(query)
        shift, scale = self.query_to_frame(query)[..., None].chunk(2, dim=2)
        here, keyed = self.frame_in(analysis.frames)[:, None].chunk(2, dim=2)
        hidden = here + shift + scale * keyed
        if conditions.tracks is not None:
            batch, n_prompts = conditions.tracks.shape[:2]
            pooled = F.avg_pool1d(conditions.tracks.flatten(0, 1), 4)
            hidden = hidden + self.track_in(pooled).unflatten(0, (batch, n_prompts))
        reading = F.silu(self.frame_mid(F.silu(hidden).flatten(0, 1)))
        moving = self.frame_out(reading).unflatten(0, hidden.shape[:2])
        return self.to_coefficients(query)[..., None] + moving, query, reading.unflatten(0, hidden.shape[:2])

    def _span_summary(self, tokens: Tensor, tracks: Tensor) -> Tensor:
        """What the excerpt holds inside the present spans and inside the absent spans, as a query offset."""
        over_time = tokens.unflatten(1, (self.n_rows, -1)).mean(dim=1)  # (B, T/16, C)
        spans = F.avg_pool1d(tracks[:, :, 2:].flatten(0, 1), TIME_MULTIPLE).unflatten(0, tracks.shape[:2])
        total = spans.sum(dim=-1)  # (B, N, 2)
        weights = spans / total.clamp_min(1e-3)[..., None]
        pooled = torch.einsum("bnst,btc->bnsc", weights.to(over_time.dtype), over_time).flatten(2)
        present = (total > 0).to(pooled.dtype)
        offset = self.from_spans(torch.cat([pooled, present], dim=-1))
        return offset * (present.sum(dim=-1, keepdim=True) > 0)


class Timekeeper(nn.Module):
    """In which 40 ms frames does each prompt sound?

    It looks at what the masks take, frame by frame and over the whole excerpt, at what the conditioner made of the
    prompt and at what the audio tower said, and learns from mixtures whose sources are known. The masks are taken as
    they are: they are not bent to tell the time better.
    """

    N_FACTS = 6
    WIDTH = 48

    def __init__(self, config: NetworkConfig):
        super().__init__()
        width = self.WIDTH
        self.from_query = nn.Linear(config.query_dim, width)
        self.from_reading = nn.Conv1d(config.frame_dim, width, 1)
        self.from_facts = nn.Conv1d(self.N_FACTS, width, 1)
        self.near = nn.Conv1d(width, width, 9, padding=4)
        self.from_excerpt = nn.Linear(2 * width, width)  # is it there at all?
        self.wide = nn.Conv1d(width, width, 9, padding=4)
        self.out = nn.Conv1d(width, 1, 1)

    def forward(
        self, query: Tensor, reading: Tensor, logits: Tensor, energies: Tensor, tracks: Tensor | None
    ) -> Tensor:
        """Logits (B, N, T/2).

        Args:
            query: (B, N, query_dim), and ``reading`` (B, N, frame_dim, >= T/4): see :class:`Conditioner`.
            logits: of the masks, (B, N, N_BANDS, T).
            energies: of the mixture, (B, N_BANDS, T).
            tracks: see :class:`Conditions`.
        """
        facts = self._facts(logits.detach().float().sigmoid(), energies)
        heard = torch.zeros_like(facts[:, :, :2])
        if tracks is not None:
            activity, known = tracks[:, :, :2, : facts.shape[-1]].unbind(dim=2)
            heard = torch.stack([known * torch.logit(activity, eps=1e-3) / 4, known], dim=2)
        facts = F.avg_pool1d(torch.cat([facts, heard], dim=2).flatten(0, 1), 2)
        fine = self.from_reading(reading.flatten(0, 1)).repeat_interleave(2, dim=-1)[..., : facts.shape[-1]]
        x = fine + self.from_facts(facts) + self.from_query(query).flatten(0, 1)[..., None]
        x = F.silu(x + self.near(F.silu(x)))
        excerpt = self.from_excerpt(torch.cat([x.mean(dim=-1), x.amax(dim=-1)], dim=-1))
        x = F.silu(x + self.wide(x) + excerpt[..., None])
        return self.out(x)[:, 0].unflatten(0, query.shape[:2]).float()

    @staticmethod
    def _facts(masks: Tensor, energies: Tensor) -> Tensor:
        """Of each frame: the masks' share of the mixture, their level within the excerpt and against the whole
        mixture, and the boldest mask among 16 parts of the spectrum; (B, N, 4, T)."""
        taken = torch.einsum("bnft,bft->bnt", masks, energies)
        total = energies.sum(dim=1)[:, None]
        mean = total.mean(dim=-1, keepdim=True) + 1e-9
        ratios = [
            taken / (total + 1e-4 * mean),
            taken / (taken.mean(dim=-1, keepdim=True) + 1e-6 * mean),
            taken / mean,
        ]
        bold = masks.unflatten(2, (16, -1)).mean(dim=3).amax(dim=2)
        return torch.stack([*(torch.log10(ratio + 1e-4) for ratio in ratios), bold], dim=2)


class Response(NamedTuple):
    """Mask logits (B, N, N_BANDS, T), and logits of sounding at all at 40 ms frames, (B, N, T/2), where the network
    tells."""

    masks: Tensor
    sounding: Tensor | None


class MaskNetwork(nn.Module):
    """Trunk, conditioner and, where it has a vocabulary, the competition between sounds."""

    def __init__(self, config: NetworkConfig | None = None):
        super().__init__()
        self.config = config or NetworkConfig()
        self.trunk = Trunk(self.config)
        self.conditioner = Conditioner(self.config)
        sizes = self.config.n_labels, self.config.n_hypernyms, self.config.prompt_dim
        self.rivalry = Rivalry(*sizes) if self.config.n_labels else None
        self.timekeeper = Timekeeper(self.config) if self.config.tells_when else None

    def analyse(self, features: Tensor, maps: list[Tensor] | None = None) -> Analysis:
        """Runs the trunk once.

        Args:
            features: (B, 2, N_BANDS, T), any T >= 1.
            maps: of the audio tower's trunk for the same sound, where the network ``hears``; they may begin earlier.
        """
        n_frames = features.shape[-1]
        padding = padded_frames(n_frames) - n_frames
        padded = F.pad(features, (0, padding, 0, 0), mode="replicate") if padding else features
        heard = None if maps is None else newest(maps, padded.shape[-1])
        analysis = self.trunk(padded.contiguous(memory_format=torch.channels_last), heard)
        analysis.n_frames = n_frames
        return analysis

    def respond(
        self,
        analysis: Analysis,
        conditions: Conditions,
        energies: Tensor | None = None,
        candidates: Candidates | None = None,
        tell_when: bool = True,
    ) -> Response:
        """Masks of the prompts, and when they sound.

        Args:
            analysis: of the excerpts.
            conditions: the prompts.
            energies: of the mixture, (B, N_BANDS, T); without them nothing is said of when, and there are no rivals.
            candidates: what else may sound; the prompts compete with it.
            tell_when: whether anybody wants to know when they sound.
        """
        coefficients, query, reading = self._coefficients(analysis, conditions)
        logits = self._logits(analysis, coefficients)
        if self.rivalry is not None and candidates is not None and energies is not None:
            logits = self._competing(logits, coefficients, analysis, conditions, energies, candidates)
        logits = logits[..., : analysis.n_frames]
        if self.timekeeper is None or energies is None or not tell_when:
            return Response(logits, None)
        return Response(logits, self.timekeeper(query, reading, logits, energies, conditions.tracks))

    def _competing(
        self,
        own: Tensor,
        coefficients: Tensor,
        analysis: Analysis,
        conditions: Conditions,
        energies: Tensor,
        candidates: Candidates,
    ) -> Tensor:
        """Mask logits of prompts that compete with what else may sound; on all frames of the padded excerpt."""
        assert self.rivalry is not None
        heard = _heard(candidates.vectors, candidates.activity, conditions)
        others = self._coefficients(analysis, heard)[0]
        with torch.no_grad():
            padding = analysis.bases.shape[1] - energies.shape[-1]
            cells = F.avg_pool1d(F.pad(energies, (0, padding)), COARSE)
            bases = _coarse(analysis.bases)
            masks, rough = (_mix(bases, c).float().sigmoid().flatten(-2) for c in (coefficients, others))
            shares, fits = self.rivalry.choose(masks, rough, coarse(cells), candidates)
        # masks are linear in coefficients: those of a rival that several share are the mean of theirs
        mixed = torch.einsum("bnrm,bmkt->bnrkt", shares.to(others.dtype), others)
        rivals = self._logits(analysis, mixed.flatten(1, 2)).unflatten(1, shares.shape[1:3])
        plausible = (shares * candidates.plausible[:, None, None]).sum(dim=-1)
        return self.rivalry(own, rivals, plausible, fits)

    def _coefficients(self, analysis: Analysis, conditions: Conditions) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`Conditioner`."""
        if conditions.tracks is not None:
            padding = analysis.bases.shape[1] - conditions.tracks.shape[-1]
            conditions = replace(conditions, tracks=F.pad(conditions.tracks, (0, padding)))
        return self.conditioner(analysis, conditions)

    def _logits(self, analysis: Analysis, coefficients: Tensor) -> Tensor:
        """On all frames of the padded excerpt."""
        fine = F.interpolate(
            coefficients.flatten(0, 1), size=analysis.bases.shape[1], mode="linear", align_corners=False
        ).unflatten(0, coefficients.shape[:2])
        halves = _mix(analysis.bases, fine).float().unflatten(2, (2, -1))
        return halves.transpose(2, 3).flatten(2, 3)

    def forward(
        self,
        features: Tensor,
        conditions: Conditions,
        maps: list[Tensor] | None = None,
        energies: Tensor | None = None,
        candidates: Candidates | None = None,
    ) -> Tensor:
        """Mask logits (B, N, N_BANDS, T) of N prompts for B excerpts."""
        return self.respond(self.analyse(features, maps), conditions, energies, candidates).masks


def _shuffle(x: Tensor) -> Tensor:
    """Pixel shuffle by 2 of maps, (B, 4 K, F / 2, T / 2) -> (B, T, K, F), but that the even ones of F come first: what
    is laid out anew is whole rows then, which takes ONNX Runtime a tenth of the time."""
    batch, channels, rows, columns = x.shape
    split = x.view(batch, channels // 4, 2, 2, rows * columns).permute(0, 3, 1, 2, 4)
    return split.reshape(batch, channels * rows, columns).mT.reshape(
        batch, 2 * columns, channels // 4, 2 * rows
    )


def _coarse(bases: Tensor) -> Tensor:
    """Means of COARSE bands by COARSE frames, (B, T, K, F) -> (B, T / 4, K, F / 4)."""
    frames = bases.unflatten(1, (-1, COARSE)).mean(dim=2)
    return frames.unflatten(3, (2, -1, COARSE // 2)).mean(dim=(3, 5))


def _mix(bases: Tensor, coefficients: Tensor) -> Tensor:
    """(B, T, K, F) and (B, N, K+1, T), the last being a bias -> (B, N, F, T)."""
    weights, bias = coefficients[:, :, :-1], coefficients[:, :, -1:]
    # a product of matrices for each frame: written as an einsum it takes ONNX Runtime many times as long
    return (weights.permute(0, 3, 1, 2).to(bases.dtype) @ bases).permute(0, 2, 3, 1) + bias


def _heard(vectors: Tensor, activity: Tensor, beside: Conditions) -> Conditions:
    """Conditions of candidates: their activity is known where that of the prompts is, and nothing else."""
    tracks = None
    if beside.tracks is not None:
        known = beside.tracks[:, :, 1].amax(dim=(1, 2))[:, None, None].expand_as(activity)
        tracks = torch.stack([activity * known, known, *[torch.zeros_like(known)] * 2], dim=2)
    return Conditions(vectors, vectors.new_ones(vectors.shape[:2], dtype=torch.bool), tracks)


def channels_last(network: MaskNetwork) -> MaskNetwork:
    """Lays the convolutions' weights out as processors like them best; the numbers stay the same."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return network
