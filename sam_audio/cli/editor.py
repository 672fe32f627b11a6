"""``sam-audio app``: the editor in the browser."""

from __future__ import annotations

import ipaddress
import json
import os
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
    jobs: Annotated[int, typer.Option("--jobs", "-j", metavar="N", min=1, help="Separations at a time.")] = 1,
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="See: sam-audio models list.")] = "nano",
    device: Annotated[str, typer.Option("--device", "-d", help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Open the editor in the browser."""
    from importlib.util import find_spec

    from sam_audio.cli.shared import size_bytes
    from sam_audio.errors import MissingExtraError, UserError

    if find_spec("streamlit") is None or find_spec("streamlit_image_coordinates") is None:
        raise MissingExtraError("the editor needs streamlit, which is not installed", "app")
    if file is not None and not Path(file).exists():
        raise UserError(f"{file} does not exist: check the name and the folder")
    if not 0 < port < 65536:
        raise UserError(f"{port} is not a port: use 1 to 65535")
    if _taken(host, port):
        raise UserError(f"port {port} is in use: choose another with --port {port + 1}")
    alone = _is_loopback(host)
    settings = {
        "file": None if file is None else str(Path(file).resolve()),
        "sessions": str(sessions.resolve()) if sessions else str(SESSIONS) if alone else None,
        "most_bytes": size_bytes(max_upload),
        "at_once": jobs,
        "model": model,
        "device": device,
    }
    _serve(settings, host, port, browser)


def _serve(settings: dict, host: str, port: int, browser: bool) -> None:
    from importlib import resources

    from streamlit.web import bootstrap

    from sam_audio.app.controller import Settings

    os.environ["SAM_AUDIO_APP"] = json.dumps(vars(Settings(**settings)))
    page = str(resources.files("sam_audio.app").joinpath("page.py"))
    options = {
        "server.address": host,
        "server.port": port,
        "server.headless": not browser,
        "server.maxUploadSize": max(1, settings["most_bytes"] // 10**6),
        "server.fileWatcherType": "none",
        "server.disconnectedSessionTTL": 60,
        "browser.gatherUsageStats": False,  # nothing leaves this machine
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "theme.base": "light",
        "theme.primaryColor": "#0b5cad",
        "theme.textColor": "#1b1f24",
        "theme.linkColor": "#0b5cad",
    }
    flags = {name.replace(".", "_"): value for name, value in options.items()}
    bootstrap.load_config_options(flag_options=flags)
    print(
        f"the editor is at http://{'localhost' if _is_loopback(host) else host}:{port}; Ctrl-C ends it",
        flush=True,
    )
    bootstrap.run(page, False, [], flags)


def _taken(host: str, port: int) -> bool:
    import socket

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
