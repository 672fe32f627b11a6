"""Labels of an open vocabulary for what is not in a recording, and that nobody could take for what is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np

from sam_audio.training.data.labels import conflicts
from sam_audio.vocabulary import load_labels

_LITTLE = {"and", "a", "an", "in", "into", "of", "on", "or", "the", "to", "with", "other", "sound", "noise"}


def absent_labels(there: Sequence[str]) -> list[str]:
    """The product's labels that share no word with any of these, and are not confusable with them as far as known.

    >>> absent = absent_labels(["Dog"])
    >>> "dog barking" in absent, "violin" in absent
    (False, True)
    """
    words = set().union(*map(_words, there)) if there else set()
    known = [label.lower() for label in there if label.lower() in load_labels()]
    return [
        name
        for name, own in _vocabulary().items()
        if not words & own and not any(conflicts(name, label) for label in known)
    ]


def draw(labels: Sequence[str], n: int, rng: np.random.Generator) -> list[str]:
    """Some of them, at most ``n``, none twice."""
    return [str(label) for label in rng.permutation(labels)[:n]]


@cache
def _vocabulary() -> dict[str, frozenset[str]]:
    """Labels, and the words of their phrases and of what they are kinds of."""
    return {
        name: frozenset().union(*map(_words, (name, *entry.parents, *entry.phrases)))
        for name, entry in load_labels().items()
    }


def _words(text: str) -> frozenset[str]:
    """Stems of its words, roughly: gun shot, gunshots and shooting begin alike."""
    words = re.findall(r"[a-z]+", text.lower())
    return frozenset(word[:4] for word in words if len(word) > 2 and word not in _LITTLE)
