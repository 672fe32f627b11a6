"""Upstream's module of this name: what chooses among candidates; more of them are in `judge.rank`."""

from judge.rank import as_text_ranker, as_visual_ranker
from sam_audio.separator.official.ranking import Place, TextRanker, VisualRanker, build, register

__all__ = ["Place", "TextRanker", "VisualRanker", "as_text_ranker", "as_visual_ranker", "build", "register"]
