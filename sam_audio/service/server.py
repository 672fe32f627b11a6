"""The application on a port: uvicorn, with limits that it has not by itself."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from sam_audio.errors import UserError

HEAD_S = 15.0  # for the head of a request
MOST_CONNECTIONS = 500


def listening(host: str, port: int) -> socket.socket:
    """A socket that is bound already, so that what is wrong with it is said before anything is loaded.

    Raises:
        UserError: the address is not this machine's, or the port is taken.
    """
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise UserError(
            f"nobody can listen at {host}:{port} ({error.strerror}): choose another --host or --port"
        ) from None


def server_of(app: FastAPI, host: str, port: int) -> uvicorn.Server:
    """A server of an application that `sam_audio.service.app.create_app` has made; port 0 is any that is free."""

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            app.state.service.runner.stopping.set()  # streams of events end, and no job is begun any more
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=PunctualProtocol,
        ws="none",
        log_level="error",  # uvicorn warns of each torn request, which strangers send as they like
        access_log=False,
        server_header=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=5,
        limit_concurrency=MOST_CONNECTIONS,
        h11_max_incomplete_event_size=64_000,
    )
    return Server(config)


class PunctualProtocol(H11Protocol):
    """Hangs up where the head of a request takes more than HEAD_S: connections that only wait would take up all there
    may be. The body is the matter of `sam_audio.service.doors`."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def handle_events(self) -> None:
        super().handle_events()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unwatch()

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:  # a head has come
            self._unwatch()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_S, self.transport.close)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
