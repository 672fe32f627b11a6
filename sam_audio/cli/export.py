"""``sam-audio export``: the nano networks for other runtimes."""

from __future__ import annotations

import typer

app = typer.Typer(help="Write the nano networks for other runtimes.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `onnx` a command of its own while there is no other."""


@app.command("onnx")
def onnx() -> None:
    """Write the graphs that run nano without torch, beside its weights, which they do not hold."""
    import logging

    from sam_audio.training import graphs

    logging.basicConfig(level=logging.WARNING)
    for graph in graphs.shipped():
        graphs.write(graph)
        typer.echo(graph.path)
