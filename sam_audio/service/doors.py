"""What every request passes: who it comes from, and how much it may bring, how slowly."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from sam_audio.service.settings import Settings
from sam_audio.service.tokens import client_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATHS = ("/v1/health",)
UPLOADS = "/v1/uploads"
MOST_JSON_BYTES = 1_000_000
PASS_BY_S = 2.0
_NOBODY = "nobody"


class Door:
    """Middleware: lets in those with a token, and bodies that are not too large, too slow or packed.

    The name of the client is ``scope["state"]["client"]`` behind it: that of its token, else its address.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        address = scope.get("client") or (_NOBODY, 0)
        client: str | None = address[0]
        if self.settings.tokens and scope["path"] not in OPEN_PATHS:
            kind, _, token = headers.get("authorization", "").partition(" ")
            client = client_of(token.strip(), self.settings.tokens) if kind.lower() == "bearer" else None
        refusal = None
        if client is None:
            refusal = _refusal(401, "a token is needed: send Authorization: Bearer TOKEN")
            refusal.headers["www-authenticate"] = "Bearer"
        else:
            refusal = self._refused_page(headers) or self._refused_body(scope, headers)
        body = _Body(receive, self.settings, self._most_bytes(scope))
        if refusal is not None:
            if client is not None:
                await body.pass_by()
            refusal.headers["connection"] = "close"  # nobody reads what else it would send
            await refusal(scope, receive, send)
            return
        scope.setdefault("state", {})["client"] = client

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                await body.pass_by()
            await send(message)

        try:
            await self.app(scope, body.receive, answer)
        except HTTPException as broken:  # the body, where nobody else has caught it
            await _refusal(broken.status_code, broken.detail)(scope, receive, answer)

    def _refused_page(self, headers: Headers) -> JSONResponse | None:
        """Where everybody is let in, a page from elsewhere is not: a browser would send for it what it likes."""
        origin = headers.get("origin")
        if self.settings.tokens or origin is None or origin.partition("://")[2] == headers.get("host"):
            return None
        return _refusal(403, "pages from elsewhere may not use this service: use it from a program")

    def _most_bytes(self, scope: Scope) -> int:
        return self.settings.most_upload_bytes if scope["path"] == UPLOADS else MOST_JSON_BYTES

    def _refused_body(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        """What can be said by the headers."""
        if headers.get("content-encoding", "identity").lower() != "identity":
            return _refusal(415, "packed bodies are not taken: send it as it is")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            return _refusal(400, "the length of the body is no number")
        if int(length[:20]) > self._most_bytes(scope):
            return _refusal(413, _too_large(self._most_bytes(scope)))
        return None


class _Body:
    """The body of a request, which is received as long as it keeps to the limits."""

    def __init__(self, receive: Receive, settings: Settings, most_bytes: int) -> None:
        self._receive, self._settings, self._most_bytes = receive, settings, most_bytes
        self._begun, self._n_bytes, self._over = time.monotonic(), 0, False

    async def receive(self) -> Message:
        if self._over:  # a disconnection, which may come late
            return await self._receive()
        silence_s = self._settings.upload_silence_s
        try:
            message = await asyncio.wait_for(self._receive(), silence_s)
        except TimeoutError:
            raise self._broken(408, f"nothing came for {silence_s:g} s: send it again") from None
        if message["type"] == "http.request":
            self._n_bytes += len(message.get("body", b""))
        self._over = not message.get("more_body", False)
        if self._n_bytes > self._most_bytes:
            raise self._broken(413, _too_large(self._most_bytes))
        taken_s = time.monotonic() - self._begun
        slow = taken_s > silence_s and self._n_bytes / taken_s < self._settings.least_upload_rate
        if slow and not self._over:
            raise self._broken(408, "the upload is too slow: send it again over another line")
        return message

    def _broken(self, status: int, detail: str) -> HTTPException:
        self._over = status == 408  # who was too slow once is not waited for again
        return HTTPException(status, detail, {"connection": "close"})

    async def pass_by(self) -> None:
        """Takes the rest of a body that nobody wants, for a moment: who still sends does not hear the answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PASS_BY_S):
                while not self._over:
                    message = await self._receive()
                    self._over = not message.get("more_body", False)


def _too_large(most_bytes: int) -> str:
    return f"the body is larger than {most_bytes / 1e6:g} MB: send less"


def _refusal(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)
