"""The embedded separator: a conditioned mask network over a streaming spectrogram."""

from __future__ import annotations

from pathlib import Path

from peav.checkpoints import CheckpointError
from peav.nano.text import TextTower
from sam_audio.errors import ModelError
from sam_audio.separator.nano.bands import SAMPLE_RATE
from sam_audio.separator.nano.engine import WEIGHTS, load_engine
from sam_audio.separator.nano.stream import NanoStream
from sam_audio.types import Condition
from sam_audio.vocabulary import meant

PREDICT_SPANS = True


class NanoSeparator:
    """Loads the embedded weights once; serves any number of recordings and threads.

    Args:
        weights: a checkpoint.
        device: where to compute.
        predict_spans: whether PE-A-Frame nano first listens for when each prompt sounds.
    """

    sample_rate = SAMPLE_RATE
    takes = frozenset({"vector", "anchors", "masks", "against"})

    def __init__(self, weights: Path = WEIGHTS, device: str = "cpu", predict_spans: bool = PREDICT_SPANS):
        self.name = "nano" if weights == WEIGHTS else str(weights)
        self.predict_spans = predict_spans
        self.engine = load_engine(weights, device)
        try:
            self.text_tower = TextTower.from_pretrained("nano")
        except CheckpointError as error:
            raise ModelError(str(error).rstrip(".")) from None

    def encode(self, prompts: list[str]) -> list[Condition]:
        """Text prompts as vectors of the joint space."""
        vectors = self.text_tower.embed(prompts).numpy()
        return [Condition(text, vector, text=text) for text, vector in zip(prompts, vectors, strict=True)]

    def reads(self, prompt: str) -> bool:
        """Whether it knows any word of a prompt."""
        return self.text_tower.reads(prompt)

    def meant(self, prompt: str) -> str | None:
        """What somebody may have meant who wrote words that it does not know."""
        return meant(prompt, self.text_tower.knows)

    def open(self, conditions: list[Condition], channels: int, strength: float = 1.0) -> NanoStream:
        """Starts on a new recording."""
        return NanoStream(self.engine, conditions, channels, strength, self.predict_spans)
