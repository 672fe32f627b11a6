"""Made scenes: events lie where they are said to be."""

from __future__ import annotations

import numpy as np
import pytest

from sam_audio.evaluation.scenes import MERGE_GAP_S, SECONDS, active_spans, scenes
from sam_audio.training.data import labels as label_table
from sam_audio.training.data.bank import SAMPLE_RATE


@pytest.fixture(scope="module")
def made(bank_dir):
    return list(scenes(bank_dir, 8, "train", seed=3))


def test_scenes_are_as_promised(made):
    for scene in made:
        assert scene.samples.shape == (round(SECONDS * SAMPLE_RATE),)
        assert scene.samples.dtype == np.float32 and np.isfinite(scene.samples).all()
        assert 1 <= len({label for _, _, label in scene.events}) <= 6
        for onset, offset, label in scene.events:
            assert 0 <= onset < offset <= SECONDS + 0.04
            assert label_table.absent_ok(label, [scene.background])


def test_the_same_seed_makes_the_same_scenes(made, bank_dir):
    again = list(scenes(bank_dir, 8, "train", seed=3))
    assert all(
        np.array_equal(a.samples, b.samples) and a.events == b.events
        for a, b in zip(made, again, strict=True)
    )


def test_active_spans_bridge_short_pauses():
    sound = np.zeros(SAMPLE_RATE * 3, np.float32)
    for start, stop in ((0.4, 0.8), (0.8 + MERGE_GAP_S - 0.08, 1.2), (2.0, 2.4)):
        sound[round(start * SAMPLE_RATE) : round(stop * SAMPLE_RATE)] = 0.1
    spans = active_spans(sound, 0 * sound)
    assert [(round(a, 2), round(b, 2)) for a, b in spans] == [(0.4, 1.2), (2.0, 2.4)]
    silence = np.zeros(SAMPLE_RATE, np.float32)
    assert active_spans(silence, silence) == []


def test_what_is_masked_is_not_marked():
    sound, rest = np.full(2 * SAMPLE_RATE, 0.01, np.float32), np.zeros(2 * SAMPLE_RATE, np.float32)
    rest[SAMPLE_RATE:] = 0.1  # 20 dB above
    assert active_spans(sound, rest) == [(0.0, 1.0)]
