"""Options of the published models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from sam_audio.options import option, size_bytes


@dataclass(frozen=True)
class OfficialOptions:
    """How an official model separates.

    Args:
        steps: of the flow's solver.
        method: of the solver: ``midpoint``, ``euler`` or ``rk4``.
        seed: of the noise that the flow starts from.
        raw: stems are the model's own mono estimates, on every channel, instead of masked mixtures.
        watermark: as published, estimates carry a watermark. Stems that are not raw are made of the mixture and only
            as loud as the estimates: a detector will hardly find the mark in them.
        dtype: float32, bfloat16 or float16 for the large matrices; auto is what the device is fast in.
        memory_bytes: for the whole process; decides how many prompts are evaluated together. None for all.
        revision: branch, tag or commit on the hub.
        window_s, overlap_s: longer recordings are solved in windows that overlap.
        windows_at_once: windows that are solved together; more take more memory, and sound differs less between them.
    """

    steps: int = option(16, "Official models: solver steps.", metavar="N")
    method: str = option("midpoint", "Official models: midpoint, euler or rk4.")
    seed: int = option(0, "Official models: of the noise.", metavar="N")
    raw: bool = option(
        False,
        "Official models: their own mono output, or stems that sum to the mixture.",
        off="consistent",
    )
    watermark: bool = option(True, "Official models: the mark that their decoder adds.", off="no_watermark")
    dtype: str = option("auto", "Official models: auto, float32, bfloat16 or float16.", loading=True)
    memory_bytes: int | None = option(
        None,
        "Official models: how much to use, like 8GB.",
        key="memory",
        metavar="SIZE",
        parse=partial(size_bytes, what="an amount of memory"),
        shown="all",
    )
    revision: str | None = option(
        None, "Official models: branch, tag or commit.", shown="the default branch", loading=True
    )
    window_s: float = 30.0
    overlap_s: float = 5.0
    windows_at_once: int = 1
