"""URIs of strangers: only what is allowed is read, however they write it."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sam_audio.errors import UserError
from sam_audio.service import uris
from sam_audio.service.uris import allowed_prefix, fetch_uri

PREFIXES = ("https://sounds.example/lib/", "s3://bucket/in", "http://127.0.0.1:8080/")


@pytest.mark.parametrize(
    "uri",
    [
        "https://sounds.example/lib/a.wav",
        "https://SOUNDS.example/lib/deep/a%20b.wav?v=1",
        "s3://bucket/in/a.wav",
        "http://127.0.0.1:8080/a.wav",
    ],
)
def test_what_is_allowed(uri):
    assert allowed_prefix(uri, PREFIXES) in PREFIXES


@pytest.mark.parametrize(
    "uri",
    [
        "https://sounds.example/other/a.wav",
        "https://sounds.example/library/a.wav",
        "https://sounds.example.evil.example/lib/a.wav",
        "https://sounds.example:444/lib/a.wav",
        "http://sounds.example/lib/a.wav",
        "https://sounds.example@evil.example/lib/a.wav",
        "https://evil.example/https://sounds.example/lib/a.wav",
        "https://user:pass@sounds.example/lib/a.wav",
        "https://sounds.example/lib/../secret",
        "https://sounds.example/lib/%2e%2e/secret",
        "https://sounds.example/lib/%252e%252e/secret",
        "https://sounds.example/lib/..%2fsecret",
        "https://sounds.example/lib/..\\secret",
        "https://sounds.example/lib/a\r\nHost: evil",
        "https://sounds.example/lib/%0d%0aHost:evil",
        "https://sounds.example\t.evil.example/lib/",
        "https://söunds.example/lib/a.wav",
        "https://[::1/lib/a.wav",
        "https://sounds.example:x/lib/a.wav",
        "s3://bucket/inner/a.wav",
        "s3://other/in/a.wav",
        "file:///etc/passwd",
        "/etc/passwd",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:8080/a.wav",
        "http://127.1:8080/a.wav",
        "http://2130706433:8080/a.wav",
        "gopher://sounds.example/lib/",
        "https://sounds.example/lib/" + "a" * 3000,
        "",
    ],
)
def test_what_is_not(uri):
    with pytest.raises(UserError):
        allowed_prefix(uri, PREFIXES)


def test_nothing_is_allowed_by_default():
    with pytest.raises(UserError, match="may not read"):
        allowed_prefix("https://sounds.example/lib/a.wav", ())


INSIDE = [
    "127.0.0.1",
    "10.1.2.3",
    "192.168.0.1",
    "169.254.169.254",
    "::1",
    "fe80::1",
    "::ffff:10.0.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "2002:a00:1::",
    "2001:0:0:0:0:0:f5ff:fffe",
    "::10.0.0.1",
    "100.64.0.1",
]


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_that_points_inside(monkeypatch, tmp_path, address):
    """Also one of several addresses, and whatever the name's owner says the next time it is asked."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    answers = [(socket.AF_INET, 1, 6, "", ("93.184.216.34", 443)), (family, 1, 6, "", (address, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("it was connected"))
    with pytest.raises(UserError, match="no public host"):
        fetch_uri("https://sounds.example/lib/a.wav", PREFIXES, tmp_path, 1000)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "64:ff9b::93.184.216.34"])
def test_the_address_that_was_looked_at_is_the_one_that_is_used(monkeypatch, tmp_path, address):
    used = []

    def connect(address, timeout=None):
        used.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (address, 443))])
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(UserError, match="cannot be read"):
        fetch_uri("https://sounds.example/lib/a.wav", PREFIXES, tmp_path, 1000)
    assert used == [(address, 443)]


class Store(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/elsewhere.wav":
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
            self.end_headers()
        elif self.path == "/gone.wav":
            self.send_error(404)
        else:
            self.send_response(200)
            if self.path == "/cut.wav":
                self.send_header("Content-Length", "5000")
            self.end_headers()
            self.wfile.write(b"sound" * 100)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def store():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_fetching(store, tmp_path):
    path = fetch_uri(f"{store}a.wav", [store], tmp_path, 1000)
    assert (path.parent, path.name, path.read_bytes()) == (tmp_path, "a.wav", b"sound" * 100)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("elsewhere.wav", "sends elsewhere"),
        ("gone.wav", "answers 404"),
        ("cut.wav", "cannot be read|broke off"),
    ],
)
def test_what_cannot_be_fetched(store, tmp_path, name, says):
    with pytest.raises(UserError, match=says):
        fetch_uri(f"{store}{name}", [store], tmp_path, 1000)


def test_too_large(store, tmp_path):
    with pytest.raises(UserError, match="is larger than"):
        fetch_uri(f"{store}a.wav", [store], tmp_path, 100)


def test_too_slow(store, tmp_path):
    with pytest.raises(UserError, match="too slow"):
        fetch_uri(f"{store}a.wav", [store], tmp_path, 1000, most_s=-1)


def test_names_of_files_stay_in_the_folder(store, tmp_path):
    path = fetch_uri(f"{store}.hidden%2f", [store], tmp_path, 1000)
    assert path.parent == tmp_path and not path.name.startswith(".")
    assert uris.fetch_uri(store, [store], tmp_path, 1000).name == "recording"


def test_from_s3(s3, tmp_path):
    import fsspec

    fsspec.filesystem("s3").pipe_file("sounds/in/a.wav", b"sound")
    path = fetch_uri(f"{s3}/in/a.wav", [f"{s3}/in/"], tmp_path, 1000)
    assert (path.name, path.read_bytes()) == ("a.wav", b"sound")
    with pytest.raises(UserError, match="larger than"):
        fetch_uri(f"{s3}/in/a.wav", [f"{s3}/in/"], tmp_path, 3)
    with pytest.raises(UserError, match="may not read"):
        fetch_uri(f"{s3}/other/a.wav", [f"{s3}/in/"], tmp_path, 1000)
