"""Conversion of rates in blocks: nothing is delayed, lost or cut differently."""

from __future__ import annotations

import numpy as np
import pytest
import tiny

from sam_audio.io.resample import Resampler

RATES = [8_000, 16_000, 22_050, 44_100, 96_000, 768_000]


def convert(samples, from_hz, to_hz, block=None):
    resampler = Resampler(from_hz, to_hz, len(samples))
    block = block or samples.shape[-1]
    parts = [resampler.push(samples[:, i : i + block]) for i in range(0, samples.shape[-1], block)]
    return np.concatenate([*parts, resampler.finish()], axis=-1)


def tone(hz, rate, seconds=0.5):
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)[None].astype(np.float32)


def test_equal_rates_pass_the_very_samples_on():
    samples = tiny.noise(2, 0.1)
    resampler = Resampler(48_000, 48_000, 2)
    assert resampler.push(samples) is samples
    assert resampler.finish().shape == (2, 0)


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_stays_where_it_was(rate):
    there = convert(tone(440, rate), rate, 48_000)
    assert abs(there.shape[-1] - 24_000) <= 1
    edge = 2_400  # the tone's sudden ends have no place below the lower Nyquist frequency
    expected = tone(440, 48_000)[:, : there.shape[-1]]
    np.testing.assert_allclose(there[:, edge:-edge], expected[:, edge : there.shape[-1] - edge], atol=1e-4)


@pytest.mark.parametrize("rate", RATES)
def test_there_and_back_is_where_it_was(rate):
    samples = tone(440, rate)
    back = convert(convert(samples, rate, 48_000), 48_000, rate)
    assert abs(back.shape[-1] - samples.shape[-1]) <= max(1, rate // 48_000)
    edge, n = rate // 20, min(back.shape[-1], samples.shape[-1])
    np.testing.assert_allclose(back[:, edge : n - edge], samples[:, edge : n - edge], atol=2e-4)


@pytest.mark.parametrize("block", [1, 441, 5_000])
@pytest.mark.parametrize(("from_hz", "to_hz"), [(44_100, 48_000), (48_000, 44_100), (96_000, 48_000)])
def test_blocks_do_not_matter(from_hz, to_hz, block):
    samples = tiny.noise(2, 0.3, from_hz)
    np.testing.assert_allclose(
        convert(samples, from_hz, to_hz, block), convert(samples, from_hz, to_hz), atol=1e-6
    )


def test_channels_do_not_mix():
    samples = tiny.noise(6, 0.2)
    together = convert(samples, 48_000, 44_100)
    for c in range(6):
        np.testing.assert_allclose(convert(samples[c : c + 1], 48_000, 44_100)[0], together[c], atol=1e-7)


def test_nothing_in_nothing_out():
    resampler = Resampler(44_100, 48_000, 2)
    assert resampler.push(np.zeros((2, 0), np.float32)).shape == (2, 0)
    assert resampler.finish().shape == (2, 0)
