"""Lists of separations for one process: ``--jobs FILE.jsonl``, one JSON object a line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sam_audio.errors import UserError
from sam_audio.prompts import Prompt
from sam_audio.render import RenderOptions

# key of a job -> field of RenderOptions, and the types it takes
_OPTION_KEYS: dict[str, tuple[str, tuple[type, ...]]] = {
    "out": ("out", (str,)),
    "filename": ("filename", (str,)),
    "mode": ("mode", (str,)),
    "residual": ("residual", (str, type(None))),
    "format": ("format", (str,)),
    "depth": ("depth", (str, type(None))),
    "clip_mode": ("clip_mode", (str, type(None))),
    "overwrite": ("overwrite", (bool,)),
    "start": ("start_s", (int, float)),
    "duration": ("duration_s", (int, float, type(None))),
    "strength": ("strength", (int, float)),
    "judge": ("judge", (bool,)),
    "candidates": ("candidates", (int,)),
}
_KEYS = ("mixture", "prompts", "track", *_OPTION_KEYS)


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

    Args:
        defaults: what a job does not say itself.
        prompts: for jobs without their own.
        clues: for what a job has no own of.

    Yields:
        Jobs; for a line that cannot be understood its error, so that the others can still run.

    Raises:
        UserError: the file itself cannot be read.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"the job file {path} cannot be read ({reason}): check its name") from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield _job(line, defaults, prompts, clues or {})
        except UserError as error:
            yield UserError(f"line {number} of {path}: {error}")


def _job(line: str, defaults: RenderOptions, prompts: tuple[str, ...], clues: Mapping[str, Any]) -> Job:
    try:
        entry: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"this is not JSON ({error.msg}): write one object a line") from None
    if not isinstance(entry, dict):
        raise UserError('this is not a JSON object: write {"mixture": ..., "prompts": [...]}')
    own = {key: entry[key] for key in entry if key not in _KEYS}
    known = _clue_keys() if own else []
    unknown = [key for key in own if key not in known]
    if unknown:
        raise UserError(f"a job has no key {unknown[0]!r}: use {', '.join([*_KEYS, *known])}")
    mixture = entry.get("mixture")
    if not isinstance(mixture, str) or not mixture:
        raise UserError('a job needs "mixture", the path of a recording')
    asked = entry.get("prompts", list(prompts))
    if isinstance(asked, str):
        asked = [asked]
    if not isinstance(asked, list) or not all(isinstance(p, (str, dict)) for p in asked):
        raise UserError('"prompts" is a list of texts, for example ["guitar"]')
    track = entry.get("track")
    if track is not None and not isinstance(track, str):
        raise UserError('"track" is a text')
    if track is not None and (Path(track).is_absolute() or ".." in re.split(r"[/\\]", track)):
        raise UserError(f"the track {track!r} leads out of the folder of the stems: use a plain name")
    values: dict[str, Any] = {}
    for key, (name, types) in _OPTION_KEYS.items():
        if key in entry:
            value = entry[key]
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                raise UserError(f"{value!r} is not a value for {key!r}: see separate --help")
            values[name] = value
    if str(values.get("residual", "")).lower() == "none":  # as on the command line
        values["residual"] = None
    asked = [one if isinstance(one, str) else _prompt(one) for one in asked]
    return Job(mixture, tuple(asked), replace(defaults, **values), track, {**clues, **own})


def _prompt(entry: dict[str, Any]) -> Prompt:
    """Of an object: text, name, and clues by their keys."""
    for key in ("text", "name"):
        if not isinstance(entry.get(key), (str, type(None))):
            raise UserError(f'the "{key}" of a prompt is a text')
    known = ["text", "name", *_clue_keys()]
    unknown = [key for key in entry if key not in known]
    if unknown:
        raise UserError(f"a prompt has no {unknown[0]!r}: it can have {', '.join(known)}")
    return Prompt(**entry)


def _clue_keys() -> list[str]:
    from sam_audio.registry import registry

    return [option.key for _, option in registry().options()]
