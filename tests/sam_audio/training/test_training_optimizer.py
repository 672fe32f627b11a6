"""Muon for matrices and convolutions, AdamW for the rest."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sam_audio.training.optimizer import Muon, MuonAdamW, orthogonalised


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(16, 32, 3), nn.SiLU(), nn.Flatten(), nn.Linear(32, 20)
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def step(net: nn.Module, optimizer: MuonAdamW) -> None:
    torch.manual_seed(1)
    optimizer.zero_grad()
    net(torch.randn(4, 16, 3, 3)).square().mean().backward()
    optimizer.step()


def test_matrices_and_convolutions_move_in_all_directions_alike():
    net = network()
    optimizer = MuonAdamW(net, lr=1e-2, weight_decay=0.0)
    before = [p.detach().clone() for p in net.parameters()]
    step(net, optimizer)
    kernel, bias, matrix, _ = ((p.detach() - b) / 1e-2 for p, b in zip(net.parameters(), before, strict=True))
    for moved, largest in ((kernel.permute(0, 2, 3, 1).flatten(1), 144), (matrix, 32)):
        values = torch.linalg.svdvals(moved) / (0.2 * largest**0.5)
        strong = values[:4]  # four examples: no more directions have a gradient
        assert strong.min() > 0.6 and strong.max() < 1.4
    torch.testing.assert_close(bias.abs(), torch.ones_like(bias), atol=1e-2, rtol=0)  # AdamW's first step


def test_it_goes_on_from_its_state():
    one, other = network(), network()
    first, second = MuonAdamW(one, 1e-2, 0.1), MuonAdamW(other, 1e-2, 0.1)
    step(one, first)
    other.load_state_dict(one.state_dict())
    assert second.made(first.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    step(one, first)
    step(other, second)
    for mine, its in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, its)


def test_states_of_other_optimizers_are_told_apart():
    net = network()
    plain = torch.optim.AdamW(net.parameters())
    assert not MuonAdamW(net, 1e-2, 0.1).made(plain.state_dict())


def test_a_matrix_that_shares_no_memory_is_refused():
    layer = nn.Conv2d(32, 32, 3)
    layer.weight.data = layer.weight.data.transpose(0, 1)
    with pytest.raises(ValueError, match="not contiguous"):
        MuonAdamW(layer, 1e-2, 0.1)


@pytest.mark.parametrize("shape", [(16, 144), (32, 32), (96, 20)])
def test_orthogonalised_as_by_torch(shape):
    """The iteration as torch's Muon writes it, without its rounding to bfloat16."""
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64)
    a, b, c = 3.4445, -4.775, 2.0315
    x = (matrix if shape[0] <= shape[1] else matrix.T) / matrix.norm()
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    expected = x if shape[0] <= shape[1] else x.T
    torch.testing.assert_close(orthogonalised(matrix, (a, b, c), 5), expected)
    torch.testing.assert_close(
        orthogonalised(matrix.float(), (a, b, c), 5).double(), expected, atol=1e-4, rtol=1e-3
    )


def test_a_matrix_of_few_directions_stays_finite():
    """Gradients may have rank one: what is nothing but rounding must not be blown up."""
    thin = torch.outer(torch.randn(64), torch.randn(576))
    update = orthogonalised(thin, (3.4445, -4.775, 2.0315), 5)
    values = torch.linalg.svdvals(update)
    assert 0.6 < values[0] < 1.4 and values[1] < 0.1
    assert not orthogonalised(torch.zeros(16, 32), (3.4445, -4.775, 2.0315), 5).any()


def test_steps_are_those_of_torch():
    """Up to the rounding of torch's iteration to bfloat16."""
    weights = torch.randn(32, 144)
    mine, its = (nn.Parameter(weights.clone()) for _ in range(2))
    settings = {"lr": 1e-2, "weight_decay": 0.1}
    optimizers = Muon([mine], **settings), torch.optim.Muon([its], **settings, adjust_lr_fn="match_rms_adamw")
    for seed in range(3):
        torch.manual_seed(seed)
        gradient = torch.randn_like(weights)
        for parameter, optimizer in zip((mine, its), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(mine, its, atol=3e-3, rtol=0)
    assert optimizers[0].state_dict()["state"].keys() == optimizers[1].state_dict()["state"].keys()
    Muon([nn.Parameter(weights)], **settings).load_state_dict(optimizers[1].state_dict())
