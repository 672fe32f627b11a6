"""The commands besides ``separate``, and what the catalogue says."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sam_audio import models as catalogue
from sam_audio.cli import app
from sam_audio.version import __version__

runner = CliRunner()
EXAMPLE = Path(__file__).parents[3] / "examples" / "band.wav"


def test_models_list():
    result = runner.invoke(app, ["models", "list", "--json"])
    entries = json.loads(result.stdout)
    assert (result.exit_code, entries) == (0, catalogue.models())
    shipped = [entry for entry in entries if entry["name"] == "nano"]
    assert [entry["kind"] for entry in shipped] == [
        "separator",
        "text encoder",
        "audio encoder",
        "video encoder",
        "judge",
    ]
    for entry in shipped:
        assert entry["bytes"] < 3 * entry["parameters"]  # float16 or int8


def test_models_list_as_a_table():
    out = runner.invoke(app, ["models", "list"]).stdout
    for entry in catalogue.models():
        assert f"{entry['parameters'] / 1e6:.1f} M" in out
        assert entry["kind"] in out


def test_parameters_are_counted_from_the_header(tiny_weights):
    import tiny

    assert catalogue.count_parameters(tiny_weights) == sum(
        tensor.numel() for tensor in tiny.network().state_dict().values()
    )


def walk(command, path=()):
    yield list(path)
    for name, child in getattr(command, "commands", {}).items():
        yield from walk(child, (*path, name))


COMMANDS = list(walk(typer.main.get_command(app)))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command):
    result = runner.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    usage = re.sub(r"\x1b\[[0-9;]*m|\{\w+\}", "", result.stdout).split("Usage:")[1].splitlines()[0].split()
    assert [word for word in usage if word.islower()][1:] == command


def test_no_command_was_lost():
    assert {"separate", "locate", "search", "judge", "batch", "train", "eval", "data"} <= {
        command[0] for command in COMMANDS if command
    }
    assert ["train", "list"] in COMMANDS and ["data", "caption"] in COMMANDS


@pytest.mark.parametrize("command", [["train", "separator"], ["train", "data"]])
def test_training_without_data_is_one_sentence(refused, tmp_path, monkeypatch, command):
    monkeypatch.setenv("SAM_AUDIO_CACHE", str(tmp_path / "cache"))
    assert "manifest.tsv.gz" in refused(*command, "--data", tmp_path)


def test_the_text_tower_goes_where_it_is_told(tmp_path, monkeypatch):
    from sam_audio.training.recipes import text

    told = []
    monkeypatch.setattr(text, "run", lambda *arguments: told.append(arguments))
    assert runner.invoke(app, ["train", "text"]).exit_code == 2 and not told  # never over the shipped one
    path = tmp_path / "text.safetensors"
    arguments = ["train", "text", "--export", str(path), "--data", str(tmp_path), "--steps", "7"]
    assert runner.invoke(app, arguments).exit_code == 0
    assert told == [(path, tmp_path / "manifest.tsv.gz", 7, 300, 2)]


def test_an_unknown_recipe(refused, tmp_path):
    says = refused("train", "separator", "--data", tmp_path, "--recipe", "grand")
    assert "grand" in says and "nano" in says


@pytest.mark.parametrize("exists", [True, False])
def test_measuring_without_a_bank_is_one_sentence(refused, tmp_path, exists, tiny_weights):
    bank = tmp_path if exists else tmp_path / "gone"
    assert str(bank) in refused("eval", "separation", "--bank", bank, "--model", tiny_weights)


def test_measuring(tmp_path, tiny_weights, bank_dir):
    arguments = [
        "eval",
        "separation",
        "--bank",
        bank_dir,
        "--model",
        tiny_weights,
        "-n",
        "1",
        "--out",
        tmp_path / "t",
    ]
    result = runner.invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["absent_median_db"] < 0
    assert {"events in pairs", "all"} <= {row["what"] for row in summary["table"]}
    assert (tmp_path / "t" / "separation.md").read_text().count("\n") == len(summary["table"]) + 2
    assert "dog barking" in (tmp_path / "t" / "separation-labels.csv").read_text()


def test_the_version_by_command_and_by_module(cli):
    said = cli("--version")
    assert (said.code, said.err) == (0, "") and said.out.split()[:2] == ["sam-audio", __version__]
    module = subprocess.run([sys.executable, "-m", "sam_audio", "--version"], capture_output=True, text=True)
    assert (module.returncode, module.stdout) == (0, said.out)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("typed", "completed"), [("separate --stre", ["--strength"]), ("sam-audio loc", ["locate"])]
)
def test_bash_completes_what_is_typed(cli, tmp_path, typed, completed):
    script = tmp_path / "complete.sh"
    script.write_text(cli("completion", "bash").out)
    program, word = typed.split()
    script.write_text(
        f"{script.read_text()}\nCOMP_WORDS=({program} {word}) COMP_CWORD=1\n"
        f'_{program.replace("-", "_")}_completion {program}\nprintf "%s\\n" "${{COMPREPLY[@]}}"\n'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(["bash", script], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert ran.stdout.split() == completed


@pytest.fixture
def own_logging():
    """Leaves the logging of the other tests as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    "arguments", [("--log-level", "info", "separate"), ("separate", "--log-level", "info")], ids=" ".join
)
def test_the_log_says_more_when_it_is_asked_to(cli, tmp_path, monkeypatch, own_logging, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sam_audio.separator.nano.loading._shipped", {})  # a copy in use is not loaded again
    said = cli(*arguments, EXAMPLE, "-p", "guitar", "--no-judge")
    assert said.code == 0 and "nano-separator.safetensors runs in ONNX Runtime" in said.err


def test_the_log_has_few_levels_and_is_silent_by_default(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sam_audio.separator.nano.loading._shipped", {})
    assert cli("separate", EXAMPLE, "-p", "guitar", "--no-judge").err == ""
    assert cli("--log-level", "loud", "models", "list").code == 2
