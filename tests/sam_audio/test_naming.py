"""Names of stems and files."""

from __future__ import annotations

import doctest
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_audio import naming
from sam_audio.errors import PromptError, UserError
from sam_audio.naming import (
    MAX_NAME,
    MAX_SLUG,
    check_prompts,
    check_template,
    distinct,
    fill_template,
    safe_name,
    safe_track,
    shorten,
    slug,
)

TEXTS = [
    "guitar",
    "Dog barking, LOUD!",
    "  a  b ",
    "rock/../..",
    "C:\\x",
    "été",
    "吉他",
    "a_b",
    "x" * 300,
    "-",
    "..",
    "🎸",
    "CON",
    "吉" * 100,
    "𝒜" * 100,
]


def test_doctests():
    assert doctest.testmod(naming).failed == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("guitar", "guitar"),
        ("Dog barking, LOUD!", "dog-barking-loud"),
        ("rock/../..", "rock"),
        ("a_b", "a-b"),
        ("Été chaud", "été-chaud"),
        ("吉他", "吉他"),
        ("🎸", "stem"),
        ("..", "stem"),
        ("aux", "aux-stem"),
        ("aux send", "aux-send"),
        ("", "stem"),
    ],
)
def test_slug(text, expected):
    assert slug(text) == expected


@pytest.mark.parametrize("text", TEXTS)
def test_a_slug_is_a_safe_file_name_and_its_own_slug(text):
    name = slug(text)
    assert slug(name) == name
    assert 0 < len(name.encode()) <= MAX_SLUG
    assert Path(name).name == name
    assert not set(name) & set('/\\:*?"<>|. ')


def test_distinct_names_differ_and_stay_when_they_can():
    names = ["a", "b", "a", "a-2", "a", "b"]
    out = distinct(names, taken=["b"])
    assert out == ["a", "b-2", "a-2", "a-2-2", "a-3", "b-3"]
    assert len({*out, "b"}) == len(names) + 1


def test_prompts_lose_superfluous_space():
    assert check_prompts([" a  dog\n", "cat"]) == ["a dog", "cat"]
    assert check_prompts("guitar") == ["guitar"]


@pytest.mark.parametrize("prompts", [[], "", [""], ["dog", " \t"], [3], [None], ["\ud800"]])
def test_prompts_that_ask_for_nothing(prompts):
    with pytest.raises(PromptError):
        check_prompts(prompts)


@pytest.mark.parametrize(
    "template", ["{stem}", "{track}/{stem}.{ext}", "a-{stem:>20}", "{{x}}{stem}", "{stem!s}"]
)
def test_templates_that_work(template):
    assert check_template(template) == template


@pytest.mark.parametrize(
    "template",
    [
        "",
        "x.wav",
        "{track}.{ext}",
        "{name}",
        "{stem",
        "stem}",
        "{}",
        "{0}",
        "{stem.x}",
        "{stem[0]}",
        "{stem!x}",
        "{stem:d}",
        "{stem:>99999999999}",
        "{stem:>" + "9" * 5000 + "}",
        "{stem:.300}",
        "{stem:9{track:.0}9{track:.0}99}",
    ]
    + ["{stem:{track}}", "{stem:{x}}"],
)
def test_templates_that_cannot_work(template):
    with pytest.raises(UserError, match="template"):
        check_template(template)


def test_a_template_is_filled():
    assert fill_template("{track}/{stem}.{ext}", Path("out"), "song", "dog", "wav") == Path(
        "out/song/dog.wav"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("song", "song"),
        ("Été 2.1", "Été 2.1"),
        (".", "untitled"),
        ("..", "untitled"),
        ("", "untitled"),
        (" . ", "untitled"),
        (".wav", "wav"),
        ("a/../b", "a_.._b"),
        ("/etc/passwd", "_etc_passwd"),
        ("song. ", "song"),
        ("a\0b\nc\x7f", "a_b_c_"),
        ("NUL", "_NUL"),
        ("com1.take", "_com1.take"),
        ("console", "console"),
        ("a\ud800", "a_"),
        ("a\udcff", "a\udcff"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="Windows forbids more")
def test_safe_names(text, expected):
    assert safe_name(text) == expected
    assert safe_name(expected) == expected


@given(st.text(st.characters()) | st.text("./\\ con1\0é吉", max_size=400))
def test_any_text_becomes_the_name_of_one_visible_file(text):
    name = safe_name(text)
    assert Path("folder", name).parent == Path("folder")
    assert not name.startswith(".") and not name.endswith((".", " ")) and "\0" not in name
    assert 0 < len(os.fsencode(name)) <= MAX_NAME
    assert safe_name(name) == name
    track = safe_track(text)
    assert ".." not in Path(track).parts and not Path(track).is_absolute()


@given(st.text("ab.é吉", min_size=100, max_size=300), st.text("ab.é吉", min_size=100, max_size=300))
def test_names_that_are_shortened_stay_distinct(one, other):
    assert (shorten(one, 60) == shorten(other, 60)) == (one == other)
    assert len(shorten(one, 60).encode()) <= 60


def test_long_names_keep_their_extension():
    path = fill_template("{track} - {stem}.{ext}", Path("out"), "吉" * 80, "é" * 80, "flac")
    other = fill_template("{track} - {stem}.{ext}", Path("out"), "吉" * 80, "é" * 79 + "è", "flac")
    assert path.suffix == ".flac" and len(path.name.encode()) <= MAX_NAME and path != other


def test_a_track_does_not_lead_out():
    for track in ("..", "../..", "/", "a/../../b", "...", "~"):
        path = fill_template("{track}/{stem}.{ext}", Path("out"), track, "dog", "wav")
        assert os.path.normpath(path).startswith(f"out{os.sep}") and ".." not in path.parts


@pytest.mark.parametrize(
    "prompt", ["", " ", "\u200b", "\u200d\ufeff", "\u2060 \u00ad", "\u3164", "\u2800", "\ufe0f", "\x07"]
)
def test_prompts_that_nobody_sees_are_empty(prompt):
    with pytest.raises(PromptError, match="a prompt is empty"):
        check_prompts([prompt])


def test_prompts_have_no_control_characters():
    with pytest.raises(PromptError, match="control characters"):
        check_prompts(["dog\x1b[2J"])
    assert check_prompts(["!", "\U0001f436", "e\u0301", "\u0645\u06cc\u200c\u062e"])
