"""Lists of separations for one process: ``--jobs FILE.jsonl``, one JSON object a line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache, reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

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
from sam_audio.options import OptionField, RenderOptions, options_of
from sam_audio.plan import Job
from sam_audio.prompts import Prompt
from sam_audio.separator import model_options

_WHAT = "a job file, one JSON object a line"


def _line_type() -> Any:
    """A line of a job file: what to do, and all options under the names of the command line."""
    from sam_audio.extending.registry import registry

    return _line_of(tuple(registry().all("separators")))


@lru_cache(maxsize=1)
def _line_of(_families: tuple[Any, ...]) -> Any:
    """Made once for the families that there are."""
    options = {one.name: one for one in (*options_of(RenderOptions), *model_options().values())}
    return msgspec.defstruct(
        "Line",
        [
            ("mixture", str),
            ("prompts", str | list[str | dict[str, Any]] | UnsetType, UNSET),
            ("name", str | None, msgspec.field(default=None, name="track")),
            *(
                (n, _plain(o) | UnsetType, msgspec.field(default=UNSET, name=o.key))
                for n, o in options.items()
            ),
        ],
        bases=(Document,),
        kw_only=True,
    )


def _plain(one: OptionField) -> Any:
    """What JSON has for an option: texts for choices, which the options check themselves, and for what is parsed."""
    kind = _without_choices(one.type)
    return kind | str if one.declared.parse else kind


def _without_choices(kind: Any) -> Any:
    if get_origin(kind) is Literal:
        return str
    if get_origin(kind) in (Union, UnionType):
        return reduce(or_, (_without_choices(one) for one in get_args(kind) if one is not Path))
    return kind


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
    kind, of_models = _line_type(), model_options()
    own = {key: value for key, value in values.items() if key not in kind.__struct_encode_fields__}
    files = _files_of_clues() if own else {}
    said = structured(values, kind, "the job", also=files)
    if not said.mixture:
        raise UserError('a job needs "mixture", the path of a recording')
    if said.name is not None:
        inner_name(said.name, "the track")
    given = {name: getattr(said, name) for name in kind.__struct_fields__}
    given = {name: value for name, value in given.items() if value is not UNSET}
    for name in ("mixture", "prompts", "name"):
        given.pop(name, None)
    of_this = {name: _of_model(of_models[name], given.pop(name)) for name in [*given] if name in of_models}
    options = defaults.over(
        {one.name: one.parsed(given[one.name]) for one in options_of(RenderOptions) if one.name in given}
    )
    own = _checked(own, files, "the job", Path(options.out))
    asked = list(prompts) if said.prompts is UNSET else said.prompts
    asked = [asked] if isinstance(asked, str) else asked
    return Job(
        said.mixture,
        tuple(one if isinstance(one, str) else _prompt(one, Path(options.out)) for one in asked),
        options,
        said.name,
        {**clues, **own},
        of_this,
    )


def _of_model(one: OptionField, value: Any) -> Any:
    if one.declared.loading:
        raise UserError(f"{one.key} is decided when the model is loaded: give {one.flag} on the command line")
    return one.parsed(value)


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
