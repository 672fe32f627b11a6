"""What the docs show is what happens: every command and every piece of Python runs, and all documented options exist.

Each page is read from its top in a folder of its own, in which the files that it names lie. What cannot run here
stands in ``NOT_RUN``, with the reason; its options are looked at all the same.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import documented
import documented_files
import numpy as np
import pytest
import torch
import typer
from documented import PAGES, ROOT, Shown, alike, arguments_of, name, shown, words_of

from sam_audio.cli import app

# beginnings of commands (as regular expressions) -> why they do not run here
NOT_RUN = {
    r"pip install|uv (sync|pip)|npm pack": "fetches from an index; test_packaging.py looks at the extras",
    r"python -m sam_audio.web.runtime": "wants what npm pack fetches; test_web_folder.py compares what it wrote",
    r"(python -m )?pytest": "these tests",
    r"(python )?benchmarks/": "minutes on an idle machine, with data that are not here",
    r"docker|SAM_AUDIO_TOKEN=\S+ docker": "images are built by the workflow of .github",
    r"serve run": "a Ray cluster: test_scale.py, test_ray_serve_gives_the_same",
    r"sam-audio eval .*(DATA|AudioSep/)": "public sets: test_bench_protocols.py, test_evaluation_*.py have small ones",
    r"torchrun --nproc-per-node 8": "eight GPUs: test_training_trainer.py runs two processes",
    r"sam-audio live (?!.*--from)": "a sound card: test_host_live.py has one of its own",
    r"separate mix.wav --loudest": "the reader's plugin: test_plugins.py, test_a_new_plugin_is_made_installed_used_...",
    r".*--model asteroid:JorisCos|.*--ranker clap|from sam_audio_clap": "others' weights: the plugins' own tests",
    r"sam-audio train --recipe captions/refiner|sam-audio data refine": "a language model: test_training_refine.py",
}
# what would take minutes -> what makes less of it
LESS = {
    r"sam-audio train --recipe (flow/toy|mine.toml)(?!.*--dry-run)": "steps=2",
    r"sam-audio train --recipe peav/nano": "steps=2",
    r"sam-audio eval (separation|presence|make-bench)": "-n 1",
}
# what goes on until it is stopped -> the port that the docs show, and options beside another one
SERVERS = {
    r"sam-audio serve": (8765, ()),
    r"sam-audio app": (8501, ("--no-browser",)),
    r"sam-audio web(?! --write)": (8600, ("--no-browser",)),
    r"tensorboard": (6006, ()),
}
AFTER = {"docs/separating.md": "README.md"}  # pages that go on with what another one has made
VARYING = ("search", "classify", "locate", "query")  # in order and number of what they print
ID = re.compile(r"\b[0-9a-f]{32}\b")


def first_of(table: dict, text: str):
    """What a table says about a command or a piece of Python, or None."""
    start = text if "\n" in text else " ".join(words_of(text))
    return next((value for pattern, value in table.items() if re.match(pattern, start)), None)


def given(page: Path) -> dict[str, object]:
    """Names that a page's Python takes for granted."""
    if page.name == "studio.md":
        audio = np.zeros((2, 24_000), np.float32)
        return {"audio": audio, "sample_rate": 48_000, "blocks": np.split(audio, 4, axis=1)}
    return {"device": "cpu"}


