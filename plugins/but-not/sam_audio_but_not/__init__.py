"""``--not TEXT``: what is not wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sam_audio.extending.hookspecs import Option, PromptType, hookimpl
from sam_audio.naming import check_prompts

if TYPE_CHECKING:
    from sam_audio.conditioning.source import Recording
    from sam_audio.types import Condition


class ButNot:
    """Texts whose sounds are taken out of the stem; without a prompt, out of the mixture."""

    name = "but not"
    options = (Option("--not", "TEXT", "What is not wanted in the stems.", many=True, key="but_not"),)

    def parse(self, values: Mapping[str, Any]) -> list[str]:
        return check_prompts(values["but_not"])

    def encode(self, value: list[str], condition: Condition, recording: Recording) -> Condition:
        unwanted = tuple(recording.embed_text(text) for text in value)
        return replace(condition, against=(*condition.against, *unwanted))


@hookimpl
def prompt_types() -> list[PromptType]:
    return [ButNot()]
