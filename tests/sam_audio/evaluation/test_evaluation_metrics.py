"""Measures against values worked out by hand."""

from __future__ import annotations

import builtins
import sys
import warnings

import numpy as np
import pytest

from sam_audio.errors import MissingExtraError
from sam_audio.evaluation.datasets import LabelledEvent
from sam_audio.evaluation.metrics import (
    PSDS1,
    PSDS2,
    average_precision,
    event_f1,
    frame_auroc,
    merged,
    psds,
    ranks,
    recall_at,
    segment_f1,
)

RATE = 25.0


def test_ranks_of_a_perfect_model_a_swap_and_the_reverse():
    perfect = np.eye(4)
    own = [[i] for i in range(4)]
    np.testing.assert_array_equal(ranks(perfect, own), [1, 1, 1, 1])
    np.testing.assert_array_equal(ranks(perfect[[1, 0, 2, 3]] + np.eye(4) * 0.5, own), [2, 2, 1, 1])
    np.testing.assert_array_equal(ranks(np.array([[1.0, 2, 3, 4]] * 4), own), [4, 3, 2, 1])


def test_ties_do_not_help():
    np.testing.assert_array_equal(ranks(np.zeros((3, 5)), [[0], [2], [4]]), [5, 5, 5])
    np.testing.assert_array_equal(ranks(np.array([[1.0, 1.0, 0.0]]), [[0]]), [2])


def test_several_right_answers_are_not_in_each_others_way():
    scores = np.array([[0.9, 0.8, 0.7, 0.6]])
    assert ranks(scores, [[0, 1, 2]])[0] == 1
    assert ranks(scores, [[1, 3]])[0] == 2
    assert ranks(np.zeros((1, 4)), [[0, 1, 2, 3]])[0] == 1  # whatever comes first is right


def test_ranks_agree_with_sorting():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((50, 30))
    right = [sorted(rng.choice(30, size=3, replace=False)) for _ in range(50)]
    for rank, row, positives in zip(ranks(scores, right), scores, right, strict=True):
        order = np.argsort(-row)
        assert rank == 1 + min(np.flatnonzero(np.isin(order, positives)))


def test_recall():
    found = np.array([1, 2, 5, 6, 11])
    assert [recall_at(k, found) for k in (1, 5, 10, 11)] == [0.2, 0.6, 0.8, 1.0]


def test_average_precision():
    relevant = np.array([[1, 0], [0, 0], [1, 0], [0, 0]], bool)
    scores = np.array([[0.9, 1], [0.8, 0], [0.7, 0], [0.6, 0]])
    first, second = average_precision(scores, relevant)
    assert first == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(second)  # a class that does not occur
    assert average_precision(np.zeros((4, 1)), relevant[:, :1])[0] == 0.5  # the share that is relevant


DOG, CAT = "dog", "cat"
CLIPS = {
    "a": [LabelledEvent(DOG, 1.0, 3.0), LabelledEvent(CAT, 5.0, 6.0)],
    "b": [LabelledEvent(DOG, 2.0, 4.0)],
    "c": [],
}
DURATIONS = {"a": 10.0, "b": 10.0, "c": 10.0}
NOTHING: dict[str, list[LabelledEvent]] = {"a": [], "b": [], "c": []}


def test_a_perfect_detector():
    for result in (segment_f1(CLIPS, CLIPS, DURATIONS, [DOG, CAT]), event_f1(CLIPS, CLIPS, [DOG, CAT])):
        assert (result.micro, result.macro) == pytest.approx((1, 1))
        assert result.per_class == pytest.approx({DOG: 1, CAT: 1})


def test_a_silent_detector_scores_zero_and_not_nothing():
    for result in (segment_f1(CLIPS, NOTHING, DURATIONS, [DOG, CAT]), event_f1(CLIPS, NOTHING, [DOG, CAT])):
        assert (result.micro, result.macro) == (0, 0)
        assert result.per_class == {DOG: 0, CAT: 0}


def test_a_class_that_does_not_occur_is_not_in_the_mean():
    for result in (
        segment_f1(CLIPS, CLIPS, DURATIONS, [DOG, CAT, "owl"]),
        event_f1(CLIPS, CLIPS, [DOG, CAT, "owl"]),
    ):
        assert result.macro == pytest.approx(1)
        assert np.isnan(result.per_class["owl"])


