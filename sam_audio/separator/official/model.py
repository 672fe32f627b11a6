"""SAM-Audio as published: recordings and prompts in, targets and residuals out.

    sound -> codec latents --.
    text, video, anchors ----+-> flow network, integrated from noise -> latents of target and residual -> sound

Weights are mapped from disk, and nothing is built that a call does not need: the T5 only for texts that are not cached,
the vision tower only with video, the span predictor and the rankers only when asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from peav.checkpoints import read_json
from peav.devices import Device, DeviceMap, choose_device, choose_dtype
from peav.hub import HubOptions, TensorFile
from peav.official.codec import Codec, unfold_weight_norm
from peav.official.codec_decoder import MESSAGE_BITS
from peav.official.parts import unset
from peav.official.vision import FRAMES_AT_ONCE, VisionTower, to_pixels
from peav.sharing import SharedModel
from sam_audio import paths
from sam_audio.errors import AudioReadError, ModelError, PromptError, UserError, as_model_error
from sam_audio.separator.official import ranking
from sam_audio.separator.official.batch import SAMAudioBatch
from sam_audio.separator.official.conditioning import Conditioning
from sam_audio.separator.official.config import SAMAudioConfig, read_config
from sam_audio.separator.official.dit import published_heads
from sam_audio.separator.official.flow import FlowNetwork
from sam_audio.separator.official.long import BlendedVelocity, Windows
from sam_audio.separator.official.memory import rows_within
from sam_audio.separator.official.ode import Solver, StepProgress
from sam_audio.separator.official.source import beside, config_path, weights_path
from sam_audio.separator.official.spans import SpanPredictor, load_span_predictor
from sam_audio.separator.official.text import Encoded, TextEncoder
from sam_audio.separator.official.weights import CODEC, ELSEWHERE, check, expected_shapes, fill, read_vision


@dataclass(frozen=True)
class SAMAudioResult:
    """What a separation gives.

    Args:
        target, residual: mono sound of each recording, (n_b,) at the codec's rate; n_b is the recording's length
            rounded up to a whole latent frame.
        noise: that the flow started from, (B * K, T, 256) for K candidates.
        latents: that it ended at, likewise.
        anchors: that were used, the user's or predicted ones; None for none.
        scores: of the candidates, (B, K); None when they were not ranked.
    """

    target: list[Tensor]
    residual: list[Tensor]
    noise: Tensor
    latents: Tensor
    anchors: list[list[Any]] | None = None
    scores: Tensor | None = None


def seeded_message(rows: int, seed: int) -> Tensor:
    """Bits of a watermark that a seed stands for, (rows, 16)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, (rows, MESSAGE_BITS), generator=generator).float()


