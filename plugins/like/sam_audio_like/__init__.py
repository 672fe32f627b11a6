"""``--like FILE``: a sound like that of a recording."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio.errors import PromptError
from sam_audio.extending.hookspecs import Option, PromptType, hookimpl
from sam_audio.prompts import existing_file

if TYPE_CHECKING:
    from sam_audio.conditioning.source import Recording
    from sam_audio.types import Condition


class Like:
    """The vector of an example in the joint space; several examples give the direction between them."""

    name = "like"
    options = (
        Option(
            "--like",
            "FILE",
            "A recording of such a sound.",
            many=True,
            key="like",
            file="read",
            media="sound",
            hint="like an example",
        ),
    )

    def parse(self, values: Mapping[str, Any]) -> list[Path]:
        return [
            existing_file(value, "the example", "name a recording of such a sound")
            for value in values["like"]
        ]

    def encode(self, value: list[Path], condition: Condition, recording: Recording) -> Condition:
        vectors = [recording.embedder().embed_audio_file(path) for path in value]
        for path, vector in zip(value, vectors, strict=True):
            if not vector.any():
                raise PromptError(
                    f"the example {path.name} is silent: choose one in which the sound is heard"
                )
        return condition.towards(sum(vectors[1:], vectors[0]) / len(vectors))


@hookimpl
def prompt_types() -> list[PromptType]:
    return [Like()]
