"""Texts to tokens, in arrays: what surrounds the text tower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from peav import checkpoints
from peav.checkpoints import Checkpoint, CheckpointError
from peav.nano.wordpiece import WordPiece

LONGEST = 32  # tokens of a text, where its tower does not say
_BATCH = 512  # texts a pass: enough to be fast, and memory does not grow with the number of texts


class Words:
    """What a text tower reads.

    Args:
        wordpiece: makes tokens of texts.
        longest: tokens of a text; what follows is cut off.
    """

    def __init__(self, wordpiece: WordPiece, longest: int) -> None:
        self.wordpiece, self.longest = wordpiece, longest

    @classmethod
    def beside(cls, checkpoint: Checkpoint) -> Words:
        """Those of a text tower's checkpoint.

        Raises:
            CheckpointError: they are missing or damaged.
        """
        path = cls.path_beside(checkpoint.path)
        if not path.is_file():
            raise CheckpointError(f"{path} is missing: a text checkpoint needs its tokenizer beside it.")
        try:
            wordpiece = WordPiece.of(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise CheckpointError(
                f"{path} is not a readable tokenizer: fetch the checkpoint again."
            ) from None
        return cls(wordpiece, checkpoints.sizes(checkpoint).get("longest", LONGEST))

    @staticmethod
    def path_beside(checkpoint: Path) -> Path:
        """Where the tokenizer of a text tower's checkpoint lies."""
        return checkpoint.with_name(f"{checkpoint.stem}-tokenizer.json")

    def write_beside(self, checkpoint: Path) -> Path:
        """Writes the tokenizer to where `beside` looks for it."""
        path = self.path_beside(checkpoint)
        path.write_text(self.wordpiece.text, encoding="utf-8")
        return path

    def reads(self, text: str) -> bool:
        """Whether any of a text is known; the vectors of texts of which nothing is are all alike."""
        return set(self._tokens(text)) != {self.wordpiece.unknown}

    def knows(self, word: str) -> bool:
        """Whether a word is known as a whole; others are read in pieces, which may mean something else."""
        return len(self._tokens(word)) == 1 and self.reads(word)

    def tokenize(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Turns texts into token ids (N, L) int64 and a mask (N, L), False on padding.

        Raises:
            ValueError: when a text is empty.
        """
        if isinstance(texts, str):
            raise TypeError("Texts must be a list: put the single text in brackets.")
        encodings = [self._tokens(text) for text in texts]
        for text, ids in zip(texts, encodings, strict=True):
            if not ids:
                raise ValueError(f"The text {text!r} is empty: describe a sound in a few words.")
        length = max(map(len, encodings), default=1)
        valid_mask = np.arange(length) < np.array([len(ids) for ids in encodings], int)[:, None]
        tokens = np.zeros(valid_mask.shape, np.int64)
        tokens[valid_mask] = [token for ids in encodings for token in ids]
        return tokens, valid_mask

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same for some texts at a time, in order."""
        for start in range(0, len(texts), _BATCH):
            yield self.tokenize(texts[start : start + _BATCH])

    def _tokens(self, text: str) -> list[int]:
        return self.wordpiece.tokens(text)[: self.longest]
