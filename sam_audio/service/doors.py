"""What every request passes: who it comes from, and how much it may bring, how slowly."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from sam_audio.service.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATHS = ("/v1/health",)
UPLOADS = "/v1/uploads"
MOST_JSON_BYTES = 1_000_000
_NOBODY = "nobody"


def client_of(token: str, tokens: Mapping[str, str]) -> str | None:
    """Whose token it is. Takes as long whatever it is: all are compared, by digests of one length."""
    given = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
    found = None
    for known, name in tokens.items():
        if hmac.compare_digest(given, hashlib.sha256(known.encode()).digest()):
            found = name
    return found


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
            refusal = self._refused_body(scope, headers)
        if refusal is not None:
            refusal.headers["connection"] = "close"  # nobody reads what else it would send
            await refusal(scope, receive, send)
            return
        scope.setdefault("state", {})["client"] = client
        try:
            await self.app(scope, self._bounded(scope, receive), send)
        except HTTPException as broken:  # the body, where nobody else has caught it
            await _refusal(broken.status_code, broken.detail)(scope, receive, send)

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

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """Receives a body as long as it keeps to the limits; what comes afterwards is waited for."""
        most_bytes, silence_s = self._most_bytes(scope), self.settings.upload_silence_s
        begun, n_bytes, complete = time.monotonic(), 0, False

        async def bounded() -> Message:
            nonlocal n_bytes, complete
            if complete:  # a disconnection, which may come late
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), silence_s)
            except TimeoutError:
                raise HTTPException(408, f"nothing came for {silence_s:g} s: send it again") from None
            if message["type"] == "http.request":
                n_bytes += len(message.get("body", b""))
                complete = not message.get("more_body", False)
            if n_bytes > most_bytes:
                raise HTTPException(413, _too_large(most_bytes))
            taken_s = time.monotonic() - begun
            if not complete and taken_s > silence_s and n_bytes / taken_s < self.settings.least_upload_rate:
                raise HTTPException(408, "the upload is too slow: send it again over another line")
            return message

        return bounded


def _too_large(most_bytes: int) -> str:
    return f"the body is larger than {most_bytes / 1e6:g} MB: send less"


def _refusal(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)
