"""Files as vectors: what stands between a recording or a picture on disk and the encoders of PE-AV.

Long files are read in windows, so memory does not grow with their length. Vectors that leave here are unit
vectors, whatever the model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from peav.nano.graphs import DIM, AudioGraph, TextGraph, VideoGraph, version
from peav.nano.sound import CLIP, FRAME, SAMPLE_RATE, sigmoid
from sam_audio.errors import ModelError, needing_extras
from sam_audio.io import open_audio
from sam_audio.io.resample import Resampler
from sam_audio.types import Samples

if TYPE_CHECKING:
    from torch import Tensor

SEGMENT_S = 10.0
# Frame vectors of long sound are made 30.72 s at a time, with 1.92 s on both sides that only lend context. Both
# are whole windows of the nano trunk (0.96 s), so that where a window begins does not show.
CHUNK_SAMPLES = 32 * 46_080
CONTEXT_SAMPLES = 2 * 46_080
VIDEO_RATE_HZ, VIDEO_FRAMES = 2.0, 64


def load_embedder(name: str = "nano", device: str = "cpu") -> Embedder:
    """PE-AV by name ("nano"), hub id or folder, ready to embed files.

    Raises:
        ModelError: there is no such model, or it cannot be loaded.
    """
    with _as_model_error():
        if (name, device) == ("nano", "cpu"):
            return NanoEmbedder()
        with needing_extras(f"{name} on {device}"):
            from peav import load_audio_video

            return TensorEmbedder(str(name), *load_audio_video(name, device=device))


def load_frame_encoder(name: str = "nano", device: str = "cpu") -> FrameEncoder:
    """PE-A-Frame by name ("nano"), hub id or folder.

    Raises:
        ModelError: there is no such model, or it cannot be loaded.
    """
    with _as_model_error():
        if (name, device) == ("nano", "cpu"):
            return NanoFrameEncoder()
        with needing_extras(f"{name} on {device}"):
            from peav import load_audio_frame

            return TensorFrameEncoder(str(name), *load_audio_frame(name, device=device))


class Embedder(ABC):
    """PE-AV on files: everything becomes a unit vector of one space, float32 (D,) or (N, D).

    Attributes:
        name: of the model.
        dim: D.
        version: changes when the weights behind the name do, so that an index can tell; "" where that is unknown.
    """

    sample_rate = SAMPLE_RATE
    name: str
    dim: int
    version: str

    @abstractmethod
    def embed_text(self, texts: list[str], kind: str = "audio") -> Samples:
        """(N, D). ``kind`` says what the texts will be compared with: audio, video or audio_video."""

    def embed_audio(self, samples: Samples) -> Samples:
        """(D,) of mono samples (n,) at 48 kHz; silence is all zeros: it sounds like nothing."""
        if not samples.any():
            return np.zeros(self.dim, np.float32)
        with _as_model_error():
            return self._embed_sound(samples)

    @abstractmethod
    def embed_frames(self, frames: np.ndarray) -> Samples:
        """(D,) of uint8 frames (N, 3, H, W)."""

    @abstractmethod
    def probabilities(self, audio: Samples, texts: Samples) -> Samples:
        """How likely each text describes each sound: (B, D) and (N, D) -> (B, N) in 0..1, for models that know."""

    @abstractmethod
    def _embed_sound(self, samples: Samples) -> Samples:
        """(n,), not silent -> (D,)."""

    def embed_audio_segments(
        self,
        path: str | Path,
        segment_s: float = SEGMENT_S,
        *,
        start_s: float = 0.0,
        duration_s: float | None = None,
    ) -> Iterator[tuple[float, float, Samples]]:
        """(start, end, vector) of each stretch, in seconds of the file; the last one is shorter."""
        position = start_s
        for samples in mono_windows(
            path, round(segment_s * SAMPLE_RATE), start_s=start_s, duration_s=duration_s
        ):
            end = position + len(samples) / SAMPLE_RATE
            if end - position >= 0.25 or position == start_s:  # a scrap at the end says nothing
                yield position, end, self.embed_audio(samples)
            position = end

    def embed_audio_file(
        self, path: str | Path, start_s: float = 0.0, duration_s: float | None = None
    ) -> Samples:
        """(D,), the direction of the mean over segments, each by its length."""
        segments = list(self.embed_audio_segments(path, start_s=start_s, duration_s=duration_s))
        total = np.sum([vector * (end - start) for start, end, vector in segments], axis=0)
        return (total / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32)

    def embed_audio_frames(self, path: str | Path) -> Samples:
        """Frame vectors (T, D), one each 40 ms, as PE-A-Frame of the same family gives them."""
        return np.concatenate(list(self._frame_encoder.frames(path)))

    @cached_property
    def _frame_encoder(self) -> FrameEncoder:
        return load_frame_encoder(self.name)

    def embed_picture_file(self, path: str | Path) -> Samples:
        """(D,) of one picture."""
        from sam_audio.io.pictures import read_picture

        return self.embed_frames(read_picture(path)[None])

    def embed_video_file(
        self, path: str | Path, start_s: float = 0.0, duration_s: float | None = None
    ) -> Samples:
        """(D,) of the pictures of a video, two a second, at most 64 of them."""
        return self.embed_frames(_frames_of(path, start_s, duration_s))

    def embed_audio_video_file(
        self, path: str | Path, start_s: float = 0.0, duration_s: float | None = None
    ) -> Samples:
        """(D,) of a video with its sound: the direction between the two, for models that fuse nothing."""
        return _between(
            self.embed_audio_file(path, start_s, duration_s), self.embed_video_file(path, start_s, duration_s)
        )

    def embed_with_text(
        self,
        path: str | Path,
        texts: list[str],
        kind: str,
        start_s: float = 0.0,
        duration_s: float | None = None,
    ) -> Samples:
        """(N, D) of a file's sound (kind audio) or pictures (video) together with each text, for models that fuse
        nothing the direction between the two."""
        embed = self.embed_video_file if kind == "video" else self.embed_audio_file
        return _between(embed(path, start_s, duration_s), self.embed_text(texts, kind))


class NanoEmbedder(Embedder):
    """The embedded towers as graphs; each is loaded when it is first needed."""

    name, dim = "nano", DIM

    @cached_property
    def version(self) -> str:  # type: ignore[override]
        return version()

    @cached_property
    def _text(self) -> TextGraph:
        return TextGraph()

    @cached_property
    def _audio(self) -> AudioGraph:
        return AudioGraph.shipped()

    @cached_property
    def _video(self) -> VideoGraph:
        return VideoGraph()

    def embed_text(self, texts: list[str], kind: str = "audio") -> Samples:
        with _as_model_error():
            return self._text.embed(texts)

    def embed_frames(self, frames: np.ndarray) -> Samples:
        with _as_model_error():
            return self._video.embed(frames)

    def probabilities(self, audio: Samples, texts: Samples) -> Samples:
        return sigmoid(self._audio.logits(audio @ texts.T, CLIP))

    def _embed_sound(self, samples: Samples) -> Samples:
        return self._audio.embed(samples)[1]


class TensorEmbedder(Embedder):
    """A model of either family in torch, with the processor that makes its inputs."""

    def __init__(self, name: str, model: Any, processor: Any) -> None:
        self.name, self.model, self.processor = name, model, processor
        self.dim = int(model.config.output_dim)
        self.version = str(getattr(model, "version", ""))

    def embed_text(self, texts: list[str], kind: str = "audio") -> Samples:
        encode = getattr(self.model, f"encode_{kind}_text")
        with _as_model_error():
            inputs = self.processor(text=texts)
            return _unit(encode(inputs["input_ids"], inputs["attention_mask"]))

    def embed_frames(self, frames: np.ndarray) -> Samples:
        import torch

        with _as_model_error():
            inputs = self.processor(videos=[torch.from_numpy(frames)])
            pixels, valid = inputs["pixel_values_videos"], inputs["padding_mask_videos"]
            return _unit(self.model.encode_video(pixels, valid))[0]

    def probabilities(self, audio: Samples, texts: Samples) -> Samples:
        import torch

        probability = getattr(self.model, "probability", None)
        if probability is None:
            raise ModelError(f"{self.name} gives similarities only: use the ranking, or the nano model")
        return probability(torch.from_numpy(audio), torch.from_numpy(texts)).numpy()

    def embed_audio_video_file(
        self, path: str | Path, start_s: float = 0.0, duration_s: float | None = None
    ) -> Samples:
        with _as_model_error():
            inputs = {**self._heard(path, start_s, duration_s), **self._seen(path, start_s, duration_s)}
            return _unit(self.model.encode_audio_video(**inputs))[0]

    def embed_with_text(
        self,
        path: str | Path,
        texts: list[str],
        kind: str,
        start_s: float = 0.0,
        duration_s: float | None = None,
    ) -> Samples:
        encode = getattr(self.model, f"encode_{kind}_plus_text")
        with _as_model_error():
            clip = (self._seen if kind == "video" else self._heard)(path, start_s, duration_s)
            read = [self.processor(text=[text]) for text in texts]
            vectors = [
                encode(input_ids=one["input_ids"], attention_mask=one["attention_mask"], **clip)
                for one in read
            ]
            return np.concatenate([_unit(vector) for vector in vectors])

    def _heard(self, path: str | Path, start_s: float, duration_s: float | None) -> dict[str, Any]:
        """Inputs of the sound of a file, at most as long as the pictures that are taken."""
        longest = round(VIDEO_FRAMES / VIDEO_RATE_HZ * SAMPLE_RATE)
        sound = next(mono_windows(path, longest, start_s=start_s, duration_s=duration_s))
        inputs = _sound(self.processor, sound)
        return {name: inputs[name] for name in ("input_values", "padding_mask")}

    def _seen(self, path: str | Path, start_s: float, duration_s: float | None) -> dict[str, Any]:
        """Inputs of the pictures of a file."""
        import torch

        inputs = self.processor(videos=[torch.from_numpy(_frames_of(path, start_s, duration_s))])
        return {name: inputs[name] for name in ("pixel_values_videos", "padding_mask_videos")}

    def _embed_sound(self, samples: Samples) -> Samples:
        inputs = _sound(self.processor, samples)
        return _unit(self.model.encode_audio(inputs["input_values"], inputs["padding_mask"]))[0]


# ---- frames ----------------------------------------------------------------------------------------------


class FrameEncoder(ABC):
    """PE-A-Frame on files: when does each described sound happen?"""

    frame_rate = SAMPLE_RATE / FRAME
    name: str

    def activity(self, path: str | Path, prompts: list[str]) -> Samples:
        """Probability of every prompt in every 40 ms frame, (N, T) float32."""
        return np.concatenate(list(self.activity_blocks(mono_windows(path, CHUNK_SAMPLES), prompts)), axis=1)

    def activity_blocks(self, windows: Iterator[Samples], prompts: list[str]) -> Iterator[Samples]:
        """The same for mono samples at 48 kHz in windows of CHUNK_SAMPLES, as (N, t) arrays in order."""
        with _as_model_error():
            texts = self._texts(prompts)
        for frames in self._frame_blocks(windows):
            yield self._activity(frames, texts)

    def frames(self, path: str | Path) -> Iterator[Samples]:
        """Frame vectors (t, D) in order."""
        return self._frame_blocks(mono_windows(path, CHUNK_SAMPLES))

    def _frame_blocks(self, windows: Iterator[Samples]) -> Iterator[Samples]:
        for before, length, sound in with_context(windows, CONTEXT_SAMPLES):
            with _as_model_error():
                frames = self._frames(sound)
            first = before // FRAME
            yield frames[first : first + -(-length // FRAME)]

    @abstractmethod
    def _texts(self, prompts: list[str]) -> Any:
        """Vectors of prompts, in whatever `_activity` takes."""

    @abstractmethod
    def _frames(self, sound: Samples) -> Samples:
        """(n,) -> (ceil(n / FRAME), D)."""

    @abstractmethod
    def _activity(self, frames: Samples, texts: Any) -> Samples:
        """(T, D) and the vectors of N prompts -> (N, T) in 0..1."""


class NanoFrameEncoder(FrameEncoder):
    """The embedded towers as graphs."""

    name = "nano"

    def __init__(self) -> None:
        self._text, self._audio = TextGraph(), AudioGraph.shipped()

    def _texts(self, prompts: list[str]) -> Samples:
        return self._text.embed(prompts)

    def _frames(self, sound: Samples) -> Samples:
        return self._audio.embed(sound)[0]

    def _activity(self, frames: Samples, texts: Samples) -> Samples:
        return sigmoid(self._audio.logits(texts @ frames.T))


class TensorFrameEncoder(FrameEncoder):
    """A model of either family in torch, with the processor that makes its inputs."""

    def __init__(self, name: str, model: Any, processor: Any) -> None:
        self.name, self.model, self.processor = name, model, processor

    def _texts(self, prompts: list[str]) -> Any:
        inputs = self.processor(text=prompts)
        return self.model.encode_text(inputs["input_ids"], inputs["attention_mask"])

    def _frames(self, sound: Samples) -> Samples:
        inputs = _sound(self.processor, sound)
        frames = self.model.encode_audio(inputs["input_values"], inputs["padding_mask"])[0]
        return frames.float().cpu().numpy()

    def _activity(self, frames: Samples, texts: Any) -> Samples:
        import torch

        logits = self.model.pairwise_logits(torch.from_numpy(frames)[None].to(texts), texts)
        return logits[0].sigmoid().float().cpu().numpy()


def _sound(processor: Any, samples: Samples) -> Any:
    """A model's inputs of mono samples (n,)."""
    import torch

    return processor(audio=[torch.from_numpy(samples)[None]], sampling_rate=SAMPLE_RATE)


