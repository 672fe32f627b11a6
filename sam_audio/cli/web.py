"""``sam-audio web``: the page that separates on its visitor's own machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def web(
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Port of the page; 0 is any that is free.")
    ] = 8600,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
    folder: Annotated[
        Optional[Path],
        typer.Option(
            "--write",
            metavar="FOLDER",
            help="Write the page into a folder that any web server can serve, and serve nothing.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Open a page where nano separates in the browser: nothing leaves the machine of whoever visits it."""
    if folder is None:
        from sam_audio.web.serving import serve

        serve(port, browser)
        return
    from sam_audio.web.folder import write

    write(folder)
    typer.echo(folder / "index.html")
