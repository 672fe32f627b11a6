"""Labels of an open vocabulary that a data set says nothing about, and that nobody could take for its own."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from sam_audio.training.data.labels import conflicts
from sam_audio.vocabulary import load_labels

_LITTLE = {"and", "a", "an", "in", "into", "of", "on", "or", "the", "to", "with", "other", "sound", "noise"}


def foreign_labels(labels: Sequence[str]) -> list[str]:
    """The product's labels that share no word with any of these, and are not confusable with them as far as known.

    >>> "dog barking" in foreign_labels(["Dog"]), "violin" in foreign_labels(["Dog"])
    (False, True)
    """
    table = load_labels()
    words = set().union(*(_words(label) for label in labels)) if labels else set()
    known = [label.lower() for label in labels if label.lower() in table]
    return [
        name
        for name, entry in table.items()
        if not words & set().union(*(_words(text) for text in (name, *entry.parents, *entry.phrases)))
        and not any(conflicts(name, label) for label in known)
    ]


def draw(foreign: Sequence[str], n: int, rng: np.random.Generator) -> list[str]:
    """Some of them, at most ``n``, none twice."""
    return [str(label) for label in rng.permutation(foreign)[:n]]


def _words(text: str) -> set[str]:
    """Stems of its words, roughly: gun shot, gunshots and shooting begin alike."""
    return {word[:4] for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 2 and word not in _LITTLE}
