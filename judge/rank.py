"""Choosing among candidates: separations of one mixture, scored against what was asked for.

Rankers only give scores. They hear everything at their ``sample_rate``, and take numpy arrays; `as_text_ranker` and
`as_visual_ranker` turn them into what SAM-Audio calls with tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from judge.types import Judge, Ranker, Spans, StemPrompt
from sam_audio.errors import AudioReadError, PromptError
from sam_audio.types import Samples, Span

if TYPE_CHECKING:
    from torch import Tensor

FRAME_S = 0.01  # of which a level is taken
SILENCE_DB = -40.0  # below the loudest frame
PAUSE_S = 0.25  # shorter silences are part of the sound


class JudgeRanker(Ranker):
    """The overall score of a judge."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.sample_rate = judge.sample_rate

    def rank(
        self, candidates: Sequence[Samples], mixture: Samples, prompt: StemPrompt, spans: Spans = None
    ) -> Samples:
        """See `Ranker.rank`."""
        judgements = self.judge.judge(mixture, candidates, [prompt] * len(candidates))
        return np.array([judgement.overall for judgement in judgements], np.float32)


class JointSpace(Protocol):
    """Puts words and sounds into one space of D dimensions; ``dim`` is D, None if only vectors can tell."""

    @property
    def dim(self) -> int | None: ...

    def embed_text(self, texts: list[str]) -> np.ndarray:
        """(N, D), one row a text."""
        ...

    def embed_audio(self, samples: Samples) -> np.ndarray:
        """(n,) -> (D,)."""
        ...


class SimilarityRanker(Ranker):
    """The dot product of a candidate's vector and the prompt's, which may be that of a picture or a video.

    Args:
        embedder: as PE-AV. If its vectors have length 1, scores are -1..1.
        sample_rate: of the sounds it takes, in Hz.
    """

    def __init__(self, embedder: JointSpace, sample_rate: int = 48_000) -> None:
        self.embedder = embedder
        self.sample_rate = sample_rate
        self.vector_dim = embedder.dim

    def rank(
        self, candidates: Sequence[Samples], mixture: Samples | None, prompt: StemPrompt, spans: Spans = None
    ) -> Samples:
        """See `Ranker.rank`; the mixture does not matter."""
        wanted = np.asarray(self.embedder.embed_text([prompt])[0] if isinstance(prompt, str) else prompt)
        if not len(candidates):
            return np.zeros(0, np.float32)
        vectors = np.stack([np.asarray(self.embedder.embed_audio(sound)) for sound in candidates])
        if wanted.shape != vectors.shape[1:]:
            raise PromptError(
                f"a prompt vector of shape {wanted.shape} cannot be compared with sounds of shape "
                f"{vectors.shape[1:]}: take it from the same model"
            )
        return np.asarray(vectors @ wanted, np.float32)


class SoundActivityRanker(Ranker):
    """How well the stretches where a candidate sounds agree with given spans: intersection over union, 0..1.

    Without spans all candidates score 0.
    """

    def __init__(
        self,
        sample_rate: int = 48_000,
        silence_db: float = SILENCE_DB,
        pause_s: float = PAUSE_S,
    ) -> None:
        self.sample_rate = sample_rate
        self.silence_db = silence_db
        self.pause_s = pause_s

    def rank(
        self,
        candidates: Sequence[Samples],
        mixture: Samples | None,
        prompt: StemPrompt | None,
        spans: Spans = None,
    ) -> Samples:
        """See `Ranker.rank`; mixture and prompt do not matter."""
        if not spans:
            return np.zeros(len(candidates), np.float32)
        return np.array([self._overlap(candidate, spans) for candidate in candidates], np.float32)

    def _overlap(self, samples: Samples, spans: Sequence[Span]) -> float:
        heard = sounding(samples, self.sample_rate, self.silence_db, self.pause_s)
        wanted = np.zeros_like(heard)
        for span in spans:
            start, stop = (round(t / FRAME_S) for t in (span.start_s, span.end_s))
            wanted[max(start, 0) : max(stop, 0)] = True
        return float((heard & wanted).sum() / max((heard | wanted).sum(), 1))


def sounding(
    samples: Samples, sample_rate: int, silence_db: float = SILENCE_DB, pause_s: float = PAUSE_S
) -> np.ndarray:
    """Which frames of 10 ms are not silent; (n,) -> (ceil(n / frame),) bool.

    Args:
        silence_db: RMS below which a frame is silent, in dB relative to the loudest frame.
        pause_s: silences between sounds that are shorter count as sound.

    >>> tone = np.sin(np.arange(8000, dtype=np.float32))
    >>> silence = np.zeros(8000, np.float32)
    >>> float(sounding(np.concatenate([silence, tone, silence]), 8000).mean().round(3))
    0.333
    """
    size = round(FRAME_S * sample_rate)
    padded = np.pad(np.asarray(samples, np.float64), (0, -len(samples) % size))
    level = np.sqrt(np.square(padded).reshape(-1, size).mean(axis=1))
    loud = level > level.max(initial=0.0) * 10 ** (silence_db / 20)
    places = np.flatnonzero(loud)
    for before, after in zip(places[:-1], places[1:], strict=True):
        if (after - before - 1) * FRAME_S < pause_s:
            loud[before:after] = True
    return loud


