"""``sam-audio models``: which models there are."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(help="Which models there are.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("list")
def list_models(json_list: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """List the models that can be used now."""
    from sam_audio.catalogue import models

    entries = models()
    if json_list:
        print(json.dumps(entries, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "kind", "parameters", "size", "licence", "where", box=None, pad_edge=False)
    for entry in entries:
        millions, megabytes = entry["parameters"] / 1e6, entry["bytes"] / 1e6
        table.add_row(
            entry["name"],
            entry["kind"],
            f"{millions:.1f} M",
            f"{megabytes:.1f} MB",
            entry["licence"],
            entry["where"],
        )
    Console().print(table)
