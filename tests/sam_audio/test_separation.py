"""The main path: parts always sum to the mixture, in step with it."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from tiny import constant_mask

from sam_audio.io import quantise
from sam_audio.io.arrays import ArrayRecording
from sam_audio.separation import Separation, Sink, run

RATES = [8_000, 16_000, 22_050, 44_100, 48_000, 96_000]


def separate(model, mixture, rate, block=None, prompts=("guitar", "dog"), **options):
    """The mixture as it comes back, and its parts (N + 1, C, T)."""
    block = block or mixture.shape[-1]
    separation = Separation(model, model.encode(list(prompts)), rate, len(mixture), **options)
    blocks = [
        separation.push(mixture[:, start : start + block]) for start in range(0, mixture.shape[-1], block)
    ]
    blocks.append(separation.finish())
    return tuple(np.concatenate([one[i] for one in blocks], axis=-1) for i in (0, 1))


def smooth_noise(rate, seconds=1.3, channels=1):
    """Noise without anything above an eighth of the rate: both conversions keep it."""
    spectrum = np.fft.rfft(tiny.noise(channels, seconds, rate))
    spectrum[:, spectrum.shape[-1] // 4 :] = 0
    return np.fft.irfft(spectrum, round(seconds * rate)).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_parts_sum_to_the_mixture(model, rate, channels):
    mixture = tiny.noise(channels, 1.3, rate)
    again, parts = separate(model, mixture, rate, block=rate // 2)
    np.testing.assert_array_equal(again, mixture)
    assert parts.shape == (3, *mixture.shape)
    assert parts.dtype == np.float32
    np.testing.assert_allclose(parts.sum(axis=0), mixture, atol=1e-6)
    assert all(part.std() > 1e-3 for part in parts)


@pytest.mark.parametrize("frames", [1, 2, 3, 80, 479])
@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_the_shortest_sounds_keep_their_length(model, rate, frames):
    mixture = tiny.noise(2, 1, rate)[:, :frames]
    again, parts = separate(model, mixture, rate)
    np.testing.assert_array_equal(again, mixture)
    np.testing.assert_allclose(parts.sum(axis=0), mixture, atol=1e-6)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000, 96_000])
def test_stems_are_in_step_with_the_mixture(model, rate):
    mixture = smooth_noise(rate)
    with constant_mask(model, 20):
        _, (stem, residual) = separate(model, mixture, rate, prompts=["guitar"])
    edge = rate // 20
    np.testing.assert_allclose(stem[:, edge:-edge], mixture[:, edge:-edge], atol=1e-4)
    assert np.abs(residual[:, edge:-edge]).max() < 1e-4


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_what_nobody_wants_is_the_residual(model, rate):
    mixture = tiny.noise(2, 20, rate)
    with constant_mask(model, -20):
        _, (_, residual) = separate(model, mixture, rate, block=rate, prompts=["guitar"])
    np.testing.assert_allclose(residual, mixture, atol=1e-4)


def test_there_is_no_seam_at_44100_hz(model):
    mixture = smooth_noise(44_100, 40)
    with constant_mask(model, 20):
        _, (stem, _) = separate(model, mixture, 44_100, block=22_050, prompts=["guitar"])
    np.testing.assert_allclose(stem[:, 2_000:-2_000], mixture[:, 2_000:-2_000], atol=1e-4)


@pytest.mark.parametrize("block", [441, 22_050, 100_003])
def test_blocks_do_not_matter(model, block):
    mixture = tiny.noise(2, 17, 44_100)
    _, whole = separate(model, mixture, 44_100)
    _, parts = separate(model, mixture, 44_100, block)
    np.testing.assert_array_equal(parts, whole)


def test_single_samples_are_blocks(model):
    mixture = tiny.noise(1, 0.1, 44_100)
    np.testing.assert_allclose(
        separate(model, mixture, 44_100, 1)[1], separate(model, mixture, 44_100)[1], atol=1e-5
    )


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_rounded_parts_sum_exactly(model, rate, subtype):
    mixture = quantise(tiny.noise(2, 1.3, rate), subtype)
    _, parts = separate(model, mixture, rate, quantise=lambda samples: quantise(samples, subtype))
    np.testing.assert_array_equal(parts, quantise(parts, subtype))
    np.testing.assert_array_equal(parts.sum(axis=0, dtype=np.float64), mixture)


def test_no_blocks_no_output(model):
    class Never(Sink):
        def write(self, block):
            raise AssertionError(block)

    run(model, model.encode(["dog"]), ArrayRecording(np.zeros((2, 0), np.float32), 44_100), [Never()])


def test_the_caller_keeps_the_mixture(model):
    mixture = tiny.noise(2, 0.3)
    before = mixture.copy()
    separate(model, mixture, 48_000)
    np.testing.assert_array_equal(mixture, before)
