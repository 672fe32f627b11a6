"""Jobs, understood one by one, and where their outputs will go: looked at before anything is separated."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sam_audio.errors import UserError
from sam_audio.naming import distinct, safe_track
from sam_audio.plan import Job, Plan, plan, track_name

if TYPE_CHECKING:
    from sam_audio.extending.hookspecs import Exporter

Place = tuple[int, int] | str


@dataclass(frozen=True)
class Failure:
    """What cannot be understood, and will be told when its turn comes; errors of plugins included."""

    mixture: str
    error: Exception


def understood(jobs: Iterable[Job | UserError]) -> list[Plan | Failure]:
    """A plan for each job; mixtures that share a name and a folder get distinct tracks."""
    asked = list(jobs)
    by_folder: dict[str, list[tuple[int, Job]]] = {}
    for i, job in enumerate(asked):
        if isinstance(job, Job):
            by_folder.setdefault(str(job.options.out), []).append((i, job))
    for together in by_folder.values():
        tracks = distinct(safe_track(job.track or track_name(job.mixture)) for _, job in together)
        for (i, job), track in zip(together, tracks, strict=True):
            asked[i] = replace(job, track=track)
    return [_planned(one) if isinstance(one, Job) else Failure("", one) for one in asked]


def _planned(job: Job) -> Plan | Failure:
    try:
        return plan(job)
    except Exception as error:
        return Failure(job.mixture, error)


def check_outputs(plans: Sequence[Plan], json_summary: bool, exports: bool) -> None:
    """Sees to it that jobs do not get into each other's way.

    Raises:
        UserError: two of them would write one file, one would replace what any of them reads, or more goes to
            standard output than it can take.
    """
    to_stdout = sum(one.to_stdout for one in plans)
    if to_stdout and json_summary:
        raise UserError("standard output cannot take both sound and JSON: use --report FILE for the summary")
    if to_stdout and exports:
        raise UserError("nothing can be made of stems that go to standard output: name a folder with --out")
    if to_stdout > 1:
        raise UserError(
            f"standard output takes one recording, but {to_stdout} are given: separate them one at a time"
        )
    read = {_place(path) for one in plans for path in one.reads()}
    # exporters name what they make after the stems, or after the recording, which they do not replace
    suffixes = {Path(path).suffix for one in plans for path in one.reads()} if exports else set()
    of_clues = (
        {Path(p).suffix for one in plans for p in one.reads() if p != one.job.mixture} if exports else set()
    )
    owners: dict[Place, int] = {}
    for number, one in enumerate(plans):
        for path in one.writes:
            made = [path]
            if path.name:
                made += [path.with_suffix(suffix) for suffix in suffixes]
                made += [path.with_name(one.track + suffix) for suffix in of_clues]
            if not read.isdisjoint(map(_place, made)):
                raise UserError(f"{path} would replace what is read: choose another folder with --out")
            if owners.setdefault(_place(path), number) != number:
                raise UserError(
                    f"{path} is to take the sound of several recordings: have {{track}} in the file name template, "
                    "or separate them one at a time"
                )


def check_report(report: Path, plans: Sequence[Plan], job_file: str | None) -> None:
    """Sees to it that a report takes no file of the jobs.

    Raises:
        UserError: it would replace what is read or written, or is a folder, or a device such as /dev/null.
    """
    if report.exists() and not report.is_file():
        raise UserError(f"{report} is not a regular file: name another for the report")
    place = _place(report)
    for one in plans:
        if place in map(_place, one.reads()):
            raise UserError(f"the report would replace {report}, which is read: name another file for it")
        if place in map(_place, one.writes):
            raise UserError(f"the report would replace {report}, a sound: name another file for it")
    if job_file is not None and place == _place(job_file):
        raise UserError(f"the report would replace the job file {report}: name another file for it")


def is_report(path: Path) -> bool:
    """Whether a file is the report of an earlier run, which one that goes on may replace."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and set(content) == {"files", "skipped", "errors"}


def check_plan(planned: Plan, exporters: Iterable[Exporter]) -> None:
    """What can be said of one job before it is begun.

    Raises:
        UserError: nothing could be exported of this recording, or a preview may not be written.
    """
    from sam_audio.io.target import FileTarget

    for exporter in exporters:
        if exporter.needs_all and (planned.options.start_s or planned.options.duration_s is not None):
            raise UserError(f"{exporter.name} needs the whole recording: leave --start and --duration out")
        exporter.check(planned.job.mixture)
    for preview in planned.previews:
        FileTarget(preview, planned.options.replaces, planned.reads()).discard()


def without_outputs(work: Sequence[Plan | Failure], found: Collection[str]) -> list[Plan | Failure]:
    """Leaves recordings out that were found in folders, but are what these jobs write."""
    if not found:
        return list(work)
    written = {_place(path) for one in work if isinstance(one, Plan) for path in one.writes}
    return [
        one
        for one in work
        if isinstance(one, Failure) or one.job.mixture not in found or _place(one.job.mixture) not in written
    ]


def _place(path: str | Path) -> Place:
    """What the names and links of one file have in common, whether it is there already or not."""
    from sam_audio.io.target import identity

    if (there := identity(path)) is not None:
        return there
    try:
        return os.path.realpath(path)
    except ValueError:  # no name at all: it has a NUL, which whoever opens it will say
        return str(path)
