"""``sam-audio serve``"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Optional

import typer

from sam_audio.cli.options import fields_as_options
from sam_audio.errors import MissingExtraError
from sam_audio.service.settings import Settings, check_prefixes


@fields_as_options(settings=Settings)
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8765,
    allow_host: Annotated[
        Optional[list[str]],
        typer.Option(metavar="NAME", help="A name that the service goes by.", show_default=False),
    ] = None,
    tokens: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE", help="Clients: a line NAME:TOKEN for each.", show_default=False),
    ] = None,
    allow_uri: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="PREFIX",
            help="URIs that jobs may read, like https://sounds.example/.",
            show_default=False,
        ),
    ] = None,
    settings: Settings = Settings(),  # noqa: B008 (frozen)
) -> None:
    """Serve separations over HTTP: uploads, a queue that survives, progress, outputs.

    On this machine everybody is let in. Beyond it a token is asked for: SAM_AUDIO_TOKEN, those of --tokens, or one
    that is made and printed.
    """
    try:
        from sam_audio.service.app import create_app
        from sam_audio.service.server import listening, server_of
    except ImportError as error:
        if not (error.name or "").startswith(
            ("fastapi", "uvicorn", "pydantic", "prometheus_client", "starlette")
        ):
            raise
        raise MissingExtraError(f"the service needs {error.name}, which is not installed", "serve") from None
    from sam_audio.service.tokens import made_token, read_tokens

    known, told = read_tokens(tokens), None
    if not known and not _is_loopback(host):
        known, told = made_token()
    settings = replace(
        settings,
        data=settings.data.absolute(),
        tokens=known,
        allow_uris=check_prefixes(tuple(allow_uri or ())),
        hosts=_hosts(host, allow_host or []),
    )
    with listening(host, port) as line:
        server = server_of(create_app(settings), host, port)
        if told is not None:
            typer.echo(told, err=True)
        typer.echo(f"the service is at http://{host}:{port}; Ctrl-C ends it", err=True)
        server.run(sockets=[line])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _hosts(host: str, allowed: list[str]) -> tuple[str, ...]:
    """The names to answer to: pages of others could reach a service on this machine by a name of theirs."""
    if _is_loopback(host):
        return ("localhost", "127.0.0.1", "[::1]", *allowed)
    return (host, *allowed) if allowed else ()
