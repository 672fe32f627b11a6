"""Where networks compute."""

from __future__ import annotations

import ctypes.util
import platform
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sam_audio.errors import UserError, needing_extras

if TYPE_CHECKING:
    from peav.devices import Device, DeviceMap

# of drivers: NVIDIA's, AMD's, and the one that Windows lends its Linux
_GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def choose_device(device: str) -> str:
    """Resolves ``auto`` and checks that the device is there.

    Raises:
        UserError: unknown, or not on this machine; or torch is needed and not installed.
    """
    kind = device if device == "auto" else device.split(":")[0]
    if kind not in ("auto", "cpu", "cuda", "mps"):
        raise UserError(f"{device} is not a device: use auto, cpu, cuda or mps")
    if kind == "cpu":
        return device
    if kind == "auto" and not (may_have_gpu() and find_spec("torch")):
        return "cpu"
    with needing_extras(f"computing on {kind}"):
        from peav.devices import available, fastest
    if kind == "auto":
        return fastest()
    if not available()[kind]:
        raise UserError(f"this machine has no {kind}: use device='cpu'")
    return device


def one_device(device: Device | None = None, device_map: DeviceMap = None) -> str:
    """The same of what ``from_pretrained`` takes, by default the CPU: see `peav.devices.one_device`."""
    from peav import devices

    try:
        place = devices.one_device(device, device_map)
    except ValueError as error:
        raise UserError(str(error)) from None
    return choose_device(f"cuda:{place}" if isinstance(place, int) else str(place))


def may_have_gpu() -> bool:
    """Whether there is a sign of a GPU that torch could use; to ask torch, which knows, takes seconds."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return ctypes.util.find_library("nvcuda") is not None
    return any(Path(file).exists() for file in _GPU_FILES)


def sums_int8(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor sums products of 8-bit numbers exactly: x86 has to have VNNI, without which they are cut
    off at 16 bits. Where that cannot be told, it is taken to be so."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return True
    flags = next((line.split() for line in lines if line.startswith("flags")), ["avx_vnni"])
    return not {"avx_vnni", "avx512_vnni"}.isdisjoint(flags)
