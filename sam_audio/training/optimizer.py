"""Muon for matrices and convolutions, AdamW for all else.

Muon (Jordan et al., 2024) makes the momentum of each matrix orthogonal, so that all its directions move at one
pace; scaled as in Liu et al., "Muon is Scalable for LLM Training" (2025), the learning rates and weight decays of
AdamW serve both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sam_audio.training.parallel import Team

LEAST_SIDE = 16  # thinner matrices have few directions to balance


def orthogonalised(matrix: Tensor, coefficients: Sequence[float], steps: int) -> Tensor:
    """A matrix whose singular values are pushed towards 1 by ``steps`` of a Newton-Schulz iteration.

    Each step multiplies by a polynomial of the matrix' Gram matrix G, ``a + b G + c G^2``. All of these commute: the
    iteration runs on the small G alone, and the long matrix is multiplied once. For our convolutions, nine times as
    wide as high, that is a third of the work, and float32 can be afforded.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalised(matrix.T, coefficients, steps).T
    a, b, c = coefficients
    x = matrix / matrix.norm().clamp(min=1e-7)
    gram = x @ x.T
    product = polynomial = None
    for _ in range(steps):
        if polynomial is not None:
            gram = polynomial @ gram @ polynomial
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal().add_(a)
        product = polynomial if product is None else polynomial @ product
    return x if product is None else product @ x


class Muon(torch.optim.Muon):
    """torch's with learning rates of AdamW, but for how it makes matrices orthogonal: a quarter of a step's time, which
    the processes of a team divide."""

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float, team: Team | None = None):
        super().__init__(params, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self._team = team or Team()

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            momentum = group["momentum"]
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            directions = []
            for parameter in moved:
                gradient, state = parameter.grad, self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(gradient)
                mean = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
                directions.append(gradient.lerp(mean, momentum))
            work = partial(orthogonalised, coefficients=group["ns_coefficients"], steps=group["ns_steps"])
            updates = self._team.divide(work, directions)
            for parameter, update in zip(moved, updates, strict=True):
                scale = 0.2 * max(parameter.shape) ** 0.5
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * scale)


class MuonAdamW:
    """Steps all parameters of a module; see the two optimizers of torch for the arguments.

    The processes of a ``team`` must step together, with the same gradients. Muon takes matrices alone: it is given flat
    views of the convolutions.
    """

    def __init__(self, module: nn.Module, lr: float, weight_decay: float, team: Team | None = None):
        parameters = list(module.parameters())
        self._matrices = [p for p in parameters if p.ndim > 1 and min(len(p), p[0].numel()) >= LEAST_SIDE]
        taken = {id(p) for p in self._matrices}
        self._views = [nn.Parameter(_flat(p.data)) for p in self._matrices]
        self._muon = Muon(self._views, lr=lr, weight_decay=weight_decay, team=team)
        rest = [p for p in parameters if id(p) not in taken]
        self._adamw = torch.optim.AdamW(rest, lr=lr, weight_decay=0.0, betas=(0.9, 0.98))

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Of both; their learning rates may be set."""
        return [*self._muon.param_groups, *self._adamw.param_groups]

    def zero_grad(self) -> None:
        for parameter in self._matrices:
            parameter.grad = None
        self._adamw.zero_grad(set_to_none=True)

    def step(self) -> None:
        for parameter, view in zip(self._matrices, self._views, strict=True):
            view.grad = None if parameter.grad is None else _flat(parameter.grad, like=parameter)
        self._muon.step()
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def made(self, state: dict[str, Any]) -> bool:
        """Whether a state dict is of this kind of optimizer."""
        return set(state) == set(self.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])


def _flat(x: Tensor, like: Tensor | None = None) -> Tensor:
    """A matrix (outputs, rest) that shares the memory of a parameter, or a gradient in the order of ``like``."""
    if x.ndim == 4 and (x if like is None else like).is_contiguous(memory_format=torch.channels_last):
        x = x.permute(0, 2, 3, 1)
    flat = x.reshape(len(x), -1)
    if like is None and flat.data_ptr() != x.data_ptr():
        raise ValueError("a parameter that is not contiguous in memory cannot be seen as a matrix")
    return flat
