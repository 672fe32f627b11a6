"""Rankers by name, for ``--ranker NAME``; imports nothing heavy before one is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from judge.rank import Ranker


class Similarity:
    """How near PE-AV nano puts a stem to what was asked for."""

    name = "similarity"

    def load(self, device: str) -> Ranker:
        from judge.rank import SimilarityRanker
        from sam_audio.conditioning.embedding import load_embedder

        return SimilarityRanker(load_embedder("nano"))


class Activity:
    """How well a stem sounds where the spans say, and is silent elsewhere."""

    name = "activity"

    def load(self, device: str) -> Ranker:
        from judge.rank import SoundActivityRanker

        return SoundActivityRanker()
