"""The published models, PE-AV and PE-A-Frame, and the codec they share with SAM-Audio.

Own implementations that load the official checkpoints. Importing this package brings in nothing; import what you
need from its modules, or these names from here, which load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peav.official.config import CONFIGS
    from peav.official.frame import PEAudioFrame
    from peav.official.model import PEAudioVideo
    from peav.official.processing import PEAudioFrameProcessor, PEAudioVideoProcessor

_HOME = {
    "CONFIGS": "peav.official.config",
    "PEAudioFrame": "peav.official.frame",
    "PEAudioFrameProcessor": "peav.official.processing",
    "PEAudioVideo": "peav.official.model",
    "PEAudioVideoProcessor": "peav.official.processing",
}

__all__ = ["CONFIGS", "PEAudioFrame", "PEAudioFrameProcessor", "PEAudioVideo", "PEAudioVideoProcessor"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'peav.official' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
