"""Muon for matrices and convolutions, AdamW for the rest."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sam_audio.training.optimizer import MuonAdamW


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
