"""Amplifiers: loud, finite, the same for the same seed, and duller than what goes in."""

from __future__ import annotations

import numpy as np
import pytest

from sam_audio.training.music.amps import _CHAINS, cabinet, room, through

RATE = 48_000


def plucked(seconds: float = 1.0, pitch_hz: float = 110.0) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * pitch_hz * k * t) / k for k in range(1, 8))
    return (0.2 * tone * np.exp(-3 * t)).astype(np.float32)


@pytest.mark.parametrize("family", [*_CHAINS, "strings"])
def test_every_chain_gives_sound_of_the_same_length(family):
    for seed in range(12):  # chains are drawn: most of their parts come up
        dry = plucked()
        wet = through(family, dry, RATE, np.random.default_rng(seed))
        assert wet.shape == dry.shape and wet.dtype == np.float32
        assert np.isfinite(wet).all() and np.abs(wet).max() > 0.01
        again = through(family, dry, RATE, np.random.default_rng(seed))
        np.testing.assert_array_equal(wet, again)


def test_silence_stays_silent():
    assert not through("metal guitar", np.zeros(RATE, np.float32), RATE, np.random.default_rng(0)).any()


def test_distortion_makes_quiet_ends_loud():
    def late(x: np.ndarray) -> float:  # the end of the note against its beginning
        return float(np.square(x[-RATE // 5 :]).mean() / np.square(x[: RATE // 5]).mean())

    dry = plucked()
    gains = [
        late(through("metal guitar", dry, RATE, np.random.default_rng(seed))) / late(dry) for seed in range(8)
    ]
    assert np.median(gains) > 10


def test_a_cabinet_falls_off_at_both_ends():
    for seed in range(10):
        response = cabinet(RATE, np.random.default_rng(seed), 80, 5000, 2.0)
        assert np.square(response).sum() == pytest.approx(1)
        level = 20 * np.log10(np.abs(np.fft.rfft(response, 8192)) + 1e-9)
        low, first, last, high = (round(hz * 8192 / RATE) for hz in (20, 200, 3_000, 14_000))
        middle = level[first:last].mean()
        assert level[low] < middle - 10 and level[high] < middle - 20


def test_a_room_adds_a_tail_and_keeps_the_beginning():
    click = np.zeros(RATE, np.float32)
    click[0] = 1
    wet = room(click, RATE, np.random.default_rng(0), 0.3)
    assert wet[0] == pytest.approx(1, abs=1e-3) and len(wet) == RATE
    assert np.square(wet[1:]).sum() == pytest.approx(0.3, rel=0.1)
