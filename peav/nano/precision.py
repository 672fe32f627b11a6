"""In which numbers the nano networks compute: bfloat16 where the processor is made for it, else float32."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)

_CAST = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)  # layers whose weights autocast casts


def autocast(device: str = "cpu") -> torch.autocast:
    """bfloat16 where the processor computes faster in it, else float32."""
    native = device != "cpu" or _cpu_has_bfloat16()
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


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies matrices of it (AMX), or is one of AMD's with AVX-512's bfloat16 (Zen 4 and
    later): convolutions are then twice as fast, where elsewhere AVX-512's bfloat16 was a third slower than float32."""
    amx = getattr(torch.cpu, "_is_amx_tile_supported", bool)
    abilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch lacks it
    return bool(amx() or (abilities.get("avx512_bf16") and "AMD" in str(abilities.get("cpu_name"))))
