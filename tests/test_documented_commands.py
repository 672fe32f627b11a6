"""What the docs show is what the commands do: examples of the first pages run, and all documented options exist."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer

from sam_audio.cli import app

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "plugins").glob("*/README.md")),
]
PROGRAMS = ("separate", "sam-audio")
# these train, measure on data that is not there, open pages or go on for ever
NOT_RUN = ("train", "eval", "app", "live", "serve", "data")


def documented(text: str) -> list[tuple[str, str]]:
    """Commands of the console blocks of a page, each with what it prints."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for command, shown in re.findall(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            found.append((command.replace("\\\n", " "), shown))
    return found


def arguments_of(command: str) -> list[str]:
    """Program and arguments without what brings them about; empty for other programs."""
    words = shlex.split(command.split("&&")[-1].split(";")[0], comments=True)
    words = [word for word in words[2:] if word != "--no-dev"] if words[:2] == ["uv", "run"] else words
    return words if words and words[0] in PROGRAMS else []


def alike(text: str) -> str:
    """All numbers are the same: they change with weights and machines."""
    return re.sub(r" +\n", "\n", re.sub(r" +", " ", re.sub(r"[-+]?\d+(\.\d+)?", "N", text))).strip()


# in the order in which somebody reads them: some take what earlier ones have made
READ = [ROOT / "README.md", ROOT / "docs" / "separating.md", ROOT / "docs" / "finding.md"]
SHOWN = [
    (command, shown)
    for page in READ
    for command, shown in documented(page.read_text())
    if arguments_of(command) and arguments_of(command)[1] not in NOT_RUN
]


def test_the_first_pages_show_commands():
    assert len(SHOWN) >= 8
    assert len((ROOT / "README.md").read_text().splitlines()) < 100  # a screen and a half in a browser


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the examples, in which one command leaves what the next one takes."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", folder / "examples")
    return folder


@pytest.mark.parametrize(("command", "shown"), SHOWN, ids=[command for command, _ in SHOWN])
def test_what_they_show_is_true(run_command, place, monkeypatch, command, shown):
    monkeypatch.chdir(place)
    monkeypatch.setenv("SAM_AUDIO_CACHE", str(place / "cache"))
    monkeypatch.setenv("COLUMNS", "120")
    done = run_command(*arguments_of(command))
    printed = done.out + (f"{done.code}\n" if command.endswith("echo $?") else "")
    if not command.endswith("echo $?"):
        assert done.code == 0, done.err
    lines, wanted = alike(printed).splitlines(), alike(shown).splitlines()
    if "search" in command or "classify" in command or "locate" in command:  # order and number may change
        assert {len(line.split()) for line in lines} == {len(line.split()) for line in wanted}
    else:
        assert lines == wanted


LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in LINK.findall(re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)):
        if not re.match(r"https?:|mailto:|#", target):
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name}: {target}"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    import subprocess
    import sys

    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", tmp_path / "site"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "site" / "index.html").read_text()
    assert "In two minutes" in page and "fonts.googleapis" not in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name + "/" + page.name)
def test_documented_options_exist(page):
    group = typer.main.get_command(app)
    for command, _ in documented(page.read_text()):
        words = arguments_of(command)
        if not words:
            continue
        inner = group.commands["separate"] if words[0] == "separate" else group
        rest = words[1:]
        while hasattr(inner, "commands"):
            if rest[:1] == ["--recipe"]:  # train --recipe NAME is train recipe NAME
                rest = ["recipe", *rest[2:]]
            assert rest and rest[0] in inner.commands, f"{page.name}: {command}"
            inner, rest = inner.commands[rest[0]], rest[1:]
        context = inner.make_context("x", [], resilient_parsing=True)
        known = {flag for param in inner.get_params(context) for flag in [*param.opts, *param.secondary_opts]}
        for word in rest:
            flag = word.split("=")[0]
            if re.fullmatch(r"--?[a-z][a-z-]*", flag):
                assert flag in known, f"{page.name}: {command} has {flag}"
