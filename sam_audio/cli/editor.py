"""``sam-audio app``: the editor in the browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Optional

import typer

SESSIONS = Path.home() / "sam-audio"


def editor(
    file: Annotated[
        Optional[str],
        typer.Argument(metavar="FILE", help="A recording, video or session folder.", show_default=False),
    ] = None,
    port: Annotated[int, typer.Option(metavar="N", help="Port of the page.")] = 8501,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Whom to serve; 0.0.0.0 is everybody who can reach this machine."
        ),
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
    max_upload: Annotated[str, typer.Option(metavar="SIZE", help="Largest upload.")] = "500MB",
    sessions: Annotated[
        Optional[Path],
        typer.Option(
            metavar="DIR",
            help="Folder of saved sessions. Other hosts' visitors would see each other's: they have none by default.",
            show_default="~/sam-audio",
        ),
    ] = None,
    allow_host: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="NAME",
            help="A name that the editor is reached by, beside localhost and ADDRESS; can be repeated.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", metavar="N", min=1, help="Separations at a time.")] = 1,
    model: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="NAME|PATH",
            help="Models to choose from, the first at first (see: sam-audio models list); can be repeated.",
            show_default="nano",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", "-d", help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Open the editor in the browser."""
    from importlib.util import find_spec

    from sam_audio.errors import MissingExtraError, UserError
    from sam_audio.options import size_bytes

    if find_spec("streamlit") is None:
        raise MissingExtraError("the editor needs streamlit, which is not installed", "app")
    from sam_audio.app.controller import Settings
    from sam_audio.app.server import is_loopback, serve

    if file is not None and not Path(file).exists():
        raise UserError(f"{file} does not exist: check the name and the folder")
    if not 0 < port < 65536:
        raise UserError(f"{port} is not a port: use 1 to 65535")
    for name in allow_host or []:
        if not re.fullmatch(r"[\w.-]+|\[[0-9A-Fa-f:.]+\]", name):
            raise UserError(
                f"{name!r} is no name of a machine: use one like studio.local, without http:// and port"
            )
    if _taken(host, port):
        raise UserError(f"port {port} is in use: choose another with --port {port + 1}")
    settings = Settings(
        file=None if file is None else str(Path(file).resolve()),
        sessions=str(sessions.resolve()) if sessions else str(SESSIONS) if is_loopback(host) else None,
        most_bytes=size_bytes(max_upload),
        at_once=jobs,
        models=_named(model or ["nano"]),
        device=device,
    )
    serve(settings, host, port, allow_host or [], browser)


def _named(models: list[str]) -> dict[str, str]:
    """What is loaded, by what visitors call it: a folder by its name, since where it lies is none of their business."""
    from sam_audio.naming import distinct

    called = [Path(model).resolve().name if Path(model).exists() else model for model in models]
    return dict(zip(distinct(called), models, strict=True))


def _taken(host: str, port: int) -> bool:
    import socket

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False
