"""What ``serve run`` understands; that its answers are those of the command is in tests/test_scale.py."""

from __future__ import annotations

import pytest

from sam_audio.errors import UserError
from sam_audio.service import deployment
from sam_audio.service.deployment import build


@pytest.fixture(autouse=True)
def deployed(monkeypatch):
    monkeypatch.delenv("SAM_AUDIO_TOKEN", raising=False)
    monkeypatch.setattr(deployment, "deploy", lambda settings, replicas: (settings, replicas))


def test_what_the_command_takes(tmp_path, monkeypatch):
    monkeypatch.setenv("SAM_AUDIO_TOKEN", "s" * 20)
    given = {
        "data": "sounds",
        "replicas": "3",
        "threads": "2",
        "max_upload": "1GB",
        "keep": "2h",
        "max_length": "60",
    }
    monkeypatch.chdir(tmp_path)
    settings, replicas = build({**given, "allow_uri": "s3://a/,https://b.example/"})
    assert (settings.data, replicas, settings.threads) == (tmp_path / "sounds", 3, 2)
    assert (settings.most_upload_bytes, settings.keep_s, settings.most_seconds) == (10**9, 7200, 60)
    assert settings.allow_uris == ("s3://a/", "https://b.example/")
    assert settings.tokens == {"s" * 20: "default"}


def test_without_a_token_one_is_made(tmp_path, capsys):
    settings, _ = build({"data": str(tmp_path)})
    (token,) = settings.tokens
    assert f"the token is {token};" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "no folder is given"),
        ({"data": "x", "worker": "2"}, "there is no worker: use .*workers"),
        ({"data": "x", "workers": "two"}, "workers=two is no number"),
        ({"data": "x", "keep": "long"}, "is no time"),
        ({"data": "x", "allow_uri": "/etc"}, "no prefix of URIs"),
    ],
)
def test_what_cannot_be_understood(given, says):
    with pytest.raises(UserError, match=says):
        build(given)
