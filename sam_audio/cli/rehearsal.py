"""``separate --dry-run``: what would be written, and about how long it would take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sam_audio.cli.console import Console
from sam_audio.cli.planned import Failure, check_plan
from sam_audio.errors import UserError
from sam_audio.io.target import check_free
from sam_audio.made import output_set

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
) -> dict[str, Any]:
    """Looks at every plan and writes nothing; a few seconds of the first recording are separated to tell the time.

    Returns:
        A summary like that of `separate_all`; ``sound_s`` is how much would be separated, ``estimated_s`` how long it
        would take, None where nobody can tell.
    """
    names = [exporter.name for exporter in exporters]
    summary: dict[str, Any] = {"files": [], "skipped": [], "errors": []}
    tried: Plan | None = None
    for one in work:
        mixture = one.mixture if isinstance(one, Failure) else one.job.mixture
        try:
            if isinstance(one, Failure):
                raise one.error
            paths = [str(path) for path in one.writes]
            if one.options.skip_existing and output_set(one, how).is_whole(names):
                summary["skipped"].append({"mixture": mixture, "paths": paths})
                console.skipped(mixture)
                continue
            check_plan(one, exporters)
            for path in one.writes:
                check_free(path, one.options.replaces)
            seconds = _seconds(one)
            summary["files"].append({"mixture": mixture, "paths": paths, "seconds": seconds})
            console.planned(mixture, paths, seconds)
            tried = tried or one
        except UserError as error:
            summary["errors"].append({"mixture": mixture, "message": console.error(error, mixture)})
    lengths = [file["seconds"] for file in summary["files"]]
    known = None not in lengths
    sound_s = sum(lengths) if known else None
    summary["sound_s"] = sound_s
    summary["estimated_s"] = round(_pace(tried, load) * sound_s, 1) if tried and sound_s else None
    console.estimate(sound_s, summary["estimated_s"])
    return summary


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
    options, prompts = planned.options, planned.job.prompts
    if planned.job.model_options:
        separator = separator.with_options(planned.job.model_options)
    elapsed_s = tried_s = 0.0
    for seconds in (0.5, TRIED_S):  # the first time all is loaded that is loaded late
        how = replace(options, duration_s=min(seconds, options.duration_s or seconds))
        begun = time.perf_counter()
        result = separator.separate(
            planned.job.mixture,
            prompts,
            clues=planned.job.clues,
            ranker=ranker,
            start_s=how.start_s,
            duration_s=how.duration_s,
            sound_track=how.sound_track,
            strength=how.strength,
            judge=how.judge,
            candidates=how.candidates,
        )
        elapsed_s, tried_s = time.perf_counter() - begun, result.report.seconds
    return elapsed_s / max(tried_s, 0.1)
