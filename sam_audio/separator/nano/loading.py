"""Which engine runs a checkpoint, and one copy of what is shipped."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from peav import checkpoints, threads
from sam_audio.devices import sums_int8
from sam_audio.errors import UserError, as_model_error, needing_extras
from sam_audio.separator.nano.engine import WEIGHTS, Engine

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

_shipped: WeakValueDictionary[tuple[str, int, str], Engine] = WeakValueDictionary()
_lock = threading.Lock()


def load_engine(weights: Path = WEIGHTS, device: str = "cpu", precision: str = "float32") -> Engine:
    """The networks of a checkpoint and the shipped audio tower. Of what is shipped there is one copy in a process:
    separators, judges and locators share it.

    On the CPU graphs run them, if the network has the sizes of the shipped one; torch runs the others, and computes on
    other devices.

    Args:
        precision: ``float32`` or ``int8``, of the shipped weights on the CPU.

    Raises:
        UserError: int8 is asked of other weights, another device, or a processor that is not made for it.
        ModelError: a file is missing, damaged, or of another kind.
        MissingExtraError: torch is needed, and not installed.
    """
    if precision == "int8" and (weights != WEIGHTS or device != "cpu"):
        raise UserError("int8 is for the shipped nano on the CPU: use precision='float32'")
    if precision == "int8" and not sums_int8():
        raise UserError(
            "this processor has no VNNI, without which int8 is not exact: use precision='float32'"
        )
    if weights != WEIGHTS:
        return _load(weights, device, precision)
    with _lock:
        key = device, threads.number(), precision
        engine = _shipped.get(key)
        if engine is None:
            engine = _shipped[key] = _load(weights, device, precision)
        return engine


def check_dtype(dtype: str | torch.dtype | None, device: str) -> None:
    """Raises UserError where engines on this device compute in other numbers than those that are asked for: they have
    no choice but ``precision``, of the shipped weights on the CPU."""
    own = "float32" if device == "cpu" else "bfloat16"
    if dtype not in (None, "auto") and str(dtype).removeprefix("torch.") != own:
        raise UserError(f"nano computes in {own} on {device}, and not in {dtype}: leave dtype out")


def _load(weights: Path, device: str, precision: str) -> Engine:
    with as_model_error():
        checkpoint = checkpoints.load(weights, "separator")
        if device == "cpu" and checkpoint.fits(WEIGHTS):
            from peav.nano.graphs import AudioGraph
            from sam_audio.separator.nano.onnx_engine import INT8_TRUNK, TRUNK, OnnxEngine

            log.info("%s runs in ONNX Runtime in %s, %d threads", weights, precision, threads.number())
            int8 = precision == "int8"
            return OnnxEngine(checkpoint, AudioGraph.shipped(), INT8_TRUNK if int8 else TRUNK, int8=int8)
    with needing_extras(f"{weights} on {device}"):
        from sam_audio.separator.nano.torch_engine import TorchEngine, load_tower, network_of, ready
    log.info("%s runs in torch on %s", weights, device)
    with as_model_error():
        return TorchEngine(ready(network_of(checkpoint), device), load_tower(device), device, weights)
