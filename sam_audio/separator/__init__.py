"""Separators. :func:`load` gives a :class:`sam_audio.types.SeparationModel` by name or path."""

from __future__ import annotations

from pathlib import Path

from sam_audio.errors import ModelError
from sam_audio.types import SeparationModel


def load(name: str, device: str = "cpu") -> SeparationModel:
    """Loads a separation model.

    Args:
        name: ``nano``, or the path of a safetensors file with weights of the nano network.
        device: ``cpu``, ``cuda``, ``mps``.

    Raises:
        ModelError: there is no such model, or its file is damaged or of another kind.
    """
    from sam_audio.separator.nano import WEIGHTS, NanoSeparator

    if name == "nano":
        return NanoSeparator(WEIGHTS, device)
    path = Path(name)
    if path.suffix == ".safetensors" or path.exists():
        if not path.is_file():
            raise ModelError(f"{name} is not a model file: give the path of a .safetensors file, or nano")
        return NanoSeparator(path, device)
    raise ModelError(f"there is no model called {name}: use nano, or the path of a .safetensors file")