class Ensemble(Ranker):
    """A weighted sum of other rankers' scores.

    Args:
        rankers: name -> (ranker, weight). All take one sample rate. A weight also evens out scales: a judge's
            scores run from 1 to 5, similarities of unit vectors from -1 to 1.

    Raises:
        ValueError: there are none, their rates differ, or a weight is not a number.
    """

    def __init__(self, rankers: Mapping[str, tuple[Ranker, float]]) -> None:
        rates = {ranker.sample_rate for ranker, _ in rankers.values()}
        if len(rates) != 1:
            found = ", ".join(f"{name} {r.sample_rate} Hz" for name, (r, _) in rankers.items()) or "none"
            raise ValueError(f"an ensemble needs rankers of one sample rate, not {found}")
        for name, (_, weight) in rankers.items():
            if not math.isfinite(weight):
                raise ValueError(f"the weight of {name} is {weight}: give it a number")
        self.rankers = dict(rankers)
        self.sample_rate = rates.pop()

    def rank(
        self, candidates: Sequence[Samples], mixture: Samples, prompt: StemPrompt, spans: Spans = None
    ) -> Samples:
        """See `Ranker.rank`."""
        scores = self.scores(candidates, mixture, prompt, spans)
        return np.sum([weight * scores[name] for name, (_, weight) in self.rankers.items()], axis=0)

    def scores(
        self, candidates: Sequence[Samples], mixture: Samples, prompt: StemPrompt, spans: Spans = None
    ) -> dict[str, Samples]:
        """What each ranker says before it is weighted, (K,) by name; for reports."""
        return {
            name: ranker.rank(candidates, mixture, prompt, spans)
            for name, (ranker, _) in self.rankers.items()
        }


# ---- for SAM-Audio -------------------------------------------------------------------------------------


def as_text_ranker(
    ranker: Ranker, sample_rate: int = 48_000
) -> Callable[[Sequence[Tensor], Sequence[Tensor], Sequence[str]], Tensor]:
    """The ranker as a ``text_ranker`` of SAM-Audio.

    Args:
        sample_rate: of SAM-Audio's codec, in Hz.

    Returns:
        A callable: B candidates (K, n_b), B mixtures (m_b,) and B texts -> scores (B, K). A mixture that ends
        within its last frame is reflected there, as the published Judge does it.

    Raises:
        AudioReadError: the ranker takes another rate.
    """
    _check_rate(ranker, sample_rate)

    def score(candidates: Sequence[Tensor], mixtures: Sequence[Tensor], texts: Sequence[str]) -> Tensor:
        items = zip(map(_samples, candidates), map(_samples, mixtures), texts, strict=True)
        return _stacked(
            [
                ranker.rank(list(stems), _fitted(mixture, stems.shape[1]), text)
                for stems, mixture, text in items
            ]
        )

    return score


def as_visual_ranker(
    ranker: SimilarityRanker, embed_video: Callable[[Any], np.ndarray], sample_rate: int = 48_000
) -> Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]:
    """The ranker as a ``visual_ranker`` of SAM-Audio.

    Args:
        embed_video: frames (N, 3, H, W) uint8 -> (D,), in the space of the ranker's embedder.
        sample_rate: of SAM-Audio's codec, in Hz.

    Returns:
        A callable: B candidates (K, n_b) and B videos (N_b, 3, H, W) -> scores (B, K).

    Raises:
        AudioReadError: the ranker takes another rate.
    """
    _check_rate(ranker, sample_rate)

    def score(candidates: Sequence[Tensor], videos: Sequence[Tensor]) -> Tensor:
        items = zip(map(_samples, candidates), videos, strict=True)
        return _stacked([ranker.rank(list(stems), None, embed_video(video)) for stems, video in items])

    return score


def _check_rate(ranker: Any, sample_rate: int) -> None:
    if ranker.sample_rate != sample_rate:
        raise AudioReadError(
            f"candidates at {sample_rate} Hz cannot be ranked by what takes {ranker.sample_rate} Hz: "
            "choose another ranker"
        )


def _samples(sound: Tensor) -> Samples:
    return sound.detach().float().cpu().numpy()


def _fitted(samples: Samples, length: int) -> Samples:
    return np.pad(samples[:length], (0, max(length - len(samples), 0)), mode="reflect")


def _stacked(scores: list[Samples]) -> Tensor:
    import torch

    return torch.from_numpy(np.stack(scores))
