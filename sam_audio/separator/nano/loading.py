"""Which engine runs a checkpoint, and one copy of what is shipped."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from weakref import WeakValueDictionary

from peav import checkpoints, threads
from sam_audio.errors import as_model_error, needing_extras
from sam_audio.separator.nano.engine import WEIGHTS, Engine

log = logging.getLogger(__name__)

_shipped: WeakValueDictionary[tuple[str, int], Engine] = WeakValueDictionary()
_lock = threading.Lock()


def load_engine(weights: Path = WEIGHTS, device: str = "cpu") -> Engine:
    """The networks of a checkpoint and the shipped audio tower. Of what is shipped there is one copy in a process:
    separators, judges and locators share it.

    On the CPU graphs run them, if the network has the sizes of the shipped one; torch runs the others, and computes on
    other devices.

    Raises:
        ModelError: a file is missing, damaged, or of another kind.
        MissingExtraError: torch is needed, and not installed.
    """
    if weights != WEIGHTS:
        return _load(weights, device)
    with _lock:
        key = device, threads.number()
        engine = _shipped.get(key)
        if engine is None:
            engine = _shipped[key] = _load(weights, device)
        return engine


def _load(weights: Path, device: str) -> Engine:
    with as_model_error():
        checkpoint = checkpoints.load(weights, "separator")
        if device == "cpu" and checkpoint.fits(WEIGHTS):
            from peav.nano.graphs import AudioGraph
            from sam_audio.separator.nano.onnx_engine import OnnxEngine

            log.info("%s runs in ONNX Runtime, %d threads", weights, threads.number())
            return OnnxEngine(checkpoint, AudioGraph.shipped())
    with needing_extras(f"{weights} on {device}"):
        from sam_audio.separator.nano.torch_engine import TorchEngine, load_tower, network_of, ready
    log.info("%s runs in torch on %s", weights, device)
    with as_model_error():
        return TorchEngine(ready(network_of(checkpoint), device), load_tower(device), device)
