"""Whom the editor's server lets in, and what it tells browsers; at a server that was really started."""

from __future__ import annotations

import http.client
import re
import socket

import pytest

pytest.importorskip("streamlit")
from editor_server import Server  # noqa: E402

from sam_audio.app.server import address, is_loopback, names  # noqa: E402

PATHS = [
    "/",
    "/anything",
    "/_stcore/health",
    "/_stcore/host-config",
    "/_stcore/metrics",
    "/_stcore/stream",
    "/_stcore/upload_file/session/file",
    "/_stcore/bidi-components/sam_audio.mixer/mixer.js",
    "/_stcore/agent/openapi.json",
    "/_stcore/agent/mcp",
    "/sounds/0123/about",
    "/sounds/0123/block/0",
    "/sounds/0123/film",
    "/downloads/0123",
    "/media/0123.ogg",
    "/static/js/none.js",
    "/auth/login",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = Server(tmp_path_factory.mktemp("server"), "--allow-host", "Studio.local", "--max-upload", "1MB")
    yield one
    one.close()
    assert "Traceback" not in one.log()


def ask(server, path="/", method="GET", **headers):
    """(status, headers, body) of an answer; headers that are None are not sent."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    for name, value in {"Host": f"localhost:{server.port}", **headers}.items():
        for one in [value] if isinstance(value, str) else value or []:
            connection.putheader(name.replace("_", "-"), one)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode("utf-8", "replace")
    connection.close()
    return answer.status, answer.headers, body


def upgrade(server, **headers) -> int:
    """The status that answers a request for a websocket."""
    given = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Host": f"localhost:{server.port}",
        **headers,
    }
    lines = ["GET /_stcore/stream HTTP/1.1", *(f"{k.replace('_', '-')}: {v}" for k, v in given.items())]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
        line.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return int(line.recv(1 << 16).split()[1])


@pytest.mark.parametrize(
    "name", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "localhost.", "studio.local"]
)
def test_names_it_goes_by(server, name):
    for host in (name, f"{name}:{server.port}"):
        assert ask(server, Host=host)[0] == 200
        assert upgrade(server, Host=host, Origin=f"http://{host}") == 101


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil-localhost",
        "localhost@evil.example",
        "evil.example:80@localhost",
        "127.0.0.1.evil.example",
        "127.0.0.2",
        "2130706433",
        "[::2]",
        "192.168.1.5",
        "localhost:port",
        "localhost/",
        "",
        None,
        ("localhost", "evil.example"),
        ("evil.example", "localhost"),
    ],
)
def test_other_names(server, host):
    assert ask(server, Host=host)[0] in (400, 421)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_every_address_is_behind_the_door(server, path, method):
    """And what is refused has one sentence."""
    status, headers, body = ask(server, path, method, Host="evil.example")
    assert status == 421
    assert method == "HEAD" or re.fullmatch(r"[^.\n]+: .+--allow-host NAME\.\n", body)
    status, _, body = ask(server, path, method, Origin="https://evil.example")
    assert status == 403
    assert method == "HEAD" or body.count("\n") == 1
    for answer in (headers, ask(server, path, method)[1]):
        assert "frame-ancestors 'self'" in answer["Content-Security-Policy"]
        assert answer["X-Content-Type-Options"] == "nosniff"


def test_the_websocket_is_for_our_own_page(server):
    own = f"http://localhost:{server.port}"
    assert upgrade(server) == 101  # no browser
    assert upgrade(server, Origin=own) == 101
    assert upgrade(server, Host="evil.example", Origin="http://evil.example") == 421
    assert upgrade(server, Origin="http://localhost:1") == 403  # another server of this machine
    assert upgrade(server, Origin="http://evil.example") == 403
    assert upgrade(server, Origin="null") == 403
    assert upgrade(server, Origin="http://[") == 403


def test_what_browsers_are_told(server):
    _, headers, page = ask(server)
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    for what, sources in policy.items():
        for source in sources.split():
            assert source in ("'none'", "'self'", "data:", "blob:", "'unsafe-inline'") or "sha256" in source
        assert what == "style-src" or "unsafe" not in sources
    assert page.count("<script>") == policy["script-src"].count("sha256")
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert (
        "microphone=(self)" in headers["Permissions-Policy"] and "camera=()" in headers["Permissions-Policy"]
    )
    assert headers["Cross-Origin-Resource-Policy"] == headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers


def test_files_of_the_server_are_not_served(server):
    for path in (
        "/static/../../../../../../etc/passwd",
        "/component/sam_audio.mixer/../../../../../../../etc/passwd",
        "/component/sam_audio.mixer/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/media/..%2f..%2f..%2fetc%2fpasswd",
        "/app/static/page.py",
    ):
        assert "root:" not in ask(server, path)[2] and "def main" not in ask(server, path)[2]


def test_uploads_need_a_visitor_and_have_a_limit(server):
    status, _, _ = ask(server, "/_stcore/upload_file/none/none", "PUT", Content_Length="9000000")
    assert status in (400, 403, 413)


def test_it_says_where_it_is_and_looks_up_nothing(server):
    first, *rest = server.log().splitlines()
    assert first == f"the editor is at http://localhost:{server.port}; Ctrl-C ends it"
    assert not any("http" in line and "URL" in line for line in rest)  # streamlit's greeting, with a look-up


def test_everybody_is_served_by_address_and_by_the_name_of_the_machine(tmp_path):
    one = Server(tmp_path, "--host", "0.0.0.0")
    try:
        for host in ("192.168.1.5", "[fe80::1]", socket.gethostname(), "localhost"):
            assert ask(one, Host=host)[0] == 200
        assert ask(one, Host="evil.example")[0] == 421
    finally:
        one.close()


def test_names_and_addresses():
    assert names("127.0.0.1") == {"localhost", "127.0.0.1", "::1"}
    assert "10.0.0.7" in names("10.0.0.7") and "fe80::1" in names("fe80::1")
    assert {"studio.local", "::2"} <= names("127.0.0.1", ["Studio.local.", "[::2]"])
    assert [address(host) for host in ("127.0.0.1", "0.0.0.0", "::1", "::2", "10.0.0.7")] == [
        "localhost",
        "localhost",
        "[::1]",
        "[::2]",
        "10.0.0.7",
    ]
    assert is_loopback("localhost") and is_loopback("127.0.0.9") and not is_loopback("10.0.0.7")
