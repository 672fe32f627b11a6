"""Serves the page on this machine."""

from __future__ import annotations

import errno
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from sam_audio.errors import UserError
from sam_audio.web.folder import fill

HOST = "127.0.0.1"
HEADERS = {
    # only a page that shares nothing with others may use threads
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}


class _Handler(SimpleHTTPRequestHandler):
    # what systems say of them differs, and modules of another kind are not run
    extensions_map = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".gz": "application/gzip",
    }

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nobody wants to read who fetched what."""


@contextmanager
def opened(port: int) -> Iterator[ThreadingHTTPServer]:
    """A server of the page, bound and not yet running.

    Raises:
        UserError: the port is taken, or not allowed.
    """
    with TemporaryDirectory(prefix="sam-audio-web-") as folder:
        fill(Path(folder))
        try:
            server = ThreadingHTTPServer((HOST, port), partial(_Handler, directory=folder))
        except OSError as error:
            why = "is in use" if error.errno == errno.EADDRINUSE else "cannot be opened"
            raise UserError(f"port {port} {why}: choose another with --port") from None
        with server:
            yield server


def serve(port: int, browser: bool) -> None:
    """Serves the page until it is interrupted; port 0 is one that is free."""
    with opened(port) as server:
        url = f"http://localhost:{server.server_port}/"
        print(f"{url}  (Ctrl-C ends it)", flush=True)
        if browser:
            webbrowser.open(url)
        server.serve_forever()
