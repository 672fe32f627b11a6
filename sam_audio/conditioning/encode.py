"""Asks a model with more than words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sam_audio.conditioning.priors import MovedPrior
from sam_audio.conditioning.source import Recording
from sam_audio.errors import PromptError, UserError
from sam_audio.extending.hookspecs import PostProcessor
from sam_audio.prompts import Request
from sam_audio.types import Anchor, Condition, SeparationStream, Span

# what every model takes that does not say itself what it takes
_DEFAULT = frozenset({"anchors"})
_OPTIONS = {
    "vector": "an example or a picture",
    "anchors": "spans",
    "masks": "masks",
    "against": "negatives",
    "video": "video",
}


class Prompted:
    """A model that answers requests, for everything that asks models with texts (a `SeparationModel` itself).

    Args:
        requests: what is asked for.
        recording: of it, with its model.
        post: changes to the stems on their way out.

    >>> requests = resolve(["dog@3-5"])  # doctest: +SKIP
    >>> asked = Prompted(requests, Recording("mix.wav", model))  # doctest: +SKIP
    >>> render(asked, "mix.wav", [request.name for request in requests], RenderOptions())  # doctest: +SKIP
    """

    def __init__(
        self, requests: Sequence[Request], recording: Recording, post: Sequence[PostProcessor] = ()
    ) -> None:
        self.requests, self.recording, self.post = list(requests), recording, list(post)
        self.model = recording.model
        self.name, self.sample_rate = self.model.name, self.model.sample_rate

    def encode(self, prompts: list[str] | None = None) -> list[Condition]:
        """The requests as conditions; ``prompts`` are their names, and tell nothing new.

        Raises:
            UserError: a clue does not fit the recording, or the model does not take it.
        """
        texts = [_normalised(request.text) for request in self.requests if request.text is not None]
        read = iter(self.model.encode(texts) if texts else [])
        conditions = []
        for request in self.requests:
            spoken = Condition(request.name, None) if request.text is None else next(read)
            conditions.append(self._encode(request, replace(spoken, name=request.name)))
        return conditions

    def open(self, conditions: list[Condition], channels: int, strength: float = 1.0) -> SeparationStream:
        """Starts on the recording."""
        stream = self.model.open(conditions, channels, strength)
        for processor in self.post:
            stream = processor.wrap(stream, conditions, channels, self.sample_rate)
        return stream

    def _encode(self, request: Request, spoken: Condition) -> Condition:
        takes = getattr(self.model, "takes", _DEFAULT)
        condition = spoken
        for kind, value in request.clues:
            before, condition = condition, kind.encode(value, condition, self.recording)
            for name, what in _OPTIONS.items():
                if name not in takes and getattr(condition, name) is not getattr(before, name):
                    flag = kind.options[0].flag
                    raise UserError(f"the model {self.name} takes no {what}: leave {flag} out, or use nano")
        known = condition.vector is not None or condition.masks or condition.against or condition.video
        if request.text is None and not known and not any(anchor.present for anchor in condition.anchors):
            raise PromptError("the spans say only where the sound is not: add where it is, or a --prompt")
        return _from_start(condition, self.recording.start_s)


def _normalised(text: str) -> str:
    from sam_audio.extending.registry import registry

    for normaliser in sorted(registry().all("text_normalisers"), key=lambda one: one.name):
        text = normaliser.normalise(text) or text
    return text


def _from_start(condition: Condition, start_s: float) -> Condition:
    """Times of the recording -> times from where the separation starts."""
    if not start_s:
        return condition
    anchors = tuple(
        Anchor(Span(max(a.span.start_s - start_s, 0.0), a.span.end_s - start_s), a.present)
        for a in condition.anchors
        if a.span.end_s > start_s
    )
    video = condition.video
    if video is not None:
        video = replace(video, times_s=tuple(t - start_s for t in video.times_s))
    masks = tuple(MovedPrior(m, start_s) for m in condition.masks)
    return replace(condition, anchors=anchors, masks=masks, video=video)
