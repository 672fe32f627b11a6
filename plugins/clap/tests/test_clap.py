"""A CLAP with random weights, small enough to be made here."""

import numpy as np
import pytest
import torch
from sam_audio_clap import VARIABLE, Clap, open_clap
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, PreTrainedTokenizerFast

from judge.rank import Ensemble
from sam_audio.errors import ModelError
from sam_audio.separator.official import ranking

RATE = 48_000
WORDS = ("<s>", "<pad>", "</s>", "<unk>", "dog", "barking", "rain")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    config = ClapConfig(
        text_config={
            "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 16, "max_position_embeddings": 32,
        },
        audio_config={
            "patch_embeds_hidden_size": 8, "hidden_size": 16, "depths": [1, 1], "num_attention_heads": [1, 2],
            "num_mel_bins": 16, "spec_size": 64, "window_size": 4, "projection_dim": 16, "num_hidden_layers": 2,
        },
        projection_dim=16,
    )  # fmt: skip
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    hear = ClapFeatureExtractor(feature_size=16, max_length_s=1, truncation="rand_trunc")
    path = tmp_path_factory.mktemp("models") / "clap"
    ClapModel(config).save_pretrained(path)
    ClapProcessor(hear, fast).save_pretrained(path)
    return path


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def test_scores_are_those_of_transformers(folder):
    ranker = open_clap(str(folder))
    assert (ranker.sample_rate, ranker.vector_dim) == (RATE, None)
    sounds = [noise(0.7, 1), noise(1.0, 2)]
    scores = ranker.rank(sounds, noise(1.0), "dog barking")
    model, processor = ClapModel.from_pretrained(folder).eval(), ClapProcessor.from_pretrained(folder)
    inputs = processor(text=["dog barking"], audio=sounds, sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        cosines = model(**inputs).logits_per_audio[:, 0] / model.logit_scale_a.exp()
    np.testing.assert_allclose(scores, cosines, atol=1e-5)
    assert abs(scores[0] - scores[1]) > 1e-4
    assert abs(scores - ranker.rank(sounds, noise(1.0), "rain")).max() > 1e-4


def test_long_sounds_are_heard_whole_and_alike_each_time(folder):
    embedder = open_clap(str(folder)).embedder
    sound = noise(2.5)
    once, again = embedder.embed_audio(sound), embedder.embed_audio(sound)
    np.testing.assert_array_equal(once, again)
    pieces = np.mean([embedder.embed_audio(piece) for piece in np.split(sound, 3)], axis=0)
    np.testing.assert_allclose(once, pieces / np.linalg.norm(pieces), atol=1e-5)


def test_it_is_asked_for_by_name(folder, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(folder))
    ranker = Clap().load("cpu")
    both = Ensemble({"clap": (ranker, 5.0), "again": (Clap().open(str(folder), "cpu"), 1.0)})
    sounds = [noise(0.5, 1), noise(0.5, 2)]
    one = ranker.rank(sounds, noise(0.5), "rain")
    np.testing.assert_allclose(both.rank(sounds, noise(0.5), "rain"), 6 * one, rtol=1e-5)


def test_the_config_of_a_sam_audio_may_name_it(folder):
    described = {"kind": "clap", "checkpoint_or_model_id": folder.name}
    rank = ranking.build(described, ranking.Place(folder=folder.parent))
    sounds = torch.from_numpy(np.stack([noise(0.5, 1), noise(0.5, 2)]))
    expected = open_clap(str(folder)).rank(list(sounds.numpy()), noise(0.5), "dog")
    np.testing.assert_allclose(rank([sounds], [sounds[0]], ["dog"])[0], expected, atol=1e-6)


def test_one_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match="the CLAP .* cannot be loaded"):
        open_clap(str(tmp_path))
