"""The evaluation of judges finds good ones good, and reads tables of ratings."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
import soundfile

from judge.types import Judgement
from sam_audio.errors import AudioReadError, UserError
from sam_audio.evaluation import judging
from sam_audio.evaluation.judging import (
    LEAST_DB,
    MOST_DB,
    Item,
    Rating,
    Scored,
    agreement,
    candidates_of,
    choosing,
    correlation,
    evaluate,
    evaluate_ratings,
    measure,
    present_auroc,
    read_ratings,
    read_sound,
    score,
    separated,
)
from sam_audio.separator.base import SeparationModel, Variant

RATE = 16_000


def sources(n: int = 4_000, seed: int = 0) -> np.ndarray:
    """Target, rest and artefact, (3, n), orthogonal and of energy 1."""
    noise = np.random.default_rng(seed).standard_normal((n, 3))
    return np.linalg.qr(noise - noise.mean(axis=0))[0].T.astype(np.float32)


def item(rest: float, artefact: float, kept: float = 1.0, seed: int = 0) -> Item:
    target, other, noise = sources(seed=seed)
    return Item(target + other, kept * target + rest * other + artefact * noise, target, "dog")


def absent(seed: int) -> Item:
    target, other, _ = sources(seed=seed)
    return Item(other, 0.1 * other, 0 * target, "cat")


class Oracle:
    """Knows the truth of the items it was made for, and tells it with an error."""

    name, sample_rate = "oracle", RATE

    def __init__(self, items: list[Item], error: float = 0.0, tells_presence: bool = True):
        self.rng, self.error = np.random.default_rng(0), error
        self.tells_presence = tells_presence
        self.items = {id(i.stem): i for i in items}

    def judge(self, mixture, stems, prompts):
        return [self._judge_one(stem) for stem in stems]

    def _judge_one(self, stem):
        known = self.items[id(stem)]
        truth = measure(known.mixture, stem, known.target)
        scores = [math.nan] * 4 if truth is None else [truth.si_sdr, truth.kept, truth.sir, truth.sar]
        scores = [3 + s / 15 + self.error * self.rng.standard_normal() for s in scores]
        present = float(truth is not None) * 0.8 + 0.1 * self.rng.random()
        return Judgement(*scores, present=present if self.tells_presence else None)


def test_doctests():
    assert doctest.testmod(judging).failed == 0


# ---- measures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rest", "artefact", "kept"), [(0.1, 0.2, 1.0), (0.5, 0.03, 0.5), (0.3, 0.9, 0.9)])
def test_measures_are_the_ratios_that_were_mixed(rest, artefact, kept):
    i = item(rest, artefact, kept)
    truth = measure(i.mixture, i.stem, i.target)
    assert truth.si_sdr == pytest.approx(20 * np.log10(kept / np.hypot(rest, artefact)), abs=1e-3)
    assert truth.sir == pytest.approx(20 * np.log10(kept / rest), abs=1e-3)
    assert truth.sar == pytest.approx(20 * np.log10(np.hypot(kept, rest) / artefact), abs=1e-3)
    assert truth.kept == pytest.approx(20 * np.log10(kept), abs=1e-3)


def test_equal_to_fast_bss_eval():
    bss = pytest.importorskip("fast_bss_eval")
    rng = np.random.default_rng(0)
    target, rest = rng.standard_normal((2, 8_000)) + 0.3 * rng.standard_normal(8_000)  # correlated
    stem = target + 0.3 * rest + 0.2 * rng.standard_normal(8_000)
    truth = measure(target + rest, stem, target)
    sdr, sir, sar = bss.si_bss_eval_sources(
        np.stack([target, rest]), np.stack([stem, rest + 0.1 * stem]), compute_permutation=False
    )[:3]
    assert [truth.si_sdr, truth.sir, truth.sar] == pytest.approx([sdr[0], sir[0], sar[0]], abs=1e-3)


def test_extremes_are_within_limits():
    i = item(0, 0)
    perfect = measure(i.mixture, i.target, i.target)
    assert perfect.si_sdr == perfect.sir == perfect.sar == MOST_DB
    wrong = measure(i.mixture, i.mixture - i.target, i.target)
    assert wrong.si_sdr == wrong.sir == wrong.kept == LEAST_DB
    silence = measure(i.mixture, 0 * i.stem, i.target)
    assert silence.si_sdr == silence.kept == LEAST_DB
    assert math.isnan(silence.sir) and math.isnan(silence.sar)
    assert measure(i.mixture, i.stem, 0 * i.target) is None


def test_lengths_have_to_agree():
    i = item(0.1, 0.1)
    with pytest.raises(ValueError, match="one length"):
        measure(i.mixture, i.stem[:-1], i.target)


# ---- against the truth ---------------------------------------------------------------------------------


def many(n: int = 60) -> list[Item]:
    rng = np.random.default_rng(1)
    there = [item(*rng.uniform(0.01, 1.5, 3), seed=seed) for seed in range(n)]
    return [*there, *(absent(seed) for seed in range(n // 3))]


def test_an_oracle_agrees_with_itself():
    items = many()
    result = evaluate(Oracle(items), items)
    *axes, present = result.rows
    assert [row["score"] for row in axes] == ["overall", "recall", "precision", "faithfulness"]
    assert [row["against"] for row in axes] == ["si_sdr", "kept", "sir", "sar"]
    for row in axes:
        assert row["n"] == 60
        assert row["Pearson"] == pytest.approx(1)
        assert row["Spearman"] == pytest.approx(1)
    assert present == {"score": "present", "against": "target in the mixture", "n": 80, "AUROC": 1.0}
    assert result.unreadable == []


def test_errors_cost_agreement():
    items = many()
    figures = [
        [float(row["Pearson"]) for row in agreement(score(Oracle(items, error), items))]
        for error in (0, 0.3, 3)
    ]
    for exact, good, poor in zip(*figures, strict=True):
        assert exact > good > poor


def test_a_judge_that_cannot_tell_has_no_row_for_presence():
    items = many(6)
    rows = evaluate(Oracle(items, tells_presence=False), items).rows
    assert len(rows) == 4


def test_presence_needs_both_kinds():
    items = many(6)[:6]
    assert math.isnan(present_auroc(score(Oracle(items), items)))


def test_auroc_counts_pairs_in_the_right_order():
    i = item(0.1, 0.1)
    truth = measure(i.mixture, i.stem, i.target)
    scored = [
        Scored(Judgement(1, 1, 1, 1, present=p), t)
        for p, t in ((0.9, truth), (0.4, truth), (0.5, None), (0.1, None))
    ]
    assert present_auroc(scored) == pytest.approx(3 / 4)


def test_nothing_to_evaluate():
    with pytest.raises(UserError):
        evaluate(Oracle([]), [])


def test_choosing_among_candidates():
    """Three stems of each target, the best of them never the first; an oracle finds it."""
    sets = [
        [item(level, 0.1, seed=seed) for level in levels]
        for seed, levels in enumerate([(1.0, 0.1, 0.5), (0.8, 0.4, 0.05), (0.6, 0.2, 0.4)])
    ]
    items = [i for tried in sets for i in tried]
    first, any_one, chosen, best = choosing(Oracle(items), sets).rows
    assert [row["n"] for row in (first, chosen, best)] == [3, 3, 3]
    assert chosen["median"] == pytest.approx(best["median"]) and chosen["mean"] == pytest.approx(best["mean"])
    assert best["mean"] > first["mean"] + 3
    assert first["mean"] < any_one["mean"] < best["mean"]
    contrary = Oracle(items)
    contrary.judge = lambda *_: [Judgement(overall, 1, 1, 1) for overall in (5, 1, 1)]
    assert choosing(contrary, sets).rows[2]["mean"] == pytest.approx(first["mean"])


class Sharing(SeparationModel):
    """A model that divides the mixture among the prompts of a call."""

    name, sample_rate = "sharing", 48_000

    def encode(self, prompts):
        return prompts

    def open(self, conditions, channels, strength=1.0):
        self.gains = np.full((len(conditions), 1, 1), strength / len(conditions), np.float32)
        return self

    def variants(self, n):
        return [Variant("", self), Variant("again", self)]

    def push(self, samples):
        return self.gains * samples[None]

    def finish(self):
        return np.zeros((len(self.gains), 1, 0), np.float32)


def test_candidates_are_asked_together_or_alone(bank_dir):
    together, alone = (list(candidates_of(Sharing(), bank_dir, 12, 2, alone=a)) for a in (False, True))
    assert [len(items) for items in alone] == [len(items) for items in together] == [2] * len(alone)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one[0].target, other[0].target)
        np.testing.assert_array_equal(other[0].stem, other[0].mixture)
    assert any(np.abs(items[0].stem).max() < 0.6 * np.abs(items[0].mixture).max() for items in together)


def test_some_kinds_of_mixtures_only(bank_dir):
    items = list(separated(Sharing(), bank_dir, 2, scenes=["three events"]))
    there = [item for item in items if item.target.any()]
    assert len(there) == 2 * 3
    with pytest.raises(UserError, match="no scene called four events: use events in pairs"):
        next(separated(Sharing(), bank_dir, 2, scenes=["four events"]))


def test_nothing_to_choose_from():
    with pytest.raises(UserError):
        choosing(Oracle([]), [])


def test_correlations():
    n, pearson, spearman = correlation([1, 2, 3, 4], [1, 8, 27, 64])
    assert (n, spearman) == (4, pytest.approx(1))
    assert pearson == pytest.approx(np.corrcoef([1, 2, 3, 4], [1, 8, 27, 64])[0, 1])
    assert correlation([1, 2, 3], [3, 2, 1])[1:] == pytest.approx((-1, -1))


@pytest.mark.parametrize(
    ("scores", "truths", "n"),
    [([], [], 0), ([1, 2], [1, 2], 2), ([1, 1, 1], [1, 2, 3], 3), ([1, math.nan, 3], [1, 2, 3], 2)],
)
def test_correlations_that_say_nothing(scores, truths, n):
    found, *figures = correlation(scores, truths)
    assert found == n
    assert all(math.isnan(figure) for figure in figures)


# ---- human ratings -------------------------------------------------------------------------------------

HEAD = "mixture,separated,prompt,overall,recall,precision,faithfulness\n"


def table(folder, text: str, encoding: str = "utf-8"):
    path = folder / "ratings.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_ratings_are_read_and_averaged(tmp_path):
    text = (
        HEAD
        + 'm.wav,a.wav,"dog, barking",4,5,3,2\nm.wav,b.wav,cat,1,,2,2\nm.wav,a.wav,"dog, barking",2,5,4,2\n'
    )
    first, second = read_ratings(table(tmp_path, text))
    scores = {"overall": 3.0, "recall": 5.0, "precision": 3.5, "faithfulness": 2.0}
    assert first == Rating(tmp_path / "m.wav", tmp_path / "a.wav", "dog, barking", scores)
    assert second.scores == {"overall": 1.0, "precision": 2.0, "faithfulness": 2.0}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_columns_in_any_order_with_others(tmp_path, encoding):
    text = "rater, Overall ,prompt,separated,mixture\njo,4.5,café,/s.wav,m.wav\n"
    (rating,) = read_ratings(table(tmp_path, text, encoding))
    assert rating.scores == {"overall": 4.5}
    assert (rating.prompt, str(rating.separated)) == ("café", "/s.wav")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks the column mixture: it needs"),
        ("mixture,prompt,overall\n", "lacks the column separated"),
        ("mixture,separated,prompt\n", "lacks the column overall"),
        (HEAD, "has no ratings"),
        (HEAD + "m.wav,s.wav,dog,good,1,1,1\n", "line 2 .* 'good' as overall: .* from 1 to 5"),
        (HEAD + "m.wav,s.wav,dog,1,1,1,1\nm.wav,s.wav,dog,1,7,1,1\n", "line 3 .* '7' as recall"),
        (HEAD + "m.wav,s.wav,dog,1,nan,1,1\n", "'nan' as recall"),
        (HEAD + "m.wav,,dog,1,1,1,1\n", "line 2 .* has no separated"),
        (HEAD + "m.wav\n", "line 2 .* has no separated"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        read_ratings(table(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_ratings(tmp_path / "none.csv")
    with pytest.raises(UserError, match="not a csv file in UTF-8"):
        read_ratings(table(tmp_path, "café", "latin-1"))


class Loudness:
    """Scores a stem by its level alone."""

    name, sample_rate = "loudness", RATE

    def judge(self, mixture, stems, prompts):
        if len(mixture) != len(stems[0]):
            raise AudioReadError("the stem does not belong to the mixture")
        level = float(np.abs(stems[0]).mean())
        return [Judgement(level, level, -level, 1.0)]


@pytest.fixture
def rated(tmp_path):
    """Four stems, the louder the better; one is a frame longer, one unreadable, one of another length."""
    t = np.arange(8_000) / 8_000
    tone = np.sin(2 * np.pi * 400 * t)
    soundfile.write(tmp_path / "m.wav", np.stack([tone, tone], 1), 8_000)
    rows = []
    for n, (gain, length) in enumerate(
        [(0.1, 8_000), (0.3, 8_000), (0.5, 8_100), (0.8, 8_000), (0.9, 4_000)]
    ):
        soundfile.write(tmp_path / f"{n}.wav", np.resize(gain * tone, length), 8_000)
        rows.append(f"m.wav,{n}.wav,tone,{n + 1},{n + 1},{n + 1}\n")
    rows.append("m.wav,missing.wav,tone,1,1,1\n")
    return table(tmp_path, "mixture,separated,prompt,overall,recall,precision\n" + "".join(rows))


def test_scores_beside_ratings(rated):
    result = evaluate_ratings(Loudness(), read_ratings(rated))
    overall, recall, precision = result.rows
    assert (overall["score"], overall["against"], overall["n"]) == ("overall", "human ratings", 4)
    assert float(overall["Pearson"]) > 0.98
    assert overall["Spearman"] == recall["Spearman"] == pytest.approx(1)
    assert precision["Spearman"] == pytest.approx(-1)
    assert len(result.unreadable) == 2
    assert "does not belong" in result.unreadable[0]
    assert "missing.wav" in result.unreadable[1]


def test_ratings_of_nothing_that_can_be_read(tmp_path):
    path = table(tmp_path, HEAD + "m.wav,s.wav,dog,1,1,1,1\n")
    with pytest.raises(UserError, match="none of the clips could be read"):
        evaluate_ratings(Loudness(), read_ratings(path))


def test_sound_is_read_as_mono_at_the_rate_asked_for(rated):
    samples = read_sound(rated.with_name("m.wav"), RATE)
    assert samples.shape == (16_000,)
    assert samples.dtype == np.float32
    expected = np.sin(2 * np.pi * 400 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(samples[500:-500], expected[500:-500], atol=1e-3)
