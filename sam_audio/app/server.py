"""The editor's server: streamlit's own, behind one door that every request passes.

A server on one's own machine is within reach of every page that is open in a browser there. So the door lets in only
requests that were addressed to a name the editor goes by (a page that has its own name point to 127.0.0.1 sends that
name in ``Host``) and that do not come from another page (``Origin``). Each answer says what the page may do: load
nothing from elsewhere, and be shown inside of no other page.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import json
import os
import re
import socket
import webbrowser
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import streamlit
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from sam_audio.app.controller import Settings
from sam_audio.app.pieces import routes

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SETTINGS = "SAM_AUDIO_APP"  # environment variable: Settings as JSON, for the page
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PAGE = Path(__file__).with_name("page.py")


def serve(
    settings: Settings, host: str, port: int, allowed: Collection[str] = (), browser: bool = False
) -> None:
    """Serves the editor until it is told to end.

    Args:
        host: address to listen on.
        allowed: names it goes by, beside those of `names`.
        browser: whether to open one.
    """
    url = f"http://{address(host)}:{port}"

    @asynccontextmanager
    async def life(app: streamlit.App) -> AsyncIterator[None]:
        print(f"the editor is at {url}; Ctrl-C ends it", flush=True)
        if browser:  # the socket listens already; a browser that has to be started first may take its time
            asyncio.get_running_loop().run_in_executor(None, webbrowser.open, url)
        yield

    os.environ[SETTINGS] = json.dumps(asdict(settings))
    door = Middleware(Door, hosts=names(host, allowed), addresses=_is_everybody(host))
    app = streamlit.App(_PAGE, routes=routes(), middleware=[door], lifespan=life)
    app.run(config={"server.address": host, "server.port": port, **_options(settings)})


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "server.headless": True,
        "server.maxUploadSize": max(1, settings.most_bytes // 10**6),
        "server.fileWatcherType": "none",
        "server.disconnectedSessionTTL": 60,
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        "server.enableStaticServing": False,
        "server.enableAgentApi": False,
        "logger.hideWelcomeMessage": True,  # for it, streamlit asks a server elsewhere for this machine's address
        "browser.gatherUsageStats": False,  # nothing leaves this machine
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "client.allowedOrigins": [],
        # no base: light or dark, as the visitor's system is
        "theme.light.primaryColor": "#0b5cad",
        "theme.light.textColor": "#1b1f24",
        "theme.light.linkColor": "#0b5cad",
        "theme.dark.primaryColor": "#4da3f5",
        "theme.dark.backgroundColor": "#10141a",
        "theme.dark.secondaryBackgroundColor": "#1c222b",
        "theme.dark.textColor": "#e8ecf1",
        "theme.dark.linkColor": "#6db3f8",
    }


def names(host: str, allowed: Collection[str] = ()) -> frozenset[str]:
    """The names under which an editor that listens on ``host`` can be reached, in lower case, without brackets."""
    own = [socket.gethostname()] if _is_everybody(host) else [host]
    return frozenset(name.lower().strip("[]").rstrip(".") for name in (*LOOPBACK, *own, *allowed))


def address(host: str) -> str:
    """Of the page, as a browser on this machine takes it."""
    if is_loopback(host) or _is_everybody(host):
        return "localhost" if host != "::1" else "[::1]"
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    ip = _ip(host)
    return host == "localhost" if ip is None else ip.is_loopback


def _is_everybody(host: str) -> bool:
    ip = _ip(host)
    return ip is not None and ip.is_unspecified


def _ip(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


class Door:
    """Middleware that lets in whom the editor is for, and tells browsers what the page may do.

    Args:
        app: what is behind it.
        hosts: names it goes by, as `names` gives them.
        addresses: whether every address (no name) is one of them: nobody can have an address point elsewhere.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str], addresses: bool = False) -> None:
        self.app = app
        self.hosts = hosts
        self.addresses = addresses
        self.rules = _rules()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                MutableHeaders(scope=message).update(self.rules)
            await send(message)

        inside = self.refusal(Headers(scope=scope)) or self.app
        await inside(scope, receive, answer)

    def refusal(self, headers: Headers) -> PlainTextResponse | None:
        """What is said to those who are not let in."""
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self.knows(hosts[0]):
            return PlainTextResponse(
                "This editor does not go by that name: use the address it told, or start it with --allow-host NAME.\n",
                421,
            )
        if any(_netloc(origin) != hosts[0].lower() for origin in origins):
            return PlainTextResponse(
                "This editor answers no other page: open its address in the browser itself.\n", 403
            )
        return None

    def knows(self, host: str) -> bool:
        """Whether a ``Host`` header names this server.

        >>> door = Door(None, names("127.0.0.1"))
        >>> [door.knows(host) for host in ("localhost:8501", "[::1]:8501", "evil.example", "localhost@evil.example")]
        [True, True, False, False]
        """
        parts = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+))(?::\d{1,5})?", host, re.ASCII)
        if parts is None:
            return False
        name = (parts[1] or parts[2]).lower().rstrip(".")
        return name in self.hosts or (self.addresses and _ip(name) is not None)


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _rules() -> dict[str, str]:
    """Headers of every answer."""
    policy = {
        "default-src": "'none'",
        "script-src": f"'self' {_inline_scripts()} blob:",  # streamlit runs the mixer's code from a blob
        "style-src": "'self' 'unsafe-inline'",  # streamlit's styles are made by its scripts
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "media-src": "'self' blob:",
        "connect-src": "'self'",
        "worker-src": "'self' blob:",
        "manifest-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'self'",
    }
    return {
        "content-security-policy": "; ".join(f"{what} {sources}" for what, sources in policy.items()),
        "x-frame-options": "SAMEORIGIN",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "permissions-policy": "microphone=(self), "
        + ", ".join(
            f"{feature}=()" for feature in ("camera", "display-capture", "geolocation", "payment", "usb")
        ),
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }


def _inline_scripts() -> str:
    """Hashes of the scripts that streamlit's page itself holds."""
    page = (Path(streamlit.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    return " ".join(f"'sha256-{digest}'" for digest in hashes)
