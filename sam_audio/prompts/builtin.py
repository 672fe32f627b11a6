"""The prompt types of the package itself, through the same hook as those of plugins."""

from __future__ import annotations

from sam_audio.hookspecs import Exporter, PromptType, hookimpl
from sam_audio.prompts.spans import Spans


@hookimpl
def prompt_types() -> list[PromptType]:
    return [Spans()]
