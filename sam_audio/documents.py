"""Documents of other people: JSON and TOML, checked once, where they come in.

    bytes -> text -> plain values -> a structure (see `Document`)

What comes out of here holds texts without NUL, numbers that a float can hold, and fields of the types that the
structure declares; whatever else comes in is one sentence, a `UserError`. The structures are msgspec's: it converts
nothing silently (a text is no number, 1 is not true), has no dependencies, and is imported in milliseconds.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from reprlib import Repr
from typing import Any, TypeVar

import msgspec

from sam_audio.errors import UserError

MOST_BYTES = 32_000_000  # of a whole file
MOST_DEPTH = 32  # tables in lists in tables
_DEEP_KEY = re.compile(rf"""(?<![\w'"-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){{{MOST_DEPTH}}}""")
# NUL, and halves of characters but for those that stand for the bytes of a file's name (PEP 383)
_NO_CHARACTER = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
_DRIVE = re.compile("[A-Za-z]:")
_MOST_NAME_BYTES = 255  # what file systems allow
_MOST_INTEGER = 2**63

# what a clue can be in a document: a text, a number, or a list of those and of pairs of numbers
ClueValue = str | int | float | list[str | int | float | list[int | float]]


class Document(msgspec.Struct):
    """Base of all structures; a field without a default has to be there."""


T = TypeVar("T")


def read_text(path: Path, what: str) -> str:
    """The text of a file.

    Args:
        what: it should be, for the message: "a rack file".

    Raises:
        UserError: it cannot be read, is too large for a document, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({reason}): give {what}") from None
    return decoded(data, str(path), what)


def decoded(data: bytes, where: str, what: str) -> str:
    """The text of some bytes; see `read_text`."""
    if len(data) > MOST_BYTES:
        raise UserError(f"{where} is larger than {MOST_BYTES // 10**6} MB: give {what}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{where} cannot be read (it is not UTF-8 text): give {what}") from None


def parse_json(text: str, where: str) -> Any:
    """Plain values of a JSON text; a key that stands twice, NaN and Infinity are errors."""

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in pairs:
            if key in values:
                raise UserError(f"{where} has the key {shown(key)} twice: leave one of them out")
            values[key] = value
        return values

    def constant(name: str) -> Any:
        raise UserError(f"{where} holds {name}, which is no number: write one, or null")

    def parse(text: str) -> Any:
        return json.loads(text, object_pairs_hook=table, parse_constant=constant)

    return _parsed(parse, text, where, "JSON")


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Plain values of a TOML text."""
    if _DEEP_KEY.search(text):  # tomllib's time grows with the square of a key's parts
        raise UserError(f"{where} holds tables within tables too deeply: write it flatter")
    return _parsed(tomllib.loads, text, where, "TOML")


def _parsed(parse: Callable[[str], Any], text: str, where: str, language: str) -> Any:
    try:
        values = parse(text)
    except RecursionError:
        raise _too_deep(where) from None
    except ValueError as error:  # of both parsers, and of numbers with thousands of digits
        reason = " ".join(str(error).split())
        if "string conversion" in reason:
            reason = "a number has thousands of digits"
        raise UserError(f"{where} is not {language} ({reason[:200]}): correct it there") from None
    _check_plain(values, where)
    return values


def _too_deep(where: str) -> UserError:
    return UserError(f"{where} holds lists or tables within others too deeply: write it flatter")


def _check_plain(values: Any, where: str) -> None:
    """Looks at every text and number, without recursion."""
    level, depth = [values], 0
    while level:
        depth += 1
        if depth > MOST_DEPTH:
            raise _too_deep(where)
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.keys()
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str):
                if _NO_CHARACTER.search(value):
                    raise UserError(
                        f"{where} holds a text with a character that is none, {shown(value)}: take it out"
                    )
            elif (isinstance(value, int) and abs(value) >= _MOST_INTEGER) or (
                isinstance(value, float) and not math.isfinite(value)
            ):
                raise UserError(
                    f"{where} holds a number beyond what can be computed with: write a smaller one"
                )
        level = inner


def structured(values: Any, kind: type[T], where: str, *, also: Iterable[str] = (), closed: bool = True) -> T:
    """A `Document`, or a dataclass, of plain values.

    Args:
        values: as they were parsed.
        kind: what they should be; keys in its fields' places.
        where: the values stand, for messages: "line 3 of jobs.jsonl".
        also: further keys that are allowed, which somebody else looks at.
        closed: whether an unknown key is an error.

    Raises:
        UserError: they are not.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{where} is {shown(values)}: write a table of {', '.join(_keys(kind))}")
    known = [*_keys(kind), *also]
    if closed:
        for key in values:
            if key not in known:
                raise UserError(f"{where} has the unknown key {shown(key)}: {nearest(str(key), known)}")
    own = {key: value for key, value in values.items() if key in _keys(kind)}
    return converted(own, kind, where)


def converted(values: Any, kind: type[T], where: str) -> T:
    """Values as any type that msgspec knows.

    Raises:
        UserError: they are not.
    """
    try:
        return msgspec.convert(values, kind)
    except UnicodeEncodeError:
        raise UserError(f"{where} has a key with a character that is none: take it out") from None
    except (msgspec.ValidationError, OverflowError, RecursionError) as error:
        raise UserError(_told(str(error), values, where)) from None


def prompt_parts(
    values: Mapping[str, Any], known: Mapping[str, Any], where: str
) -> tuple[str | None, str | None, dict[str, Any]]:
    """Text, name and clues of a prompt's object.

    Args:
        known: clues, by key.
        where: for messages.

    Raises:
        UserError: it has another key, or a text that is none.
    """
    clues = {key: value for key, value in values.items() if key not in ("text", "name")}
    for key in clues:
        if key not in known:
            raise UserError(f"{where} has no {shown(key)}: {nearest(key, ['text', 'name', *known])}")
    text = converted(values.get("text"), str | None, f"the text of {where}")  # type: ignore[arg-type]
    name = converted(values.get("name"), str | None, f"the name of {where}")  # type: ignore[arg-type]
    return text, name, clues


def nearest(key: str, known: Iterable[str]) -> str:
    """What to do about a key that is unknown."""
    known = list(known)
    close = get_close_matches(key[:100], known, 1)
    return f"did you mean {close[0]}?" if close else f"use {', '.join(known) or 'none'}"


def shown(value: Any) -> str:
    """A value in a message: short, on one line.

    >>> shown("a" * 100)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"
    """
    return " ".join(_SHORT.repr(value).split())


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 62
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxlevel = 3


def inner_name(name: str, what: str) -> PurePosixPath:
    """A name that stays in its folder wherever it is joined to one, on every system.

    Args:
        what: it is, for the message: "the track".

    Raises:
        UserError: it is empty or absolute, climbs with .., has a drive, a backslash or control characters, or is
            longer than file systems allow.
    """
    parts = name.split("/")
    outside = any(part in ("", ".", "..") for part in parts) or "\\" in name or _DRIVE.match(name) is not None
    if outside or any(ord(letter) < 32 or letter == "\x7f" for letter in name):
        raise UserError(f"{what} {shown(name)} leads out of its folder: use a plain name, like take/mix.wav")
    if len(parts) > MOST_DEPTH or any(
        len(part.encode(errors="replace")) > _MOST_NAME_BYTES for part in parts
    ):
        raise UserError(f"{what} {shown(name)} is a name that no disk can hold: use a shorter one")
    return PurePosixPath(*parts)


def _keys(kind: type) -> tuple[str, ...]:
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_encode_fields__
    return tuple(field.name for field in fields(kind))  # type: ignore[arg-type]


_AT = re.compile(r" - at `\$\.?(.*)`$")
_WORDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "null",
}


def _told(message: str, values: Any, where: str) -> str:
    """msgspec's message as a sentence of ours: what stands there, and what would be right."""
    at = _AT.search(message)
    place, problem = (at[1], message[: at.start()]) if at else ("", message)
    if missing := re.fullmatch(r"Object missing required field `(.*)`", problem):
        return f"{where} lacks {place and place + '.'}{missing[1]}: add it"
    if expected := re.match(r"Expected `([^`]*)`(.*)", problem):
        kinds = list(dict.fromkeys(_WORDS.get(word, word) for word in expected[1].split(" | ")))
        if "a whole number" in kinds and "a number" in kinds:
            kinds.remove("a whole number")
        limit = expected[2].split(",")[0].replace(" of length ", " of a length ")
        wanted = f"{' or '.join(kinds)}{limit}"
    else:  # a word that is none of those allowed
        wanted = "another value"
    value = _at(values, place)
    has = f"has {place} =" if place else "is"
    return f"{where} {has} {shown(value)}: write {wanted}"


def _at(values: Any, place: str) -> Any:
    """The value at a path like ``a.b[0]``; as near to it as the path tells."""
    for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", place):
        try:
            values = values[int(index)] if index else values[key]
        except (LookupError, TypeError):
            break
    return values
