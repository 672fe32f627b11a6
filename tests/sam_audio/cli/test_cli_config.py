"""Settings in files and environment variables."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from sam_audio.cli import app, config
from sam_audio.errors import UserError


@pytest.fixture
def group():
    return typer.main.get_command(app)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "user_file", lambda: tmp_path / "user.toml")
    for name in ("SAM_AUDIO_SEPARATE_FORMAT", "SAM_AUDIO_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_nothing_is_set_unless_somebody_says_so(group, monkeypatch):
    assert not config.any_set()
    monkeypatch.setenv("SAM_AUDIO_CACHE", "cache")  # is no option of a command
    assert config.context_settings(group) == {}


def test_the_folder_comes_before_the_user(group, place):
    (place / "user.toml").write_text('[separate]\nformat = "flac"\nout = "stems"\n[app]\nport = 9000\n')
    (place / config.PROJECT).write_text(
        '[separate]\nformat = "mp3"\nclip-mode = "clamp"\npredict_spans = false\n'
    )
    found = config.context_settings(group)["default_map"]
    assert found["separate"]["format"] == "mp3" and found["separate"]["out"] == "stems"
    assert found["separate"]["clip_mode"] == "clamp" and False in found["separate"].values()
    assert found["app"] == {"port": 9000}
    assert config.of_command({"default_map": found}, "separate") == {"default_map": found["separate"]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[separate]\nfromat = "mp3"', "did you mean format"),
        ("[seprate]\n", "did you mean separate"),
        ('[separate]\nout = "/etc"', "names a path"),
        ('[separate]\nreport = "a.json"', "names a path"),
        ('[separate]\nmodel = "../theirs.safetensors"', "names a path"),
        ('[app]\nhost = "0.0.0.0"', "cannot change app"),
        ("separate = 3", "no command"),
        ("[separate", "TOML"),
    ],
)
def test_a_folder_cannot_say_everything(group, place, text, says):
    (place / config.PROJECT).write_text(text)
    with pytest.raises(UserError, match=says):
        config.context_settings(group)


def test_a_model_by_its_name_is_no_path(group, place):
    (place / config.PROJECT).write_text('[separate]\nmodel = "facebook/sam-audio-small"')
    assert config.context_settings(group)["default_map"]["separate"]["model"] == "facebook/sam-audio-small"


def test_variables_come_before_files_and_the_command_line_before_both(cli, place, monkeypatch):
    import numpy as np
    import soundfile

    soundfile.write("mix.wav", np.random.default_rng(0).normal(0, 0.1, 8000), 16_000)
    (place / config.PROJECT).write_text('[separate]\nformat = "flac"\njudge = false\n')
    assert cli("separate", "mix.wav", "-p", "dog").code == 0
    monkeypatch.setenv("SAM_AUDIO_SEPARATE_FORMAT", "ogg")
    assert cli("separate", "mix.wav", "-p", "dog").code == 0
    assert cli("separate", "mix.wav", "-p", "dog", "-f", "wav").code == 0
    assert sorted(path.name for path in Path("separated/mix").glob("dog.*")) == [
        "dog.flac",
        "dog.ogg",
        "dog.wav",
    ]