def test_segments_of_a_second():
    estimates = NOTHING | {"a": [LabelledEvent(DOG, 1.5, 2.5)], "b": [LabelledEvent(CAT, 2.0, 4.0)]}
    result = segment_f1(CLIPS, estimates, DURATIONS, [DOG, CAT])
    # dog: 2 of 4 seconds found, none wrong; cat: 0 of 1 found, 2 wrong
    assert result.per_class == pytest.approx({DOG: 2 * 2 / (2 + 4), CAT: 0})
    assert result.macro == pytest.approx(1 / 3)
    assert result.micro == pytest.approx(2 * 2 / (4 + 5))


@pytest.mark.parametrize(
    "onset, offset, right",
    [
        (1.19, 3.0, True),
        (1.21, 3.0, False),
        (1.0, 3.39, True),  # 20 % of two seconds is more than the collar
        (1.0, 3.41, False),
        (0.81, 2.61, True),
    ],
)
def test_collars(onset, offset, right):
    result = event_f1(
        {"a": [LabelledEvent(DOG, 1.0, 3.0)]}, {"a": [LabelledEvent(DOG, onset, offset)]}, [DOG]
    )
    assert result.micro == pytest.approx(float(right))


def test_the_collar_is_the_least_tolerance_of_short_events():
    short = {"a": [LabelledEvent(DOG, 1.0, 1.1)]}
    assert event_f1(short, {"a": [LabelledEvent(DOG, 1.0, 1.29)]}, [DOG]).micro == pytest.approx(1)
    assert event_f1(short, {"a": [LabelledEvent(DOG, 1.0, 1.31)]}, [DOG]).micro == 0


def test_one_event_in_two_pieces_is_wrong_thrice():
    pieces = [LabelledEvent(DOG, 1.0, 1.9), LabelledEvent(DOG, 2.1, 3.0)]
    assert event_f1({"a": [LabelledEvent(DOG, 1.0, 3.0)]}, {"a": pieces}, [DOG]).micro == 0


def scores_of(clips: dict[str, list[LabelledEvent]], labels: list[str], low: float = 0.0, high: float = 1.0):
    scores = {clip: np.full((len(labels), 250), low, np.float32) for clip in clips}
    for clip, events in clips.items():
        for event in events:
            row = labels.index(event.label)
            scores[clip][row, round(event.onset_s * RATE) : round(event.offset_s * RATE)] = high
    return scores


@pytest.mark.parametrize("scenario", [PSDS1, PSDS2])
@pytest.mark.parametrize("labels", [[DOG, CAT], [CAT, DOG], [CAT, "owl", DOG]])
def test_psds_of_a_perfect_detector(scenario, labels):
    score, per_class = psds(scores_of(CLIPS, labels, 0.2, 0.3), RATE, CLIPS, DURATIONS, labels, scenario)
    assert score == pytest.approx(1)  # at whatever threshold
    assert per_class == pytest.approx({DOG: 1, CAT: 1})


def test_frame_auroc_is_that_of_sorting_frames():
    """0.3 where nothing is heard and 0.7 where something is, with noise; against scikit-learn, frame by frame."""
    from sklearn.metrics import roc_auc_score

    labels, rng = [DOG, CAT], np.random.default_rng(0)
    scores = {
        clip: (s + 0.4 * rng.standard_normal(s.shape)).astype(np.float32)
        for clip, s in scores_of(CLIPS, labels, 0.3, 0.7).items()
    }
    area, per_class = frame_auroc(scores, RATE, CLIPS, DURATIONS, labels)
    for row, label in enumerate(labels):
        truth, said = [], []
        for clip, activity in scores.items():
            n = round(DURATIONS[clip] * RATE)
            times = (np.arange(n) + 0.5) / RATE
            truth.append(
                np.any(
                    [(times > e.onset_s) & (times < e.offset_s) for e in CLIPS[clip] if e.label == label]
                    or [np.zeros(n, bool)],
                    axis=0,
                )
            )
            said.append(activity[row, :n])
        expected = roc_auc_score(np.concatenate(truth), np.concatenate(said))
        assert per_class[label] == pytest.approx(expected, abs=1e-4)
    assert area == pytest.approx(np.mean(list(per_class.values())), abs=1e-6)


