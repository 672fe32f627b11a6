"""In which numbers the nano networks compute: bfloat16 where the processor is made for it, else float32."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from peav.devices import cpu_has_bfloat16

Network = TypeVar("Network", bound=nn.Module)

_CAST = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)  # layers whose weights autocast casts


def autocast(device: str = "cpu") -> torch.autocast:
    """bfloat16 where the processor computes faster in it, else float32."""
    native = device != "cpu" or cpu_has_bfloat16()
    return torch.autocast(device, torch.bfloat16, enabled=native)


def cast_once(network: Network) -> Network:
    """Casts the weights of a frozen network, in place, to what :func:`autocast` computes in.

    The results are the same bit by bit: torch would cast frozen weights at every call, a tenth of all the time.
    """
    device = next(network.parameters()).device.type
    with autocast(device):
        casts = torch.is_autocast_enabled(device)
    for module in network.modules():
        if casts and isinstance(module, _CAST):
            module.to(torch.bfloat16)
    return network
