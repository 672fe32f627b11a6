"""Two processes that step as one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sam_audio.training.optimizer import MuonAdamW
from sam_audio.training.parallel import Team, team_of


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 2)).to(
        memory_format=torch.channels_last
    )


def inputs(rank: int) -> torch.Tensor:
    return torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(rank))


def gradients_of_a_member(team: Team, folder: Path) -> None:
    network = model()
    unused = nn.Parameter(torch.ones(2))  # of one process only
    loss = network(inputs(team.rank)).square().mean()
    (loss + unused.sum() if team.leads else loss).backward()
    team.average_gradients([*network.parameters(), unused])
    told = team.follow(torch.tensor(float(team.rank + 5)))
    torch.save([told, unused.grad, *(p.grad for p in network.parameters())], folder / f"{team.rank}.pt")


def test_gradients_are_those_of_all_mixtures_together(tmp_path):
    with team_of(2, gradients_of_a_member, tmp_path) as team:
        gradients_of_a_member(team, tmp_path)
    one, two = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    network = model()
    network(torch.cat([inputs(0), inputs(1)])).square().mean().backward()
    expected = [torch.tensor(5.0), torch.full((2,), 0.5), *(p.grad for p in network.parameters())]
    for ours, theirs, wanted in zip(one, two, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=0, rtol=0)
        torch.testing.assert_close(ours, wanted)


def steps_of_a_member(team: Team, folder: Path) -> None:
    network, squared = large_model(), []
    optimizer = MuonAdamW(network, 1e-2, 0.1, team)
    for seed in range(2):
        network.zero_grad()
        network(large_inputs(seed)).square().mean().backward()
        team.average_gradients(network.parameters())  # processes with unlike threads round unlike
        optimizer.step()
    powers = team.divide(
        lambda x: squared.append(x) or x.square(), [torch.full((2,), float(n)) for n in range(5)]
    )
    torch.save(
        [len(squared), *powers, *(p.detach() for p in network.parameters())], folder / f"{team.rank}.pt"
    )


def large_model() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 16, 3), nn.Conv2d(16, 32, 3), nn.Flatten(), nn.Linear(32, 16)
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def large_inputs(seed: int) -> torch.Tensor:
    return torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(seed))


def test_a_divided_step_is_the_step_of_one(tmp_path):
    with team_of(2, steps_of_a_member, tmp_path) as team:
        steps_of_a_member(team, tmp_path)
    (tmp_path / "alone").mkdir()
    steps_of_a_member(Team(), tmp_path / "alone")
    one, two, alone = (torch.load(tmp_path / name) for name in ("0.pt", "1.pt", "alone/0.pt"))
    assert [saved[0] for saved in (one, two, alone)] == [3, 2, 5]
    for ours, theirs, wanted in zip(one[1:], two[1:], alone[1:], strict=True):
        torch.testing.assert_close(ours, theirs, atol=0, rtol=0)
        torch.testing.assert_close(ours, wanted)
    assert not torch.equal(one[-2], list(large_model().parameters())[-2])


def wait_for_the_leader(team: Team) -> None:
    team.follow(torch.zeros(1))


def test_a_leader_that_fails_leaves_nobody_waiting():
    with pytest.raises(KeyError), team_of(2, wait_for_the_leader):
        raise KeyError


def test_a_team_of_one_keeps_its_gradients():
    network = model()
    network(inputs(0)).sum().backward()
    before = [p.grad.clone() for p in network.parameters()]
    with team_of(1, wait_for_the_leader) as team:
        team.average_gradients(network.parameters())
    assert team.leads
    for parameter, gradient in zip(network.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=0, rtol=0)