@pytest.mark.parametrize("scenario", [PSDS1, PSDS2])
def test_psds_takes_the_spread_between_classes_away(scenario):
    labels = [DOG, CAT]
    only_dogs = {clip: [e for e in events if e.label == DOG] for clip, events in CLIPS.items()}
    score, per_class = psds(scores_of(only_dogs, labels), RATE, CLIPS, DURATIONS, labels, scenario)
    assert per_class == pytest.approx({DOG: 1, CAT: 0})
    assert score == pytest.approx(0.5 - 0.5)  # mean minus one standard deviation


@pytest.mark.parametrize("scenario", [PSDS1, PSDS2])
def test_psds_of_one_class(scenario):
    dogs = {"a": [LabelledEvent(DOG, 1.0, 3.0)], "b": [], "c": [LabelledEvent(DOG, 2.0, 4.0)]}
    score, per_class = psds(scores_of(dogs, [DOG]), RATE, dogs, DURATIONS, [DOG], scenario)
    assert score == per_class[DOG] == pytest.approx(1)
    half = scores_of(dogs | {"c": []}, [DOG])
    assert psds(half, RATE, dogs, DURATIONS, [DOG], scenario)[0] == pytest.approx(0.5)


def test_psds_tolerates_what_its_scenario_tolerates():
    dogs = {
        "a": [LabelledEvent(DOG, 2.0, 2.8)]
    }  # so short that detecting the whole recording is no detection
    for share, first, second in ((0.8, 1, 1), (0.6, 0, 1), (0.05, 0, 0)):
        scores = scores_of({"a": [LabelledEvent(DOG, 2.0, 2.0 + 0.8 * share)]}, [DOG])
        for scenario, expected in ((PSDS1, first), (PSDS2, second)):
            assert psds(scores, RATE, dogs, {"a": 10.0}, [DOG], scenario)[0] == pytest.approx(expected)


def test_psds_counts_false_alarms_by_the_hour():
    """One false alarm before the right event, in an hour: everything to the right of 1 / 100 is found."""
    dogs = {"a": [LabelledEvent(DOG, 2.0, 4.0)]}
    scores = scores_of({"a": [LabelledEvent(DOG, 2.0, 4.0)]}, [DOG], high=0.5)
    scores["a"][0, 150:175] = 0.9
    assert psds(scores, RATE, dogs, {"a": 3600.0}, [DOG])[0] == pytest.approx(0.99)


def test_psds_where_nothing_is_heard():
    score, per_class = psds(scores_of(NOTHING, [DOG]), RATE, NOTHING, DURATIONS, [DOG])
    assert np.isnan(score)
    assert per_class == {}


def test_touching_annotations_of_one_label_are_one_event():
    events = [
        LabelledEvent(DOG, 2, 3),
        LabelledEvent(CAT, 0, 9),
        LabelledEvent(DOG, 1, 2),
        LabelledEvent(DOG, 1.2, 1.4),
        LabelledEvent(DOG, 5, 6),
    ]
    assert merged(events) == [LabelledEvent(CAT, 0, 9), LabelledEvent(DOG, 1, 3), LabelledEvent(DOG, 5, 6)]
    assert merged(merged(events)) == merged(events)
    pieces = {"a": [LabelledEvent(DOG, 2.0, 3.0), LabelledEvent(DOG, 3.0, 4.0)]}
    scores = scores_of(pieces, [DOG])
    assert psds(scores, RATE, pieces, {"a": 10.0}, [DOG])[0] == pytest.approx(1)


def test_nothing_is_warned_about():
    """dcase_util imports pkg_resources, which warns."""
    for name in [n for n in sys.modules if n.split(".")[0] in ("sed_eval", "dcase_util")]:
        del sys.modules[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        event_f1(CLIPS, CLIPS, [DOG, CAT, "owl"])
        segment_f1(NOTHING, NOTHING, DURATIONS, [DOG])


@pytest.mark.parametrize(
    "package, call",
    [
        ("sed_eval", lambda: event_f1(CLIPS, CLIPS, [DOG, CAT])),
        ("sed_eval", lambda: segment_f1(CLIPS, CLIPS, DURATIONS, [DOG, CAT])),
        ("sed_scores_eval", lambda: psds(scores_of(CLIPS, [DOG, CAT]), RATE, CLIPS, DURATIONS, [DOG, CAT])),
        ("sklearn", lambda: average_precision(np.eye(2), np.eye(2, dtype=bool))),
    ],
)
def test_a_missing_package_says_how_to_get_it(package, call, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r'pip install "separate-by-prompt\[eval\]"'):
        call()
