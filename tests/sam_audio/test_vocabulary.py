"""What is misspelt is understood; what is no word for a sound is left alone."""

from __future__ import annotations

import doctest

import pytest

from peav.nano.text import TextTower
from sam_audio import vocabulary
from sam_audio.training.data import labels
from sam_audio.vocabulary import load_labels, meant, words


@pytest.fixture(scope="module")
def tower() -> TextTower:
    return TextTower.from_pretrained("nano")


def test_the_example_holds():
    assert doctest.testmod(vocabulary).failed == 0


def test_the_table_is_the_one_that_training_has():
    assert labels.load_labels() is load_labels()
    assert all(name == label.name for name, label in load_labels().items())


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ("gitar", "guitar"),
        ("Pinao", "piano"),
        ("a dog barkng", "a dog barking"),
        ("saxofone, snair drum", "saxophone, snare drum"),
        ("ukelele", "ukulele"),
    ],
)
def test_misspelt_words_are_understood(tower, text, better):
    assert meant(text, tower.knows) == better


@pytest.mark.parametrize(
    "text",
    [
        "hurdy gurdy",
        "jackhammer",
        "frying pan",
        "sizzling",
        "espresso machine",
        "violins",
        "Bach",
        "ギター",
        "808",
    ],
)
def test_other_words_are_left_alone(tower, text):
    assert meant(text, tower.knows) is None


def test_all_that_is_in_the_table_is_known(tower):
    for entry in load_labels().values():
        for phrase in (entry.name, *entry.parents, *entry.phrases):
            assert meant(phrase, tower.knows) is None
    assert "guitar" in words() and words() == tuple(sorted(set(words())))
