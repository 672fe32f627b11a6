"""Weak captioners: what PE-AV nano hears and sees, in the words of its labels, and any pipeline of transformers.

A captioner is weak by itself; see `sam_audio.training.captions` for how several make one caption.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from sam_audio.errors import MissingExtraError, UserError
from sam_audio.extending.hookspecs import Caption

if TYPE_CHECKING:
    from sam_audio.types import Samples

MOST, LEAST_PROBABILITY = 3, 0.02
_SHARPNESS = 25.0  # of a choice among all labels by what is seen
TRANSFORMERS = "transformers:"


class _Nano:
    """The towers, loaded when something is first described, and the labels in the joint space."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: tuple[Any, list[str], Samples] | None = None

    def get(self) -> tuple[Any, list[str], Samples]:
        with self._lock:
            if self._loaded is None:
                from sam_audio.conditioning.embedding import load_embedder
                from sam_audio.vocabulary import load_labels

                embedder = load_embedder()
                names = list(load_labels())
                self._loaded = embedder, names, embedder.embed_text(names)
            return self._loaded


_nano = _Nano()


class Tagger:
    """What PE-AV nano hears: the likeliest labels, each a caption."""

    name = "tagger"

    def caption(self, samples: Samples, sample_rate: int) -> list[Caption]:
        import numpy as np

        from sam_audio.io.resample import Resampler

        embedder, names, texts = _nano.get()
        mono = samples.mean(axis=0, keepdims=True, dtype=np.float32)
        if sample_rate != embedder.sample_rate:
            resampler = Resampler(sample_rate, embedder.sample_rate, 1)
            mono = np.concatenate([resampler.push(mono), resampler.finish()], axis=1)
        if not mono.any():
            return []
        heard = embedder.probabilities(embedder.embed_audio(mono[0])[None], texts)[0]
        return _likeliest(names, heard)


class PictureTagger:
    """What PE-AV nano sees in pictures uint8 (N, 3, H, W): the likeliest labels of things that sound."""

    name = "picture-tagger"
    pictures = True

    def caption(self, samples: Any, sample_rate: int) -> list[Caption]:
        import numpy as np

        embedder, names, texts = _nano.get()
        dots = _SHARPNESS * (texts @ embedder.embed_frames(np.asarray(samples)))
        seen = np.exp(dots - dots.max())
        return _likeliest(names, seen / seen.sum())


def _likeliest(names: list[str], probabilities: Samples) -> list[Caption]:
    best = (-probabilities).argsort()[:MOST]
    return [Caption(names[i], float(probabilities[i])) for i in best if probabilities[i] >= LEAST_PROBABILITY]


class Pipeline:
    """A pipeline of transformers, named ``transformers:TASK:MODEL``; MODEL is a hub id or a folder.

    Audio tasks hear, image tasks see the middle picture. What a pipeline says may be scored labels or texts.
    """

    def __init__(self, name: str) -> None:
        task, _, model = name.removeprefix(TRANSFORMERS).partition(":")
        if not (task and model):
            raise UserError(f"{name} names no pipeline: write transformers:TASK:MODEL")
        self.name, self._task, self._model = name, task, model
        self._made: Any = None
        self.pictures = "image" in task

    def caption(self, samples: Any, sample_rate: int) -> list[Caption]:
        pipeline = self._pipeline()
        if self.pictures:
            from PIL import Image

            given: Any = Image.fromarray(samples[len(samples) // 2].transpose(1, 2, 0))
        else:
            given = {"raw": samples.mean(axis=0).astype("float32"), "sampling_rate": sample_rate}
        told = pipeline(given)
        told = [told] if isinstance(told, dict) else told
        captions = []
        for one in told[:MOST]:
            text = next((one[key] for key in ("label", "generated_text", "text") if one.get(key)), "")
            if isinstance(text, str) and text.strip():
                score = one.get("score")
                captions.append(Caption(" ".join(text.split()), float(0.5 if score is None else score)))
        return captions

    def _pipeline(self) -> Any:
        if self._made is None:
            try:
                import transformers
            except ImportError:
                raise MissingExtraError(
                    f"{self.name} needs transformers, which is not installed", "official"
                ) from None
            pipeline: Any = transformers.pipeline
            try:
                self._made = pipeline(self._task, model=self._model)
            except Exception as error:
                first = (str(error).splitlines() or [type(error).__name__])[0]
                raise UserError(f"{self.name} cannot be loaded ({first}): check task and model") from None
        return self._made


def captioner(name: str) -> Any:
    """A captioner by name: one that is installed, or ``transformers:TASK:MODEL``."""
    if name.startswith(TRANSFORMERS):
        return Pipeline(name)
    from sam_audio.extending.registry import registry

    return registry().get("captioners", name)
