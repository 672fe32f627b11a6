"""``separate --dry-run``: what would be written, and about how long it would take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sam_audio.cli.console import Console
from sam_audio.cli.planned import Failure
from sam_audio.cli.running import each_plan
from sam_audio.io.target import check_place
from sam_audio.made import OutputSet
from sam_audio.options import SeparationFields

if TYPE_CHECKING:
    from judge.rank import Ranker
    from sam_audio.api import Separator
    from sam_audio.extending.hookspecs import Exporter
    from sam_audio.plan import Plan

TRIED_S = 4.0  # of the first recording, to see how fast it goes


def rehearse(
    work: Sequence[Plan | Failure],
    load: Callable[[], tuple[Separator, Ranker | None]],
    how: dict[str, Any],
    console: Console,
    exporters: Sequence[Exporter] = (),
) -> tuple[dict[str, Any], bool]:
    """Looks at every plan and writes nothing; a few seconds of the first recording are separated to tell the time.

    Returns:
        A summary and more as of `separate_all`; ``sound_s`` is how much would be separated, ``estimated_s`` how long it
        would take, None where nobody can tell.
    """
    files: list[dict[str, Any]] = []
    looked_at: list[Plan] = []

    def look(_: int, one: Plan, made: OutputSet) -> None:
        for path in one.writes:
            check_place(path, one.options.replaces, one.reads())
        mixture, paths, seconds = one.job.mixture, [str(path) for path in one.writes], _seconds(one)
        files.append({"mixture": mixture, "paths": paths, "seconds": seconds})
        looked_at.append(one)
        console.planned(mixture, paths, seconds)

    rest, bug = each_plan(work, how, console, exporters, look)
    lengths = [file["seconds"] for file in files]
    sound_s = None if None in lengths else sum(lengths)
    estimated_s = round(_pace(looked_at[0], load) * sound_s, 3) if sound_s else None
    console.estimate(sound_s, estimated_s)
    return {"files": files, **rest, "sound_s": sound_s, "estimated_s": estimated_s}, bug


def _seconds(planned: Plan) -> float | None:
    """How much would be separated, None if the recording does not tell."""
    from sam_audio.io import open_audio

    options = planned.options
    if planned.job.mixture == "-":
        return None
    with open_audio(
        planned.job.mixture,
        start_s=options.start_s,
        duration_s=options.duration_s,
        track=options.sound_track,
    ) as reader:
        return None if reader.frames is None else round(reader.frames / reader.sample_rate, 3)


def _pace(planned: Plan, load: Callable[[], tuple[Separator, Ranker | None]]) -> float:
    """Seconds that a second of sound takes."""
    separator, ranker = load()
    job = planned.job
    if job.model_options:
        separator = separator.with_options(job.model_options)
    options: Any = {name: getattr(job.options, name) for name in SeparationFields.__annotations__}
    elapsed_s = tried_s = 0.0
    for seconds in (0.5, TRIED_S):  # the first time all is loaded that is loaded late
        options["duration_s"] = min(seconds, job.options.duration_s or seconds)
        begun = time.perf_counter()
        result = separator.separate(job.mixture, job.prompts, clues=job.clues, ranker=ranker, **options)
        elapsed_s, tried_s = time.perf_counter() - begun, result.report.seconds
    return elapsed_s / max(tried_s, 0.1)
