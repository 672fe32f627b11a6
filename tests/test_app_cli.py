"""``sam-audio app``: what it refuses, and what it hands to the page."""

from __future__ import annotations

import socket

import pytest
from typer.testing import CliRunner

from sam_audio.cli import app, editor
from sam_audio.errors import UserError


@pytest.fixture
def served(monkeypatch):
    """What would have been served."""
    told: list = []
    monkeypatch.setattr(editor, "_serve", lambda *given: told.append(given))
    monkeypatch.setattr(editor, "_taken", lambda host, port: False)

    def run(*arguments):
        CliRunner().invoke(app, ["app", *map(str, arguments)], catch_exceptions=False)
        return told.pop()

    return run


def test_one_person_on_their_own_machine(served, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"a")
    settings, host, port, browser = served(tmp_path / "a.wav", "--no-browser", "--max-upload", "2GB")
    assert (host, port, browser) == ("127.0.0.1", 8501, False)
    assert settings["file"] == str(tmp_path / "a.wav")
    assert settings["most_bytes"] == 2_000_000_000
    assert settings["sessions"] == str(editor.SESSIONS)


def test_visitors_from_elsewhere_share_no_sessions(served, tmp_path):
    settings, *_ = served("--host", "0.0.0.0", "--jobs", 2)
    assert settings["sessions"] is None and settings["at_once"] == 2
    settings, *_ = served("--host", "0.0.0.0", "--sessions", tmp_path)
    assert settings["sessions"] == str(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gone.wav"], "does not exist"),
        (["--port", "0"], "not a port"),
        (["--max-upload", "much"], "not a size"),
    ],
)
def test_what_cannot_be_served(served, arguments, says):
    with pytest.raises(UserError, match=says):
        served(*arguments)


def test_a_port_that_is_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port + 1}"):
            CliRunner().invoke(app, ["app", "--port", str(port)], catch_exceptions=False)
