"""A flow-matching separator that a recipe has trained, as a separation model.

window of the mixture -> latents of target and residual -> sounds -> masks on the mixture's own channels
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from sam_audio.errors import ModelError, UserError
from sam_audio.separator.base import SeparationModel, SeparationStream
from sam_audio.separator.official.lift import MaskLift
from sam_audio.separator.official.ode import Solver
from sam_audio.separator.official.separator import TextCondition
from sam_audio.separator.windowed import WindowedStream
from sam_audio.training.tasks.flow import LEVEL, FlowMatching, Task, load_flow
from sam_audio.types import Condition, Samples

FADE = 4  # of a window that the next shares: one in so many


class FlowSeparator(SeparationModel):
    """A separator of text prompts; windows have the length that it was trained with.

    Args:
        name: how reports call it.
        network, task: as `load_flow` gives them.
    """

    takes = frozenset()

    def __init__(self, name: str, network: FlowMatching, task: Task, device: str = "cpu") -> None:
        self.name, self.task, self.device = name, task, device
        self.network = network.to(device).requires_grad_(False)
        self.sample_rate = task.sample_rate
        settings = task.settings
        self.solver = Solver(settings.solver, 1 / settings.solver_steps)
        self.level = None if settings.data == "toy" else 2**0.5 * LEVEL  # of a mixture

    @classmethod
    def read(cls, folder: Path, device: str) -> FlowSeparator:
        """Raises ModelError if the folder does not hold one."""
        try:
            return cls(folder.name, *load_flow(folder), device)
        except UserError as error:
            raise ModelError(str(error)) from None

    def encode(self, texts: list[str]) -> list[Condition]:
        tokens = self.task.read(texts)
        return [
            TextCondition(text, None, text=text, tokens=rows.numpy())
            for text, rows in zip(texts, tokens, strict=True)
        ]

    def open(self, conditions: list[Condition], channels: int, strength: float = 1.0) -> SeparationStream:
        return _Stream(self, conditions, channels, strength)

    def generated(self, mono: Samples, texts: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Targets and residuals (N, n) of a window (n,), at its own level."""
        task, n = self.task, len(mono)
        level = max(float(np.sqrt(np.square(mono).mean())), 1e-9)
        gain = 1.0 if self.level is None else self.level / level
        item = {
            "target": np.pad(mono * np.float32(gain), (0, task.n_frames * task.hop - n)),
            "residual": np.zeros(task.n_frames * task.hop, np.float32),
        }
        batch = task.told([item] * len(texts), texts)
        generator = torch.Generator().manual_seed(task.settings.seed)
        noise = torch.randn(1, *batch["noise"].shape[1:], generator=generator)
        batch["noise"] = noise.expand(len(texts), -1, -1)
        batch = {name: value.to(self.device) for name, value in batch.items()}
        targets, residuals = self.network.separate(batch, self.solver)[..., :n].float().cpu().unbind(1)
        return targets / gain, residuals / gain


class _Stream(WindowedStream):
    def __init__(
        self, model: FlowSeparator, conditions: list[Condition], channels: int, strength: float
    ) -> None:
        hop, n_frames = model.task.hop, model.task.n_frames
        super().__init__(len(conditions), channels, n_frames * hop, max(1, n_frames // FADE) * hop)
        self.model, self.strength = model, strength
        self.texts = [
            torch.from_numpy(c.tokens) if isinstance(c, TextCondition) and c.tokens is not None else None
            for c in conditions
        ]

    def separated(self, mixture: Samples) -> Samples:
        mono = mixture.mean(axis=0)
        if not (mono.any() and self.texts):
            return np.zeros((self.n_stems, *mixture.shape), np.float32)
        targets, residuals = self.model.generated(mono, self.texts)
        lift = MaskLift(self.n_stems, self.channels, self.strength)
        begun = lift.push(torch.from_numpy(mixture), targets, residuals)
        return torch.cat([begun, lift.finish()], -1).numpy()
