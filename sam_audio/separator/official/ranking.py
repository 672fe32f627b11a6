"""Choosing among candidates: several separations of one recording from different noise, scored by a ranker.

A ranker is any callable of the forms below. Those that a config describes are made by what is registered for their
kind, by the Judge, or by an installed plugin's ranker of that name; not before several candidates are asked for, and
then before anything is separated.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from peav.hub import HubOptions
from sam_audio.errors import ModelError, UserError
from sam_audio.separator.official.source import beside

SCORED_RATE = 48_000  # of official models, in Hz


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


@dataclass(frozen=True)
class Place:
    """Where a ranker works.

    Args:
        device: where it computes.
        folder: of the model whose candidates it ranks; folders that the config names may be in it or beside it.
        sample_rate: of that model's sound, in Hz.
        hub: how the hub is asked for the ranker's own model.
    """

    device: str | torch.device = "cpu"
    folder: Path = Path()
    sample_rate: int = SCORED_RATE
    hub: HubOptions = field(default_factory=HubOptions)


def judge(config: Mapping[str, Any], place: Place) -> TextRanker:
    """Ranks by how good the Judge finds a candidate overall.

    Args:
        config: ``checkpoint_or_model_id`` or ``name`` is the Judge's folder or hub name, by default the published one.

    Raises:
        ModelError: it cannot be found or loaded.
    """
    from judge.official import NAME, SAMAudioJudgeModel, SAMAudioJudgeProcessor

    name = beside(named(config) or NAME, place.folder)
    processor = SAMAudioJudgeProcessor.from_pretrained(name, **place.hub)
    if processor.sample_rate != place.sample_rate:
        raise ModelError(
            f"the Judge {name} listens at {processor.sample_rate} Hz, but the model's sound has "
            f"{place.sample_rate} Hz: set model.text_ranker, or ask for one candidate"
        )
    model = SAMAudioJudgeModel.from_pretrained(name, device=place.device, **place.hub)

    def score(
        candidates: Sequence[Tensor], mixtures: Sequence[Tensor], descriptions: Sequence[str]
    ) -> Tensor:
        rows = []
        # recording by recording: the Judge hears padding
        for takes, mixture, text in zip(candidates, mixtures, descriptions, strict=True):
            n = len(takes)
            inputs = processor([text] * n, [mixture.cpu()] * n, list(takes.cpu()), processor.sample_rate)
            rows.append(model(**inputs.to(place.device)).overall[:, 0].cpu())
        return torch.stack(rows)

    return score


def named(config: Mapping[str, Any]) -> str | None:
    """The checkpoint that the part of a config for one ranker names, if it does.

    A warning tells of further fields, which change nothing.

    Raises:
        ModelError: what stands for the name is no text.
    """
    names = "checkpoint_or_model_id", "name"
    unknown = config.keys() - {"kind", *names}
    if unknown:
        fields = ", ".join(sorted(unknown))
        warnings.warn(
            f"the config of the ranker {config.get('kind')} has fields that change nothing: {fields}",
            stacklevel=3,
        )
    for key in names:
        if (name := config.get(key)) is not None:
            if not isinstance(name, str) or not name:
                raise ModelError(
                    f"the config of the ranker {config.get('kind')} has {name!r} as {key}: name a model"
                )
            return name
    return None


_BUILDERS: dict[str, Callable[[Mapping[str, Any]], Callable[..., Tensor]]] = {}


def register(kind: str, build: Callable[[Mapping[str, Any]], Callable[..., Tensor]]) -> None:
    """Makes a kind of ranker known; ``build`` gets the ranker's part of the config."""
    _BUILDERS[kind] = build


def build(config: Mapping[str, Any], place: Place | None = None) -> Callable[..., Tensor]:
    """The ranker that a config describes, loaded.

    Of an ensemble, members that cannot be had are left out, with a warning.

    Args:
        config: its ``kind`` is "judge", "ensemble", one that is registered, or the name of a plugin's ranker.

    Raises:
        ModelError: none can be made; the message says why.
    """
    place = place or Place()
    kind = str(config.get("kind"))
    if kind == "ensemble":
        return _ensemble(config, place)
    if kind in _BUILDERS:
        return _BUILDERS[kind](config)
    if kind == "judge":
        return judge(config, place)
    return _of_plugin(kind, config, place)


def _of_plugin(kind: str, config: Mapping[str, Any], place: Place) -> Callable[..., Tensor]:
    from judge.rank import as_text_ranker
    from sam_audio.extending.registry import registry

    found = {one.name: one for one in registry().all("rankers")}
    if kind not in found:
        known = ", ".join(sorted({"judge", *_BUILDERS, *found}))
        raise ModelError(
            f"the model's candidates are ranked by {kind}, which no installed plugin brings (there are {known}): "
            "install one, set model.text_ranker or model.visual_ranker, or ask for one candidate"
        )
    name = named(config)
    chosen = found[kind]
    try:
        if name is None:
            ranker = chosen.load(str(place.device))
        elif hasattr(chosen, "open"):
            ranker = chosen.open(str(beside(name, place.folder)), str(place.device))
        else:
            raise ModelError(
                f"the ranker {kind} has one model only, but the config names {name}: leave it out"
            )
        return as_text_ranker(ranker, place.sample_rate)
    except UserError as error:
        raise ModelError(f"candidates cannot be ranked by {kind}: {error}") from None


def _ensemble(config: Mapping[str, Any], place: Place) -> Callable[..., Tensor]:
    members: list[tuple[Callable[..., Tensor], float]] = []
    refusals: list[str] = []
    for described, weight in _members(config):
        try:
            members.append((build(described, place), weight))
        except ModelError as error:
            refusals.append(str(error))
    if not members:
        raise ModelError(
            "; ".join(refusals) or "the config's ensemble of rankers is empty: set model.text_ranker"
        )
    for refusal in refusals:
        warnings.warn(f"left out of the ranking: {refusal}", stacklevel=3)

    def score(*inputs: Any) -> Tensor:
        return torch.stack([weight * ranker(*inputs).cpu() for ranker, weight in members]).sum(dim=0)

    return score


def _members(config: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], float]]:
    """The members of an ensemble with their weights.

    Raises:
        ModelError: the config is not of that form.
    """
    rankers = config.get("rankers") or {}
    try:
        members = [(described, float(weight)) for described, weight in rankers.values()]
        if not all(isinstance(described, Mapping) for described, _ in members):
            raise TypeError
    except (AttributeError, TypeError, ValueError):
        raise ModelError(
            'the config\'s ensemble of rankers cannot be read: it has to be {"name": [{"kind": ...}, weight], ...}'
        ) from None
    return members
