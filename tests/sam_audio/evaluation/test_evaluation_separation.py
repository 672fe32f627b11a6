"""The evaluation measures what it says, whatever model it is given."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
import tiny
import torch

from judge.metrics import si_sdr
from sam_audio.evaluation import separation
from sam_audio.evaluation.separation import (
    SCENARIOS,
    Evaluation,
    Score,
    evaluate,
    ideal_band_mask,
    markdown,
    mixtures,
    to_csv,
)
from sam_audio.separator.nano.spectra import istft, stft, to_bands, to_bins
from sam_audio.training.data.bank import ShardWriter, build_song_shards
from sam_audio.training.data.mixing import Mixture, Query, Source


class Constant:
    """A model that gives every prompt the mixture times a gain."""

    name, sample_rate = "constant", 48_000

    def __init__(self, gain: float):
        self.gain = gain

    def encode(self, prompts):
        return prompts

    def open(self, conditions, channels, strength=1.0):
        self.n = len(conditions)
        return self

    def push(self, samples):
        return np.repeat(samples[None] * self.gain, self.n, axis=0)

    def finish(self):
        return np.zeros((self.n, 1, 0), np.float32)


def tones(*hz: float) -> np.ndarray:
    t = np.arange(48_000) / 48_000
    return np.stack([0.1 * np.sin(2 * np.pi * f * t) for f in hz]).astype(np.float32)


def mixture(*labels: str) -> Mixture:
    sources = [Source(label, s) for label, s in zip(labels, tones(300, 1_500, 5_000), strict=False)]
    prompts = [
        Query(label, [i for i, other in enumerate(labels) if other == label], [label])
        for label in dict.fromkeys(labels)
    ]
    return Mixture("test", sources, prompts)


@pytest.fixture(scope="module")
def items(bank_dir):
    return list(mixtures(bank_dir, 2))


def test_everyone_gets_the_same_mixtures(bank_dir, items):
    for (scenario, one, absent), (name, two, other) in zip(items, mixtures(bank_dir, 2), strict=True):
        assert (scenario, absent) == (name, other)
        for a, b in zip(one.sources, two.sources, strict=True):
            np.testing.assert_array_equal(a.samples, b.samples)


def test_mixtures_have_the_groups_of_their_scenario(items):
    assert [scenario for scenario, *_ in items] == [
        name for name, (groups, _) in SCENARIOS.items() if groups for _ in range(2)
    ]
    for scenario, drawn, absent in items:
        if scenario != separation.ESC_10:  # of several groups
            assert tuple(separation._group(s.label) for s in drawn.sources) == SCENARIOS[scenario][0]
        assert absent not in {s.label for s in drawn.sources}


def test_bands_come_from_songs(bank_dir):
    bands = [m for name, m, _ in mixtures(bank_dir, 1, split="train") if name == separation.BAND]
    assert len(bands) == 1
    assert {s.label for s in bands[0].sources} <= set(tiny.SONG)


def test_real_music_is_held_out_by_whole_songs_and_instruments(tmp_path):
    rng = np.random.default_rng(0)

    def sound(seconds: float = 8.0) -> np.ndarray:
        return 0.1 * rng.standard_normal(round(seconds * 48_000)).astype(np.float32)

    held_out = "held-out/"
    stems = [(label, sound()) for label in ("electric guitar", "bass guitar", "drum kit")]
    build_song_shards(iter([(1, stems)]), tmp_path, f"{held_out}band")
    phrases = iter([(i, [(name, sound())]) for i, name in enumerate(("flute", "piano", "electric guitar"))])
    build_song_shards(phrases, tmp_path, f"{held_out}phrase")
    with ShardWriter(tmp_path, "real-song") as shard:
        for label in ("singing voice", "backing vocals", "drums"):
            song = f"{held_out}real-song"
            shard.add(sound(), f"{song}/{label}", label, "real song", "somebody", label, song)
    kinds = separation.REAL_BAND, separation.GUITAR_BAND, separation.REAL_INSTRUMENTS
    found = list(mixtures(tmp_path, 8, scenarios=kinds))
    assert {name for name, *_ in found} == set(kinds)
    for name, drawn, absent in found:
        assert len(drawn.sources) >= 2
        if name == separation.GUITAR_BAND:
            assert {s.label for s in drawn.sources} <= {label for label, _ in stems}
        assert absent is None or absent not in {p.label for p in drawn.prompts if p.members}
    result = evaluate(Constant(1.0), found)
    asked = {s.label for s in result.scores if s.scenario == separation.REAL_BAND}
    assert {"vocals", "drums", "everything but the voice"} <= asked
    assert not list(mixtures(tmp_path, 1, split="train", scenarios=kinds))


def test_asked_alone_means_one_prompt_a_call(items, model):
    calls = []

    class Counting:
        sample_rate, encode = model.sample_rate, model.encode

        def open(self, conditions, channels):
            calls.append(len(conditions))
            return model.open(conditions, channels)

    together = evaluate(Counting(), items[:4])
    asked = len(together.scores)
    assert max(calls) > 1
    calls.clear()
    alone = evaluate(Counting(), items[:4], alone=True)
    assert [s.label for s in alone.scores] == [s.label for s in together.scores]
    assert set(calls) == {1} and len(calls) == asked + len(together.absent_db)


@pytest.mark.parametrize("ask", ["phrase", "spans"])
def test_other_ways_to_ask(items, model, ask):
    by_label, asked = evaluate(model, items), evaluate(model, items, ask)
    assert [s.label for s in asked.scores] == [s.label for s in by_label.scores]
    assert [s.ceiling for s in asked.scores] == [s.ceiling for s in by_label.scores]
    gains = [np.array([s.improvement for s in e.scores]) for e in (asked, by_label)]
    assert np.abs(gains[0] - gains[1]).max() > 1e-3


def test_spans_are_where_the_target_sounds():
    target = np.zeros(48_000, np.float32)
    target[12_000:24_000] = 0.1
    (span,) = separation._sounding(target)
    assert (span.start_s, span.end_s) == pytest.approx((0.25, 0.5))


@pytest.mark.parametrize("gain", [1.0, 0.1])
def test_giving_back_the_mixture_improves_nothing(items, gain):
    result = evaluate(Constant(gain), items)
    asked = sum(1 if SCENARIOS[name][1] == "first" else len(m.sources) for name, m, _ in items)
    assert len(result.scores) == asked
    assert all(abs(score.improvement) < 0.01 for score in result.scores)
    assert all(score.ceiling > 0 for score in result.scores)
    assert result.absent_median_db() == pytest.approx(20 * np.log10(gain), abs=0.01)


def test_scores_are_si_sdr_of_the_sources():
    drawn = mixture("piano", "violin")
    result = evaluate(Constant(1.0), [("instruments in pairs", drawn, "trumpet")])
    mixed = sum(s.samples for s in drawn.sources)
    expected = [float(si_sdr(mixed, s.samples)) for s in drawn.sources]
    assert [score.mixture for score in result.scores] == pytest.approx(expected)
    assert [(s.label, s.group, s.n_sources) for s in result.scores] == [
        ("piano", "instrument", 2),
        ("violin", "instrument", 2),
    ]


def test_only_the_first_source_is_asked_where_the_scenario_says_so():
    result = evaluate(
        Constant(1.0), [("speech against events", mixture("man speaking", "dog barking"), None)]
    )
    assert [score.label for score in result.scores] == ["man speaking"]
    assert result.absent_db == []


def test_a_label_that_sounds_twice_is_one_target():
    result = evaluate(Constant(1.0), [(separation.BAND, mixture("piano", "violin", "piano"), None)])
    sources = tones(300, 1_500, 5_000)
    assert [score.label for score in result.scores] == ["piano", "violin"]
    expected = [float(si_sdr(sources.sum(0), target)) for target in (sources[0] + sources[2], sources[1])]
    assert [score.mixture for score in result.scores] == pytest.approx(expected)


def test_the_ideal_mask_separates_what_does_not_overlap():
    sources = tones(300, 5_000)
    assert si_sdr(ideal_band_mask(sources, sources.sum(0)), sources).min() > 25


def test_no_random_mask_beats_the_ideal_mask():
    sources = tiny.noise(2, 1.0) * np.array([[1.0], [0.5]], np.float32)
    best = np.square(ideal_band_mask(sources, sources.sum(0)) - sources).sum(-1)
    spec = stft(torch.from_numpy(sources.sum(0)))
    for seed in range(5):
        torch.manual_seed(seed)
        shape = to_bands(spec.abs()).shape
        other = istft(to_bins(torch.rand(2, *shape)) * spec, sources.shape[-1]).numpy()
        assert (np.square(other - sources).sum(-1) > best).all()


SCORES = [
    Score("events in pairs", "dog barking", "event", 2, 4.0, 12.0, 0.0),
    Score("events in pairs", "gunshot", "event", 2, -2.0, 10.0, 1.0),
    Score("speech over music", "man speaking", "speech", 2, 9.0, 15.0, -3.0),
]


def test_summary_rows():
    rows = {row["what"]: row for row in Evaluation(SCORES, [-30.0, -20.0, -40.0]).summary()}
    assert list(rows) == [
        "events in pairs",
        "speech over music",
        "group: event",
        "group: speech",
        "events + instruments + speech",
        "all",
    ]
    assert rows["events in pairs"] == rows["group: event"] | {"what": "events in pairs"}
    whole = rows["all"]
    assert (whole["n"], whole["median"], whole["mean"], whole["improved"]) == (3, 4.0, 3.67, 0.667)
    assert Evaluation(SCORES, [-30.0, -20.0, -40.0]).absent_median_db() == -30


def test_tables_hold_the_rows():
    result = Evaluation(SCORES, [])
    table = markdown(result.summary()).splitlines()
    assert len(table) == 2 + len(result.summary())
    assert {line.count("|") for line in table} == {8}
    assert table[-1] == "| all | 3 | 4.00 | 3.67 | 67 % | 12.00 | 0.00 |"
    parsed = list(csv.DictReader(io.StringIO(to_csv(result.by_label()))))
    assert [row["what"] for row in parsed] == ["dog barking", "gunshot", "man speaking"]
    assert np.isnan(result.absent_median_db())


def test_a_real_model_can_be_measured(model, items):
    result = evaluate(model, items[:2])
    assert len(result.scores) == 4
    assert all(np.isfinite([s.improvement, s.ceiling, s.mixture]).all() for s in result.scores)
    assert len(result.absent_db) == 2
