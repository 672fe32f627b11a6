"""A job, understood once: what is asked for, and which files will come of it. Nothing is loaded or separated yet.

Command line, Python, editor and checks all read the same plan.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam_audio.errors import UserError
from sam_audio.io.formats import FORMATS
from sam_audio.naming import distinct, fill_template, safe_name, slug
from sam_audio.options import RenderOptions
from sam_audio.prompts import Prompt, Request, resolve


@dataclass(frozen=True)
class Job:
    """One mixture and what is asked of it.

    Args:
        mixture: path of the recording, ``-`` for standard input.
        prompts: one stem each.
        options: how the stems are made and stored.
        track: name for ``{track}``; the file's own name without its extension by default.
        clues: go with every prompt, see `sam_audio.prompts.resolve`.
        model_options: of the model, where they are not those it was loaded with; by the names of their fields.
    """

    mixture: str
    prompts: tuple[str | Prompt, ...] = ()
    options: RenderOptions = RenderOptions()
    track: str | None = None
    clues: Mapping[str, Any] = field(default_factory=dict)
    model_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """One file that will be written.

    Args:
        row: among the parts; the residual is the last.
        name: of the stem.
        prompt: what was asked for; None of the residual.
        path: None for standard output.
    """

    row: int
    name: str
    prompt: str | None
    path: Path | None


@dataclass(frozen=True)
class Plan:
    """A job that has been understood.

    Args:
        job: as it was given.
        requests: N prompts.
        track: what ``{track}`` stands for.
        names: of the N stems in file names.
        outputs: what will be written of them and of the residual, in the order in which files get their names.
        previews: pictures that are written for a look at what was asked for.
    """

    job: Job
    requests: tuple[Request, ...]
    track: str
    names: tuple[str, ...]
    outputs: tuple[Output, ...]
    previews: tuple[Path, ...]

    @property
    def options(self) -> RenderOptions:
        return self.job.options

    @property
    def to_stdout(self) -> bool:
        return str(self.options.out) == "-"

    @property
    def writes(self) -> tuple[Path, ...]:
        """All files that will be there."""
        return (*self.previews, *(output.path for output in self.outputs if output.path is not None))

    @property
    def place(self) -> Path:
        """Where the outputs are, by which they are remembered as a set."""
        return fill_template(self.options.filename, Path(self.options.out), self.track, "*", self.extension)

    @property
    def extension(self) -> str:
        return self.options.format.lower().lstrip(".")

    def reads(self) -> Iterator[str | Path]:
        """The recording, and the files that prompts name."""
        if self.job.mixture != "-":
            yield self.job.mixture
        for clues in _clues(self.job):
            for key, value in clues.items():
                if key not in _written_clues():
                    yield from _files(value)


def plan(job: Job) -> Plan:
    """Understands a job.

    Raises:
        UserError: its options or prompts cannot be understood, or cannot work together.
    """
    options = job.options
    options.check()
    requests = tuple(resolve(job.prompts, job.clues))
    track = job.track or track_name(job.mixture)
    prompts = [request.name for request in requests]
    residual = None if options.residual is None else slug(options.residual)
    names = distinct([slug(prompt) for prompt in prompts], taken=[] if residual is None else [residual])
    to_stdout = str(options.out) == "-"
    kept = list(enumerate(zip(names, prompts, strict=True))) if options.mode == "extract" else []
    wanted: list[tuple[int, str, str | None]] = [(row, name, prompt) for row, (name, prompt) in kept]
    if residual is not None and not (to_stdout and options.mode == "extract"):
        wanted.append((len(prompts), residual, None))
    if to_stdout and len(wanted) != 1:
        raise UserError(
            f"standard output takes one stem, not {len(wanted)}: give one prompt, or a folder for the stems"
        )
    extension = options.format.lower().lstrip(".")
    outputs = []
    for row, name, prompt in wanted:
        path = None
        if not to_stdout:
            path = fill_template(options.filename, Path(options.out), track, name, extension)
            _check_suffix(path, extension)
        outputs.append(Output(row, name, prompt, path))
    return Plan(job, requests, track, tuple(names), tuple(outputs), tuple(_previews(job)))


def _check_suffix(path: Path, extension: str) -> None:
    suffix = path.suffix.lower().lstrip(".")
    if suffix in FORMATS and suffix != extension:
        raise UserError(
            f"{path.name} would be no {suffix} but {extension}: add format='{suffix}', or end the file name "
            "template in {ext}"
        )


def track_name(source: str | Path) -> str:
    """What ``{track}`` stands for."""
    return "stdin" if str(source) == "-" else safe_name(Path(source).stem)


def _previews(job: Job) -> list[Path]:
    """Files that clues name to write."""
    written = _written_clues()
    named = [value for clues in _clues(job) for key, value in clues.items() if key in written and value]
    return list(dict.fromkeys(Path(str(value)) for value in named))


def _clues(job: Job) -> Iterator[Mapping[str, Any]]:
    """Those of each prompt, its own before those of the whole job."""
    for prompt in job.prompts or (Prompt(),):
        yield job.clues if isinstance(prompt, str) else {**job.clues, **prompt.clues}


def _written_clues() -> set[str]:
    """Keys of clues that name a file to write."""
    from sam_audio.extending.registry import registry

    return {key for key, file in registry().clues().items() if file == "write"}


def _files(value: Any) -> Iterator[str | Path]:
    for one in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(one, (str, Path)) and os.path.isfile(one):
            yield one
