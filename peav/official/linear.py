"""Matrix products in float32, by the faster of the two libraries that torch has for them.

On x86 torch leaves products in float32 to MKL, which on processors that are not Intel's keeps to older instructions;
oneDNN, to which torch leaves convolutions, is twice as fast there and as fast elsewhere. The numbers are the same but
for the order of summation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _find_product() -> object:
    """oneDNN's linear layer, if torch has MKL in its place and oneDNN as well."""
    if torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available():
        return getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    return None


_PRODUCT = _find_product()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight^T + bias, as `torch.nn.functional.linear`. Shapes: (..., n), (m, n), (m,) -> (..., m)."""
    if not takes(x, weight):
        return F.linear(x, weight, bias)
    return _PRODUCT(x, weight, bias, "none", [], "")  # type: ignore[operator]


def takes(x: Tensor, weight: Tensor) -> bool:
    """Whether the faster product can be used: not where gradients are asked for, nor in other dtypes."""
    return (
        _PRODUCT is not None
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() > 0
        and not torch.is_grad_enabled()
    )


class Linear(nn.Linear):
    """A linear layer that uses `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)
