"""What else sounds? A prompt competes for every cell with the sounds that best explain what it leaves.

A mask that is decided by the prompt alone has to know what the sound asked for is, wherever it lies. Beside the
mask of what else is there it is enough to know which of the two a cell resembles more. The audio tower names
what may be in the excerpt, out of a vocabulary of labels; the network draws their masks roughly; and of these the
ones that cover most of what the prompt's own mask leaves become its rivals. Masks are then a softmax over the
prompt, its rivals and nothing at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

N_CANDIDATES = 32  # labels that are looked at closely: those the tower finds most likely
N_RIVALS = 2  # of one prompt
COARSE = 4  # rivals are chosen on cells of 4 bands by 80 ms
_SAME = 0.6  # of its best similarity to any word: a label this near to a prompt means the same
_HYPERNYM = 0.85  # of the same: the prompt asks for all sounds of this kind
_NEARLY = 0.1  # less fit by this share than the best: still has a part in its place
_NEVER = -1e4
# Of guesses from marked time (see Rivalry.guess); measured in docs/quality.md.
_FEW_FRAMES = 20.0  # unmarked frames, of 20 ms, that say half of what many would say
_HEARD = 0.1  # weight of being heard at all, beside being heard in the marks only
_DOUBT = 0.5  # temperature of the softmax over labels
_TELLING = 2.0  # least difference between inside and outside that a guess rests on


@dataclass
class Candidates:
    """M sounds for each of B excerpts that may be there.

    ``vectors`` (B, M, 384); ``plausible`` (B, M), logits of being there at all; ``activity`` (B, M, T) in 0..1 at the
    network's frames; ``same`` (B, N, M) bool, where one means the same as a prompt or is a kind of it.
    """

    vectors: Tensor
    plausible: Tensor
    activity: Tensor
    same: Tensor


class Rivalry(nn.Module):
    """The vocabulary, and how much a rival counts."""

    vectors: Tensor
    kinds: Tensor

    def __init__(self, n_labels: int, n_hypernyms: int, dim: int):
        super().__init__()
        n_words = n_labels + n_hypernyms
        # labels first; saved with the network, which has learned with these
        self.register_buffer("vectors", torch.zeros(n_words, dim))
        self.register_buffer(
            "kinds", torch.zeros(n_labels, n_words)
        )  # 1 where a word is a hypernym of a label
        self.bias = nn.Parameter(torch.tensor(1.0))  # in favour of the prompt, which was asked for
        self.weigh = nn.Linear(2, 1)  # from how likely a rival is, and how well it fits
        with torch.no_grad():  # what a first network, trained without rivals, gained most with
            self.weigh.weight.copy_(torch.tensor([[0.0, 1.0]]))
            self.weigh.bias.fill_(-1.0)

    @property
    def labels(self) -> Tensor:
        """Vectors of the labels, (V, 384)."""
        return self.vectors[: len(self.kinds)]

    def guess(
        self, vectors: Tensor, vector_valid: Tensor, labels: Tensor, spans: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Words for prompts that are only marked in time: labels heard inside of the marks and not outside.

        Args:
            vectors: of the prompts, (B, N, 384); with ``vector_valid`` (B, N).
            labels: logits of the labels at the network's frames, from the audio tower, (B, V, T).
            spans: where prompts are marked to sound and not to sound, (B, N, 2, T).

        Returns:
            Both, with a guess wherever there was no vector and the marks leave something to compare with.
        """
        present, absent = spans.unbind(dim=2)
        outside = torch.where(absent.amax(dim=-1, keepdim=True) > 0, absent, 1 - present)
        n_inside, n_outside = (x.sum(dim=-1, keepdim=True) for x in (present, outside))
        heard, heard_outside = (
            torch.einsum("bnt,bvt->bnv", x, labels) / n.clamp_min(1)
            for x, n in ((present, n_inside), (outside, n_outside))
        )
        differs = (heard - heard_outside) * n_outside / (n_outside + _FEW_FRAMES)
        weights = ((differs + _HEARD * heard) / _DOUBT).softmax(dim=-1)
        guessed = ~vector_valid & (n_inside[..., 0] > 0) & (differs.amax(dim=-1) > _TELLING)
        words = F.normalize(weights @ self.labels, dim=-1)
        return torch.where(guessed[..., None], words, vectors), vector_valid | guessed

    def candidates(
        self, vectors: Tensor, vector_valid: Tensor, own: Tensor, labels: Tensor, used: Tensor
    ) -> Candidates:
        """The likeliest labels, and the prompts of the same call: they compete with each other too.

        Args:
            vectors: of the prompts, (B, N, 384); with ``vector_valid`` (B, N). A prompt of spans alone has no
                rivals: which labels mean the same cannot be told.
            own: logits of the prompts at the network's frames, from the audio tower, (B, N, T).
            labels: of the labels, (B, V, T).
            used: (B, N) bool, which prompts are rivals of the others.
        """
        plausible, index = labels.amax(dim=-1).topk(min(N_CANDIDATES, labels.shape[1]), dim=1)
        same = self._same(vectors)
        among_prompts = self._same_prompts(vectors, same) | ~(used & vector_valid)[:, None]
        same = same.gather(2, index[:, None].expand(-1, same.shape[1], -1))
        likeliest = labels.gather(1, index[..., None].expand(-1, -1, labels.shape[-1]))
        return Candidates(
            torch.cat([self.labels[index], vectors], dim=1),
            torch.cat([plausible, own.amax(dim=-1)], dim=1),
            torch.cat([likeliest, own], dim=1).sigmoid(),
            torch.cat([same, among_prompts], dim=2) | ~vector_valid[..., None],
        )

    def _same_prompts(self, vectors: Tensor, same: Tensor) -> Tensor:
        """Which prompts overlap in meaning, each taken for the label nearest to it: (B, N, N) bool."""
        nearest = (vectors.float() @ self.labels.T).argmax(dim=-1)
        overlap = same.gather(2, nearest[:, None].expand(-1, nearest.shape[1], -1))
        itself = torch.eye(nearest.shape[1], dtype=torch.bool, device=same.device)
        return overlap | overlap.mT | itself

    def _same(self, vectors: Tensor) -> Tensor:
        """Which labels mean what a prompt means, or are kinds of it: (B, N, 384) -> (B, N, V) bool."""
        similarity = vectors.float() @ self.vectors.T
        relative = similarity / similarity.amax(dim=-1, keepdim=True).clamp_min(1e-3)
        hypernyms = (relative > _HYPERNYM).float() @ self.kinds.T > 0
        return (relative[..., : len(self.kinds)] > _SAME) | hypernyms

    @torch.no_grad()
    def choose(
        self, masks: Tensor, others: Tensor, energies: Tensor, candidates: Candidates
    ) -> tuple[Tensor, Tensor]:
        """Rivals one after the other, each the best at covering what is still left.

        Candidates that fit nearly as well as the best share its place, so that what a processor rounds decides nothing.

        Args:
            masks: rough ones of the prompts, (B, N, cells); ``others``: of the candidates, (B, M, cells).
            energies: of the mixture, (B, cells).

        Returns:
            The candidates' shares of each rival (B, N, R, M), which sum to 1, and how well it fits (B, N, R), 0..1;
            both are 0 where there is none.
        """
        total = energies.sum(dim=-1)[:, None, None].clamp_min(1e-9)
        weighted = others * energies[:, None]
        size = weighted.sum(dim=-1)[:, None] / total + 0.05
        likely = candidates.plausible.sigmoid().sqrt()[:, None]
        left = 1 - masks
        shares, fits = [], []
        for _ in range(min(N_RIVALS, others.shape[1])):
            fit = torch.einsum("bmc,bnc->bnm", weighted, left) / total / size * likely
            fit = fit.masked_fill(candidates.same, 0)
            near = (fit - (1 - _NEARLY) * fit.amax(dim=-1, keepdim=True)).clamp_min(0)
            share = near / near.sum(dim=-1, keepdim=True).clamp_min(1e-12)
            shares.append(share)
            fits.append((share * fit).sum(dim=-1))
            left = left * (1 - share @ others)
        return torch.stack(shares, dim=2), torch.stack(fits, dim=-1)

    def forward(self, own: Tensor, rivals: Tensor, plausible: Tensor, fits: Tensor) -> Tensor:
        """Mask logits after the competition.

        Shapes: own (B, N, F, T), rivals (B, N, R, F, T), plausible and fits (B, N, R) -> (B, N, F, T).
        """
        facts = torch.stack([plausible, torch.logit(fits.clamp(1e-3, 1 - 1e-3))], dim=-1)
        weight = self.weigh(facts.float())[..., 0].masked_fill(fits <= 0, _NEVER)
        against = torch.logsumexp(rivals.float() + weight[..., None, None], dim=2)
        return own + self.bias - F.softplus(against)


def coarse(cells: Tensor) -> Tensor:
    """Averages over COARSE bands: (..., F, T / 4) -> (..., F / 4 * T / 4)."""
    return cells.unflatten(-2, (-1, COARSE)).mean(dim=-2).flatten(-2)
