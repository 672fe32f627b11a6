"""The contrastive losses against plain references written from the formula, in one process and in several."""

from __future__ import annotations

import math
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from peav.losses import FINETUNING, PRETRAINING, PairLoss, frame_loss, needed, parts, sides, sigmoid_loss
from sam_audio.training.parallel import Team, team_of

DIM = 5
TEN = dict(zip(FINETUNING, (1.0, 0.5, 2.0, 1.0, 0.3, 0.7, 1.0, 1.0, 1.5, 0.25), strict=True))


def items(n: int, seed: int = 0) -> tuple[dict, dict, dict]:
    """Vectors of n items, some of whose parts are missing, and some of whose captions are equal."""
    generator = torch.Generator().manual_seed(seed)
    vectors = {
        name: torch.randn(n, DIM, generator=generator, dtype=torch.float64) for name in needed(FINETUNING)
    }
    present = {part: torch.rand(n, generator=generator) > 0.3 for part in ("A", "V", "Ta", "Tv", "Tav")}
    texts = {part: torch.randint(0, 4, (n,), generator=generator) for part in ("Ta", "Tv", "Tav")}
    return vectors, present, texts


def reference(loss: PairLoss, vectors: dict, present: dict, texts: dict) -> torch.Tensor:
    """-1/N sum over i, j of log sigmoid(y (s <x_i, y_j> + b)), item by item."""
    total = torch.zeros((), dtype=torch.float64)
    for k, (pair, weight) in enumerate(loss.weights.items()):
        rows, columns = sides(pair)
        whole = [
            all(present[p][i] for p in (*parts(rows), *parts(columns))) for i in range(len(vectors[rows]))
        ]
        kind = columns.partition("@")[0]
        of_pair = torch.zeros((), dtype=torch.float64)
        for i, x in enumerate(vectors[rows]):
            for j, y in enumerate(vectors[columns]):
                if not (whole[i] and whole[j]):
                    continue
                if i != j and kind in texts and texts[kind][i] == texts[kind][j]:
                    continue
                logit = math.e ** loss.log_scale[k] * (x * y).sum() + loss.bias[k]
                of_pair = of_pair - torch.log(1 / (1 + torch.exp(-logit if i == j else logit)))
        total = total + weight * of_pair / max(sum(whole), 1)
    return total


def all_gradients(value: torch.Tensor, loss: PairLoss, vectors: dict) -> list[torch.Tensor]:
    return list(torch.autograd.grad(value, [*vectors.values(), loss.log_scale, loss.bias]))


def test_ten_pairs_are_the_formula():
    loss = PairLoss(TEN, scale=1.3, bias=-0.7, chunk=4).double()
    vectors, present, texts = items(11)
    for vector in vectors.values():
        vector.requires_grad_()
    found, expected = (
        loss(vectors, present, texts)["loss"],
        reference(loss, vectors, present, texts),
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    for one, other in zip(
        all_gradients(found, loss, vectors), all_gradients(expected, loss, vectors), strict=True
    ):
        assert other.abs().max() > 1e-3  # each of them learns
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_the_pairs():
    assert (len(PRETRAINING), len(FINETUNING)) == (8, 10)
    assert sides("A+Ta-V") == ("A+Ta", "V")
    assert sides("V-Tav") == ("V", "Tav@V")
    assert set(needed(PRETRAINING)) == {
        *("A", "V", "AV", "Ta@A", "Tv@V", "Tav@AV", "Tav@A", "Tav@V", "Ta@AV", "Tv@AV")
    }
    for wrong in ("A-A", "Ta-A", "A+Ta-Tv", "A-T", "", "A-Ta-V"):
        with pytest.raises(ValueError, match="no pair"):
            sides(wrong)
    with pytest.raises(ValueError, match="no pairs"):
        PairLoss({})


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_half_precision_is_computed_in_float32(kind):
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(6, DIM, generator=generator).to(kind) for _ in range(2))
    scale, bias = torch.tensor(2.0), torch.tensor(-1.0)
    found = sigmoid_loss(x.requires_grad_(), y, scale, bias)
    labels = 2 * torch.eye(6) - 1
    expected = -torch.nn.functional.logsigmoid(labels * (2 * x.float() @ y.float().T - 1)).sum() / 6
    torch.testing.assert_close(found, expected)
    assert torch.autograd.grad(found, x)[0].dtype == kind


def test_nothing_to_compare_is_no_loss():
    loss = PairLoss({"A-V": 1.0})
    vectors = {name: torch.randn(3, DIM, requires_grad=True) for name in ("A", "V")}
    parts_of = loss(vectors, {"V": torch.zeros(3, dtype=torch.bool)})
    parts_of["loss"].backward()
    assert parts_of["loss"] == 0 == vectors["A"].grad.abs().sum()


