"""Names of stems and files."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from sam_audio import naming
from sam_audio.errors import PromptError, UserError
from sam_audio.naming import MAX_SLUG, check_prompts, check_template, distinct, fill_template, slug

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
        ("", "stem"),
    ],
)
def test_slug(text, expected):
    assert slug(text) == expected


@pytest.mark.parametrize("text", TEXTS)
def test_a_slug_is_a_safe_file_name_and_its_own_slug(text):
    name = slug(text)
    assert slug(name) == name
    assert 0 < len(name) <= MAX_SLUG
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
