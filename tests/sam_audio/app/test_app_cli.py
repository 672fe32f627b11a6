"""``sam-audio app``: what it refuses, and what it hands to the page."""

from __future__ import annotations

import socket

import pytest
from typer.testing import CliRunner

pytest.importorskip("streamlit")
from sam_audio.app import server  # noqa: E402
from sam_audio.cli import app, editor  # noqa: E402
from sam_audio.errors import UserError  # noqa: E402


@pytest.fixture
def served(monkeypatch):
    """What would have been served."""
    told: list = []
    monkeypatch.setattr(server, "serve", lambda *given: told.append(given))
    monkeypatch.setattr(editor, "_taken", lambda host, port: False)

    def run(*arguments):
        CliRunner().invoke(app, ["app", *map(str, arguments)], catch_exceptions=False)
        return told.pop()

    return run


def test_one_person_on_their_own_machine(served, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"a")
    settings, host, port, allowed, browser = served(tmp_path / "a.wav", "--no-browser", "--max-upload", "2GB")
    assert (host, port, allowed, browser) == ("127.0.0.1", 8501, [], False)
    assert settings.models == {"nano": "nano"}
    assert settings.file == str(tmp_path / "a.wav")
    assert settings.most_bytes == 2_000_000_000
    assert settings.sessions == str(editor.SESSIONS)


def test_visitors_from_elsewhere_share_no_sessions(served, tmp_path):
    settings, *_ = served("--host", "0.0.0.0", "--jobs", 2)
    assert settings.sessions is None and settings.at_once == 2
    settings, *_ = served("--host", "0.0.0.0", "--sessions", tmp_path)
    assert settings.sessions == str(tmp_path)


def test_names_and_models(served, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder / "mine").mkdir(parents=True)
    settings, _, _, allowed, _ = served(
        "--allow-host", "studio.local", "--allow-host", "[fe80::1]", "--model", tmp_path / "a" / "mine",
        "--model", "facebook/sam-audio-small", "--model", tmp_path / "b" / "mine",
    )  # fmt: skip
    assert allowed == ["studio.local", "[fe80::1]"]
    assert settings.models == {  # where folders lie is not shown to visitors
        "mine": str(tmp_path / "a" / "mine"),
        "facebook/sam-audio-small": "facebook/sam-audio-small",
        "mine-2": str(tmp_path / "b" / "mine"),
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gone.wav"], "does not exist"),
        (["--port", "0"], "not a port"),
        (["--max-upload", "much"], "not a size"),
        (["--allow-host", "http://studio.local"], "without http://"),
        (["--allow-host", "studio.local:8501"], "no name of a machine"),
        (["--allow-host", "*"], "no name of a machine"),
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
