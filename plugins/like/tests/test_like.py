from types import SimpleNamespace

import numpy as np
import pytest
from sam_audio_like import Like

from sam_audio.errors import PromptError
from sam_audio.types import Condition

VECTORS = {"a.wav": [1.0, 0.0], "b.wav": [0.0, 1.0], "silence.wav": [0.0, 0.0]}
EMBEDDER = SimpleNamespace(embed_audio_file=lambda path: np.array(VECTORS[path.name], np.float32))
RECORDING = SimpleNamespace(embedder=lambda: EMBEDDER)


def encode(tmp_path, *names, condition=None):
    for name in names:
        (tmp_path / name).touch()
    value = Like().parse({"like": [str(tmp_path / name) for name in names]})
    return Like().encode(value, condition or Condition("x", None), RECORDING).vector


def test_an_example_is_its_vector(tmp_path):
    np.testing.assert_allclose(encode(tmp_path, "a.wav"), [1, 0])


def test_several_examples_and_a_text_meet_between(tmp_path):
    np.testing.assert_allclose(encode(tmp_path, "a.wav", "b.wav"), [0.5**0.5] * 2, rtol=1e-6)
    spoken = Condition("x", np.array([0.0, 1.0], np.float32))
    np.testing.assert_allclose(encode(tmp_path, "a.wav", condition=spoken), [0.5**0.5] * 2, rtol=1e-6)


def test_examples_that_cannot_be_used(tmp_path):
    with pytest.raises(PromptError, match="not a file"):
        Like().parse({"like": [str(tmp_path / "gone.wav")]})
    with pytest.raises(PromptError, match="silent"):
        encode(tmp_path, "silence.wav")
