"""What a recipe takes before it is run: parameters, memory, operations. Nothing is allocated: tensors are fake."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from sam_audio.training.recipe import Settings, task_of

# of one H100 in bfloat16 (989 TFLOP/s at best) in training of transformers, and of its float32 in tensor cores
EFFECTIVE_FLOPS = {"bf16": 0.4 * 989e12, "fp32": 0.4 * 494e12}


@dataclass(frozen=True)
class Estimate:
    """Parameters, bytes of one process, and operations of a whole training."""

    parameters: int
    learning: int
    weight_bytes: int
    optimizer_bytes: int  # gradients, both moments, the average
    activation_bytes: int  # of one part of a step
    step_flops: float
    steps: int
    hours: float  # of one H100
    cost: float

    def __str__(self) -> str:
        def gigabytes(n: int) -> str:
            return f"{n / 1e9:.3g} GB"

        total = self.weight_bytes + self.optimizer_bytes + self.activation_bytes
        return "\n".join(
            (
                f"parameters   {self.parameters / 1e6:,.1f} M, of which {self.learning / 1e6:,.1f} M learn",
                f"memory       {gigabytes(total)} a process: weights {gigabytes(self.weight_bytes)}, gradients and "
                f"optimizer {gigabytes(self.optimizer_bytes)}, activations {gigabytes(self.activation_bytes)}",
                f"operations   {self.step_flops:.3g} a step, {self.step_flops * self.steps:.3g} in {self.steps:,}",
                f"cost         {self.hours:,.2f} hours of an H100 at 40 % of its peak: {self.cost:,.2f}",
            )
        )


READ = ("start", "encoder")  # keys of tasks that begin with weights of others


def estimate(settings: Settings, processes: int = 1) -> Estimate:
    """Runs one part of a step on fake tensors."""
    n = max(settings.batch // (processes * settings.accumulate), 1)
    kept: dict[int, int] = {}
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    # what is read from files has memory, and stays as it is: only what is made has none
    task = task_of(settings) if any(getattr(settings, key, "") for key in READ) else None
    with fake:
        task = task or task_of(settings)
        network = task.network
        parameters = list(network.parameters())
        own = {p.untyped_storage()._cdata for p in parameters}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                kept[storage._cdata] = storage.nbytes()
            return tensor

        half = torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16")
        with FlopCounterMode(display=False) as counter:
            with half, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                loss = network(task.example(n))["loss"]
            loss.backward()
        learning = [p for p in parameters if p.requires_grad]
    count = sum(p.numel() for p in learning)
    activations = sum(kept.values())
    if settings.checkpointing:  # what is left are inputs of blocks, and one block at a time
        blocks = sum(isinstance(module, task.blocks) for module in network.modules())
        activations = int(activations * min(1.0, 2 / max(blocks, 1) + 0.05))
    divided = processes if settings.strategy == "fsdp" else 1
    flops = counter.get_total_flops() * (4 / 3 if settings.checkpointing else 1)
    flops *= processes * settings.accumulate
    hours = flops * settings.steps / EFFECTIVE_FLOPS[settings.precision] / 3600
    return Estimate(
        parameters=sum(p.numel() for p in parameters),
        learning=count,
        weight_bytes=sum(p.numel() * p.element_size() for p in parameters) // divided,
        optimizer_bytes=count * (16 if settings.ema else 12) // divided,
        activation_bytes=activations,
        step_flops=float(flops),
        steps=settings.steps,
        hours=hours,
        cost=hours * settings.hour_costs,
    )
