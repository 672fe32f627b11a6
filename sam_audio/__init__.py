"""Pull any sound out of a recording by asking for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sam_audio.version import __version__

# Names are resolved when first used: `separate --help` must not wait for torch.
_HOMES = {
    "separate": "sam_audio.api",
    "Separator": "sam_audio.api",
    "SAMAudio": "sam_audio.separator.official.model",
    "SAMAudioProcessor": "sam_audio.separator.official.batch",
    "SAMAudioJudgeModel": "sam_audio.separator.official.judge",
    "SAMAudioJudgeProcessor": "sam_audio.separator.official.judge",
    "Prompt": "sam_audio.prompts",
    "SeparationOptions": "sam_audio.options",
    "RenderOptions": "sam_audio.options",
    "RenderReport": "sam_audio.report",
    "SeparationModel": "sam_audio.separator.base",
    "SeparationResult": "sam_audio.results",
    "SeparationStream": "sam_audio.separator.base",
    "Stem": "sam_audio.types",
    "Span": "sam_audio.types",
    "Anchor": "sam_audio.types",
    "SamAudioError": "sam_audio.errors",
    "UserError": "sam_audio.errors",
}

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from sam_audio.api import Separator, separate
    from sam_audio.errors import SamAudioError, UserError
    from sam_audio.options import RenderOptions, SeparationOptions
    from sam_audio.prompts import Prompt
    from sam_audio.report import RenderReport
    from sam_audio.results import SeparationResult
    from sam_audio.separator.base import SeparationModel, SeparationStream
    from sam_audio.separator.official.batch import SAMAudioProcessor
    from sam_audio.separator.official.judge import SAMAudioJudgeModel, SAMAudioJudgeProcessor
    from sam_audio.separator.official.model import SAMAudio
    from sam_audio.types import Anchor, Span, Stem


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
