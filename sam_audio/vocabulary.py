"""Words for sounds that nano has learned, and what somebody may have meant who writes others."""

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
class Entry:
    """A row of the table of labels."""

    name: str
    group: str
    parents: tuple[str, ...]
    phrases: tuple[str, ...]
    alike: tuple[str, ...]


@cache
def entries() -> tuple[Entry, ...]:
    """The product's table of labels."""
    table = resources.files("sam_audio").joinpath("training/labels.tsv").read_text(encoding="utf-8")
    found = []
    for line in table.splitlines()[1:]:
        name, group, *lists = line.split("\t")
        found.append(Entry(name, group, *(tuple(filter(None, cell.split("|"))) for cell in lists)))
    return tuple(found)


@cache
def words() -> tuple[str, ...]:
    """Every word of every phrase that sounds are asked for with, in lower case, sorted."""
    phrases = (p for entry in entries() for p in (entry.name, *entry.parents, *entry.phrases))
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
