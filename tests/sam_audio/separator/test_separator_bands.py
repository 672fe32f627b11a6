"""Bands partition the bins, and the spectrogram can be inverted."""

from __future__ import annotations

import pytest
import torch

from sam_audio.separator.nano.bands import HOP, N_BANDS, N_BINS, N_FFT, SAMPLE_RATE, band_edges
from sam_audio.separator.nano.spectra import band_of_bin, features, istft, stft, to_bands, to_bins


def test_bands_partition_the_bins_and_never_get_narrower():
    edges = torch.tensor(band_edges())
    widths = edges.diff()
    assert (len(edges), int(edges[0]), int(edges[-1])) == (N_BANDS + 1, 0, N_BINS)
    assert int(widths.min()) == 1
    assert (widths[:-1].diff() >= -1).all()  # rounding may take one back
    assert widths[:10].max() == 1
    torch.testing.assert_close(torch.bincount(band_of_bin(), minlength=N_BANDS), widths)


def test_to_bins_undoes_to_bands_for_values_constant_within_bands():
    masks = torch.rand(2, 3, N_BANDS, 5)
    widths = torch.tensor(band_edges()).diff()[:, None]
    torch.testing.assert_close(to_bands(to_bins(masks)) / widths, masks)


def test_to_bands_keeps_the_energy():
    energies = torch.rand(2, N_BINS, 7)
    torch.testing.assert_close(to_bands(energies).sum(-2), energies.sum(-2))


def test_one_bin_lands_in_its_band_only():
    energies = torch.zeros(N_BINS, 1)
    energies[700] = 1
    assert to_bands(energies)[:, 0].nonzero().tolist() == [[int(band_of_bin()[700])]]


def test_the_band_table_can_be_used_in_training_after_inference():
    band_of_bin.cache_clear()
    with torch.inference_mode():
        to_bins(torch.rand(N_BANDS, 1))
    masks = torch.rand(N_BANDS, 1, requires_grad=True)
    to_bins(masks).sum().backward()
    torch.testing.assert_close(masks.grad[:, 0], torch.tensor(band_edges()).diff().float())


@pytest.mark.parametrize("n_samples", [1, HOP - 1, HOP, N_FFT, 10_007, 48_000])
def test_istft_inverts_stft(n_samples):
    samples = torch.randn(2, 3, n_samples)
    spec = stft(samples)
    assert spec.shape == (2, 3, N_BINS, n_samples // HOP + 1)
    torch.testing.assert_close(istft(spec, n_samples), samples, atol=5e-5, rtol=0)


def test_frame_t_is_centred_on_sample_t_times_hop():
    samples = torch.zeros(HOP * 10)
    samples[HOP * 4] = 1
    assert int(stft(samples).abs().sum(0).argmax()) == 4


def test_features_do_not_depend_on_the_level():
    energies = torch.rand(1, N_BANDS, 30)
    torch.testing.assert_close(features(energies * 1e-4), features(energies), atol=1e-4, rtol=1e-4)
    assert features(energies).shape == (1, 2, N_BANDS, 30)


def test_features_of_silence_are_finite_and_still():
    values = features(torch.zeros(1, N_BANDS, 4))
    assert torch.isfinite(values).all()
    assert (values[:, 1] == 0).all()


def test_a_tone_has_its_energy_at_its_frequency():
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(48_000) / SAMPLE_RATE)
    energies = to_bands(stft(tone).abs().square()).mean(-1)
    centre = round(1000 * N_FFT / SAMPLE_RATE)
    assert int(energies.argmax()) == int(band_of_bin()[centre])