def test_shapes_are_checked():
    one = torch.tensor(1.0)
    with pytest.raises(ValueError, match="same for both"):
        sigmoid_loss(torch.zeros(2, 3), torch.zeros(3, 3), one, one)
    with pytest.raises(ValueError, match="active must have shape"):
        frame_loss(torch.zeros(2, 3, 4), torch.zeros(5, 4), torch.zeros(2, 3, 5), one, one)


# ---- several processes ---------------------------------------------------------------------------------


class Encoders(nn.Module):
    """Stands for a model: one matrix for each vector, and the loss."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.ModuleList(nn.Linear(DIM, DIM) for _ in needed(TEN))
        self.loss = PairLoss(TEN, scale=1.3, bias=-0.7, chunk=3)
        self.double()

    def forward(self, vectors: dict, present: dict, texts: dict) -> torch.Tensor:
        embedded = {name: layer(vectors[name]) for name, layer in zip(vectors, self.layers, strict=True)}
        return self.loss(embedded, present, texts)["loss"]


def share(team: Team, folder: Path) -> None:
    """A member's part of twelve items: the loss, and its gradients averaged as DDP does."""
    model = Encoders()
    n = 12 // team.size
    mine = [{k: v[team.rank * n :][:n] for k, v in kind.items()} for kind in items(12)]
    loss = model(*mine)
    loss.backward()
    team.average_gradients(model.parameters())
    gradients = [p.grad for p in model.parameters()]
    torch.save([loss.detach(), *gradients], folder / f"{team.size}-{team.rank}.pt")


@pytest.mark.parametrize("size", [2, 3])
def test_processes_together_are_one(size, tmp_path):
    share(Team(), tmp_path)
    with team_of(size, share, tmp_path) as team:
        share(team, tmp_path)
    alone = torch.load(tmp_path / "1-0.pt")
    for rank in range(size):
        together = torch.load(tmp_path / f"{size}-{rank}.pt")
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-9)


def uneven(team: Team) -> None:
    x = torch.randn(2 + team.rank, DIM)
    with pytest.raises(ValueError, match=r"\[2, 3\] items"):
        sigmoid_loss(x, x, torch.tensor(1.0), torch.tensor(0.0))


def test_processes_with_different_batches_are_told():
    with team_of(2, uneven) as team:
        uneven(team)


# ---- memory --------------------------------------------------------------------------------------------


class Peak(TorchDispatchMode):
    """Most bytes of tensors that were alive at once, of those made inside."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._known:
                    self._known.add(storage._cdata)
                    self.now += storage.nbytes()
                    self.most = max(self.most, self.now)
                    weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        return out

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def peak_bytes(n: int, chunk: int) -> int:
    x, y = (torch.randn(n, 8, requires_grad=True) for _ in range(2))
    with Peak() as peak:
        sigmoid_loss(x, y, torch.tensor(1.0), torch.tensor(0.0), chunk=chunk).backward()
    return peak.most


def test_memory_grows_with_the_items_and_not_with_their_pairs():
    full, chunked = peak_bytes(1024, 1024), peak_bytes(1024, 256)
    assert full > 4 * 1024**2  # the logits, at the least
    assert chunked < full / 8
    # what the chunks take is the same for twice the items
    assert peak_bytes(2048, 256) - chunked < 1024 * 8 * 4 * 8


# ---- frames --------------------------------------------------------------------------------------------


def test_frames_are_the_formula():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(2, 4, DIM, generator=generator).requires_grad_()
    texts = torch.randn(3, DIM, generator=generator).requires_grad_()
    active = torch.randint(-1, 2, (2, 3, 4), generator=generator)
    valid = torch.tensor([[True, True, True, False], [True, True, True, True]])
    scale, bias = torch.tensor(1.5, requires_grad=True), torch.tensor(-0.5, requires_grad=True)
    expected = torch.zeros(())
    for b in range(2):
        for n in range(3):
            for t in range(4):
                if valid[b, t] and active[b, n, t] >= 0:
                    p = 1 / (1 + torch.exp(-(scale * (frames[b, t] * texts[n]).sum() + bias)))
                    expected = expected - torch.log(p if active[b, n, t] else 1 - p) / 7
    found = frame_loss(frames, texts, active, scale, bias, valid)
    torch.testing.assert_close(found, expected)
    wanted = [frames, texts, scale, bias]
    torch.testing.assert_close(torch.autograd.grad(found, wanted), torch.autograd.grad(expected, wanted))
    assert frame_loss(frames, texts, active, scale, bias).isfinite()
