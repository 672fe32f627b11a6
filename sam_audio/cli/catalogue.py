"""``sam-audio catalogue``: what a batch has made."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any, Optional

import typer

from sam_audio.cli.shared import show, show_json

app = typer.Typer(help="What a batch has made.", no_args_is_help=True)
_MOST_ROWS = 50
Out = Annotated[str, typer.Argument(metavar="OUT", help="The --out of sam-audio batch.")]


class Form(str, Enum):
    table = "table"
    csv = "csv"
    json = "json"


@app.command("show")
def show_catalogue(
    out: Out,
    failed: Annotated[bool, typer.Option("--failed", help="What failed, and why.")] = False,
    form: Annotated[Form, typer.Option("--format", "-f", help="How to print.")] = Form.table,
) -> None:
    """Say how many recordings are done, how many failed, and how long they are."""
    from sam_audio.scale.catalogue import ask, summary
    from sam_audio.scale.stores import open_folder

    folder = open_folder(out)
    if failed:
        _print(*ask(folder, "SELECT source, attempts, error FROM items WHERE status = 'failed'"), form, None)
    else:
        columns, values = zip(*summary(folder), strict=True)
        _print(columns, [values], form, None)


@app.command("query")
def query(
    out: Out,
    question: Annotated[
        str,
        typer.Argument(
            metavar="CONDITION|SQL",
            help="A condition on stems, like 'in_mixture AND precision < 2.5', or SELECT over items and stems.",
        ),
    ],
    form: Annotated[Form, typer.Option("--format", "-f", help="How to print.")] = Form.table,
    limit: Annotated[
        Optional[int],
        typer.Option(metavar="N", min=1, help="Rows of a table.", show_default=str(_MOST_ROWS)),
    ] = None,
) -> None:
    """Ask the catalogue in SQL (DuckDB's): of all stems, or of items with lists of stems, events and captions.

    stems: track, source, seconds, name, prompt, path, level_db, peak, clipped_samples, overall, recall, precision,
    faithfulness, present, in_mixture, spans.

    items: track, source, task, status, error, attempts, prompts, seconds, sample_rate, channels, elapsed_s, made_at,
    model, warnings, stems, events, captions, vector.
    """
    from sam_audio.scale.catalogue import ask
    from sam_audio.scale.stores import open_folder

    columns, rows = ask(open_folder(out), question)
    _print(columns, rows, form, limit or (_MOST_ROWS if form is Form.table else None))


def _print(columns: Sequence[str], rows: Sequence[Sequence[Any]], form: Form, limit: int | None) -> None:
    shown = rows if limit is None else rows[:limit]
    if form is Form.json:
        plain = [
            [one if isinstance(one, (str, int, float, list, dict)) else _text(one) for one in row]
            for row in shown
        ]
        show_json({"rows": [dict(zip(columns, row, strict=True)) for row in plain]})
    elif form is Form.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([[_text(one) for one in row] for row in shown])
    else:
        cells = [list(columns), *([_text(one) for one in row] for row in shown)]
        widths = [max(len(row[n]) for row in cells) for n in range(len(columns))]
        for row in cells:
            show("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if len(shown) < len(rows):
            show(f"({len(rows) - len(shown)} more: --limit N, or --format csv for all)")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(str(value).split())
