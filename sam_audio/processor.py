"""Upstream's module of this name: what makes the inputs of the published models."""

from sam_audio.separator.official.anchors import AnchorLike as Anchor
from sam_audio.separator.official.batch import SAMAudioBatch as Batch
from sam_audio.separator.official.batch import SAMAudioProcessor
from sam_audio.separator.official.judge import SAMAudioJudgeProcessor
from sam_audio.separator.official.video import mask_videos

__all__ = ["Anchor", "Batch", "SAMAudioJudgeProcessor", "SAMAudioProcessor", "mask_videos"]
