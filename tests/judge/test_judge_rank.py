"""Rankers order candidates as they say, alone, together, and where SAM-Audio calls them."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch

from judge import rank
from judge.rank import (
    Ensemble,
    JudgeRanker,
    SimilarityRanker,
    SoundActivityRanker,
    as_text_ranker,
    as_visual_ranker,
    sounding,
)
from judge.types import Judgement
from sam_audio.errors import AudioReadError, PromptError
from sam_audio.types import Span

RATE = 48_000


class LoudnessJudge:
    """Likes what is loud; remembers what it was asked."""

    name, sample_rate = "loudness", RATE

    def judge(self, mixture, stems, prompts):
        self.heard = mixture, list(prompts)
        assert all(len(stem) == len(mixture) for stem in stems)
        return [Judgement(float(np.abs(stem).mean()), 1.0, 1.0, 1.0) for stem in stems]


class SignEmbedder:
    """Words are directions; sounds too, by their sign."""

    dim = None

    def embed_text(self, texts):
        return np.array([[1.0, 0.0] if text == "up" else [0.0, 1.0] for text in texts])

    def embed_audio(self, samples):
        return np.array([samples.mean(), -samples.mean()])


def levels(*values: float, n: int = 4_800) -> list[np.ndarray]:
    return [np.full(n, value, np.float32) for value in values]


def bursts(*spans: tuple[float, float], seconds: float = 4.0, level: float = 0.5) -> np.ndarray:
    """A tone in the spans and silence elsewhere."""
    t = np.arange(round(seconds * RATE)) / RATE
    on = np.any([(t >= start) & (t < end) for start, end in spans], axis=0)
    return (level * np.sin(2 * np.pi * 440 * t) * on).astype(np.float32)


def test_doctests():
    assert doctest.testmod(rank).failed == 0


def test_judge_ranker_gives_overall():
    judge = LoudnessJudge()
    (mixture,) = levels(1.0)
    scores = JudgeRanker(judge).rank(levels(0.1, 0.3, 0.2), mixture, "dog")
    np.testing.assert_allclose(scores, [0.1, 0.3, 0.2], rtol=1e-6)
    assert scores.dtype == np.float32
    assert judge.heard[0] is mixture
    assert judge.heard[1] == ["dog"] * 3


@pytest.mark.parametrize(
    ("prompt", "best"), [("up", 1), ("down", 2), (np.array([1, 0], np.float32), 1), (np.array([0, 1]), 2)]
)
def test_similarity_is_the_dot_product(prompt, best):
    scores = SimilarityRanker(SignEmbedder()).rank(levels(0.1, 0.5, -0.5), None, prompt)
    assert scores.argmax() == best
    assert scores.tolist() == pytest.approx([0.1, 0.5, -0.5] if best == 1 else [-0.1, -0.5, 0.5])


def test_similarity_refuses_a_vector_of_another_space():
    with pytest.raises(PromptError, match="same model"):
        SimilarityRanker(SignEmbedder()).rank(levels(0.1), None, np.zeros(3))


@pytest.mark.parametrize("ranker", [JudgeRanker(LoudnessJudge()), SimilarityRanker(SignEmbedder())])
def test_no_candidates_no_scores(ranker):
    assert ranker.rank([], np.zeros(10, np.float32), "up").shape == (0,)


# ---- sound activity ------------------------------------------------------------------------------------


def test_activity_is_intersection_over_union():
    candidates = [bursts((1, 2)), bursts((1, 3)), bursts((2, 3)), bursts((1.5, 2.5)), 0 * bursts((0, 1))]
    scores = SoundActivityRanker().rank(candidates, None, None, [Span(1.0, 2.0)])
    assert scores.tolist() == pytest.approx([1, 1 / 2, 0, 1 / 3, 0], abs=1e-6)


def test_spans_may_overlap_and_end_late():
    candidate = bursts((0, 1), (3, 4))
    spans = [Span(0.0, 0.6), Span(0.4, 1.0), Span(3.0, 9.0)]
    assert SoundActivityRanker().rank([candidate], None, None, spans) == pytest.approx(1)


@pytest.mark.parametrize("spans", [None, []])
def test_without_spans_activity_has_no_opinion(spans):
    assert SoundActivityRanker().rank(levels(0.1, 0.9), None, "dog", spans).tolist() == [0, 0]


@pytest.mark.parametrize(("gap_s", "bridged"), [(0.2, True), (0.3, False)])
def test_short_pauses_belong_to_the_sound(gap_s, bridged):
    heard = sounding(bursts((1, 1.5), (1.5 + gap_s, 2)), RATE)
    assert heard[150 : 150 + round(gap_s * 100)].all() == bridged
    assert heard[100:150].all()
    assert not heard[:100].any()


@pytest.mark.parametrize(("db", "heard"), [(-38, True), (-42, False)])
@pytest.mark.parametrize("gain", [1.0, 1e-3])
def test_silence_is_relative_to_the_loudest(db, heard, gain):
    samples = bursts((0, 1)) + bursts((2, 3)) * 10 ** (db / 20)
    assert sounding(gain * samples, RATE)[200:300].all() == heard


@pytest.mark.parametrize("n", [0, 1, 480, 481])
def test_any_length_has_activity(n):
    assert sounding(np.ones(n, np.float32), RATE).tolist() == [True] * -(-n // 480)


# ---- ensembles -----------------------------------------------------------------------------------------


def test_an_ensemble_is_a_weighted_sum():
    mixture, candidates = levels(1.0)[0], levels(0.1, 0.5, -0.6)
    ensemble = Ensemble(
        {
            "judge": (JudgeRanker(LoudnessJudge()), 2.0),
            "similarity": (SimilarityRanker(SignEmbedder()), 0.5),
            "activity": (SoundActivityRanker(), 10.0),
        }
    )
    parts = ensemble.scores(candidates, mixture, "up")
    np.testing.assert_allclose(parts["judge"], [0.1, 0.5, 0.6], rtol=1e-6)
    np.testing.assert_allclose(parts["similarity"], [0.1, 0.5, -0.6], rtol=1e-6)
    total = ensemble.rank(candidates, mixture, "up")
    np.testing.assert_allclose(total, 2 * parts["judge"] + 0.5 * parts["similarity"], rtol=1e-6)
    assert ensemble.sample_rate == RATE


def test_spans_reach_the_members():
    ensemble = Ensemble({"activity": (SoundActivityRanker(), 3.0)})
    candidates = [bursts((1, 2)), bursts((2, 3))]
    assert ensemble.rank(candidates, candidates[0], "dog", [Span(2, 3)]).tolist() == pytest.approx([0, 3])


@pytest.mark.parametrize(
    ("rankers", "message"),
    [
        ({}, "one sample rate, not none"),
        (
            {"a": (SoundActivityRanker(48_000), 1.0), "b": (SoundActivityRanker(16_000), 1.0)},
            "a 48000 Hz, b 16000 Hz",
        ),
        ({"a": (SoundActivityRanker(), float("nan"))}, "the weight of a is nan"),
    ],
)
def test_impossible_ensembles(rankers, message):
    with pytest.raises(ValueError, match=message):
        Ensemble(rankers)


# ---- where SAM-Audio calls -----------------------------------------------------------------------------


def test_as_a_text_ranker():
    judge = LoudnessJudge()
    rank_texts = as_text_ranker(JudgeRanker(judge))
    candidates = [
        torch.from_numpy(np.stack(levels(*v, n=n))) for v, n in (((0.1, 0.3), 3_840), ((0.4, 0.2), 1_920))
    ]
    mixtures = [torch.linspace(-1, 1, 3_000), torch.zeros(1_920)]
    scores = rank_texts(candidates[:1], mixtures[:1], ["dog"])
    assert judge.heard[1] == ["dog", "dog"]
    np.testing.assert_array_equal(judge.heard[0][:3_000], mixtures[0])
    np.testing.assert_array_equal(judge.heard[0][3_000:], mixtures[0].flip(0)[1:841])  # as the codec reflects
    scores = rank_texts(candidates, mixtures, ["dog", "cat"])
    torch.testing.assert_close(scores, torch.tensor([[0.1, 0.3], [0.4, 0.2]]))


def test_as_a_visual_ranker():
    def embed_video(frames):
        return np.array([1.0, 0.0]) if frames.float().mean() > 100 else np.array([0.0, 1.0])

    rank_videos = as_visual_ranker(SimilarityRanker(SignEmbedder()), embed_video)
    candidates = [torch.from_numpy(np.stack(levels(0.1, -0.3)))] * 2
    videos = [torch.full((2, 3, 4, 4), value, dtype=torch.uint8) for value in (200, 10)]
    torch.testing.assert_close(rank_videos(candidates, videos), torch.tensor([[0.1, -0.3], [-0.1, 0.3]]))


def test_rates_have_to_agree():
    with pytest.raises(AudioReadError, match="48000 Hz cannot be ranked by what takes 16000 Hz"):
        as_text_ranker(SoundActivityRanker(16_000))
