"""PE-AV and PE-A-Frame: encoders that put text, sound and pictures into one space.

Two families with the same methods: the embedded towers ("nano", shipped with the package) and the published
models. Names load on first use, so that ``import peav`` is instant and brings in no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peav.checkpoints import CheckpointError
    from peav.families import load_audio_frame, load_audio_video
    from peav.nano.audio import AudioTower
    from peav.nano.model import NanoAudioFrame, NanoAudioVideo, NanoProcessor
    from peav.nano.text import TextTower
    from peav.nano.video import VideoTower
    from peav.official.frame import PEAudioFrame
    from peav.official.model import PEAudioVideo, PEAudioVisual
    from peav.official.processing import PEAudioFrameProcessor, PEAudioVideoProcessor

_HOME = {
    "AudioTower": "peav.nano.audio",
    "CheckpointError": "peav.checkpoints",
    "NanoAudioFrame": "peav.nano.model",
    "NanoAudioVideo": "peav.nano.model",
    "NanoProcessor": "peav.nano.model",
    "PEAudioFrame": "peav.official.frame",
    "PEAudioFrameProcessor": "peav.official.processing",
    # upstream's transforms read files, which is no business of peav: they stand higher up
    "PEAudioFrameTransform": "sam_audio.separator.official.transforms",
    "PEAudioVideo": "peav.official.model",
    "PEAudioVideoProcessor": "peav.official.processing",
    "PEAudioVisual": "peav.official.model",
    "PEAudioVisualTransform": "sam_audio.separator.official.transforms",
    "TextTower": "peav.nano.text",
    "VideoTower": "peav.nano.video",
    "load_audio_frame": "peav.families",
    "load_audio_video": "peav.families",
}

__all__ = [
    "AudioTower",
    "CheckpointError",
    "NanoAudioFrame",
    "NanoAudioVideo",
    "NanoProcessor",
    "PEAudioFrame",
    "PEAudioFrameProcessor",
    "PEAudioFrameTransform",
    "PEAudioVideo",
    "PEAudioVideoProcessor",
    "PEAudioVisual",
    "PEAudioVisualTransform",
    "TextTower",
    "VideoTower",
    "load_audio_frame",
    "load_audio_video",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'peav' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
