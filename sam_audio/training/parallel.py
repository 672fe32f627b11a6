"""Several processes learn from different mixtures and step as one.

One thread a process loses less to waiting than several threads in one: every operation of a network this small ends
in a barrier of its threads, a process meets the others once a step.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing import get_context

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Team:
    """The processes that learn together, seen from one of them; rank 0 leads."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def follow(self, values: Tensor) -> Tensor:
        """What the leader has of these values, for everyone."""
        if self.size > 1:
            dist.broadcast(values, 0)
        return values

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Every process' gradients become their mean; a parameter without one counts as zero."""
        if self.size == 1:
            return
        parameters = list(parameters)
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        for parameter, gradient, total in zip(parameters, gradients, _summed(gradients), strict=True):
            parameter.grad = torch.div(total, self.size, out=gradient)

    def divide(self, work: Callable[[Tensor], Tensor], items: Sequence[Tensor]) -> list[Tensor]:
        """What ``work``, which keeps shapes, makes of each of the items, the same for everyone: every process does its
        share of them."""
        done = [
            work(item) if n % self.size == self.rank else torch.zeros_like(item)
            for n, item in enumerate(items)
        ]
        return done if self.size == 1 else _summed(done)


def _summed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Sums over all processes, in one message."""
    joined = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(joined)
    parts = joined.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


@contextmanager
def team_of(size: int, work: Callable[..., object], *args: object) -> Iterator[Team]:
    """Starts ``size - 1`` processes that run ``work(team, *args)`` beside this one, which leads.

    ``work`` and ``args`` must be picklable. The block ends when all have ended; if the leader fails, so do the others:
    they lose it at their next meeting.
    """
    if size == 1:
        yield Team()
        return
    address = f"tcp://{HOST}:{_free_port()}"
    members = [
        get_context("spawn").Process(target=_member, args=(Team(rank, size), address, work, args))
        for rank in range(1, size)
    ]
    for member in members:
        member.start()
    try:
        with _joined(Team(0, size), address) as team:
            yield team
    finally:
        for member in members:
            member.join()


@contextmanager
def _joined(team: Team, address: str) -> Iterator[Team]:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=address, rank=team.rank, world_size=team.size)
    try:
        yield team
    finally:
        dist.destroy_process_group()


def _member(team: Team, address: str, work: Callable[..., object], args: tuple[object, ...]) -> None:
    with _joined(team, address):
        work(team, *args)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
