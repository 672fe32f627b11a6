"""``sam-audio serve``: what its options become, and what is said before anything is served."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from sam_audio.service import server


@pytest.fixture
def settings_of(cli, monkeypatch, tmp_path):
    """The settings that a command line makes; nothing is served."""
    monkeypatch.delenv("SAM_AUDIO_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    made = []

    def server_of(app, host, port):
        made.append(app.state.service.settings)
        return SimpleNamespace(run=lambda sockets: None)

    monkeypatch.setattr(server, "server_of", server_of)

    def run(*arguments):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        done = cli("serve", "--port", port, *arguments)
        assert done.code == 0, done.err
        return made.pop(), done.err

    return run


def test_what_is_so_by_itself(settings_of, tmp_path):
    settings, told = settings_of()
    assert (settings.data, settings.keep_s, settings.most_upload_bytes) == (
        tmp_path / "service",
        86_400,
        500_000_000,
    )
    assert not settings.tokens and settings.hosts == ("localhost", "127.0.0.1", "[::1]")
    assert "token" not in told


def test_options(settings_of, tmp_path):
    (tmp_path / "tokens").write_text(f"ann:{'a' * 20}\nbob:{'b' * 20}\n")
    settings, _ = settings_of(
        *("--data", "d", "--workers", 2, "--max-upload", "1GB", "--keep", "90min", "--max-length", 60),
        *("--allow-uri", "s3://a/", "--allow-host", "box", "--tokens", "tokens", "--grace", 0),
    )
    assert (settings.data, settings.workers, settings.most_upload_bytes) == (tmp_path / "d", 2, 10**9)
    assert (settings.keep_s, settings.most_seconds, settings.grace_s) == (5400, 60, 0)
    assert settings.allow_uris == ("s3://a/",) and "box" in settings.hosts
    assert settings.tokens == {"a" * 20: "ann", "b" * 20: "bob"}


def test_beyond_this_machine_a_token_is_asked_for(settings_of, monkeypatch):
    settings, told = settings_of("--host", "0.0.0.0")
    (token,) = settings.tokens
    assert f"the token is {token};" in told and len(token) >= 20
    monkeypatch.setenv("SAM_AUDIO_TOKEN", "c" * 20)
    settings, told = settings_of("--host", "0.0.0.0")
    assert settings.tokens == {"c" * 20: "default"} and "token" not in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--allow-uri", "file:///etc/"], "no prefix of URIs"),
        (["--allow-uri", "/etc/"], "no prefix of URIs"),
        (["--max-upload", "much"], "is not a size"),
        (["--keep", "long"], "is no time"),
        (["--tokens", "tokens"], "line 1 of tokens"),
        (["--tokens", "short"], "too short to be a secret"),
        (["--host", "203.0.113.1"], "nobody can listen"),
    ],
)
def test_what_cannot_be_served(refused, monkeypatch, tmp_path, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tokens").write_text("no colon")
    (tmp_path / "short").write_text("ann:short")
    assert says in refused("serve", *arguments)


def test_a_port_that_is_taken(refused, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "choose another --host or --port" in refused(
            "serve", "--port", port, "--data", tmp_path / "data"
        )
