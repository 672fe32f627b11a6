"""Spans: when the sound is there, and when it is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sam_audio.errors import PromptError
from sam_audio.extending.hookspecs import Option
from sam_audio.prompts import existing_file

if TYPE_CHECKING:
    from sam_audio.conditioning.source import Recording
    from sam_audio.types import Anchor, Condition

_TOLERANCE_S = 0.05  # ends are often rounded up


@dataclass(frozen=True)
class Marks:
    """Anchors of the options, and labels of a file with their texts."""

    anchors: tuple[Anchor, ...]
    labels: tuple[tuple[str, Anchor], ...] = ()
    file: str = ""


class Spans:
    """``--span``, ``--not-span`` and ``--labels``."""

    name = "span"
    options = (
        Option(
            "--span",
            "A-B",
            "When the sound is there, like 3.2-5.0 or 1:02-1:05.5.",
            many=True,
            hint="in {} s",
        ),
        Option("--not-span", "A-B", "When it is not.", many=True, hint="not in {} s"),
        Option(
            "--labels",
            "FILE",
            "Both from an Audacity label track; a label like -dog says where it is not.",
            file="read",
        ),
    )

    def parse(self, values: Mapping[str, Any]) -> Marks:
        from sam_audio.prompts.times import parse_span, read_labels
        from sam_audio.types import Anchor

        anchors = [Anchor(parse_span(value)) for value in values.get("spans", ())]
        anchors += [Anchor(parse_span(value), False) for value in values.get("not_spans", ())]
        file = values.get("labels")
        labels: tuple[tuple[str, Anchor], ...] = ()
        if file is not None:
            labels = tuple(read_labels(existing_file(file, "the label track", "export one from Audacity")))
        return Marks(tuple(anchors), labels, str(file or ""))

    def encode(self, value: Marks, condition: Condition, recording: Recording) -> Condition:
        anchors = (*value.anchors, *_labels_for(condition.name, value))
        _check(anchors, recording)
        return replace(condition, anchors=(*condition.anchors, *anchors))


def _labels_for(name: str, value: Marks) -> list[Anchor]:
    """The labels of a prompt's own name and those without a text; all of them if it has no name of its own."""
    if not value.labels:
        return []
    everything = name == Spans.name
    own = [anchor for text, anchor in value.labels if everything or text.lower() in ("", "+", name.lower())]
    if not own and len({text for text, _ in value.labels}) > 1:
        texts = ", ".join(sorted({text for text, _ in value.labels}))
        raise PromptError(f"{value.file} has no label {name!r}: ask for one of {texts}")
    return own or [anchor for _, anchor in value.labels]


def _check(anchors: tuple[Anchor, ...], recording: Recording) -> None:
    from sam_audio.prompts.times import show_span

    seconds = recording.seconds
    for anchor in anchors:
        span = anchor.span
        if seconds is not None and span.end_s > seconds + _TOLERANCE_S:
            raise PromptError(
                f"the span {show_span(span)} goes beyond the end of {recording.title}, which is {seconds:.10g} s long"
            )
        end_s = float("inf") if recording.duration_s is None else recording.start_s + recording.duration_s
        if span.end_s <= recording.start_s or span.start_s >= end_s:
            raise PromptError(
                f"the span {show_span(span)} lies outside the part that is separated: mark within it"
            )
    present = [anchor.span for anchor in anchors if anchor.present]
    for absent in (anchor.span for anchor in anchors if not anchor.present):
        for span in present:
            if absent.start_s < span.end_s and span.start_s < absent.end_s:
                raise PromptError(
                    f"the sound cannot be there ({show_span(span)}) and absent ({show_span(absent)}) at once"
                )
