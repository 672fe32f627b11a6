"""What the package itself provides, through the same hooks as plugins."""

from __future__ import annotations

from sam_audio.hookspecs import Exporter, PromptType, RankerType, hookimpl
from sam_audio.prompts.region import Region
from sam_audio.prompts.spans import Spans
from sam_audio.rankers import Activity, Similarity
from sam_audio.remux import Remux


@hookimpl
def prompt_types() -> list[PromptType]:
    return [Spans(), Region()]


@hookimpl
def rankers() -> list[RankerType]:
    return [Similarity(), Activity()]


@hookimpl
def exporters() -> list[Exporter]:
    return [Remux()]
