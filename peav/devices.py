"""On which device networks compute, and in which numbers they are fast there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # torch is imported where it is used, so that one_device can be had without it
    import torch

Device: TypeAlias = "str | int | torch.device"
DeviceMap: TypeAlias = "Device | Mapping[str, Device] | None"

# what a type of numbers is called -> its name in torch
DTYPES = {"bf16": "bfloat16", "fp16": "float16"} | {name: name for name in ("float32", "bfloat16", "float16")}


def available() -> dict[str, bool]:
    """Kinds of devices, the fastest first, and whether they are there."""
    import torch

    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}


def fastest() -> str:
    """The fastest kind of device that is there."""
    return next(kind for kind, is_there in available().items() if is_there)


def one_device(device: Device | None = None, device_map: DeviceMap = None) -> Device:
    """The one device that is asked for, by any of its names, or "auto"; without torch.

    Args:
        device: by name or number; wins over ``device_map``.
        device_map: as in transformers: "auto" is the fastest device there is, ``{"": device}`` says one.

    Raises:
        ValueError: several devices are asked for.

    >>> one_device(device_map={"": "cpu"})
    'cpu'
    """
    if device is not None:
        return device
    if isinstance(device_map, Mapping):
        if len(set(device_map.values())) != 1:
            raise ValueError("a model sits on one device: give device_map='auto' or {'': device}")
        device_map = next(iter(device_map.values()))
    return "cpu" if device_map is None else device_map


def choose_device(device: Device | None = None, device_map: DeviceMap = None) -> torch.device:
    """The one device that a model goes to; arguments and errors as of `one_device`.

    >>> choose_device(device_map={"": "cpu"})
    device(type='cpu')
    """
    import torch

    place = one_device(device, device_map)
    return torch.device(fastest() if place == "auto" else place)


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """In which numbers a model computes.

    Args:
        dtype: by name, or torch's; "auto" is what the device is fast in; None is float32.

    Raises:
        ValueError: it is another.

    >>> choose_dtype("bf16", choose_device())
    torch.bfloat16
    """
    import torch

    if dtype is None:
        return torch.float32
    if dtype == "auto":
        return torch.bfloat16 if has_bfloat16(device) else torch.float32
    found = DTYPES.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise ValueError(f"the model cannot run in {dtype}: use auto, float32, bfloat16 or float16")
    return getattr(torch, found)  # type: ignore[no-any-return]


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes faster in bfloat16 than in float32, and as exactly as bfloat16 allows."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and cpu_has_bfloat16()


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies matrices of it (AMX), or is one of AMD's with AVX-512's bfloat16 (Zen 4 and
    later): convolutions are then twice as fast, where elsewhere AVX-512's bfloat16 was a third slower than float32."""
    import torch

    amx = getattr(torch.cpu, "_is_amx_tile_supported", bool)
    abilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch lacks it
    return bool(amx() or (abilities.get("avx512_bf16") and "AMD" in str(abilities.get("cpu_name"))))
