"""The loop that every recipe is trained by: one process, or as many as torchrun starts.

Lightning's Fabric places the network (DDP, FSDP) and picks the precision; the loop itself is in plain sight. A run is a
folder: ``state.pt`` to go on from, ``log.csv``, the curves for TensorBoard, and what is exported at the end. A run that
is stopped goes on with the batch that would have come next and with the same random numbers, so that it ends as if it
had not been.
"""

from __future__ import annotations

import csv
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
import torch
import torch.distributed as dist
from torch import Tensor, nn

from sam_audio.errors import UserError
from sam_audio.io.target import whole_file
from sam_audio.training.log import append_row, short
from sam_audio.training.recipe import Settings, task_of
from sam_audio.training.stopping import stop_signals

log = logging.getLogger(__name__)

STATE, LOG = "state.pt", "log.csv"
Position = dict[str, int]  # where in its data a process is; {} is the start


@dataclass(frozen=True)
class Share:
    """Which part of the data a process reads: every one its own."""

    rank: int = 0
    size: int = 1


class Task(Protocol):
    """What is trained.

    Args:
        settings: what it was built from.
        network: called with a batch it gives the parts of the loss, scalars, of which "loss" is the one to lower. What
            does not learn has no gradient (``requires_grad``). Methods other than forward that are called from outside
            are named in its attribute ``entries``.
        blocks: kinds of modules of which there are many, whose activations checkpointing computes again.
        divided: kinds of modules whose weights FSDP brings together when they are called; none where the network is too
            small to be divided.
    """

    settings: Any
    network: nn.Module
    blocks: tuple[type[nn.Module], ...] = ()
    divided: tuple[type[nn.Module], ...] = ()

    def batches(self, share: Share, n: int, position: Position) -> Iterator[tuple[Any, Position]]:
        """Batches of ``n`` items without end, each with the position that comes after it.

        What comes depends on the share and the position alone.
        """
        ...

    def example(self, n: int) -> Any:
        """A batch of the usual size, of any content."""
        ...

    def validate(self, network: Any) -> dict[str, float]:
        """Figures of the network as it is; {} if there are none."""
        return {}

    def export(self, network: Any, folder: Path) -> list[Path]:
        """Writes what is used after training; returns the files."""
        ...


@dataclass
class Finished:
    """What a sitting leaves: the network with its averaged weights, and the step it has come to."""

    network: nn.Module
    step: int
    files: list[Path]


def train(task: Task, settings: Settings, run: Path, until: int | None = None) -> Finished:
    """Trains, and goes on from the state in the run's folder if there is one.

    Args:
        task: built by `sam_audio.training.recipe.task_of`.
        until: the sitting ends after this step although the recipe has more.

    Raises:
        UserError: the batch or the network cannot be divided, or the state is another recipe's.
    """
    if settings.strategy == "fsdp" and not task.divided:
        raise UserError(f"what {settings.task} learns is small: train it with strategy=ddp")
    fabric = _fabric(settings, task.divided)
    share = Share(fabric.global_rank, fabric.world_size)
    parts = share.size * settings.accumulate
    if settings.batch % parts:
        raise UserError(f"a batch of {settings.batch} cannot be divided in {parts}: give a multiple of it")
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    if settings.checkpointing:
        checkpoint_blocks(task)
    network = fabric.setup_module(task.network)
    learning = [p for p in network.parameters() if p.requires_grad]
    optimizer = fabric.setup_optimizers(_optimizer(learning, settings))
    average = Average(network, settings.ema)
    state = _State(fabric, run / STATE, network, optimizer, average, _identity(settings))
    step, position = state.resume(share)
    writer = _writer(run, step) if share.rank == 0 else None
    last = min(settings.steps, settings.steps if until is None else until)
    batches = task.batches(share, settings.batch // parts, position)
    totals: dict[str, Tensor] = {}
    summed = 0
    begun, first = time.monotonic(), step
    with stop_signals() as received:
        while step < last and not _anyone(fabric, bool(received)):
            seed_step(settings.seed, step, share.rank)
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, settings)
            for k in range(settings.accumulate):
                batch, position = next(batches)
                with fabric.no_backward_sync(network, enabled=k + 1 < settings.accumulate):
                    losses = network(fabric.to_device(batch))
                    fabric.backward(losses["loss"] / settings.accumulate)
                for name, value in losses.items():
                    totals[name] = totals.get(name, 0) + value.detach() / settings.accumulate
            norm = _whole(nn.utils.clip_grad_norm_(learning, settings.clip or math.inf))
            if norm.isfinite():
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.update(step)
            step, summed = step + 1, summed + 1
            if step % settings.log_every == 0 or step == last:
                speed = (step - first) / (time.monotonic() - begun)
                _report(writer, run, step, _means(fabric, totals, summed), float(norm), speed)
                totals, summed = {}, 0
            if step % settings.validate_every == 0 or step == last:
                with average.swapped():
                    figures = task.validate(_inner(network))
                if writer is not None and figures:
                    log.info("validation at step %d: %s", step, short(figures))
                    for name, value in figures.items():
                        writer.add_scalar(f"valid/{name}", value, step)
            if step % settings.save_every == 0 and step < last:
                state.save(step, position)
    if step > first:
        state.save(step, position)
    if writer is not None:
        writer.close()
    average.take()
    inner = _inner(network)
    if settings.strategy == "ddp":
        files = task.export(inner, run) if share.rank == 0 and step >= settings.steps else []
    else:
        files = _export_sharded(task, inner, run, share) if step >= settings.steps else []
    fabric.barrier()
    return Finished(inner, step, files)


