"""What PE-AV and PE-A-Frame are trained with: sigmoid contrastive losses (Zhai et al. 2023) over pairs of vectors.

A pair is written ROWS-COLUMNS. Rows are vectors of sound (A), video (V), both (AV), or of one of them together with
a caption (A+Ta, V+Tv); columns are one of these or a caption: of what is heard (Ta), seen (Tv), or both (Tav). A
caption is compared in the space of its rows' kind: the columns of A-Tav are written Tav@A and come from the text head
that goes with sound.

    item (i, j) of a pair:  -log sigmoid(y_ij (scale * <row_i, column_j> + bias)),  y = 1 for i = j, else -1

summed over all columns of all processes, and divided by the number of rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# The paper (arXiv 2512.19687) names their number and kinds, not each of them; this is a plausible reading.
PRETRAINING = ("A-V", "A-Ta", "V-Tv", "AV-Tav", "A-Tav", "V-Tav", "AV-Ta", "AV-Tv")
FINETUNING = (*PRETRAINING, "A+Ta-V", "V+Tv-A")

_PAIR = re.compile(r"(AV|[AV](?:\+T(?:a|v|av))?)-(A|V|AV|T(?:a|v|av))")
_PARTS = re.compile(r"T(?:av|a|v)|A|V")


def sides(pair: str) -> tuple[str, str]:
    """Names of the vectors that a pair compares.

    Raises:
        ValueError: there is no such pair.

    >>> sides("AV-Ta")
    ('AV', 'Ta@AV')
    """
    found = _PAIR.fullmatch(pair)
    if not found or found[1] == found[2] or ("+" in found[1] and found[2].startswith("T")):
        raise ValueError(
            f"there is no pair {pair!r}: rows are A, V, AV, A+Ta or V+Tv, columns A, V, AV or, "
            "for rows without a caption, Ta, Tv or Tav, as in A-Ta"
        )
    rows, columns = found.groups()
    return rows, f"{columns}@{rows}" if columns.startswith("T") else columns


def parts(vector: str) -> tuple[str, ...]:
    """What an item must have for a vector: A and V, and the kinds of its captions.

    >>> parts("A+Ta"), parts("AV"), parts("Tav@A")
    (('A', 'Ta'), ('A', 'V'), ('Tav',))
    """
    return tuple(_PARTS.findall(vector.partition("@")[0]))


def needed(pairs: Iterable[str]) -> tuple[str, ...]:
    """The vectors that some pairs compare, each once."""
    return tuple(dict.fromkeys(side for pair in pairs for side in sides(pair)))


class PairLoss(nn.Module):
    """The sum of the losses of several pairs, each with a learned scale and bias of its own.

    Args:
        weights: of the pairs, by name; see the module.
        scale, bias: where training starts. Most pairs do not belong together, so the bias starts low.
        chunk: rows and columns whose logits are in memory at a time.
    """

    def __init__(
        self, weights: Mapping[str, float], scale: float = 10.0, bias: float = -10.0, chunk: int = 1024
    ) -> None:
        super().__init__()
        if not weights:
            raise ValueError("there are no pairs to learn from")
        self.weights, self.chunk = dict(weights), chunk
        self.log_scale = nn.Parameter(torch.full((len(weights),), math.log(scale)))
        self.bias = nn.Parameter(torch.full((len(weights),), float(bias)))
        for pair in weights:
            sides(pair)

    def forward(
        self,
        vectors: Mapping[str, Tensor],
        present: Mapping[str, Tensor] | None = None,
        texts: Mapping[str, Tensor] | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> dict[str, Tensor]:
        """Every process calls this with its share of the items, all with the same number of them.

        Args:
            vectors: (B, D) each, those that `needed` names.
            present: which items have a part (A, V, Ta, Tv, Tav), (B,) bool each; those left out are complete. An item
                without a part of either side takes no part in a pair, as row, column or negative.
            texts: numbers (B,) int64 that tell captions of a kind (Ta, Tv, Tav) apart: what has the caption of the row
                is no negative.
            group: processes whose items are negatives; all of them by default.

        Returns:
            Scalars, the same in every process: "loss", and the loss of each pair by its name. Gradients are those of
            "loss" times the number of processes: what averages them, as DDP and FSDP do, gives those of the whole.
        """
        present, texts = present or {}, texts or {}
        losses = {}
        for k, pair in enumerate(self.weights):
            rows, columns = sides(pair)
            x, y = vectors[rows], vectors[columns]
            counted = torch.ones(len(x), dtype=torch.bool, device=x.device)
            for part in (*parts(rows), *parts(columns)):
                if part in present:
                    counted = counted & present[part].to(x.device)
            same = texts.get(parts(columns)[0]) if "@" in columns else None
            losses[pair] = sigmoid_loss(
                x, y, self.log_scale[k].exp(), self.bias[k], counted, same, self.chunk, group
            )
        total = torch.stack([self.weights[pair] * loss for pair, loss in losses.items()]).sum()
        return {"loss": total, **{pair: loss.detach() for pair, loss in losses.items()}}


def sigmoid_loss(
    rows: Tensor,
    columns: Tensor,
    scale: Tensor,
    bias: Tensor,
    counted: Tensor | None = None,
    texts: Tensor | None = None,
    chunk: int = 1024,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """The loss of one pair; see `PairLoss` for what comes in, and for the gradients.

    Neither logits nor vectors of other processes outlive their turn: columns go round the processes as in a ring,
    with the gradient that they have gathered, and logits are made ``chunk`` by ``chunk``. So memory does not grow with
    the number of processes, and only linearly with the items of one.

    Shapes: rows and columns (B, D), scale and bias (), counted (B,) bool, texts (B,) int64 -> ().

    Raises:
        ValueError: shapes differ, also between processes.
    """
    if rows.ndim != 2 or rows.shape != columns.shape:
        raise ValueError(
            f"rows {tuple(rows.shape)} and columns {tuple(columns.shape)} must be (B, D), the same for both"
        )
    ring = _Ring(group)
    counted = rows.new_ones(len(rows), dtype=torch.bool) if counted is None else counted.bool()
    if texts is None:  # all of them differ
        texts = ring.rank * len(rows) + torch.arange(len(rows), device=rows.device)
    n_rows = ring.count(len(rows), counted)
    return _SigmoidLoss.apply(rows, columns, scale, bias, counted, texts, n_rows, chunk, ring)


class _Ring:
    """The processes in a circle; each gives to the one before it and takes from the one after it."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self.group = group
        together = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank(group) if together else 0
        self.size = dist.get_world_size(group) if together else 1

    def count(self, n_items: int, counted: Tensor) -> Tensor:
        """How many rows count in all processes, at least 1."""
        if self.size == 1:
            return counted.sum().clamp(min=1)
        mine = torch.stack([counted.sum(), counted.new_tensor(n_items, dtype=torch.int64)])
        all_of_them = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(all_of_them, mine, group=self.group)
        numbers = torch.stack(all_of_them)
        if (numbers[:, 1] != n_items).any():
            raise ValueError(f"processes have batches of {numbers[:, 1].tolist()} items: give all the same")
        return numbers[:, 0].sum().clamp(min=1)

    def shift(self, tensors: list[Tensor]) -> tuple[list[Tensor], list[Any]]:
        """Starts to pass tensors on; returns what comes in their place, and what to wait for."""
        before, after = self._process(self.rank - 1), self._process(self.rank + 1)
        incoming = [torch.empty_like(tensor) for tensor in tensors]
        operations = [dist.P2POp(dist.isend, t.contiguous(), before, self.group) for t in tensors]
        operations += [dist.P2POp(dist.irecv, t, after, self.group) for t in incoming]
        return incoming, dist.batch_isend_irecv(operations)

    def total(self, value: Tensor) -> Tensor:
        if self.size > 1:
            dist.all_reduce(value, group=self.group)
        return value

    def _process(self, rank: int) -> int:
        rank %= self.size
        return rank if self.group is None else dist.get_global_rank(self.group, rank)


