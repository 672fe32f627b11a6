"""Rows of measures as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sam_audio.evaluation.protocols import Value


def markdown(rows: Sequence[Mapping[str, Value]]) -> str:
    """A table for docs; the columns are those of all rows, in the order in which they first come.

    >>> print(markdown([{"what": "nano", "top_1": 0.5}, {"what": "YAMNet", "mAP": None}]), end="")
    | what | top_1 | mAP |
    |---|---|---|
    | nano | 0.500 |  |
    | YAMNet |  |  |
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(_cell(row.get(name)) for name in columns)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: Value) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
