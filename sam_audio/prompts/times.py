"""Times and spans as people write them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from sam_audio.errors import PromptError
from sam_audio.types import Anchor, Span

_MOST_LABEL_BYTES = 10_000_000  # of a file: more labels than anyone makes

# at most so many digits: longer numbers are no times, and beyond thousands of digits int() refuses
_CLOCK = r"(?:(?:(\d{1,6}):)?(\d{1,6}):)?(\d{1,12}(?:\.\d{0,20})?|\.\d{1,20})"


def parse_time(text: str) -> float:
    """Seconds of ``3.2``, ``1:02.5`` or ``1:00:02.125``.

    Raises:
        PromptError: it is not a time.

    >>> parse_time("1:02.5")
    62.5
    """
    match = re.fullmatch(_CLOCK, text.strip().removesuffix("s").strip())
    if (
        match is None
        or (match[2] is not None and float(match[3]) >= 60)
        or (match[1] and int(match[2]) >= 60)
    ):
        raise PromptError(f"{text!r} is not a time: write seconds like 3.2, or minutes like 1:03.2")
    return int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + float(match[3])


def parse_span(value: Any) -> Span:
    """A span of a text like ``3.2-5.0``, of two numbers, or a Span.

    Raises:
        PromptError: it is not a span.

    >>> parse_span("59.5-1:02")
    Span(start_s=59.5, end_s=62.0)
    """
    if isinstance(value, str):
        start, dash, end = re.sub("[\u2012-\u2015]", "-", value).partition("-")
        if not dash or not start.strip() or not end.strip():
            raise PromptError(f"{value!r} is not a span: write its start and end in seconds, like 3.2-5.0")
        span = Span(parse_time(start), parse_time(end))
    elif isinstance(value, Span):
        span = value
    else:
        try:
            start_s, end_s = value
            span = Span(float(start_s), float(end_s))
        except (TypeError, ValueError, OverflowError):
            raise PromptError(f"{value!r} is not a span: write '3.2-5.0', or (3.2, 5.0)") from None
    if not (math.isfinite(span.start_s) and math.isfinite(span.end_s)) or span.start_s < 0:
        raise PromptError(f"the span {show_span(span)} is not within a recording: use seconds from its start")
    if span.end_s <= span.start_s:
        raise PromptError(f"the span {show_span(span)} ends before it starts: write its start first")
    return span


def show_span(span: Span) -> str:
    """As it is written.

    >>> show_span(Span(3.0, 62.125))
    '3-62.125 s'
    """
    return f"{span.start_s:.10g}-{span.end_s:.10g} s"


def read_labels(path: str | Path) -> list[tuple[str, Anchor]]:
    """An Audacity label track: texts and anchors. A text that begins with ``-`` or ``not `` says that it is absent.

    Raises:
        PromptError: the file cannot be read, is no label track, or is empty.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_LABEL_BYTES + 1)
        lines = data.decode("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise PromptError(f"{path} does not exist: export a label track from Audacity") from None
    except (OSError, UnicodeDecodeError):
        raise PromptError(f"{path} cannot be read as text: export a label track from Audacity") from None
    if len(data) > _MOST_LABEL_BYTES:
        raise PromptError(
            f"{path} is larger than {_MOST_LABEL_BYTES // 10**6} MB: export a label track from Audacity"
        )
    labels = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("\\"):  # a backslash: the frequencies of the label before
            continue
        start, _, rest = line.partition("\t")
        end, _, text = rest.partition("\t")
        try:
            times = float(start.replace(",", ".")), float(end.replace(",", "."))
        except ValueError:
            raise PromptError(
                f"line {number} of {path.name} is no label: write start, tab, end, tab, text"
            ) from None
        if times[0] == times[1]:
            raise PromptError(
                f"line {number} of {path.name} marks a point: drag it to mark a stretch of time"
            )
        absent = re.match(r"\s*(?:-|not\s)\s*", text)
        name = text[absent.end() :] if absent else text
        labels.append((" ".join(name.split()), Anchor(parse_span(times), not absent)))
    if not labels:
        raise PromptError(f"{path.name} holds no labels: mark where the sound is")
    return labels
