"""Official models behind the interface of all separators (`sam_audio.separator.base.SeparationModel`).

Sections of the recording go through three stages, each of which keeps only what the next one still needs:

    blocks -> latents of the mixture -> flow, joined to the section before -> sound of the settled frames -> stems

What is cut at a section's end is decoded and encoded with enough context that neither shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sam_audio.errors import UserError
from sam_audio.separator.base import SeparationModel, SeparationStream, Variant
from sam_audio.separator.official.anchors import AnchorLike, lay_out
from sam_audio.separator.official.conditioning import Conditioning
from sam_audio.separator.official.lift import MaskLift
from sam_audio.separator.official.long import BlendedVelocity, Continuation, Windows
from sam_audio.separator.official.memory import rows_within
from sam_audio.separator.official.model import SAMAudio, seeded_message
from sam_audio.separator.official.ode import METHODS, Solver
from sam_audio.separator.official.options import OfficialOptions
from sam_audio.types import Condition, Samples


@dataclass(frozen=True)
class TextCondition(Condition):
    """A prompt as an official model reads it: ``tokens`` (L, text width) float32 in place of a vector."""

    tokens: Samples | None = None


def check(options: OfficialOptions) -> None:
    """Raises UserError for values that cannot be."""
    if options.steps < 1:
        raise UserError(f"{options.steps} solver steps are too few: use 1 or more")
    if options.method not in METHODS:
        raise UserError(f"there is no solver {options.method!r}: use {', '.join(METHODS)}")
    if options.windows_at_once < 1 or not 0 < 2 * options.overlap_s <= options.window_s:
        raise UserError("windows have to overlap by more than nothing and less than half of their length")


class OfficialSeparator(SeparationModel):
    """An official model that serves any number of recordings and threads.

    Args:
        model: loaded.
        name: what to call it.
        options: how to separate.
    """

    takes = frozenset({"anchors", "video"})

    def __init__(self, model: SAMAudio, name: str, options: OfficialOptions | None = None):
        self.model = model
        self.name = name
        self.options = options or OfficialOptions()
        check(self.options)
        self.sample_rate = model.sample_rate

    @classmethod
    def load(
        cls, name: str, device: str = "cpu", options: OfficialOptions | None = None
    ) -> OfficialSeparator:
        """Loads a model by folder or hub id; see `SAMAudio.from_pretrained`."""
        options = options or OfficialOptions()
        model = SAMAudio.from_pretrained(name, options.revision, device=device, dtype=options.dtype)
        return cls(model, name, options)

    def variants(self, n: int) -> list[Variant]:
        """One for each noise."""
        seeds = range(self.options.seed, self.options.seed + n)
        return [
            Variant(f"seed {seed}", self.with_options(replace(self.options, seed=seed))) for seed in seeds
        ]

    def with_options(self, options: OfficialOptions) -> OfficialSeparator:
        return OfficialSeparator(self.model, self.name, options)

    def encode(self, texts: list[str]) -> list[Condition]:
        """Text prompts as conditions for `open`."""
        if not texts:
            return []
        features, valid = self.model.text_encoder(texts)
        return [
            TextCondition(text, None, text=text, tokens=tokens[real].cpu().numpy())
            for text, tokens, real in zip(texts, features, valid, strict=True)
        ]

    def open(self, conditions: list[Condition], channels: int, strength: float = 1.0) -> OfficialStream:
        """Starts on a new recording."""
        return OfficialStream(self, conditions, channels, strength)


class OfficialStream(SeparationStream):
    """Separates one recording. Axes: N stems, C channels, T latent frames."""

    def __init__(
        self, separator: OfficialSeparator, conditions: list[Condition], channels: int, strength: float
    ):
        self.model, self.options = separator.model, separator.options
        self.channels = channels
        codec = self.model.config.audio_codec
        self.hop, rate = codec.hop, codec.sample_rate
        self.anchors: list[list[AnchorLike]] = [
            [("+" if a.present else "-", a.span.start_s, a.span.end_s) for a in c.anchors] for c in conditions
        ]
        self.text = self._text(conditions)
        self._watch(conditions)
        self.windows = Windows(
            length=max(2, round(self.options.window_s * rate / self.hop)),
            overlap=max(1, round(self.options.overlap_s * rate / self.hop)),
        )
        self.section = self.windows.length + (self.options.windows_at_once - 1) * (
            self.windows.length - self.windows.overlap
        )
        budget = self.options.memory_bytes
        self._rows = None if budget is None else rows_within(self.model, self.windows.length, budget)
        self.solver = Solver(self.options.method, 1 / self.options.steps)
        self._generator = torch.Generator().manual_seed(self.options.seed)
        self._message = (
            seeded_message(2 * len(conditions), self.options.seed) if self.options.watermark else None
        )
        self._lift = None if self.options.raw else MaskLift(len(conditions), channels, strength)

        self._mixture = torch.zeros(channels, 0)
        self._mixture_start = 0  # frame that the mixture held begins with
        self._end = 0  # samples pushed
        self._first = 0  # frame that the next section begins with
        empty = torch.zeros(len(conditions), 0, self.model.config.state_dim, device=self.model.device())
        self._noise = empty  # of the frames that the next section shares
        self._velocities: list[Tensor] = []
        self._latents = empty  # settled, from self._latents_start on
        self._latents_start = 0
        self._decoded = 0  # frames

    @property
    def n_stems(self) -> int:
        return len(self.anchors)

    @torch.inference_mode()
    def push(self, samples: Samples) -> Samples:
        """Shapes: (C, n) in, (N, C, m) out."""
        out = []
        step = self.section * self.hop  # however much is pushed at once, two sections of the mixture are held
        for start in range(0, samples.shape[-1], step):
            # float32 whatever comes, and a copy: what is pushed stays the caller's
            block = torch.from_numpy(np.array(samples[:, start : start + step], np.float32))
            self._mixture = torch.cat([self._mixture, block], dim=-1)
            self._end += block.shape[-1]
            while self._end >= (self._first + self.section + self.model.audio_codec.context) * self.hop:
                out.append(self._solve(self.section, last=False))
        return self._numpy(out)

    @torch.inference_mode()
    def finish(self) -> Samples:
        """The samples that are still owed, (N, C, m)."""
        if self._end == 0:
            return self._numpy([])
        n_frames = math.ceil(self._end / self.hop)
        out = [self._solve(n_frames - self._first, last=True)]
        if self._lift is not None:
            out.append(self._lift.finish())
        return self._numpy(out)

    def _numpy(self, blocks: list[Tensor]) -> Samples:
        return torch.cat([torch.zeros(self.n_stems, self.channels, 0), *blocks], dim=-1).numpy()

    def _text(self, conditions: list[Condition]) -> tuple[Tensor, Tensor]:
        """Tokens of all prompts (N, L, width), and which count (N, L); a prompt of anchors alone has an empty text."""
        tokens: list[Tensor] = []
        for condition in conditions:
            if isinstance(condition, TextCondition) and condition.tokens is not None:
                tokens.append(torch.from_numpy(condition.tokens))
            else:
                features, valid = self.model.text_encoder([""])
                tokens.append(features[0][valid[0]])
        counted = pad_sequence([torch.ones(len(t), dtype=torch.bool) for t in tokens], batch_first=True)
        return pad_sequence(tokens, batch_first=True).to(self.model.device()), counted.to(self.model.device())

    @torch.inference_mode()
    def _watch(self, conditions: list[Condition]) -> None:
        """Sees every picture once: features (M, C) of all videos, and for each stem its times and its rows."""
        self._videos: list[tuple[Tensor, Tensor] | None] = []
        for condition in conditions:
            video = condition.video
            if video is None:
                self._videos.append(None)
                continue
            frames = torch.from_numpy(video.frames)
            features = self.model.encode_video([frames], len(frames))[0].T
            self._videos.append((torch.tensor(video.times_s, dtype=torch.float64), features))

    def _seen(self, n_frames: int) -> Tensor:
        """What the section that begins at self._first shows, as the flow takes it: (N, T, D), or (D,) for nothing."""
        aligner = self.model.align_masked_video
        if not any(self._videos):
            return aligner.without_video()
        codec = self.model.config.audio_codec
        at_s = (self._first + torch.arange(n_frames, dtype=torch.float64)) * codec.hop / codec.sample_rate
        shape = self.n_stems, self.model.config.vision_encoder.dim, n_frames
        features = torch.zeros(shape, device=self.model.device())
        for n, video in enumerate(self._videos):
            if video is not None:
                times_s, seen = video
                nearest = (at_s[:, None] - times_s).abs().argmin(dim=1)  # of two the earlier one
                features[n] = seen[nearest.to(seen.device)].T
        return aligner(features)

    def _solve(self, n_frames: int, last: bool) -> Tensor:
        """Runs the flow on the next section; returns the sound of the frames that are now settled."""
        model, keep = self.model, 0 if last else self.windows.overlap
        shared = self._noise.shape[1]
        fresh = torch.randn(self.n_stems, n_frames - shared, self._noise.shape[2], generator=self._generator)
        noise = torch.cat([self._noise, fresh.to(model.device())], dim=1)
        velocity = BlendedVelocity(model, self._condition(n_frames), self.windows.cut(n_frames), self._rows)
        joined = Continuation(velocity, shared, self._velocities, keep)
        latents = self.solver.integrate(joined, noise)
        settled = n_frames - keep
        self._noise, self._velocities = noise[:, settled:].clone(), joined.kept
        self._latents = torch.cat([self._latents, latents[:, :settled]], dim=1)
        self._first += settled
        return self._render(last)

    def _condition(self, n_frames: int) -> Conditioning:
        """What the flow is told about the section that begins at self._first."""
        model, context = self.model, self.model.audio_codec.context
        before = min(context, self._first)
        start = (self._first - before - self._mixture_start) * self.hop
        stop = start + (before + n_frames + context) * self.hop
        mono = self._mixture[:, start:stop].mean(dim=0)[None, None].to(model.device())
        if 2 * mono.shape[-1] <= self.hop:  # too short to be mirrored up to a frame
            mono = F.pad(mono, (0, self.hop - mono.shape[-1]))
        features = model.encode_audio(mono)[:, before : before + n_frames]
        valid = torch.ones(self.n_stems, n_frames, dtype=torch.bool, device=model.device())
        codec = model.config.audio_codec
        anchors = lay_out(self.anchors, valid, (codec.sample_rate, codec.hop), self._first)
        both = torch.cat([features, features], dim=-1).expand(self.n_stems, -1, -1)
        return model.condition(both, *self.text, video=self._seen(n_frames), anchors=anchors)

    def _render(self, last: bool) -> Tensor:
        """Decodes all frames whose surroundings are settled, and makes stems of them."""
        context = self.model.audio_codec.decoder.context
        settled = self._latents_start + self._latents.shape[1]
        ready = settled if last else max(settled - context, self._decoded)
        before = self._decoded - self._latents_start
        sound = self.model.decode(
            self._latents[:, : ready + context - self._latents_start],
            self.options.watermark,
            self._message,
        ).cpu()
        sound = sound[..., before * self.hop : (ready - self._latents_start) * self.hop]
        start = (self._decoded - self._mixture_start) * self.hop
        mixture = self._mixture[:, start : start + sound.shape[-1]]
        sound = sound[..., : mixture.shape[-1]]
        self._decoded = ready
        self._forget(context)
        if self._lift is None:
            return sound[:, :1].expand(-1, self.channels, -1)
        return self._lift.push(mixture, sound[:, 0], sound[:, 1])

    def _forget(self, context: int) -> None:
        """Lets go of what no later section will look at."""
        latents_start = max(self._decoded - context, 0)
        self._latents = self._latents[:, latents_start - self._latents_start :].clone()
        self._latents_start = latents_start
        mixture_start = max(min(self._decoded, self._first - self.model.audio_codec.context), 0)
        self._mixture = self._mixture[:, (mixture_start - self._mixture_start) * self.hop :].clone()
        self._mixture_start = mixture_start