# ---- reading ---------------------------------------------------------------------------------------------


def with_context(windows: Iterator[Samples], context_samples: int) -> Iterator[tuple[int, int, Samples]]:
    """Each window with the end of the one before and the beginning of the next around it.

    Yields:
        How many samples were put before the window, how long it is, and all of it, (n,).

    >>> [(n, sound.tolist()) for n, _, sound in with_context(iter([np.arange(3), np.arange(3, 5)]), 2)]
    [(0, [0, 1, 2, 3, 4]), (2, [1, 2, 3, 4])]
    """
    before = np.zeros(0, np.float32)
    current = next(windows, None)
    while current is not None:
        following = next(windows, None)
        after = current[:0] if following is None else following[:context_samples]
        yield len(before), len(current), np.concatenate([before, current, after]).astype(current.dtype)
        before, current = current[-context_samples:], following


def mono_windows(
    path: str | Path, window_samples: int, *, start_s: float = 0.0, duration_s: float | None = None
) -> Iterator[Samples]:
    """The file mixed down and resampled to 48 kHz, in windows (n,); the last one is shorter.

    Raises:
        AudioReadError, MissingExtraError: as `open_audio`.
    """
    with open_audio(path, start_s=start_s, duration_s=duration_s) as reader:
        resampler = Resampler(reader.sample_rate, SAMPLE_RATE, 1)
        parts: list[Samples] = []
        held = 0

        def ready(last: bool) -> Iterator[Samples]:
            nonlocal parts, held
            while held >= window_samples or (last and held):
                joined = np.concatenate(parts)
                yield joined[:window_samples]
                parts = [joined[window_samples:]]
                held = len(parts[0])

        for block in reader.blocks(reader.sample_rate * 10):
            mono = resampler.push(block.mean(axis=0, keepdims=True, dtype=np.float32))[0]
            parts.append(mono)
            held += len(mono)
            yield from ready(last=False)
        rest = resampler.finish()[0]
        parts.append(rest)
        held += len(rest)
        yield from ready(last=True)


def _frames_of(path: str | Path, start_s: float, duration_s: float | None) -> np.ndarray:
    """(N, 3, H, W) uint8: pictures of a video, two a second, at most 64 of them."""
    from sam_audio.io.pictures import read_frames

    frames = read_frames(path, start_s=start_s, duration_s=duration_s, rate_hz=VIDEO_RATE_HZ)
    return np.stack([frame for _, frame in islice(frames, VIDEO_FRAMES)])


def _between(one: Samples, other: Samples) -> Samples:
    """Unit vectors between unit vectors, (..., D)."""
    total = one + other
    return (total / np.maximum(np.linalg.norm(total, axis=-1, keepdims=True), 1e-12)).astype(np.float32)


def _unit(vectors: Tensor) -> Samples:
    import torch.nn.functional as F

    return F.normalize(vectors.float(), dim=-1).cpu().numpy()


class _as_model_error:
    """Turns what the encoders refuse into the one-sentence error of this package."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from peav.checkpoints import CheckpointError

        if isinstance(error, (CheckpointError, ValueError)):
            raise ModelError(str(error).rstrip(".")) from None
