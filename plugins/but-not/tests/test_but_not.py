from types import SimpleNamespace

import numpy as np
import pytest
from sam_audio_but_not import ButNot

from sam_audio.errors import PromptError
from sam_audio.types import Condition

RECORDING = SimpleNamespace(embed_text=lambda text: np.full(3, len(text), np.float32))


def test_unwanted_sounds_are_added():
    kind = ButNot()
    value = kind.parse({"but_not": ["speech", " a  bell "]})
    assert value == ["speech", "a bell"]
    condition = kind.encode(value, Condition("x", None, against=(np.zeros(3),)), RECORDING)
    assert [int(vector[0]) for vector in condition.against] == [0, 6, 6]
    assert condition.vector is None


def test_an_empty_text_is_one_sentence():
    with pytest.raises(PromptError, match="empty"):
        ButNot().parse({"but_not": [" "]})