@pytest.fixture(scope="session")
def examples(tmp_path_factory):
    return documented_files.make(tmp_path_factory.mktemp("documented") / "files")


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    pytest.importorskip("transformers")
    return documented_files.make_hub(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def folder(examples, hub, bank_dir, tmp_path, monkeypatch):
    """A folder with all that the pages name, which is the reader's home as well."""
    place = Path(shutil.copytree(examples, tmp_path / "place"))
    (place / "cache").mkdir()
    (place / "cache" / "bank").symlink_to(bank_dir)
    (place / "models").mkdir()
    (place / "models/sam-audio-small").symlink_to(documented_files.snapshot(hub, "sam-audio-small"))
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("SAM_AUDIO_CACHE", str(place / "cache"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("sam_audio.cli.editor.SESSIONS", place / "sam-audio")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    return place


class Reader:
    """Somebody who reads a page and does what it says."""

    def __init__(self, run_command: Callable) -> None:
        self.run_command = run_command
        self.servers: list[subprocess.Popen] = []
        self.other: dict[str, str] = {}  # what the page shows -> what it is here: ports and ids

    def here(self, text: str) -> str:
        for documented_word, word in self.other.items():
            text = text.replace(documented_word, word)
        return text

    def read(self, page: Path) -> None:
        names = given(page)
        for one in shown(page):
            try:
                if first_of(NOT_RUN, one.text):
                    continue
                if one.kind == "python":
                    exec(compile(self.here(one.text), name(page), "exec"), names)
                else:
                    self.follow(one)
            except BaseException as error:
                error.add_note(f"{name(page)}: {one.text}")
                raise

    def follow(self, one: Shown) -> None:
        command = self.here(one.text)
        if server := first_of(SERVERS, command):
            self.start(command, *server, one.prints)
            return
        words = [os.path.expanduser(word) for word in words_of(command)]
        code, printed = self.run([*words, *(first_of(LESS, command) or "").split()])
        if command.endswith("echo $?"):
            printed += f"{code}\n"
        else:
            assert code == 0, printed
        if one.prints.strip():
            lines, wanted = alike(printed).splitlines(), alike(one.prints).splitlines()
            if any(word in VARYING for word in words):
                assert {len(line.split()) for line in lines} == {len(line.split()) for line in wanted}
            else:
                assert lines == wanted
            self.other |= dict(zip(ID.findall(one.prints), ID.findall(printed), strict=True))

    def run(self, words: list[str]) -> tuple[int, str]:
        """Exit code and what was printed; of our own programs within this process, which saves their start."""
        if words[0] == "cd":
            os.chdir(words[1])
            return 0, ""
        if words[0] in documented.PROGRAMS:
            done = self.run_command(*words)
            return done.code, done.out or done.err
        words = [sys.executable, *words[1:]] if words[0] == "python" else words
        done = subprocess.run(words, capture_output=True, text=True)
        return done.returncode, done.stdout if done.returncode == 0 else done.stderr

    def start(self, command: str, shown_port: int, options: tuple[str, ...], prints: str) -> None:
        """Starts a server and waits until it answers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.other[str(shown_port)] = str(port)
        program, *arguments = map(os.path.expanduser, words_of(command))
        log = Path(f"server-{port}.txt")
        with log.open("w") as out:
            started = subprocess.Popen(
                [Path(sys.executable).with_name(program), *arguments, *options, "--port", str(port)],
                stdout=out, stderr=out,
            )  # fmt: skip
        self.servers.append(started)
        until = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://localhost:{port}/", timeout=5):
                    break
            except urllib.error.HTTPError:
                break  # it answers
            except OSError:
                assert started.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.1)
        assert alike(prints) in alike(log.read_text())

    def stop(self) -> None:
        for server in self.servers:
            server.send_signal(signal.SIGINT)
        for server in self.servers:
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


@pytest.fixture
def reader(run_command):
    one = Reader(run_command)
    threads = torch.get_num_threads()
    torch.set_num_threads(
        1
    )  # of tiny networks several threads wait for each other, on a busy machine for long
    yield one
    torch.set_num_threads(threads)
    one.stop()


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if shown(page)], ids=name)
def test_what_a_page_shows_is_what_happens(page, folder, reader):
    if first := AFTER.get(name(page)):
        reader.read(ROOT / first)
    reader.read(page)


def test_the_docs_show_commands():
    commands = [one.text for page in PAGES for one in shown(page) if one.kind == "console"]
    run = [command for command in commands if first_of(NOT_RUN, command) is None]
    assert len(run) > 2 * (len(commands) - len(run))  # most of them run
    for start in [*NOT_RUN, *LESS, *SERVERS]:
        assert any(first_of({start: True}, command) for command in commands), f"no page shows {start}"
    assert len((ROOT / "README.md").read_text().splitlines()) < 100  # a screen and a half in a browser


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_stand_where_they_are_run(page):
    for language, text in documented.blocks(page):
        if language != "console":
            assert not re.search(r"^(\$ |separate |sam-audio |uv |pip )", text, re.MULTILINE), text


def test_extras_that_are_named_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for page in PAGES:
        for named in re.findall(r'(?:separate-by-prompt|pip install "?\.)\[([\w,]+)\]', page.read_text()):
            assert set(named.split(",")) <= extras.keys(), f"{name(page)}: [{named}]"


LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)):
        if not re.match(r"https?:|mailto:", target):
            file, _, heading = target.partition("#")
            led = page.parent / file if file else page
            assert led.exists(), f"{name(page)}: {target}"
            assert not heading or heading in headings(led), f"{name(page)}: {target}"


def headings(page: Path) -> set[str]:
    """The names by which a page's headings are linked."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title.lower())) for title in titles}


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
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


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_documented_options_exist(page):
    group = typer.main.get_command(app)
    for command in documented.commands(page):
        words = arguments_of(command)
        if not words:
            continue
        inner = group.commands["separate"] if words[0] == "separate" else group
        rest = words[1:]
        while hasattr(inner, "commands"):
            if rest[:1] == ["--recipe"]:  # train --recipe NAME is train recipe NAME
                rest = ["recipe", *rest[2:]]
            if not rest or rest[0].startswith("-"):  # a group's own options
                break
            assert rest[0] in inner.commands, f"{name(page)}: {command}"
            inner, rest = inner.commands[rest[0]], rest[1:]
        context = inner.make_context("x", [], resilient_parsing=True)
        known = {flag for param in inner.get_params(context) for flag in [*param.opts, *param.secondary_opts]}
        known |= {"--help", "--help-all"}
        if name(page) == "docs/plugins.md":
            known |= {"--loudest"}  # of the plugin that its reader makes
        for word in rest:
            flag = word.split("=")[0]
            if re.fullmatch(r"--?[a-z][a-z-]*", flag):
                assert flag in known, f"{name(page)}: {command} has {flag}"
