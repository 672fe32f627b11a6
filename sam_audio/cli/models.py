"""``sam-audio models``: which models there are, what they need, and how to get them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

app = typer.Typer(help="Which models there are, what they need, how to get them.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("list")
def list_models(json_list: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """List the models shipped with this package and the published ones."""
    from sam_audio.models import models

    entries = models()
    if json_list:
        print(json.dumps(entries, indent=2))
        return
    rows = [("name", "kind", "parameters", "size", "licence", "where")]
    for entry in entries:
        millions, size = f"{entry['parameters'] / 1e6:.1f} M", _size(entry["bytes"])
        # of a long path the fact is enough here
        where = "downloaded" if Path(entry["where"]).is_absolute() else entry["where"]
        rows.append((entry["name"], entry["kind"], millions, size, entry["licence"], where))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command("info")
def info(
    name: Annotated[str, typer.Argument(help="nano, a published model's name, or a folder.")],
    json_info: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Say what a model is, what memory it needs and how to get it; reads no weights and asks no network."""
    from sam_audio.separator.official.about import about

    entries = about(name)
    if json_info:
        print(json.dumps(entries, indent=2))
        return
    print("\n\n".join(_described(entry) for entry in entries))


@app.command("download")
def download(
    name: Annotated[str, typer.Argument(help="Of a published model, like facebook/sam-audio-small.")],
    revision: Annotated[
        Optional[str],
        typer.Option(help="Branch, tag or commit.", show_default="the one that is read here"),
    ] = None,
) -> None:
    """Fetch a published model into the cache of the Hugging Face hub.

    A download that was cut off goes on where it ended; what has come is checked.
    """
    from sam_audio.separator.official.about import download

    print(f"{name} is in {download(name, revision)}")


def _described(entry: dict[str, Any]) -> str:
    """An entry of `about` as lines."""
    memory = ", ".join(f"{_size(size)} in {dtype}" for dtype, size in entry["memory"].items())
    if video := entry.get("video_bytes"):
        memory += f"; {_size(video)} more with video"
    others = ", ".join(f"{other} for {use}" for use, other in entry["with"].items())
    lines = {
        "name": entry["name"],
        "kind": entry["kind"],
        "parameters": f"{entry['parameters'] / 1e6:.1f} M",
        "memory": memory,
        "files": f"{', '.join(entry['files'])} ({_size(entry['bytes'])} of weights)",
        "uses": others,
        "licence": entry["licence"] or "see where it came from",
        "gate": entry["gate"] or "none",
        "revision": entry["revision"],
        "where": entry["where"],
    }
    return "\n".join(f"{key:<12}{value}" for key, value in lines.items() if value)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
