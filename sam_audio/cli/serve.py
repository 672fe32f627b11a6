"""``sam-audio serve``"""

from __future__ import annotations

import ipaddress
import os
import secrets
from pathlib import Path
from typing import Annotated, Optional

import typer

from sam_audio.errors import MissingExtraError, UserError

TOKEN = "SAM_AUDIO_TOKEN"
_LEAST_TOKEN = 16


def serve(
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Queue, uploads and outputs.")] = Path(
        "service"
    ),
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
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="Each has the models.")] = 1,
    threads: Annotated[
        Optional[int], typer.Option(metavar="N", min=1, help="CPU threads of a worker.", show_default="all")
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="See: sam-audio models list.")] = "nano",
    device: Annotated[str, typer.Option("--device", "-d", help="auto, cpu, cuda or mps.")] = "auto",
    max_upload: Annotated[str, typer.Option(metavar="SIZE", help="Of a recording.")] = "500MB",
    max_length: Annotated[float, typer.Option(metavar="S", min=1, help="Of a recording.")] = 3600.0,
    max_data: Annotated[str, typer.Option(metavar="SIZE", help="Of uploads and outputs together.")] = "50GB",
    max_jobs: Annotated[int, typer.Option(metavar="N", min=1, help="That wait.")] = 1000,
    job_timeout: Annotated[float, typer.Option(metavar="S", min=1, help="Of a job.")] = 1800.0,
    keep: Annotated[float, typer.Option(metavar="H", min=0.01, help="Hours that outputs are kept.")] = 24.0,
    grace: Annotated[
        float, typer.Option(metavar="S", min=0, help="What running jobs get when the service stops.")
    ] = 30.0,
) -> None:
    """Serve separations over HTTP: uploads, a queue that survives, progress, outputs.

    On this machine everybody is let in. Beyond it a token is asked for: SAM_AUDIO_TOKEN, those of --tokens, or one
    that is made and printed.
    """
    try:
        from sam_audio.service.app import create_app
        from sam_audio.service.server import server_of
    except ImportError as error:
        if not (error.name or "").startswith(
            ("fastapi", "uvicorn", "pydantic", "prometheus_client", "starlette")
        ):
            raise
        raise MissingExtraError(f"the service needs {error.name}, which is not installed", "serve") from None
    from sam_audio.options import size_bytes
    from sam_audio.service.settings import Settings

    known = _tokens(tokens)
    if not known and not _is_loopback(host):
        token = secrets.token_urlsafe(24)
        known = {token: "default"}
        typer.echo(f"the token is {token}; set {TOKEN} to choose one", err=True)
    for prefix in allow_uri or []:
        if "://" not in prefix or prefix.startswith("file:"):
            raise UserError(
                f"{prefix} is no prefix of URIs: write one like https://sounds.example/ or s3://bucket/"
            )
    settings = Settings(
        data.absolute(),
        workers=workers,
        threads=threads,
        model=model,
        device=device,
        tokens=known,
        allow_uris=tuple(allow_uri or ()),
        hosts=_hosts(host, allow_host or []),
        most_upload_bytes=size_bytes(max_upload),
        most_seconds=max_length,
        most_data_bytes=size_bytes(max_data),
        most_jobs=max_jobs,
        job_timeout_s=job_timeout,
        keep_s=keep * 3600,
        grace_s=grace,
    )
    server = server_of(create_app(settings), host, port)
    typer.echo(f"the service is at http://{host}:{port}; Ctrl-C ends it", err=True)
    server.run()


def _tokens(path: Path | None) -> dict[str, str]:
    """Names by tokens.

    Raises:
        UserError: the file cannot be read or understood, or a token is too short to be a secret.
    """
    found: dict[str, str] = {}
    if path is not None:
        from sam_audio.documents import read_text

        for number, line in enumerate(read_text(path, "a file of lines NAME:TOKEN").splitlines(), 1):
            if line.strip():
                name, _, token = line.strip().partition(":")
                if not name or not token or token in found:
                    raise UserError(f"line {number} of {path} is no NAME:TOKEN of its own: correct it there")
                found[token] = name
    if own := os.environ.get(TOKEN):
        found[own] = "default"
    if any(len(token) < _LEAST_TOKEN for token in found):
        raise UserError(f"a token is too short to be a secret: use {_LEAST_TOKEN} characters or more")
    return found


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
