"""``--ranker clap``: of several candidates the one that CLAP puts nearest to the text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sam_audio.extending.hookspecs import RankerType, hookimpl

if TYPE_CHECKING:
    from judge.rank import Ranker

NAME = "laion/clap-htsat-unfused"
VARIABLE = "SAM_AUDIO_CLAP"  # names another model, by hub id or folder


def open_clap(name: str = NAME, device: str = "cpu") -> Ranker:
    """A CLAP as a ranker.

    Args:
        name: its folder, or its id on the hub.
        device: where it computes.

    Raises:
        ModelError: it cannot be found or loaded.
    """
    from judge.rank import SimilarityRanker
    from sam_audio_clap.embedder import ClapEmbedder

    embedder = ClapEmbedder.load(name, device)
    return SimilarityRanker(embedder, embedder.sample_rate)


class Clap:
    """The ranker; a SAM-Audio's config may name its model."""

    name = "clap"

    def load(self, device: str) -> Ranker:
        return self.open(os.environ.get(VARIABLE) or NAME, device)

    def open(self, name: str, device: str) -> Ranker:
        return open_clap(name, device)


@hookimpl
def rankers() -> list[RankerType]:
    return [Clap()]
