"""Candidates differ as they say, the best of each stem is kept, and memory stays that of one separation."""

from __future__ import annotations

import doctest
from typing import Any, NamedTuple

import numpy as np
import pytest
import tiny
import tiny_official
from tiny_judge import FakeJudge

from judge.rank import JudgeRanker, SoundActivityRanker
from sam_audio.errors import UserError
from sam_audio.io.arrays import ArrayRecording
from sam_audio.selection import candidates as module
from sam_audio.selection.candidates import Choice, candidates, choose
from sam_audio.separator.base import SeparationModel, SeparationStream, Variant
from sam_audio.separator.official.options import OfficialOptions
from sam_audio.separator.official.separator import OfficialSeparator
from sam_audio.types import Anchor, Condition, Span

VECTOR = np.eye(1, 384, dtype=np.float32)[0]
A, B = Condition("a", VECTOR, text="a"), Condition("b", VECTOR, text="b")
SPANS_ONLY = Condition("span", None, (Anchor(Span(0, 1)),))


class GainStream(SeparationStream):
    """Gives prompt n the mixture times gain / (n + 1), after a delay."""

    def __init__(self, gains: list[float], delay: int):
        self.gains = np.array(gains, np.float32)[:, None, None]
        self.delay, self.held = delay, None

    def push(self, samples):
        self.held = samples if self.held is None else np.concatenate([self.held, samples], axis=-1)
        ready = max(self.held.shape[-1] - self.delay, 0)
        out, self.held = self.held[:, :ready], self.held[:, ready:]
        return self.gains * out

    def finish(self):
        return self.gains * self.held


class GainModel(SeparationModel):
    sample_rate = 48_000

    def __init__(self, gain: float, delay: int = 0, others: int = 0):
        self.name = f"gain {gain}"
        self.gain, self.delay, self.others, self.opened = gain, delay, others, []

    def encode(self, prompts):
        return [Condition(prompt, VECTOR, text=prompt) for prompt in prompts]

    def open(self, conditions, channels, strength=1.0):
        self.opened.append((list(conditions), strength))
        return GainStream([self.gain / (n + 1) for n in range(len(conditions))], self.delay)

    def variants(self, n):
        others = [GainModel(self.gain / 2**k, self.delay) for k in range(1, self.others + 1)]
        return [Variant("", self), *(Variant(other.name, other) for other in others)][:n]


def way(gain: float, delay: int = 0) -> Variant:
    return Variant(f"gain {gain}", GainModel(gain, delay))


def recording(samples: np.ndarray, rate: int = 48_000) -> ArrayRecording:
    return ArrayRecording(samples, rate)


def separated(model, conditions, samples, rate: int = 48_000, strength: float = 1.0) -> np.ndarray:
    """By a model or a choice."""
    if isinstance(model, SeparationModel):
        return tiny.separated(model, conditions, samples, rate, strength=strength)
    stream = model.open(conditions, len(samples), strength)
    return tiny.separated(model.ways[0].model, conditions, samples, rate, stream=stream)


def test_doctests():
    assert doctest.testmod(module).failed == 0


# ---- which there are -----------------------------------------------------------------------------------


def test_nano_has_one_way(model):
    assert [way.model for way in candidates(model, 1)] == [model]
    with pytest.raises(UserError, match="separates in one way only: ask for one candidate"):
        candidates(model, 2)


def test_official_models_have_noises(tmp_path):
    official = OfficialSeparator(
        tiny_official.load(tiny_official.write(tmp_path)), "tiny", OfficialOptions(seed=5)
    )
    ways = candidates(official, 40)
    assert [way.label for way in ways[:3]] == ["seed 5", "seed 6", "seed 7"]
    assert [way.model.options.seed for way in ways] == list(range(5, 45))
    assert official.options.seed == 5


def test_noises_make_other_stems_and_one_choice(tmp_path):
    official = OfficialSeparator(
        tiny_official.load(tiny_official.write(tmp_path)), "tiny", OfficialOptions(steps=2)
    )
    mixture = tiny.noise(1, 0.5, official.sample_rate)
    conditions = official.encode(["dog"])
    ways = candidates(official, 2)
    stems = [separated(way.model, conditions, mixture, official.sample_rate)[0] for way in ways]
    np.testing.assert_array_equal(stems[0], separated(official, conditions, mixture, official.sample_rate)[0])
    assert np.abs(stems[0] - stems[1]).max() > 1e-5
    choice = choose(ways, conditions, recording(mixture, rate=official.sample_rate), FakeJudge())
    parts = separated(choice, conditions, mixture, official.sample_rate)
    np.testing.assert_array_equal(parts[0], stems[choice.chosen[0]])
    np.testing.assert_allclose(parts.sum(axis=0), mixture, atol=1e-6)
    assert choice.rated[0][0].scores.present == 0.9  # asked by its words


@pytest.mark.parametrize(("n", "says"), [(0, "use 1 to"), (-1, "use 1 to"), (4, "use 1 to 3")])
def test_too_many_or_too_few(n, says):
    with pytest.raises(UserError, match=says):
        candidates(GainModel(1, others=2), n)


# ---- choosing ------------------------------------------------------------------------------------------


