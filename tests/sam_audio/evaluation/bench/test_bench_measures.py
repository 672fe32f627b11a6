"""Measures of the benchmarks, by hand and against the packages that define them, to 1e-4."""

from __future__ import annotations

import fast_bss_eval
import museval
import numpy as np
import pytest
import torch
import torchmetrics.functional as reference

from sam_audio.evaluation.bench import measures
from sam_audio.evaluation.bench.measures import (
    best_order,
    bss_eval,
    ca_sdri,
    capi_sdri,
    count_labels,
    sdr,
    si_sdr,
    snr,
)

rng = np.random.default_rng(0)
T = 8_000


def noise(n: int = 1) -> np.ndarray:
    return rng.standard_normal((n, T)).astype(np.float32)


def test_sdr_and_si_sdr_of_audiosep_by_hand():
    """2 (1, -1) with (0.2, 0.2) of something else: energies 8, 0.08 and against the source 2, 2 + 0.08."""
    reference_, estimate = np.array([1.0, -1, 0, 0]), np.array([2.0, -2, 0.2, 0.2])
    assert sdr(estimate, reference_) == pytest.approx(10 * np.log10(2 / 2.08), abs=1e-9)
    assert si_sdr(estimate, reference_) == pytest.approx(20.0, abs=1e-5)
    assert sdr(reference_, reference_) == pytest.approx(10 * np.log10(0.5 / 1e-10))  # AudioSep's floor
    assert sdr(estimate, np.zeros(4)) == pytest.approx(10 * np.log10(1e-10 / 2.02))


@pytest.mark.parametrize("gain", [0.1, 1.0, -2.0])
def test_ratios_are_those_of_torchmetrics(gain):
    source, other = noise(2)
    source += 0.3  # a mean that is left in
    estimate = gain * source + 0.2 * other
    true, made = (torch.from_numpy(x.astype(np.float64)) for x in (source, estimate))
    assert si_sdr(estimate, source) == pytest.approx(
        float(reference.scale_invariant_signal_distortion_ratio(made, true)), abs=1e-4
    )
    assert snr(estimate, source) == pytest.approx(float(reference.signal_noise_ratio(made, true)), abs=1e-4)


def test_silence_has_the_ratio_that_torchmetrics_gives_it():
    source, silence = noise(1)[0], np.zeros(T, np.float32)
    for estimate, true in ((silence, source), (source, silence), (silence, silence)):
        expected = reference.signal_noise_ratio(torch.from_numpy(estimate), torch.from_numpy(true))
        assert snr(estimate, true) == pytest.approx(float(expected), abs=1e-4)


def test_the_best_order_is_fast_bss_evals():
    sources = noise(3)
    estimates = sources[[2, 0, 1]] + 0.5 * noise(3)
    _, order = fast_bss_eval.si_sdr(sources, estimates, return_perm=True)
    assert best_order(estimates, sources) == tuple(order)


def test_bss_eval_is_musevals():
    sources = rng.standard_normal((2, 3 * T, 2))
    sources[0, :T] = 0  # nothing is defined in the first window
    estimates = sources + 0.2 * rng.standard_normal(sources.shape)
    found = bss_eval(estimates, sources, T)
    expected = museval.metrics.bss_eval(sources, estimates, window=T, hop=T)
    for mine, theirs in zip(found, expected, strict=False):
        np.testing.assert_allclose(mine, theirs, atol=1e-4, equal_nan=True)
    assert np.isnan(found.sdr[:, 0]).all() and np.isfinite(found.sdr[:, 1:]).all()
    assert found.sdr[:, 1:] == pytest.approx(10 * np.log10(1 / 0.04), abs=0.3)  # by hand, but for its filters


def test_a_silent_estimate_is_no_error_for_bss_eval():
    sources = rng.standard_normal((2, 2 * T, 1))
    found = bss_eval(np.stack([sources[0], 0 * sources[1]]), sources, T).sdr
    assert found[0].min() > 100
    np.testing.assert_allclose(found[1], 0, atol=1e-4)


# ---- DCASE ------------------------------------------------------------------------------------------------


def dcase2025(estimates, references, mixture):
    """The 2025 definition, as its paper has it, on torchmetrics: labels are unique."""
    said, there = dict(estimates), dict(references)
    both = said.keys() & there.keys()
    gains = [torch_snr(said[x], there[x]) - torch_snr(mixture, there[x]) for x in both]
    return sum(gains) / len(said.keys() | there.keys())


def torch_snr(estimate, true):
    return float(reference.signal_noise_ratio(torch.from_numpy(estimate), torch.from_numpy(true)))


def test_ca_sdri_follows_its_definition():
    dog, cat, rest = noise(3)
    mixture = dog + cat + rest
    estimates = [("dog", dog + 0.1 * rest), ("bell", cat)]
    references = [("dog", dog), ("cat", cat)]
    found = ca_sdri(estimates, references, mixture)
    assert found == pytest.approx(dcase2025(estimates, references, mixture), abs=1e-4)
    # by hand: the dog gains 20 + 3 dB, the cat is missed and the bell made up
    assert found == pytest.approx((20 + 10 * np.log10(2)) / 3, abs=0.2)
    assert np.isnan(ca_sdri([], [], mixture))


def test_capi_sdri_of_scenes_without_doubles_is_ca_sdri():
    dog, cat, rest = noise(3)
    for labels in (["dog", "cat"], ["dog"], ["bell", "dog", "cat"], []):
        estimates = [(label, 0.9 * sound) for label, sound in zip(labels, (dog, cat, rest), strict=False)]
        references = [("dog", dog), ("cat", cat)]
        mixture = dog + cat + rest
        assert capi_sdri(estimates, references, mixture) == ca_sdri(estimates, references, mixture)


def test_capi_sdri_pairs_sounds_of_one_kind_in_their_best_order():
    one, two, rest = noise(3)
    mixture = one + two + rest
    references = [("dog", one), ("dog", two)]
    swapped = [("dog", two + 0.1 * rest), ("dog", one + 0.1 * rest)]
    expected = [torch_snr(x + 0.1 * rest, x) - torch_snr(mixture, x) for x in (one, two)]
    assert capi_sdri(swapped, references, mixture) == pytest.approx(np.mean(expected), abs=1e-4)
    # one of the two: half of what it gains, since the other is missed; a third estimate costs a third
    assert capi_sdri(swapped[1:], references, mixture) == pytest.approx(expected[0] / 2, abs=1e-4)
    third = [*swapped, ("dog", rest)]
    assert capi_sdri(third, references, mixture) == pytest.approx(sum(expected) / 3, abs=1e-4)


def test_an_empty_scene_counts_only_if_something_was_said_to_be_in_it():
    (mixture,) = noise(1)
    assert np.isnan(capi_sdri([], [], mixture))
    assert capi_sdri([("dog", mixture)], [], mixture) == 0.0


def test_labels_count_as_often_as_they_are():
    assert count_labels(["dog", "dog", "cat"], ["dog", "bell"]) == (1, 2, 1)
    assert not count_labels(["dog"], ["dog", "dog"]).right
    assert count_labels([], []).right


def test_bss_eval_without_museval_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "museval", None)
    with pytest.raises(measures.MissingExtraError, match="eval"):
        bss_eval(np.zeros((1, 8, 1)), np.zeros((1, 8, 1)), 8)
