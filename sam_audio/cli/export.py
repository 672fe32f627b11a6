"""``sam-audio export``: the nano networks for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Write the nano networks for other runtimes.", no_args_is_help=True)


@app.command("onnx")
def onnx() -> None:
    """Write the graphs that run nano without torch, beside its weights, which they do not hold."""
    import logging

    from sam_audio.training import graphs

    logging.basicConfig(level=logging.WARNING)
    for graph in graphs.shipped():
        graphs.write(graph)
        typer.echo(graph.path)


@app.command("int8")
def int8(
    data: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder of manifest.tsv.gz: its training recordings calibrate."),
    ],
) -> None:
    """Write the graph that computes the separator's trunk in int8, for the shipped weights."""
    from sam_audio.training import quantise
    from sam_audio.training.data.prepare import prepare

    typer.echo(quantise.quantise(quantise.calibration(prepare(data))))
