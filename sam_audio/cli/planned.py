"""Where the outputs of jobs will go: looked at before anything is separated."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio.errors import UserError

if TYPE_CHECKING:
    from sam_audio.extending.hookspecs import Exporter
    from sam_audio.jobs import Job

Place = tuple[int, int] | str


def check_outputs(jobs: Sequence[Job], json_summary: bool, exports: bool) -> None:
    """Sees to it that jobs do not get into each other's way.

    Raises:
        UserError: two of them would write one file, one would replace what any of them reads, or more goes to
            standard output than it can take.
    """
    to_stdout = sum(str(job.options.out) == "-" for job in jobs)
    if to_stdout and json_summary:
        raise UserError("standard output cannot take both sound and JSON: use --report FILE for the summary")
    if to_stdout and exports:
        raise UserError("nothing can be made of stems that go to standard output: name a folder with --out")
    if to_stdout > 1:
        raise UserError(
            f"standard output takes one recording, but {to_stdout} are given: separate them one at a time"
        )
    read = {_place(path) for job in jobs for path in _inputs(job)}
    # exporters name what they make after the stems
    suffixes = {Path(path).suffix for job in jobs for path in _inputs(job)} if exports else set()
    owners: dict[Place, int] = {}
    for number, job in enumerate(jobs):
        for path in _outputs(job):
            if not read.isdisjoint(
                map(_place, [path, *(path.with_suffix(suffix) for suffix in suffixes if path.name)])
            ):
                raise UserError(f"{path} would replace what is read: choose another folder with --out")
            if owners.setdefault(_place(path), number) != number:
                raise UserError(
                    f"{path} is to take the sound of several recordings: have {{track}} in the file name template, "
                    "or separate them one at a time"
                )


def check_report(report: Path, jobs: Sequence[Job], job_file: str | None) -> None:
    """Sees to it that a report takes no file of the jobs.

    Raises:
        UserError: it would replace what is read or written, or is a folder, or a device such as /dev/null.
    """
    if report.exists() and not report.is_file():
        raise UserError(f"{report} is not a regular file: name another for the report")
    place = _place(report)
    for job in jobs:
        if place in map(_place, _inputs(job)):
            raise UserError(f"the report would replace {report}, which is read: name another file for it")
        if place in map(_place, _outputs(job)):
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


def check_job(job: Job, exporters: Iterable[Exporter]) -> None:
    """What can be said of one job before it is begun.

    Raises:
        UserError: nothing could be exported of this recording, or a preview may not be written.
    """
    from sam_audio.io.target import FileTarget
    from sam_audio.made import previews_of
    from sam_audio.prompts import resolve

    for exporter in exporters:
        check = getattr(exporter, "check", None)  # they need not have it
        if check is not None:
            check(job.mixture)
    for preview in previews_of(resolve(job.prompts, job.clues)):
        FileTarget(preview, job.options.replaces, _inputs(job)).discard()


def without_outputs(work: Sequence[Job | UserError], found: Collection[str]) -> list[Job | UserError]:
    """Leaves recordings out that were found in folders, but are what these jobs write."""
    if not found:
        return list(work)
    written = {_place(path) for job in work if not isinstance(job, UserError) for path in _outputs(job)}
    return [
        job
        for job in work
        if isinstance(job, UserError) or job.mixture not in found or _place(job.mixture) not in written
    ]


def _inputs(job: Job) -> Iterator[str | Path]:
    """The recording of a job, and the files that its clues name."""
    if job.mixture != "-":
        yield job.mixture
    for clues in (job.clues, *(prompt.clues for prompt in job.prompts if not isinstance(prompt, str))):
        for key, value in clues.items():
            if key != "preview":
                yield from _files(value)


def _files(value: Any) -> Iterator[str | Path]:
    for one in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(one, (str, Path)) and os.path.isfile(one):
            yield one


def _outputs(job: Job) -> tuple[Path, ...]:
    """The files of a job; none if that cannot be understood, which it will say when its turn comes."""
    from sam_audio.made import output_set

    try:
        return output_set(job.mixture, job.prompts, job.clues, job.options, job.track).paths
    except Exception:  # those of plugins included
        return ()


def _place(path: str | Path) -> Place:
    """What the names and links of one file have in common, whether it is there already or not."""
    from sam_audio.io.target import identity

    if (there := identity(path)) is not None:
        return there
    try:
        return os.path.realpath(path)
    except ValueError:  # no name at all: it has a NUL, which whoever opens it will say
        return str(path)
