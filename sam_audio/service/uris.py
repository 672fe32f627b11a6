"""Recordings by URI: only what the operator allowed is read, and no name leads to an address inside.

A URI has to lie below an allowed prefix; redirects are not followed. Of http and https the host's addresses have to be
public, unless the prefix names a host of the operator's own by address or as localhost; the connection is made
to the address that was looked at, so that a name cannot change its mind in between.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from sam_audio.documents import shown
from sam_audio.errors import AudioReadError, UserError
from sam_audio.scale.stores import Patience, fetch

_MOST_LENGTH = 2000
_CHUNK_BYTES = 1 << 18
_UNICAST = ipaddress.ip_network("2000::/3")  # what is public of version 6
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # how networks without version 4 write its addresses


def allowed_prefix(uri: str, prefixes: Sequence[str]) -> str:
    """The prefix that allows a URI.

    Raises:
        UserError: none does, or the URI is written in a way that could mean another.
    """
    parts = _parts(uri)
    for prefix in prefixes:
        wanted = urlsplit(prefix)
        place = wanted.path if wanted.path.endswith("/") else f"{wanted.path}/"
        if (parts.scheme, parts.netloc.lower()) == (wanted.scheme.lower(), wanted.netloc.lower()) and (
            parts.path == wanted.path or parts.path.startswith(place)
        ):
            return prefix
    raise UserError(f"this service may not read {shown(uri)}: upload the recording")


def _parts(uri: str) -> SplitResult:
    strange = UserError(
        f"{shown(uri)} is no plain URI: write scheme://host/path without user, dots or escapes of them"
    )
    if len(uri) > _MOST_LENGTH or not uri.isascii() or re.search(r"[\x00-\x20\x7f\\#]", uri):
        raise strange
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        raise strange from None
    path = unquote(unquote(parts.path))
    has_dots = any(part in (".", "..") for part in re.split(r"[/\\]", path))
    if (
        not parts.scheme
        or not parts.hostname
        or "@" in parts.netloc
        or has_dots
        or re.search(r"[\x00-\x1f]", path)
    ):
        raise strange
    return parts


def fetch_uri(
    uri: str,
    prefixes: Sequence[str],
    folder: Path,
    most_bytes: int,
    timeout_s: float = 30.0,
    most_s: float = 600.0,
) -> Path:
    """Has a recording on this machine.

    Raises:
        UserError: it may not be read, cannot be, or is too large.
    """
    prefix = allowed_prefix(uri, prefixes)
    parts = _parts(uri)
    if parts.scheme not in ("http", "https"):
        return fetch(uri, folder, Patience(timeout_s), most_bytes).path
    address = _address(parts, own=_is_own(urlsplit(prefix)))
    to = folder / (re.sub(r"[^\w.-]", "_", parts.path.rpartition("/")[2])[-100:].lstrip(".") or "recording")
    try:
        _download(parts, address, to, most_bytes, timeout_s, time.monotonic() + most_s)
    except (OSError, http.client.HTTPException) as error:
        raise AudioReadError(f"{uri} cannot be read ({type(error).__name__}): try again later") from None
    return to


def _is_own(prefix: SplitResult) -> bool:
    """Whether an allowed prefix names a machine of the operator's: by its address, or this one."""
    host = prefix.hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def _address(parts: SplitResult, own: bool) -> tuple[str, int]:
    """Address and port to connect to."""
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except OSError:
        raise AudioReadError(f"{host} is not known: check the URI") from None
    if not own and not all(_is_public(address) for address in found):
        raise UserError(f"{host} is no public host: upload the recording")
    return found[0], port


def _is_public(address: str) -> bool:
    """Whether an address is one of the internet's; one of version 6 may stand for one of version 4."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        elif ip not in _UNICAST or ip.sixtofour is not None or ip.teredo is not None:
            return False
    return ip.is_global and not ip.is_multicast


class _Pinned(http.client.HTTPConnection):
    """A connection to an address, under the name of its host."""

    def __init__(self, parts: SplitResult, address: tuple[str, int], timeout_s: float) -> None:
        super().__init__(parts.hostname or "", address[1], timeout=timeout_s)
        self._address = address
        self._secure = parts.scheme == "https"

    def connect(self) -> None:
        self.sock = socket.create_connection(self._address, self.timeout)
        if self._secure:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def _download(
    parts: SplitResult, address: tuple[str, int], to: Path, most_bytes: int, timeout_s: float, deadline: float
) -> None:
    connection = _Pinned(parts, address, timeout_s)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Host": parts.netloc, "Accept-Encoding": "identity"})
        answer = connection.getresponse()
        if 300 <= answer.status < 400:
            raise AudioReadError(
                f"{parts.netloc} sends elsewhere: name the place where the recording itself is"
            )
        if answer.status != 200:
            raise AudioReadError(f"{parts.netloc} answers {answer.status}: check the URI")
        size = 0
        with to.open("wb") as file:
            while block := answer.read1(_CHUNK_BYTES):
                size += len(block)
                if size > most_bytes:
                    raise AudioReadError(
                        f"the recording is larger than {most_bytes / 1e6:.0f} MB: cut it into parts"
                    )
                if time.monotonic() > deadline:
                    raise AudioReadError(f"{parts.netloc} is too slow: upload the recording")
                file.write(block)
        if answer.length:
            raise AudioReadError(f"{parts.netloc} broke off: try again later")
    finally:
        connection.close()
