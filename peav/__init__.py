"""PE-AV: encoders that put text, sound and pictures into one space of unit vectors.

Names load on first use, so that ``import peav`` is instant and brings in no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peav.checkpoints import CheckpointError
    from peav.nano.text import TextTower

_HOME = {
    "CheckpointError": "peav.checkpoints",
    "TextTower": "peav.nano.text",
}

__all__ = ["CheckpointError", "TextTower"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'peav' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
