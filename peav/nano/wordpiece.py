"""WordPiece without case or accents, as BERT reads (Devlin et al. 2018), out of a tokenizer.json.

The library `tokenizers` does the same, and brings fifteen packages that talk to a hub.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

LONGEST_WORD = 100  # letters; what is longer is not known
_CONTINUES = "##"
_UNKNOWN = "[UNK]"
_SPECIAL = re.compile(r"(\[PAD\]|\[UNK\])")
# blocks of ideographs, each of which is a word
IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip
_ASCII_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


class WordPiece:
    """Turns texts into tokens.

    Args:
        vocabulary: pieces of words and their tokens; pieces that go on with a word begin with "##".
        text: of the tokenizer.json that it is of.
    """

    def __init__(self, vocabulary: dict[str, int], text: str) -> None:
        self.vocabulary, self.text = vocabulary, text
        self.unknown = vocabulary[_UNKNOWN]

    @classmethod
    def of(cls, text: str) -> WordPiece:
        """Of the text of a tokenizer.json.

        Raises:
            ValueError, LookupError or TypeError: it is none of this kind.
        """
        settings: Any = json.loads(text)
        model, normalizer = settings["model"], settings["normalizer"]
        if (model["type"], normalizer["type"], normalizer["lowercase"]) != (
            "WordPiece",
            "BertNormalizer",
            True,
        ):
            raise ValueError("not WordPiece without case")
        vocabulary = model["vocab"]
        if not all(isinstance(token, int) for token in vocabulary.values()):
            raise ValueError("tokens are no numbers")
        return cls(vocabulary, text)

    def tokens(self, text: str) -> list[int]:
        """Tokens of a text; there are none if it is empty."""
        found: list[int] = []
        for part in _SPECIAL.split(text):
            if _SPECIAL.fullmatch(part):
                found.append(self.vocabulary[part])
                continue
            for word in _words(part):
                found += self._pieces(word)
        return found

    def _pieces(self, word: str) -> list[int]:
        """The longest pieces, from left to right; one unknown token if there are not enough of them."""
        if len(word) > LONGEST_WORD:
            return [self.unknown]
        pieces, start = [], 0
        while start < len(word):
            prefix = _CONTINUES if start else ""
            for stop in range(len(word), start, -1):
                token = self.vocabulary.get(prefix + word[start:stop])
                if token is not None:
                    break
            else:
                return [self.unknown]
            pieces.append(token)
            start = stop
        return pieces


def _words(text: str) -> Iterator[str]:
    """Words in small letters without accents; each sign of punctuation and each ideograph is a word of its own."""
    spaced = "".join(f" {char} " if _is_ideograph(char) else char for char in map(_clean, text))
    plain = (char for char in unicodedata.normalize("NFD", spaced) if unicodedata.category(char) != "Mn")
    word = ""
    for char in "".join(char.lower() for char in plain):
        alone = _is_punctuation(char)
        if (alone or char.isspace()) and word:
            yield word
            word = ""
        if alone:
            yield char
        elif not char.isspace():
            word += char
    if word:
        yield word


@lru_cache(4096)
def _clean(char: str) -> str:
    """Nothing for what cannot be seen, a space for what is one."""
    if char in "\t\n\r":
        return " "
    if char == "\ufffd" or unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs"):
        return ""
    return " " if char.isspace() else char


def _is_ideograph(char: str) -> bool:
    return len(char) == 1 and any(low <= ord(char) <= high for low, high in IDEOGRAPHS)


@lru_cache(4096)
def _is_punctuation(char: str) -> bool:
    return char in _ASCII_PUNCTUATION or unicodedata.category(char)[0] == "P"
