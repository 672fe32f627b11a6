"""The training log: a csv that grows by a row at every validation."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path


def append_row(path: Path, row: Mapping[str, float]) -> None:
    """Adds a row; the columns are those of the first one, so that a log survives a change of the recipe."""
    new = not path.exists()
    columns = list(row) if new else path.read_text(encoding="utf-8").splitlines()[0].split(",")
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        if new:
            writer.writeheader()
        writer.writerow(row)


def short(values: Mapping[str, float]) -> str:
    """For a line of the log."""
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())