def test_each_stem_gets_its_best():
    """The judge likes a share of 0.4: of stem a (gain) another candidate than of stem b (gain / 2)."""
    judge = FakeJudge(lambda share: 5 - abs(share - 0.4))
    ways = [way(*given) for given in ((0.1, 0), (0.4, 999), (0.8, 50_000))]
    mixture = tiny.noise(2, 3.0)
    choice = choose(ways, [A, B], recording(mixture), judge)
    assert [[one.candidate for one in tried if one.chosen] for tried in choice.rated] == [
        ["gain 0.4"],
        ["gain 0.8"],
    ]
    assert [one.score for one in choice.rated[0]] == pytest.approx([4.7, 5.0, 4.6], abs=1e-3)
    assert choice.rated[0][1].scores.recall == 2.0
    parts = separated(choice, [A, B], mixture)
    np.testing.assert_allclose(parts[0], 0.4 * mixture, atol=1e-6)
    np.testing.assert_allclose(parts[1], 0.8 / 2 * mixture, atol=1e-6)
    np.testing.assert_allclose(parts.sum(axis=0), mixture, atol=1e-6)
    assert len(ways[0].model.opened) == 1  # what was not chosen is not computed again


def test_one_winner_needs_one_stream():
    ways = [way(g) for g in (0.2, 0.9)]
    choice = choose(ways, [A, B], recording(tiny.noise(1, 1.0)), FakeJudge())
    assert choice.chosen == [1, 1]
    choice.open([A, B], 1)
    assert [len(way.model.opened) for way in ways] == [1, 2]


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_chosen_stems_and_residual_sum_to_the_mixture(model, rate):
    """Two networks that wait for different times."""
    mixture = tiny.noise(2, 1.1, rate)
    conditions = model.encode(["dog", "rain", "speech"])
    choice = Choice([Variant("", model), way(0.3, 100)], [0, 1, 0], [])
    parts = separated(choice, conditions, mixture, rate)
    np.testing.assert_allclose(parts.sum(axis=0), mixture, atol=1e-6)
    for n, k in enumerate(choice.chosen):
        alone = separated(choice.ways[k].model, conditions, mixture, rate)[n]
        np.testing.assert_allclose(parts[n], alone, atol=1e-6)


def test_what_cannot_be_judged_gets_the_first():
    ways = [way(g) for g in (0.2, 0.9)]
    choice = choose(ways, [SPANS_ONLY, B], recording(tiny.noise(1, 1.0)), FakeJudge())
    assert choice.chosen == [0, 1]
    assert [one.score for one in choice.rated[0]] == [None, None]


def test_a_ranker_decides_instead():
    ways = [way(g) for g in (0.9, 0.2)]
    quiet = JudgeRanker(FakeJudge(lambda share: -share))
    choice = choose(ways, [A], recording(tiny.noise(1, 2.0)), FakeJudge(), ranker=quiet)
    assert choice.chosen == [1]
    assert [one.score for one in choice.rated[0]] == pytest.approx([-0.9, -0.2], abs=1e-3)
    assert choice.rated[0][0].scores.overall == pytest.approx(
        4.6, abs=1e-3
    )  # the judge is heard all the same


def test_spans_reach_a_ranker_window_by_window():
    class Remembers(SoundActivityRanker):
        seen: list = []

        def rank(self, candidates, mixture, prompt, spans=None):
            self.seen.append([(s.start_s, s.end_s) for s in spans or []])
            return super().rank(candidates, mixture, prompt, spans)

    spoken = Condition(
        "a", VECTOR, text="a", anchors=(Anchor(Span(0.5, 1.25)), Anchor(Span(2.0, 3.0), False))
    )
    ranker = Remembers()
    choose([way(1)], [spoken], recording(tiny.noise(1, 3.0)), FakeJudge(), ranker=ranker)
    assert ranker.seen == [[(0.5, 1.0)], [(0.0, 0.25)], []]


def test_candidates_are_separated_one_after_another():
    """Memory is that of one separation: never are two streams open while judging."""
    alive, most = set(), 0

    class Counted(GainModel):
        def open(self, conditions, channels, strength=1.0):
            nonlocal most
            stream = super().open(conditions, channels, strength)
            alive.add(id(self))
            most = max(most, len(alive))
            finish = stream.finish

            def finished():
                alive.discard(id(self))
                return finish()

            stream.finish = finished
            return stream

    ways = [Variant("", Counted(g)) for g in (0.1, 0.2, 0.3)]
    choose(ways, [A], recording(tiny.noise(1, 2.0)), FakeJudge())
    assert (most, len(alive)) == (1, 0)


def test_somebody_has_to_choose():
    with pytest.raises(UserError, match="judge"):
        choose(candidates(GainModel(1, others=1), 2), [A], recording(tiny.noise(1, 0.1)), None)


@pytest.mark.parametrize("known", [True, False])
def test_progress_goes_on_through_all_passes(known):
    class Unknown(NamedTuple):
        blocks: Any
        sample_rate: int = 48_000
        channels: int = 1
        frames: None = None

    seen = []
    samples = tiny.noise(1, 1.0)
    n = samples.shape[-1]
    source = recording(samples)
    source = source if known else Unknown(source.blocks)
    ways = candidates(GainModel(1, others=1), 2)
    choose(ways, [A], source, FakeJudge(), progress=lambda done, total: seen.append((done, total)))
    assert {total for _, total in seen} == {3 * n if known else None}
    if known:
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert seen[-1][0] == 2 * n
