"""Words for sounds that nano has learned, and what somebody may have meant who writes others.

``labels.tsv`` has one row per canonical label: its group, its hypernyms (prompts that ask for a whole group), natural
phrases, and what it could be mistaken for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources

ALIKE, ALIKE_ING = 0.76, 0.88  # of `difflib`, 0..1; words in -ing are all a little alike
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Label:
    """One canonical label; the first of ``phrases`` is the name."""

    name: str
    group: str
    parents: tuple[str, ...]
    phrases: tuple[str, ...]
    confusable: tuple[str, ...] = ()  # labels, groups or hypernyms


@cache
def load_labels() -> dict[str, Label]:
    """The packaged table, by label."""
    text = resources.files("sam_audio").joinpath("labels.tsv").read_text(encoding="utf-8")
    labels: dict[str, Label] = {}
    for line in text.splitlines()[1:]:
        name, group, *lists = line.split("\t")
        parents, phrases, confusable = (tuple(filter(None, cell.split("|"))) for cell in lists)
        labels[name] = Label(name, group, parents, phrases, confusable)
    return labels


@cache
def words() -> tuple[str, ...]:
    """Every word of every phrase that sounds are asked for with, in lower case, sorted."""
    phrases = (p for one in load_labels().values() for p in (one.name, *one.parents, *one.phrases))
    return tuple(sorted({word for phrase in phrases for word in _WORD.findall(phrase.lower())}))


def meant(text: str, knows: Callable[[str], bool]) -> str | None:
    """The text with its unknown words replaced by the nearest known ones; None if there is nothing to replace.

    Inflections ("castanet") and words that resemble none are left alone.

    Args:
        knows: whether a word is one that the model has read as a whole.

    >>> meant("gitar and drums", lambda word: word in ("and", "drums"))
    'guitar and drums'
    """
    known = words()

    def corrected(match: re.Match[str]) -> str:
        word = match[0].lower()
        ing = word.endswith("ing")
        if word in known or knows(word) or (ing and knows(word.removesuffix("ing"))):
            return match[0]
        near = get_close_matches(word, known, n=1, cutoff=ALIKE_ING if ing else ALIKE)
        if not near or near[0][0] != word[0] or _inflected(word, near[0]):
            return match[0]
        return near[0]

    better = _WORD.sub(corrected, text)
    return better if better != text else None


def _inflected(word: str, other: str) -> bool:
    return word.startswith(other) or other.startswith(word)