class SAMAudio(SharedModel, FlowNetwork):
    """A published model; made by `from_pretrained`.

    >>> model = SAMAudio.from_pretrained("facebook/sam-audio-small")  # doctest: +SKIP
    >>> processor = SAMAudioProcessor.from_pretrained("facebook/sam-audio-small")  # doctest: +SKIP
    >>> batch = processor(audios=["mix.wav"], descriptions=["dog barking"])  # doctest: +SKIP
    >>> model.separate(batch).target[0].shape  # doctest: +SKIP
    torch.Size([480000])
    """

    problem = ModelError
    card = {
        "library_name": "separate-by-prompt",
        "pipeline_tag": "audio-to-audio",
        "tags": ["audio", "source-separation", "text-to-audio"],
    }
    purpose = (
        "SAM-Audio: pulls a sound out of a recording by a text, a region of the video or a stretch of time."
    )

    def __init__(self, config: SAMAudioConfig, text_encoder: TextEncoder | None = None):
        super().__init__(config)
        self.audio_codec = Codec(config.audio_codec)
        self.text_encoder = text_encoder or TextEncoder(config.text_encoder, config.text_encoder.name)
        self.folder = Path()
        self.file: TensorFile | None = None
        self.hub: HubOptions = {}  # for what is fetched later
        self._parts: dict[
            str, Any
        ] = {}  # built on demand; no submodules, since they are no part of a state dict

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        revision: str | None = None,
        *,
        device: Device | None = None,
        dtype: str | torch.dtype | None = None,
        cache: bool = True,
        device_map: DeviceMap = None,
        map_location: Device | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        **fields: Any,
    ) -> SAMAudio:
        """Loads a model, strictly: names and shapes are compared with the config before anything is read.

        Args:
            name: its folder, or its id on the hub, e.g. ``facebook/sam-audio-small``.
            revision: of the hub's repository.
            device, map_location, device_map: where to put it, the first that is given; see
                `peav.devices.choose_device`. By default on the CPU.
            dtype: of the transformer's large matrices: float32 (default), bfloat16, float16, or "auto" for what the
                device is fast in. All else is float32.
            cache: keep the features of texts on disk.
            token, cache_dir, local_files_only: of the hub's client, for all that is fetched.
            fields: of the config, in place of its own: ``span_predictor=None``, ``text_ranker={"kind": "judge"}``.

        Raises:
            ModelError: the model is missing, damaged, or does not fit its config; the message says how.
            UserError: no model can be on such a device or compute in such numbers, or a field is unknown.
        """
        hub: HubOptions = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        try:
            place = choose_device(map_location if device is None else device, device_map)
            body = choose_dtype(dtype, place)
        except (ValueError, RuntimeError) as error:  # torch's, about a device's name
            raise UserError(str(error).splitlines()[0]) from None
        path = config_path(name, revision, **hub)
        config = read_config(path, fields)
        with as_model_error():
            file = TensorFile.open(weights_path(name, revision, **hub))
            text = TextEncoder(
                config.text_encoder,
                beside(config.text_encoder.name, path.parent),
                paths.cache_dir() if cache else None,
                keep=place.type != "cpu",
                hub=hub,
            )
            with unset():
                model = cls(config, text)
            check(file, expected_shapes(model, model.audio_codec, config, file.shapes))
            model.transformer.cast_body(body)
            fill(model, file, config.transformer.n_heads)
        model.folder, model.file, model.hub = path.parent, file, hub
        model.values = {**read_json(path), **fields}
        return model.eval().requires_grad_(False).to(place)

    def config_values(self) -> Mapping[str, Any]:
        return asdict(self.config)

    def published_tensors(self) -> dict[str, Tensor]:
        """Its weights by their published names; the vision tower, which never changes, as it is stored.

        Raises:
            ModelError: it came without a vision tower.
        """
        if self.file is None:
            raise ModelError("this model came without a vision tower: load it with from_pretrained")
        own = {n: t for n, t in self.state_dict().items() if not n.startswith(CODEC)}
        heads = self.config.transformer.n_heads
        now = {name: published_heads(name, tensor, heads) for name, tensor in own.items()}
        now |= {CODEC + n: t for n, t in unfold_weight_norm(self.audio_codec).items()}
        rest = (n for n in self.file.shapes if n not in now and not n.startswith((CODEC, *ELSEWHERE)))
        return {**self.file.read(rest), **now}

    def device(self) -> torch.device:
        """Where it is; a method, as published."""
        return self.proj.weight.device

    @property
    def sample_rate(self) -> int:
        """Of the codec, in Hz."""
        return self.config.audio_codec.sample_rate

    @property
    def vision_encoder(self) -> VisionTower:
        """The frame encoder; read from the checkpoint when first used."""

        def read() -> VisionTower:
            if self.file is None:
                raise ModelError("this model came without a vision tower: load it with from_pretrained")
            with as_model_error():
                return read_vision(self.file, self.config, self.device())

        return self._part("vision", read).to(self.device())

    @property
    def span_predictor(self) -> SpanPredictor | None:
        """The PE-A-Frame that the config names, loaded when first used; None if it names none. Can be set."""
        name = self.config.span_predictor
        if name is None:
            return self._part("span_predictor", None)
        return self._part(
            "span_predictor",
            lambda: load_span_predictor(beside(name, self.folder), self.device(), **self.hub),
        )

    @span_predictor.setter
    def span_predictor(self, predictor: SpanPredictor | None) -> None:
        self._parts["span_predictor"] = predictor

    @property
    def text_ranker(self) -> ranking.TextRanker | None:
        """What ranks candidates by text; made from the config when first used. Can be set."""
        return self._ranker("text_ranker", self.config.text_ranker)

    @text_ranker.setter
    def text_ranker(self, ranker: ranking.TextRanker | None) -> None:
        self._parts["text_ranker"] = ranker

    @property
    def visual_ranker(self) -> ranking.VisualRanker | None:
        """What ranks candidates by video; made from the config when first used. Can be set."""
        return self._ranker("visual_ranker", self.config.visual_ranker)

    @visual_ranker.setter
    def visual_ranker(self, ranker: ranking.VisualRanker | None) -> None:
        self._parts["visual_ranker"] = ranker

    def _ranker(self, name: str, described: Mapping[str, Any] | None) -> Any:
        place = ranking.Place(self.device(), self.folder, self.sample_rate, self.hub)
        return self._part(name, None if described is None else lambda: ranking.build(described, place))

    def _part(self, name: str, build: Callable[[], Any] | None) -> Any:
        if name not in self._parts:
            self._parts[name] = None if build is None else build()
        return self._parts[name]

    @torch.inference_mode()
    def separate(
        self,
        batch: SAMAudioBatch,
        noise: Tensor | None = None,
        ode_opt: Any = None,
        reranking_candidates: int = 1,
        predict_spans: bool = False,
        *,
        seed: int | None = None,
        watermark: bool = True,
        message: Tensor | None = None,
        text: Encoded | None = None,
        windows: Windows | None = None,
        memory_bytes: int | None = None,
        progress: StepProgress | None = None,
    ) -> SAMAudioResult:
        """Separates a batch.

        Args:
            batch: from `SAMAudioProcessor`.
            noise: to start from, (B * K, T, 256); drawn if not given.
            ode_opt: solver, see `ode.Solver.of`; by default 16 steps of the midpoint rule.
            reranking_candidates: K, how many separations to choose from.
            predict_spans: where the user gave no anchors, find out first when the sounds are there.
            seed: of the noise and the watermark. Without one they come from torch's global generators, as published.
            watermark, message: as for `Codec.decode`; the message has rows for target and residual of every candidate.
            text: features of the descriptions (B, L, width) and which tokens count (B, L), to go without the T5.
            windows: solve longer recordings in windows; None solves them in one, as published.
            memory_bytes: for the whole process; decides how many candidates and recordings are evaluated together.
            progress: told about every step of the solver.

        Raises:
            UserError: what was given cannot be separated; the message says why.
        """
        if reranking_candidates < 1:
            raise UserError(f"{reranking_candidates} candidates are too few: ask for 1 or more")
        solver = Solver.of(ode_opt)
        batch = batch.to(self.device())
        rank = self._chooser(batch) if reranking_candidates > 1 else None
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        features = self.encode_audio(batch.audios)
        if predict_spans:
            batch = self.predict_spans(batch, features)
        conditioning = self.prepare(batch, features, text).repeat(reranking_candidates)
        noise = self._noise(noise, conditioning.base.shape[:2], generator)
        cut = [(0, noise.shape[1])] if windows is None else windows.cut(noise.shape[1])
        rows = None if memory_bytes is None else rows_within(self, cut[0][1], memory_bytes)
        velocity = BlendedVelocity(self, conditioning, cut, rows)
        latents = solver.integrate(velocity, noise, progress)
        if watermark and message is None and seed is not None:
            message = seeded_message(2 * len(latents), seed)
        sounds = self.decode(latents, watermark, message).unflatten(0, (len(batch), reranking_candidates))
        targets, residuals = (self.unbatch(sounds[:, :, which], batch.sizes) for which in (0, 1))
        scores = None if rank is None else rank(targets)
        best = [0] * len(batch) if scores is None else scores.argmax(dim=1).tolist()
        return SAMAudioResult(
            target=[item[k] for item, k in zip(targets, best, strict=True)],
            residual=[item[k] for item, k in zip(residuals, best, strict=True)],
            noise=noise,
            latents=latents,
            anchors=batch.anchors,
            scores=scores,
        )

    def encode_audio(self, audios: Tensor) -> Tensor:
        """Latents of sound. Shape: (B, 1, n) -> (B, T, 128).

        Raises:
            AudioReadError: the longest is too short for the codec.
        """
        try:
            return self.audio_codec(audios).transpose(1, 2)
        except ValueError as error:
            raise AudioReadError(str(error)) from None

    def unbatch(self, wavs: Tensor, sizes: Tensor | Sequence[int], time_dim: int = -1) -> list[Tensor]:
        """Cuts the sounds of a batch, (B, ..., n), to their own lengths.

        Args:
            sizes: latent frames of each, (B,).
            time_dim: axis of samples of a single sound.
        """
        hop = self.config.audio_codec.hop
        return [wav.narrow(time_dim, 0, int(n) * hop) for wav, n in zip(wavs, sizes, strict=True)]

    def encode_video(self, videos: Sequence[Tensor], n_frames: int) -> Tensor:
        """Picture features, zero after the end of each. Shapes: B videos (sizes_b, 3, H, W) -> (B, C, n_frames)."""
        config, tower = self.config.vision_encoder, self.vision_encoder
        at_once = min(config.batch_size, FRAMES_AT_ONCE) if config.batch_size > 0 else FRAMES_AT_ONCE
        features = torch.zeros(len(videos), n_frames, config.dim, device=self.device())
        for b, video in enumerate(videos):
            for start in range(0, min(len(video), n_frames), at_once):
                pictures = video[start : min(start + at_once, n_frames)].to(self.device())
                pixels = to_pixels(pictures, config.image_size, config.interpolation_mode.lower())
                vectors = tower(pixels)
                features[b, start : start + len(vectors)] = (
                    F.normalize(vectors, dim=-1) if config.normalize_feature else vectors
                )
        return features.transpose(1, 2)

    def prepare(self, batch: SAMAudioBatch, features: Tensor, text: Encoded | None = None) -> Conditioning:
        """All that the flow is told about a batch whose latents are ``features`` (B, T, 128)."""
        tokens, tokens_valid = self.text_encoder(batch.descriptions) if text is None else text
        if len(tokens) != len(batch) or tokens.shape[-1] != self.config.text_encoder.dim:
            raise PromptError(
                f"text features have shape {tuple(tokens.shape)}: "
                f"it has to be ({len(batch)}, tokens, {self.config.text_encoder.dim})"
            )
        if batch.masked_video is None:
            video = self.align_masked_video.without_video()
        else:
            video = self.align_masked_video(self.encode_video(batch.masked_video, features.shape[1]))
        return self.condition(
            torch.cat([features, features], dim=-1),
            tokens.to(self.device()),
            tokens_valid.to(self.device()),
            video=video,
            anchors=(batch.anchor_ids, batch.anchor_alignment),
            valid=batch.audio_pad_mask,
        )

    def predict_spans(self, batch: SAMAudioBatch, features: Tensor) -> SAMAudioBatch:
        """The batch with anchors where the span predictor hears what is asked for; unchanged if it has anchors."""
        if batch.anchors is not None:
            return batch
        predictor = self.span_predictor
        if predictor is None:
            warnings.warn("this model has no span predictor: no spans are predicted", stacklevel=3)
            return batch
        spans = predictor(features, batch.audio_pad_mask, batch.descriptions)
        return batch.with_anchors([[("+", start, end) for start, end in item] for item in spans])

    def decode(self, latents: Tensor, watermark: bool = True, message: Tensor | None = None) -> Tensor:
        """Sound of final states, target before residual. Shape: (B, T, 256) -> (B, 2, T * hop)."""
        both = latents.transpose(1, 2).unflatten(1, (2, -1)).flatten(0, 1)
        try:
            sound = self.audio_codec.decode(both, watermark=watermark, message=message)
        except ValueError as error:
            raise UserError(str(error)) from None
        return sound[:, 0].unflatten(0, (-1, 2))

    def _noise(self, given: Tensor | None, size: torch.Size, generator: torch.Generator | None) -> Tensor:
        shape = (*size, self.config.state_dim)
        if given is None:
            # a seed gives the same noise on every device
            device = self.device() if generator is None else torch.device("cpu")
            return torch.randn(shape, generator=generator, device=device).to(self.device())
        if given.shape != shape:
            raise UserError(f"the noise has shape {tuple(given.shape)}: this batch takes {shape}")
        return given.to(self.device(), torch.float32)

    def _chooser(self, batch: SAMAudioBatch) -> Callable[[list[Tensor]], Tensor] | None:
        """What scores candidates, B of (K, n_b) -> (B, K), by the first ranker that applies; None for none.

        Raises:
            ModelError: the config describes a ranker that cannot be had.
        """
        if batch.masked_video is not None and (visual := self.visual_ranker) is not None:
            videos = batch.masked_video
            return lambda targets: visual(targets, videos)
        by_text = self.text_ranker
        if by_text is None:
            return None
        # the longest ends within its last frame
        lengths = (batch.sizes * batch.hop).tolist()
        mixtures = [audio[0, :n] for audio, n in zip(batch.audios, lengths, strict=True)]
        return lambda targets: by_text(targets, mixtures, batch.descriptions)
