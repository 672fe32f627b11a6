"""Lists of separations for one process: ``--jobs FILE.jsonl``, one JSON object a line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from sam_audio.documents import (
    MOST_BYTES,
    ClueValue,
    Document,
    converted,
    decoded,
    inner_name,
    parse_json,
    prompt_parts,
    read_text,
    structured,
)
from sam_audio.errors import UserError
from sam_audio.prompts import Prompt
from sam_audio.render import RenderOptions

_WHAT = "a job file, one JSON object a line"


class JobOptions(Document):
    """What a job may say of the fields of `RenderOptions`, under the names of the command line."""

    out: str | UnsetType = UNSET
    filename: str | UnsetType = UNSET
    mode: str | UnsetType = UNSET
    residual: str | None | UnsetType = UNSET
    format: str | UnsetType = UNSET
    depth: str | None | UnsetType = UNSET
    clip_mode: str | None | UnsetType = UNSET
    overwrite: bool | UnsetType = UNSET
    skip_existing: bool | UnsetType = UNSET
    start_s: float | UnsetType = msgspec.field(default=UNSET, name="start")
    duration_s: float | None | UnsetType = msgspec.field(default=UNSET, name="duration")
    sound_track: int | None | UnsetType = UNSET
    strength: float | UnsetType = UNSET
    judge: bool | UnsetType = UNSET
    candidates: int | UnsetType = UNSET
    tags: bool | UnsetType = UNSET

    def over(self, defaults: RenderOptions) -> RenderOptions:
        """The defaults with what the job says itself."""
        own = {name: getattr(self, name) for name in JobOptions.__struct_fields__}
        own = {name: value for name, value in own.items() if value is not UNSET}
        for key, other in (("overwrite", "skip_existing"), ("skip_existing", "overwrite")):
            if own.get(key):  # what a job says itself comes before what the command line says
                own.setdefault(other, False)
        if str(own.get("residual", "")).lower() == "none":  # as on the command line
            own["residual"] = None
        return replace(defaults, **own)


class _Line(JobOptions, kw_only=True):
    mixture: str
    prompts: str | list[str | dict[str, Any]] | UnsetType = UNSET
    track: str | None = None


@dataclass(frozen=True)
class Job:
    """One mixture and what is asked of it; ``clues`` go with every prompt, see `sam_audio.prompts.resolve`."""

    mixture: str
    prompts: tuple[str | Prompt, ...]
    options: RenderOptions
    track: str | None = None
    clues: Mapping[str, Any] = field(default_factory=dict)


def read_jobs(
    path: str,
    defaults: RenderOptions,
    prompts: tuple[str, ...] = (),
    clues: Mapping[str, Any] | None = None,
) -> Iterator[Job | UserError]:
    """Reads a job file line by line (``-`` is standard input).

    Files that prompts write (``preview``) are named within the folder of the job's output.

    Args:
        defaults: what a job does not say itself.
        prompts: for jobs without their own.
        clues: for what a job has no own of.

    Yields:
        Jobs; for a line that cannot be understood its error, so that the others can still run.

    Raises:
        UserError: the file itself cannot be read.
    """
    if path == "-":
        text = decoded(sys.stdin.buffer.read(MOST_BYTES + 1), "standard input", _WHAT)
    else:
        text = read_text(Path(path), _WHAT)
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield _job(line, defaults, prompts, clues or {})
        except UserError as error:
            yield UserError(f"line {number} of {path}: {error}")


def _job(line: str, defaults: RenderOptions, prompts: tuple[str, ...], clues: Mapping[str, Any]) -> Job:
    values = parse_json(line, "the line")
    if not isinstance(values, dict):
        raise UserError('this is not a JSON object: write {"mixture": ..., "prompts": [...]}')
    own = {key: value for key, value in values.items() if key not in _Line.__struct_encode_fields__}
    files = _files_of_clues() if own else {}
    job = structured(values, _Line, "the job", also=files)
    if not job.mixture:
        raise UserError('a job needs "mixture", the path of a recording')
    if job.track is not None:
        inner_name(job.track, "the track")
    options = job.over(defaults)
    own = _checked(own, files, "the job", Path(options.out))
    asked = list(prompts) if job.prompts is UNSET else job.prompts
    asked = [asked] if isinstance(asked, str) else asked
    return Job(
        job.mixture,
        tuple(one if isinstance(one, str) else _prompt(one, Path(options.out)) for one in asked),
        options,
        job.track,
        {**clues, **own},
    )


def _prompt(values: dict[str, Any], out: Path) -> Prompt:
    """Of an object: text, name, and clues by their keys."""
    files = _files_of_clues()
    text, name, clues = prompt_parts(values, files, "a prompt")
    return Prompt(text, name=name, **_checked(clues, files, "a prompt", out))


def _checked(
    clues: Mapping[str, Any], files: Mapping[str, str | None], where: str, out: Path
) -> dict[str, Any]:
    """Clues with values that a document may hold; a file to write is put into ``out``.

    Raises:
        UserError: a value is of another kind, or names a file to write elsewhere.
    """
    checked = {}
    for key, value in clues.items():
        value = converted(value, ClueValue, f"the {key} of {where}")  # type: ignore[arg-type]
        if files[key] == "write":
            if not isinstance(value, str) or str(out) == "-":
                raise UserError(
                    f"the {key} of {where} is a file in the folder of the stems: name one, and an out"
                )
            value = str(out / inner_name(value, f"the {key}"))
        checked[key] = value
    return checked


def _files_of_clues() -> dict[str, str | None]:
    from sam_audio.extending.registry import registry

    return registry().clues()
