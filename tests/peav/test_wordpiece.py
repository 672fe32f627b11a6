"""WordPiece against the library that made the vocabulary."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from peav import checkpoints
from peav.nano.wordpiece import WordPiece

PATH = checkpoints.WEIGHTS / "nano-text-tokenizer.json"


@pytest.fixture(scope="module")
def theirs():
    tokenizer = Tokenizer.from_file(str(PATH))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@pytest.fixture(scope="module")
def ours():
    return WordPiece.of(PATH.read_text(encoding="utf-8"))


# letters that both take for the same: newer ones are no letters yet to the library
LETTERS = st.characters(max_codepoint=0x4FF, categories=("L", "N", "P", "S", "Z", "Cc"))


@settings(max_examples=300, deadline=None)
@given(text=st.text(LETTERS, max_size=40))
def test_any_text_has_the_tokens_of_the_library(ours, theirs, text):
    assert ours.tokens(text) == theirs.encode(text).ids


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t\n",
        "A dog's BARK, far-away!",
        "Glockenspiel café naïve Straße İstanbul Σίσυφος ΣΑΣ",
        "e\u0301tude a\u200bb a\x1cb a\u0085b a\u2028b \ufffd",
        "日本語のピアノ 犬",
        "[UNK] and [PAD]s",
        "x" * 100,
        "x" * 101,
        "😀 №5 ½ ﬁre 1234567890",
    ],
)
def test_odd_texts(ours, theirs, text):
    assert ours.tokens(text) == theirs.encode(text).ids


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "BertNormalizer", "lowercase": False}},
        {"normalizer": None},
        {"model": {"type": "BPE", "vocab": {}}},
        {"model": {"type": "WordPiece", "vocab": {"[UNK]": "1"}}},
        {"model": {"type": "WordPiece", "vocab": {}}},
    ],
)
def test_other_tokenizers_are_refused(change):
    settings = json.loads(PATH.read_text(encoding="utf-8")) | change
    with pytest.raises((ValueError, LookupError, TypeError)):
        WordPiece.of(json.dumps(settings))
