"""Documents of other people: whatever they hold, it is a structure or one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Meta

from sam_audio.documents import (
    MOST_BYTES,
    ClueValue,
    Document,
    converted,
    inner_name,
    parse_json,
    parse_toml,
    read_text,
    structured,
)
from sam_audio.errors import UserError


class Sample(Document, kw_only=True):
    name: str
    strength: Annotated[float, Meta(ge=0, le=2)] = 1.0
    flag: bool = False
    spans: list[tuple[float, float]] = []


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "doc is []: write a table of name, strength, flag, spans"),
        ({}, "doc lacks name: add it"),
        ({"name": ["x"]}, "doc has name = ['x']: write a text"),
        ({"name": "x", "strenght": 1}, "doc has the unknown key 'strenght': did you mean strength?"),
        ({"name": "x", "\n": 1}, "doc has the unknown key '\\n': use name, strength, flag, spans"),
        ({"name": "x", "strength": 3}, "doc has strength = 3: write a number <= 2.0"),
        ({"name": "x", "strength": True}, "doc has strength = True: write a number"),
        ({"name": "x", "flag": 1}, "doc has flag = 1: write true or false"),
        ({"name": "x", "spans": [[1, 2], [3]]}, "doc has spans[1] = [3]: write a list of a length 2"),
        ({"name": "x", "spans": [[1, "y" * 999]]}, "write a number"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(values, says):
    with pytest.raises(UserError) as caught:
        structured(values, Sample, "doc")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_what_fits_is_a_structure():
    found = structured({"name": "x", "spans": [[0, 1.5]], "more": 1}, Sample, "doc", closed=False)
    assert (found.name, found.strength, found.spans) == ("x", 1.0, [(0.0, 1.5)])
    assert converted([[1, 2.5], "3-4"], ClueValue, "spans") == [[1, 2.5], "3-4"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "too deeply"),
        ("[" * 100 + "]" * 100, "too deeply"),
        ('{"a":' * 100_000, "too deeply"),
        ("9" * 5000, "thousands of digits"),
        ("1" + "0" * 400, "beyond what can be computed"),
        ("[1e999]", "beyond what can be computed"),
        ("[NaN]", "NaN, which is no number"),
        ("[-Infinity]", "-Infinity, which is no number"),
        ('{"a": 1, "a": 2}', "the key 'a' twice"),
        ('{"a\\u0000": 1}', "a character that is none"),
        ('"\\ud800"', "a character that is none"),
    ],
)
def test_json_that_is_none(text, says):
    with pytest.raises(UserError, match=says):
        parse_json(text, "doc")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a", "is not TOML"),
        ("a = " + "[" * 100_000, "too deeply"),
        ("a = " + "{a=" * 5000, "too deeply"),
        (".".join("a" * 100_000) + " = 1", "too deeply"),
        ("[" + " . ".join(['"a b"'] * 100) + "]", "too deeply"),
        ("a = " + "9" * 5000, "thousands of digits"),
        ("a = 0x" + "f" * 5000, "beyond what can be computed"),
        ("a = inf", "beyond what can be computed"),
        ("a = 1\na = 2", "is not TOML"),
        ('a = "\\u0000"', "a character that is none"),
    ],
)
def test_toml_that_is_none(text, says):
    with pytest.raises(UserError, match=says):
        parse_toml(text, "doc")


def test_names_of_files_that_are_no_text_stay():
    """As reports have them: what stands for a byte of a name (PEP 383)."""
    assert parse_json(json.dumps("\udcff.wav"), "doc") == "\udcff.wav"


def test_files(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert read_text(path, "a thing") == "{}"
    for content, says in ((b"\xff\xfe{\0", "not UTF-8"), (b" " * (MOST_BYTES + 1), "larger than 32 MB")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=says):
            read_text(path, "a thing")
    for gone in (tmp_path, tmp_path / "gone", Path("a" * 5000), Path("a\0b")):
        with pytest.raises(UserError, match="cannot be read .*give a thing"):
            read_text(gone, "a thing")


@pytest.mark.parametrize(
    "name",
    ["", "/", "/a", "..", "a/../../b", "a//b", "./a", "a/", "C:/x", "c:x", "a\\b", "a\x00b", "a\nb"]
    + ["a" * 256, "é" * 128, "/".join("a" * 40)],
)
def test_names_that_leave_their_folder_or_fit_on_no_disk(name):
    with pytest.raises(UserError):
        inner_name(name, "the file")


def test_names_that_stay():
    for name in ("a.wav", "stems/…dog.wav", ".hidden", "a..b", "é" * 100):
        assert str(inner_name(name, "the file")) == name
