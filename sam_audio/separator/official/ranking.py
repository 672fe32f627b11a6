"""Choosing among candidates: several separations of one recording from different noise, scored by a ranker.

A ranker is any callable of the forms below. Those that a config describes are made by what is registered for their
kind, and not before several candidates are asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from sam_audio.errors import ModelError


class TextRanker(Protocol):
    """Scores candidates against the text that asked for them."""

    def __call__(
        self, candidates: Sequence[Tensor], mixtures: Sequence[Tensor], descriptions: Sequence[str]
    ) -> Tensor:
        """Shapes: B candidates (K, n_b), B mixtures (n_b,), at the codec's rate -> scores (B, K), more is better."""
        ...


class VisualRanker(Protocol):
    """Scores candidates against the masked video that asked for them."""

    def __call__(self, candidates: Sequence[Tensor], videos: Sequence[Tensor]) -> Tensor:
        """Shapes: B candidates (K, n_b), B videos (sizes_b, 3, H, W) -> scores (B, K), more is better."""
        ...


def judge(config: Mapping[str, Any]) -> TextRanker:
    """Ranks by how good the Judge finds a candidate overall; ``name`` is the Judge's folder or hub name.

    Raises:
        ModelError: it cannot be found or loaded.
    """
    from judge.official import NAME, SAMAudioJudgeModel, SAMAudioJudgeProcessor

    name = config.get("name") or NAME
    model, processor = SAMAudioJudgeModel.from_pretrained(name), SAMAudioJudgeProcessor.from_pretrained(name)

    def score(
        candidates: Sequence[Tensor], mixtures: Sequence[Tensor], descriptions: Sequence[str]
    ) -> Tensor:
        rows = []
        # recording by recording: the Judge hears padding
        for takes, mixture, text in zip(candidates, mixtures, descriptions, strict=True):
            n = len(takes)
            inputs = processor([text] * n, [mixture.cpu()] * n, list(takes.cpu()), processor.sample_rate)
            rows.append(model(**inputs).overall[:, 0])
        return torch.stack(rows)

    return score


_BUILDERS: dict[str, Callable[[Mapping[str, Any]], Callable[..., Tensor]]] = {"judge": judge}


def register(kind: str, build: Callable[[Mapping[str, Any]], Callable[..., Tensor]]) -> None:
    """Makes a kind of ranker known; ``build`` gets the ranker's part of the config."""
    _BUILDERS[kind] = build


def build(config: Mapping[str, Any]) -> Callable[..., Tensor]:
    """The ranker that a config describes.

    Of an ensemble, members of unknown kinds are left out, with a warning.

    Raises:
        ModelError: none can be made.
    """
    kind = config.get("kind")
    if kind == "ensemble":
        return _ensemble(config)
    if kind not in _BUILDERS:
        known = ", ".join(sorted(_BUILDERS)) or "none"
        raise ModelError(
            f"the model's candidates are ranked by {kind}, which is not available ({known} is): "
            "set model.text_ranker or model.visual_ranker, or ask for one candidate"
        )
    return _BUILDERS[str(kind)](config)


def _ensemble(config: Mapping[str, Any]) -> Callable[..., Tensor]:
    members: list[tuple[Callable[..., Tensor], float]] = []
    refusals: list[str] = []
    for member, weight in dict(config.get("rankers") or {}).values():
        try:
            members.append((build(member), float(weight)))
        except ModelError as error:
            refusals.append(str(error))
    if not members:
        raise ModelError(
            (refusals or ["the config's ensemble of rankers is empty: set model.text_ranker"])[0]
        )
    for refusal in refusals:
        warnings.warn(f"left out of the ranking: {refusal}", stacklevel=3)

    def score(*inputs: Any) -> Tensor:
        return torch.stack([weight * ranker(*inputs) for ranker, weight in members]).sum(dim=0)

    return score
