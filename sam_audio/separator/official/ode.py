"""Solvers of the flow: from noise at time 0 to latents at time 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sam_audio.errors import MissingExtraError, UserError

Field = Callable[[float, Tensor], Tensor]  # velocity at a time and a state
StepProgress = Callable[
    [int, int], None
]  # steps done, steps in all; an exception raised in it stops the solver


def euler(velocity: Field, t: float, h: float, y: Tensor) -> Tensor:
    """First order, one evaluation."""
    return y + h * velocity(t, y)


def midpoint(velocity: Field, t: float, h: float, y: Tensor) -> Tensor:
    """Second order, two evaluations."""
    return y + h * velocity(t + h / 2, y + h / 2 * velocity(t, y))


def rk4(velocity: Field, t: float, h: float, y: Tensor) -> Tensor:
    """Fourth order, four evaluations: Kutta's 3/8 rule."""
    k1 = velocity(t, y)
    k2 = velocity(t + h / 3, y + h / 3 * k1)
    k3 = velocity(t + 2 * h / 3, y + h * (k2 - k1 / 3))
    k4 = velocity(t + h, y + h * (k1 - k2 + k3))
    return y + h / 8 * (k1 + 3 * k2 + 3 * k3 + k4)


METHODS = {"euler": euler, "midpoint": midpoint, "rk4": rk4}


@dataclass(frozen=True)
class Solver:
    """How to integrate: a method by the names of torchdiffeq, and its step.

    ``euler``, ``midpoint`` and ``rk4`` run here, all others in torchdiffeq, to which ``extra`` goes.
    """

    method: str = "midpoint"
    step: float = 1 / 16
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Solver | Mapping[str, Any] | None) -> Solver:
        """From upstream's ``ode_opt``, e.g. ``{"method": "midpoint", "options": {"step_size": 2 / 32}}``.

        Raises:
            UserError: there is no such method, or the step is not positive.
        """
        if options is None:
            return cls()
        if not isinstance(options, Solver):
            given = dict(options)
            method, inner = given.pop("method", cls.method), dict(given.pop("options", None) or {})
            step = inner.pop("step_size", cls.step)
            if method in METHODS:  # a fixed step has no tolerances
                given.pop("rtol", None), given.pop("atol", None)
            options = cls(method, step, {**given, **({"options": inner} if inner else {})})
        options.check()
        return options

    def check(self) -> None:
        """Raises UserError for a method or a step that cannot be."""
        known = self.known()
        if self.method not in known:
            raise UserError(f"there is no solver {self.method!r}: use one of {', '.join(sorted(known))}")
        if not isinstance(self.step, int | float) or not math.isfinite(self.step) or self.step <= 0:
            raise UserError(
                f"a solver cannot step by {self.step!r}: use a number between 0 and 1, such as 0.0625"
            )
        if self.extra and self.method in METHODS:
            raise UserError(
                f"the solver {self.method} has no option {min(self.extra)}: it knows step_size alone"
            )

    def known(self) -> set[str]:
        """Methods that can be run here."""
        if self.method in METHODS:
            return set(METHODS)
        try:
            from torchdiffeq._impl.odeint import SOLVERS
        except ImportError:
            return set(METHODS)
        return {*METHODS, *SOLVERS}

    def grid(self) -> list[float]:
        """Times 0, step, 2 step, ... with the last one put at 1."""
        n_steps = max(
            1, math.ceil(float(torch.tensor(1.0) / self.step + 1)) - 1
        )  # in float32, as torchdiffeq counts
        return [j * self.step for j in range(n_steps)] + [1.0]

    def integrate(self, velocity: Field, noise: Tensor, progress: StepProgress | None = None) -> Tensor:
        """Follows the flow.

        Args:
            velocity: the field; its time is a number in 0..1.
            noise: the state at time 0, of any shape.
            progress: told after every step of the methods that run here.

        Returns:
            the state at time 1.
        """
        if self.method not in METHODS:
            return self._elsewhere(velocity, noise)
        grid, y = self.grid(), noise
        for j, (start, stop) in enumerate(zip(grid[:-1], grid[1:], strict=True)):
            y = METHODS[self.method](velocity, start, stop - start, y)
            if progress is not None:
                progress(j + 1, len(grid) - 1)
        return y

    def _elsewhere(self, velocity: Field, noise: Tensor) -> Tensor:
        try:
            from torchdiffeq import odeint
            from torchdiffeq._impl.fixed_grid import FixedGridODESolver
            from torchdiffeq._impl.odeint import SOLVERS
        except ImportError:
            raise MissingExtraError(
                f"the solver {self.method} needs torchdiffeq, which is not installed", "official"
            ) from None
        extra = dict(self.extra)
        if issubclass(SOLVERS[self.method], FixedGridODESolver):
            extra["options"] = {"step_size": self.step, **extra.get("options", {})}
        times = torch.tensor([0.0, 1.0], device=noise.device)
        return odeint(lambda t, y: velocity(float(t), y), noise, times, method=self.method, **extra)[-1]
