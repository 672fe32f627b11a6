"""Separation losses computed from band energies, with no inverse STFT in the loop.

With a real mask ``m`` on the mixture ``X`` and a target ``S``, every energy that SNR and SI-SDR need is a sum
over cells of ``|X|^2``, ``|S|^2`` and ``Re(X conj(S))``, so these three band spectrograms say everything.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-8


@dataclass
class BandStatistics:
    """Shapes: mixture (B, 1, N_BANDS, T) = sum of |X|^2 over a band's bins; target and cross (B, N, N_BANDS, T)."""

    mixture: Tensor
    target: Tensor
    cross: Tensor

    def of(self, asked: Tensor) -> BandStatistics:
        """Those of M prompts, chosen by asked (B, N) bool, each with its mixture: (M, N_BANDS, T) all."""
        excerpt = asked.nonzero()[:, 0]
        return BandStatistics(self.mixture[excerpt, 0], chosen(self.target, asked), chosen(self.cross, asked))

    def ideal_mask(self) -> Tensor:
        """The real mask in 0..1 that minimises the squared error in every cell."""
        return (self.cross / (self.mixture + EPS)).clamp(0, 1)


@dataclass
class Energies:
    """Sums over all cells for given masks; shapes (B, N), or (M,) of chosen prompts."""

    mixture: Tensor
    target: Tensor
    estimate: Tensor
    projection: Tensor

    @classmethod
    def of(cls, masks: Tensor, stats: BandStatistics) -> Energies:
        def total(x: Tensor) -> Tensor:
            return x.sum(dim=(-2, -1))

        return cls(
            total(stats.mixture).expand(masks.shape[:-2]),
            total(stats.target),
            total(masks.square() * stats.mixture),
            total(masks * stats.cross),
        )

    def snr(self, ceiling_db: float = 30.0) -> Tensor:
        """Signal-to-noise ratio in dB, (B, N); flattens out near ``ceiling_db``."""
        error = (self.target - 2 * self.projection + self.estimate).clamp_min(0)
        floor = 10 ** (-ceiling_db / 10)
        return -10 * torch.log10(error / (self.target + EPS) + floor)

    def si_sdr(self, ceiling_db: float = 30.0) -> Tensor:
        """Scale-invariant SDR in dB (Le Roux et al., 2019), (B, N); flattens out near ``ceiling_db``."""
        cosine2 = self.projection.square() / (self.estimate * self.target + EPS)
        cosine2 = cosine2.clamp(0, 1)
        floor = 10 ** (-ceiling_db / 10)
        return 10 * torch.log10((cosine2 + floor) / (1 - cosine2 + floor))


def separation_loss(
    logits: Tensor,
    stats: BandStatistics,
    present: Tensor,
    absent: Tensor,
    waveform_weight: float = 0.05,
    mask_weight: float = 1.0,
) -> tuple[Tensor, dict[str, float]]:
    """Loss of one batch.

    Args:
        logits: mask logits (B, N, N_BANDS, T).
        stats: band energies, scaled so that a mixture's mean cell energy is about 1.
        present: (B, N) bool, prompts whose sound is there.
        absent: (B, N) bool, prompts whose sound is not; prompts in neither are padding.
        waveform_weight: of a dB of SNR and of SI-SDR.
        mask_weight: of the cross-entropy to the ideal mask.

    Returns:
        The scalar loss, and its parts for the log.
    """
    asked = present | absent
    stats, logits, present = stats.of(asked), chosen(logits, asked), present[asked]
    masks = torch.sigmoid(logits)
    energies = Energies.of(masks, stats)
    weight = stats.mixture**0.25
    weight = weight / weight.mean(dim=(-2, -1), keepdim=True).clamp_min(EPS)
    ideal = stats.ideal_mask() * present[..., None, None]
    cells = F.binary_cross_entropy_with_logits(logits, ideal, reduction="none")
    # what remains at the ideal mask is not the network's to lower
    entropy = F.binary_cross_entropy(ideal, ideal, reduction="none")
    cross_entropy = ((cells - entropy) * weight).mean(dim=(-2, -1))
    mask = mask_weight * cross_entropy

    waveform = -waveform_weight * (energies.snr() + energies.si_sdr())
    # Linear and square-root shares of the mixture's energy: a logarithm here outweighs all else and silences
    # the network.
    share = energies.estimate / (energies.mixture + EPS)
    silence = 0.5 * share + 0.1 * (share + 1e-4).sqrt()

    absent = ~present
    n_present, n_absent = present.sum().clamp_min(1), absent.sum().clamp_min(1)
    present_loss = ((waveform + mask) * present).sum() / n_present
    absent_loss = ((silence + mask) * absent).sum() / n_absent
    loss = present_loss + 0.4 * absent_loss
    return loss, {
        "loss": loss.item(),
        "si_sdr": (energies.si_sdr() * present).sum().item() / n_present.item(),
        "cross_entropy": (cross_entropy * present).sum().item() / n_present.item(),
        "absent_db": (10 * torch.log10(share + 1e-6) * absent).sum().item() / n_absent.item(),
    }


def chosen(cells: Tensor, asked: Tensor) -> Tensor:
    """Those of prompts that were asked: cells (B, N, N_BANDS, T), asked (B, N) bool -> (M, N_BANDS, T)."""
    return cells.mT[asked].mT  # masks lie frame by frame in memory


def sounding_frames(stats: BandStatistics) -> Tensor:
    """Which 40 ms frames a target sounds in: 1 where it does, 0 where it does not, -1 where nobody could tell.

    It sounds within 35 dB of its loudest frame. What is more than 25 dB below all else cannot be heard; between 15 and
    25 dB is left open.

    Shape: (B, N, T // 2).
    """
    target = F.avg_pool1d(stats.target.sum(dim=2), 2)
    cross, mixture = (F.avg_pool1d(x.sum(dim=2), 2) for x in (stats.cross, stats.mixture))
    rest = (mixture - 2 * cross + target).clamp_min(0)
    active = target > (target.amax(dim=-1, keepdim=True) * 10**-3.5).clamp_min(1e-5)
    heard = active & (target > rest * 10**-1.5)
    return torch.where(heard, 1.0, torch.where(active & (target > rest * 10**-2.5), -1.0, 0.0))


def sounding_loss(logits: Tensor, stats: BandStatistics, asked: Tensor) -> Tensor:
    """Cross-entropy of when each prompt sounds, mean over the frames of which that is known.

    Shapes: logits (B, N, T // 2), asked (B, N) bool.
    """
    truth = sounding_frames(stats)
    known = (truth >= 0) & asked[..., None]
    cells = F.binary_cross_entropy_with_logits(logits, truth.clamp_min(0), reduction="none")
    return (cells * known).sum() / known.sum().clamp_min(1)
