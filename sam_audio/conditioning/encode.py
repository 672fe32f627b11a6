"""From requests to conditions: what a separator is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sam_audio.conditioning.priors import MovedPrior
from sam_audio.conditioning.source import Recording
from sam_audio.errors import PromptError, UserError
from sam_audio.prompts import Request
from sam_audio.types import Anchor, Condition, Span

_OPTIONS = {
    "vector": "an example or a picture",
    "anchors": "spans",
    "masks": "masks",
    "against": "negatives",
    "video": "video",
}


def encode(requests: Sequence[Request], recording: Recording) -> list[Condition]:
    """What is asked of a recording, as its model understands it: N requests to N conditions.

    Raises:
        UserError: a clue does not fit the recording, or the model does not take it.

    >>> encode(resolve(["dog@3-5"]), Recording("mix.wav", model))  # doctest: +SKIP
    """
    texts = [_normalised(request.text) for request in requests if request.text is not None]
    read = iter(recording.model.encode(texts) if texts else [])
    conditions = []
    for request in requests:
        spoken = Condition(request.name, None) if request.text is None else next(read)
        conditions.append(_with_clues(request, replace(spoken, name=request.name), recording))
    return conditions


def _with_clues(request: Request, spoken: Condition, recording: Recording) -> Condition:
    model, condition = recording.model, spoken
    for kind, value in request.clues:
        before, condition = condition, kind.encode(value, condition, recording)
        for name, what in _OPTIONS.items():
            if name not in model.takes and getattr(condition, name) is not getattr(before, name):
                flag = kind.options[0].flag
                raise UserError(f"the model {model.name} takes no {what}: leave {flag} out, or use nano")
    known = condition.vector is not None or condition.masks or condition.against or condition.video
    if request.text is None and not known and not any(anchor.present for anchor in condition.anchors):
        raise PromptError("the spans say only where the sound is not: add where it is, or a text")
    return _from_start(condition, recording.start_s)


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