class _SigmoidLoss(torch.autograd.Function):
    """Works out the gradients along with the loss, so that nothing of the size of the logits is kept for later."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        columns: Tensor,
        scale: Tensor,
        bias: Tensor,
        counted: Tensor,
        texts: Tensor,
        n_rows: Tensor,
        chunk: int,
        ring: _Ring,
    ) -> Tensor:
        kind = torch.promote_types(rows.dtype, torch.float32)
        x, y = rows.to(kind), columns.to(kind)
        loss, scale_grad, bias_grad = x.new_zeros(()), x.new_zeros(()), x.new_zeros(())
        x_grad, y_grad = torch.zeros_like(x), torch.zeros_like(y)
        # a wire carries no bool
        held = [y, counted.to(torch.uint8), texts]
        for turn in range(ring.size):
            coming, waiting = ring.shift(held) if turn + 1 < ring.size else ([], [])
            y, y_counted, y_texts = held
            for r in torch.arange(len(x), device=x.device).split(chunk):
                for c in torch.arange(len(y), device=x.device).split(chunk):
                    products = x[r] @ y[c].T
                    own = (r[:, None] == c) if turn == 0 else torch.zeros_like(products, dtype=torch.bool)
                    sign = torch.where(own, 1.0, -1.0).to(kind)
                    matters = own | (texts[r, None] != y_texts[c])
                    matters &= counted[r, None] & y_counted[c].bool()
                    logits = sign * (scale * products + bias)
                    loss -= (F.logsigmoid(logits) * matters).sum()
                    slope = -sign * torch.sigmoid(-logits) * matters
                    scale_grad += (slope * products).sum()
                    bias_grad += slope.sum()
                    slope = slope * scale
                    x_grad[r] += slope @ y[c]
                    y_grad[c] += slope.T @ x[r]
            if ring.size > 1:  # the gradient stays with its columns, and comes home after the last turn
                (y_grad,), sent = ring.shift([y_grad])
                for work in (*waiting, *sent):
                    work.wait()
                held = coming
        n_rows = n_rows.to(kind)
        share = ring.size / n_rows
        ctx.save_for_backward(
            (x_grad * share).to(rows.dtype),
            (y_grad * share).to(columns.dtype),
            (scale_grad * share).to(scale.dtype),
            (bias_grad * share).to(bias.dtype),
        )
        return ring.total(loss) / n_rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (*(gradient.to(g.dtype) * g for g in ctx.saved_tensors), None, None, None, None, None)


def frame_loss(
    frames: Tensor,
    texts: Tensor,
    active: Tensor,
    scale: Tensor,
    bias: Tensor,
    frame_valid: Tensor | None = None,
) -> Tensor:
    """The loss of PE-A-Frame: every frame of every sound against every phrase, with strong labels.

    Args:
        frames: vectors of frames, (B, T, D).
        texts: vectors of the phrases that anything in the batch is labelled with, and of others, (N, D).
        active: 1 where a phrase is heard in a frame, 0 where it is not, -1 where nobody knows, (B, N, T).
        scale, bias: that turn dot products into logits, ().
        frame_valid: frames that count, (B, T) bool.

    Returns:
        (), summed over the phrases and averaged over the frames that count.

    Raises:
        ValueError: the labels do not have the shape (B, N, T).
    """
    shape = (len(frames), len(texts), frames.shape[1])
    if tuple(active.shape) != shape:
        raise ValueError(f"active must have shape {shape}, not {tuple(active.shape)}")
    logits = torch.einsum("btd,nd->bnt", frames.float(), texts.float()) * scale + bias
    sign = torch.where(active > 0, 1.0, -1.0)
    matters = (active >= 0).float()
    n_frames: Tensor | int = active.shape[0] * active.shape[2]
    if frame_valid is not None:
        matters = matters * frame_valid[:, None]
        n_frames = frame_valid.sum().clamp(min=1)
    return -(F.logsigmoid(sign * logits) * matters).sum() / n_frames
