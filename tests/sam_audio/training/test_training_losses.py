"""Losses from band energies agree with the waveforms they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from judge.metrics import si_sdr
from sam_audio.separator.nano.network import Conditions
from sam_audio.separator.nano.spectra import istft, stft, to_bins
from sam_audio.training.losses import BandStatistics, Energies, separation_loss
from sam_audio.training.recipes.separator import spectral_statistics

SAMPLES = 48_000


def sources(batch: int = 1, seed: int = 0) -> torch.Tensor:
    """(B, 3, samples): a low tone complex that comes and goes, coloured noise, silence."""
    rng = np.random.default_rng(seed)
    t = np.arange(SAMPLES) / 48_000
    tone = sum(np.sin(2 * np.pi * 220 * k * t) / k for k in range(1, 8)) * (np.sin(2 * np.pi * 2 * t) > 0)
    noise = np.diff(rng.standard_normal((batch, SAMPLES + 1)))
    out = np.stack([np.broadcast_to(0.1 * tone, noise.shape), 0.1 * noise, 0 * noise], axis=1)
    return torch.from_numpy(out).float()


def statistics(batch: int = 1) -> tuple[torch.Tensor, BandStatistics]:
    sound = sources(batch)
    return sound, spectral_statistics(sound, torch.eye(3).expand(batch, 3, 3))


def as_cells(estimate_gain: torch.Tensor, mixture: torch.Tensor, target: torch.Tensor):
    """Samples instead of cells: a mask is then a gain per sample, and the sums are those of waveforms."""
    stats = BandStatistics(
        mixture.square()[None, None, None],
        target.square()[None, None, None],
        (mixture * target)[None, None, None],
    )
    return Energies.of(estimate_gain[None, None, None], stats)


def test_statistics_are_scaled_to_unit_mean():
    _, stats = statistics(2)
    assert stats.mixture.mean(dim=(-2, -1)).flatten().tolist() == pytest.approx([1, 1], abs=1e-4)


def test_statistics_of_all_sources_are_those_of_the_mixture():
    sound = sources(2)
    stats = spectral_statistics(sound, torch.ones(2, 1, 3))
    torch.testing.assert_close(stats.target, stats.mixture, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(stats.cross, stats.mixture, rtol=1e-4, atol=1e-4)
    audible = stats.mixture > 1e-3
    torch.testing.assert_close(stats.ideal_mask()[audible], torch.ones(int(audible.sum())), atol=1e-3, rtol=0)


def test_cross_statistics_add_up():
    _, stats = statistics()
    torch.testing.assert_close(stats.cross.sum(1, keepdim=True), stats.mixture, rtol=1e-3, atol=1e-3)


def test_silent_padding_changes_nothing():
    sound = sources()
    padded = torch.cat([sound, torch.zeros(1, 2, SAMPLES)], dim=1)
    members = torch.nn.functional.pad(torch.eye(3), (0, 2))[None]
    one, two = spectral_statistics(sound, torch.eye(3)[None]), spectral_statistics(padded, members)
    for name in ("mixture", "target", "cross"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name))


def test_the_ideal_mask_scores_as_its_waveform():
    sound, stats = statistics()
    mask = stats.ideal_mask()
    spec = stft(sound.sum(1))[..., :-1]
    estimate = istft(to_bins(mask)[0] * spec, SAMPLES)[:2].numpy()
    energies = Energies.of(mask, stats)
    reference = sound[0, :2].numpy()
    expected_snr = -10 * np.log10(np.square(estimate - reference).sum(-1) / np.square(reference).sum(-1))
    np.testing.assert_allclose(energies.si_sdr(100)[0, :2], si_sdr(estimate, reference), atol=1)
    np.testing.assert_allclose(
        energies.snr(100)[0, :2], expected_snr, atol=1
    )  # the inverse transform removes some error
    assert si_sdr(estimate, reference).min() > 10


def test_no_other_mask_has_a_better_snr():
    _, stats = statistics()
    best = Energies.of(stats.ideal_mask(), stats).snr(100)[0, :2]
    for _ in range(5):
        other = (stats.ideal_mask() + 0.1 * torch.randn_like(stats.target)).clamp(0, 1)
        assert (Energies.of(other, stats).snr(100)[0, :2] < best).all()


def test_energies_are_those_of_the_complex_spectrogram():
    sound, stats = statistics()
    masks = torch.rand(stats.target.shape)
    spec = stft(sound)[..., :-1]
    mixture = spec.sum(1, keepdim=True)
    error = (to_bins(masks) * mixture - spec).abs().square().sum((-2, -1))
    expected = -10 * torch.log10(error / spec.abs().square().sum((-2, -1)))
    torch.testing.assert_close(
        Energies.of(masks, stats).snr(100)[:, :2], expected[:, :2], rtol=1e-3, atol=1e-2
    )


def test_si_sdr_equals_asteroid_and_the_judge():
    from asteroid.losses.sdr import SingleSrcNegSDR

    generator = torch.Generator().manual_seed(0)
    mixture, target = torch.randn(2, 2_000, generator=generator)
    gains = torch.rand(2_000, generator=generator)
    gains = gains * (target * mixture > 0)
    ours = as_cells(gains, mixture, target).si_sdr(100).item()
    estimate = gains * mixture
    theirs = -SingleSrcNegSDR("sisdr", zero_mean=False)(estimate[None], target[None]).item()
    assert ours == pytest.approx(theirs, abs=1e-3)
    estimate, target = estimate - estimate.mean(), target - target.mean()
    ones = torch.ones(2_000)
    ours = as_cells(ones, estimate, target).si_sdr(100).item()
    assert ours == pytest.approx(float(si_sdr(estimate.numpy(), target.numpy())), abs=1e-3)


@pytest.mark.parametrize("ceiling", [20.0, 30.0])
def test_scores_flatten_out_at_the_ceiling(ceiling):
    target = torch.randn(1_000)
    energies = as_cells(torch.ones(1_000), target, target)
    assert energies.snr(ceiling).item() == pytest.approx(ceiling, abs=0.1)
    assert energies.si_sdr(ceiling).item() == pytest.approx(ceiling, abs=0.1)


PRESENT = torch.tensor([[True, True, False]])
ABSENT = torch.tensor([[False, False, True]])


def test_gradients_are_finite_and_absent_prompts_are_pushed_down():
    _, stats = statistics()
    logits = torch.randn(stats.target.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss, parts = separation_loss(logits, stats, PRESENT, ABSENT)
    loss.backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[0, 2] >= 0).all() and logits.grad[0, 2].sum() > 0
    assert all(np.isfinite(value) for value in parts.values())


@pytest.mark.parametrize("logit", [-80.0, 80.0])
def test_extreme_logits_keep_gradients_finite(logit):
    _, stats = statistics()
    logits = torch.full(stats.target.shape, logit, requires_grad=True)
    loss, _ = separation_loss(logits, stats, PRESENT, ABSENT)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_padding_and_silence_cost_nothing():
    _, stats = statistics()
    nobody = torch.zeros(1, 3, dtype=torch.bool)
    loss, _ = separation_loss(torch.randn(stats.target.shape), stats, nobody, nobody)
    assert loss.item() == 0
    silent = spectral_statistics(torch.zeros(1, 3, SAMPLES), torch.eye(3)[None])
    logits = torch.zeros(silent.target.shape, requires_grad=True)
    loss, _ = separation_loss(logits, silent, nobody, ~nobody)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_the_ideal_mask_has_the_lowest_loss():
    _, stats = statistics()
    ideal = (stats.ideal_mask() * PRESENT[..., None, None]).clamp(1e-4, 1 - 1e-4).logit()
    best, parts = separation_loss(ideal, stats, PRESENT, ABSENT)
    for other in (torch.zeros_like(ideal), ideal + 1, ideal - 1, ideal.flip(1), -ideal):
        assert separation_loss(other, stats, PRESENT, ABSENT)[0] > best
    assert parts["absent_db"] < -50


def test_a_tiny_network_learns_a_tiny_batch():
    from sam_audio.separator.nano.network import MaskNetwork
    from sam_audio.separator.nano.spectra import features

    torch.manual_seed(0)
    network = MaskNetwork(tiny.CONFIG)
    _, stats = statistics(2)
    inputs = features(stats.mixture[:, 0])[..., :48]
    stats = BandStatistics(stats.mixture[..., :48], stats.target[..., :48], stats.cross[..., :48])
    vectors = torch.nn.functional.normalize(torch.randn(3, 384), dim=-1).expand(2, 3, 384)
    conditions = Conditions(vectors, torch.ones(2, 3, dtype=torch.bool))
    present, absent = PRESENT.expand(2, 3), ABSENT.expand(2, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    history = []
    for _ in range(30):
        loss, parts = separation_loss(network(inputs, conditions), stats, present, absent)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(parts)
    assert history[-1]["loss"] < history[0]["loss"] - 0.5
    assert history[-1]["si_sdr"] > history[0]["si_sdr"] + 4
    assert history[-1]["absent_db"] < history[0]["absent_db"] - 3