def rate_at(step: int, settings: Settings) -> float:
    """The learning rate of a step: up in a line, down as a cosine."""
    warm = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    over = max(0.0, step - settings.warmup_steps) / max(settings.steps - settings.warmup_steps, 1)
    return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(over, 1.0)))


def seed_step(seed: int, step: int, rank: int) -> None:
    """Random numbers of a step depend on nothing before it."""
    torch.manual_seed((seed * 1_000_003 + step) * 65_537 + rank)


class Average:
    """The exponential mean of the learning weights, parts of it where FSDP has divided them."""

    def __init__(self, network: nn.Module, keep: float) -> None:
        self.keep = keep
        self._learning = {n: p for n, p in network.named_parameters() if p.requires_grad} if keep else {}
        self.values = {name: p.detach().clone() for name, p in self._learning.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        if self.values:
            share = 1 - min(self.keep, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(self.values.values()), list(self._learning.values()), share)

    @torch.no_grad()
    def swapped(self) -> _Swapped:
        """The network has the averaged weights inside of the block."""
        return _Swapped(self)

    @torch.no_grad()
    def take(self) -> None:
        """The network has the averaged weights from now on."""
        for name, value in self.values.items():
            self._learning[name].copy_(value)

    def state(self) -> dict[str, Tensor]:
        """Whole tensors, on the CPU."""
        return {name: _whole(value).cpu() for name, value in self.values.items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        for name, value in self.values.items():
            value.copy_(_divided(state[name], value))


class _Swapped:
    def __init__(self, average: Average) -> None:
        self.average = average

    def __enter__(self) -> None:
        self.now = {name: p.detach().clone() for name, p in self.average._learning.items()}
        self.average.take()

    def __exit__(self, *raised: object) -> None:
        with torch.no_grad():
            for name, value in self.now.items():
                self.average._learning[name].copy_(value)


# ---- where it runs -------------------------------------------------------------------------------------


def _fabric(settings: Settings, divided: tuple[type[nn.Module], ...]) -> Any:
    """Fabric, launched. Under torchrun every process is one of its team; otherwise there is one."""
    from lightning_fabric import Fabric

    cuda = settings.device == "cuda" or (settings.device == "auto" and torch.cuda.is_available())
    if cuda and not torch.cuda.is_available():
        raise UserError("there is no CUDA device: leave device=cuda out")
    size, local = (int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    fabric = Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=local,
        num_nodes=size // local,
        strategy=_strategy(settings, size, divided),
        precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
    )
    fabric.launch()
    return fabric


def _strategy(settings: Settings, size: int, divided: tuple[type[nn.Module], ...]) -> Any:
    if settings.strategy == "ddp":
        from lightning_fabric.strategies import DDPStrategy

        # a batch may lack a modality, and then some weights have no gradient
        return DDPStrategy(find_unused_parameters=True) if size > 1 else "auto"
    from lightning_fabric.strategies import ModelParallelStrategy

    def divide(network: nn.Module, mesh: Any) -> nn.Module:
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        for module in network.modules():
            if isinstance(module, divided):
                fully_shard(module, mesh=mesh["data_parallel"])
        fully_shard(network, mesh=mesh["data_parallel"])
        for method in getattr(network, "entries", ()):
            register_fsdp_forward_method(network, method)
        return network

    # one file, which is read as plain tensors and fits any number of processes
    return ModelParallelStrategy(divide, size, 1, save_distributed_checkpoint=False)


def checkpoint_blocks(task: Task) -> int:
    """Lets a task's blocks keep their inputs only; returns how many there are."""
    from torch.utils.checkpoint import checkpoint

    blocks = [module for module in task.network.modules() if isinstance(module, task.blocks)]
    for block in blocks:  # no wrapping module, which would be of another class
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return len(blocks)


def _optimizer(learning: list[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], settings.learning_rate, (0.9, settings.beta2)
    )


def _inner(network: Any) -> nn.Module:
    """The network without what Fabric has put around it."""
    inner = network.module
    return inner.module if isinstance(inner, nn.parallel.DistributedDataParallel) else inner


def _anyone(fabric: Any, stopped: bool) -> bool:
    """Whether any process was told to stop: all of them end together."""
    if fabric.world_size == 1:
        return stopped
    told = torch.tensor(int(stopped), device=fabric.device)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return bool(told)


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _divided(whole: Tensor, like: Tensor) -> Tensor:
    if not hasattr(like, "device_mesh"):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)  # type: ignore[attr-defined]


def _export_sharded(task: Task, inner: nn.Module, run: Path, share: Share) -> list[Path]:
    """Puts the parts together on the CPU of the first process."""
    whole = {name: _whole(tensor).cpu() for name, tensor in inner.state_dict().items()}
    if share.rank:
        return []
    plain = task_of(task.settings)
    plain.network.load_state_dict(whole)
    return plain.export(plain.network, run)


# ---- the state of a run --------------------------------------------------------------------------------

_FREE = {"about", "steps", "log_every", "save_every", "validate_every", "workers", "hour_costs", "device"}


def _identity(settings: Settings) -> str:
    """What a state belongs to: all settings that change what is learned."""
    values = {k: v for k, v in msgspec.to_builtins(settings).items() if k not in _FREE}
    return msgspec.json.encode(values, order="sorted").decode()


@dataclass
class _State:
    """What a run goes on from, in a file."""

    fabric: Any
    path: Path
    network: Any
    optimizer: Any
    average: Average
    identity: str

    def save(self, step: int, position: Position) -> None:
        fabric = self.fabric
        positions: list[Any] = [position]
        if fabric.world_size > 1:
            positions = [None] * fabric.world_size
            dist.all_gather_object(positions, position)
        part = self.path.with_suffix(".part")
        fabric.save(part, self._held(self.average.state(), step, positions, self.identity))
        if fabric.global_rank == 0:
            with part.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(part, self.path)
        fabric.barrier()

    def resume(self, share: Share) -> tuple[int, Position]:
        """The step and the place in the data to go on from.

        Raises:
            UserError: the state is another recipe's, or of another number of processes.
        """
        path = self.path
        if not path.exists():
            return 0, {}
        held = self._held({}, 0, [], "")
        self.fabric.load(path, held, weights_only=True)
        if held["settings"] != self.identity:
            raise UserError(
                f"{path} is the state of another recipe: choose another folder (--run), or remove it"
            )
        if len(held["positions"]) != share.size:
            raise UserError(
                f"{path} was left by {len(held['positions'])} processes: go on with as many, or each would see "
                "the data of others"
            )
        self.average.load(held["average"])
        if share.rank == 0:
            log.info("going on after step %d", held["step"])
            _forget_after(path.with_name(LOG), held["step"])
        return int(held["step"]), dict(held["positions"][share.rank])

    def _held(
        self, average: Mapping[str, Tensor], step: int, positions: list[Any], identity: str
    ) -> dict[str, Any]:
        return {
            "network": self.network,
            "optimizer": self.optimizer,
            "average": average,
            "step": step,
            "positions": positions,
            "settings": identity,
        }


def _forget_after(path: Path, step: int) -> None:
    """Drops rows of steps that are trained again, and an unfinished row at the end."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    kept = [row for row in rows if len(row) == len(header) and row[0].isdigit() and int(row[0]) <= step]
    with whole_file(path) as whole:
        whole.write("".join(",".join(row) + "\r\n" for row in (header, *kept)).encode())


def _writer(run: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run), purge_step=step + 1)


def _means(fabric: Any, totals: Mapping[str, Tensor], n: int) -> dict[str, float]:
    values = torch.stack([value.float() for value in totals.values()]) / n
    if fabric.world_size > 1:
        dist.all_reduce(values)
        values /= fabric.world_size
    return dict(zip(totals, values.tolist(), strict=True))


def _report(writer: Any, run: Path, step: int, means: Mapping[str, float], norm: float, speed: float) -> None:
    if writer is None:
        return
    for name, value in means.items():
        writer.add_scalar(f"train/{name}", value, step)
    writer.add_scalar("train/gradient", norm, step)
    append_row(run / LOG, {"step": step, **{name: round(value, 6) for name, value in means.items()}})
    log.info("step %d, %.2f a second: %s", step, speed, short(means))
