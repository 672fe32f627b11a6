"""Where the outputs of jobs will go: looked at before anything is separated."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio.errors import UserError

if TYPE_CHECKING:
    from sam_audio.hookspecs import Exporter
    from sam_audio.jobs import Job
    from sam_audio.prompts import Request

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


def check_job(job: Job, exporters: Iterable[Exporter]) -> None:
    """What can be said of one job before it is begun.

    Raises:
        UserError: nothing could be exported of this recording, or a preview may not be written.
    """
    from sam_audio.io.target import FileTarget

    for exporter in exporters:
        check = getattr(exporter, "check", None)  # they need not have it
        if check is not None:
            check(job.mixture)
    for preview in _previews(_requests(job)):
        FileTarget(preview, job.options.overwrite, _inputs(job)).discard()


def _outputs(job: Job) -> list[Path]:
    """The files of a job, named as `sam_audio.render` names them."""
    from sam_audio.naming import fill_template
    from sam_audio.render import stem_names, track_name

    options, requests = job.options, _requests(job)
    previews = _previews(requests)
    if not requests or str(options.out) == "-":
        return previews
    stems, residual = stem_names([request.name for request in requests], options)
    names = [*(stems if options.mode == "extract" else []), *([] if residual is None else [residual])]
    track, folder = job.track or track_name(job.mixture), Path(options.out)
    extension = options.format.lower().lstrip(".")
    return [fill_template(options.filename, folder, track, name, extension) for name in names] + previews


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


def _requests(job: Job) -> list[Request]:
    """What a job asks for; nothing if that cannot be understood, which it will say when its turn comes."""
    from sam_audio.prompts import resolve

    try:
        job.options.check()
        return resolve(job.prompts, job.clues)
    except Exception:  # those of plugins included
        return []


def _previews(requests: Iterable[Request]) -> list[Path]:
    found = [getattr(value, "preview", None) for request in requests for _, value in request.clues]
    return list(dict.fromkeys(path for path in found if path is not None))


def _place(path: str | Path) -> Place:
    """What the names and links of one file have in common, whether it is there already or not."""
    from sam_audio.io.target import identity

    if (there := identity(path)) is not None:
        return there
    try:
        return os.path.realpath(path)
    except ValueError:  # no name at all: it has a NUL, which whoever opens it will say
        return str(path)
