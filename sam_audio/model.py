"""Upstream's module of this name: the published models."""

from sam_audio.separator.official.config import SAMAudioConfig
from sam_audio.separator.official.judge import SAMAudioJudgeModel
from sam_audio.separator.official.model import SAMAudio, SAMAudioResult

__all__ = ["SAMAudio", "SAMAudioConfig", "SAMAudioJudgeModel", "SAMAudioResult"]
