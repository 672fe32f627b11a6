"""Processes are killed before each change of the disk; then the same again completes exactly what was missing.

The normal run kills ``separate`` while files get their names; ``-m kill`` does it everywhere, in some minutes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import official_tiny
import pytest
import soundfile
import tiny
import tiny_video

from peav.official import PEAudioVideo

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows kills otherwise")

BOTH = pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
MOST = 200  # changes of one run; a loop over them has to end


def command(*arguments: object) -> str:
    return f"import sys; sys.argv = {['sam-audio', *map(str, arguments)]!r}; import sam_audio.cli as cli; cli.main()"


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    arguments = [sys.executable, str(Path(__file__).with_name("kill_server.py"))]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **one}
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def run(server, tmp_path):
    """Runs code in tmp_path/w, killed before that change; gives the exit status. See `kill_server`."""

    def call(code: str, before: int = 0, number: int = 0, shots: str = "") -> int:
        job = {
            "code": code,
            "cwd": str(tmp_path / "w"),
            "before": before,
            "signal": int(number),
            "shots": shots,
        }
        print(json.dumps(job), file=server.stdin, flush=True)
        return json.loads(server.stdout.readline())

    return call


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The folder that everything happens in."""
    (tmp_path / "w").mkdir()
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path


def contents() -> dict[str, bytes]:
    """Everything in the working folder, hidden or not."""
    return {str(path): path.read_bytes() for path in sorted(Path(".").rglob("*")) if path.is_file()}


def said(here: Path) -> str:
    return (here / "w.err").read_text()


def visible(files: dict[str, bytes]) -> dict[str, bytes]:
    return {
        name: content
        for name, content in files.items()
        if not (Path(name).name.startswith(".") or name.endswith(".part"))
    }


class Story:
    """What is there at first, and what the code leaves if nobody kills it; both with their caches."""

    def __init__(self, here: Path, run, code: str):
        self.here, self.run, self.code = here, run, code
        self.states: set[frozenset[tuple[str, bytes]]] = set()
        self.before = contents()
        self._keep("first")
        assert run(code) == 0, said(here)
        self.after = contents()
        self.restore()

    def _keep(self, name: str) -> None:
        for part in ("w", "w-cache"):
            if (self.here / part).exists():
                shutil.copytree(self.here / part, self.here / name / part, symlinks=True)

    def restore(self, name: str = "first") -> None:
        for part in ("w", "w-cache"):
            for path in (self.here / part).glob("*") if (self.here / part).exists() else ():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if (self.here / name / part).exists():
                shutil.copytree(self.here / name / part, self.here / part, symlinks=True, dirs_exist_ok=True)

    def killed(self, number: int, where: range | None = None) -> Iterator[int]:
        """Kills at each place in turn, starting from the beginning; ends when there is no further change.

        Unless it is said where, what SIGKILL leaves is copied from a single run.
        """
        if number == signal.SIGKILL and where is None:
            assert self.run(self.code, shots=str(self.here / "shots")) == 0, said(self.here)
            assert contents() == self.after
            for before in range(1, len(os.listdir(self.here / "shots")) + 1):
                self.restore(f"shots/{before}")
                yield before
            shutil.rmtree(self.here / "shots")
            return
        where = where or range(1, MOST)
        for before in where:
            self.restore()
            status = self.run(self.code, before, number)
            if status == 0:
                assert contents() == self.after
                assert before > 1
                return
            if number == signal.SIGKILL:
                assert status == -signal.SIGKILL, said(self.here)
            yield before
        assert len(where) < MOST - 1, "there is no end of changes"

    def is_new(self) -> bool:
        """Whether the disk was not left like this before: what comes next is tried once for each state."""
        states = [
            (re.sub(r"[0-9a-f]{16}\.part", ".part", str(path)), hashlib.sha256(path.read_bytes()).digest())
            for part in ("w", "w-cache")
            for path in sorted((self.here / part).rglob("*"))
            if path.is_file()
        ]
        state = frozenset(states)
        new = state not in self.states
        self.states.add(state)
        return new

    def no_torn_file(self) -> None:
        """What has a name is as it was, or as it is to be."""
        for name, content in visible(contents()).items():
            assert content in (self.before.get(name), self.after.get(name)), name

    def stopped(self) -> None:
        """After SIGTERM: one sentence, nothing hidden, and everything as before or as after."""
        assert said(self.here).endswith("stopped: nothing half-written was left\n")
        assert contents() in (self.before, self.after)


@pytest.fixture
def separate(tiny_weights):
    """The command that separates with the tiny model, as code."""
    return lambda *arguments: command("separate", *arguments, "--no-judge", "--model", tiny_weights)


def write(name: str, seed: int = 0) -> None:
    soundfile.write(name, tiny.noise(2, 0.1, 48_000, seed=seed).T, 48_000, "PCM_16")


# ---- separate -----------------------------------------------------------------------------------------------


def sweep_separate(story: Story, again: str, number: int, where: range | None = None) -> int:
    places = 0
    for _ in story.killed(number, where):
        places += 1
        story.no_torn_file()
        if number == signal.SIGTERM:
            story.stopped()
        if not story.is_new():
            continue
        there = {path: os.stat(path).st_ino for path in map(Path, contents())}
        whole = contents().keys() >= story.after.keys() and contents()["separated/mix/residual.wav"]
        whole = whole == story.after["separated/mix/residual.wav"]
        assert story.run(again) == 0, said(story.here)
        assert contents() == story.after
        if whole:
            assert all(os.stat(path).st_ino == there[path] for path in map(Path, story.after))
    return places


def test_separate_killed_while_files_get_their_names(here, run, separate):
    write("mix.wav")
    story = Story(here, run, separate("mix.wav", "-p", "dog", "-p", "cat"))
    again = separate("mix.wav", "-p", "dog", "-p", "cat", "--skip-existing")
    assert sweep_separate(story, again, signal.SIGKILL, range(9, 14)) == 5


@pytest.mark.kill
@BOTH
def test_separate(here, run, separate, number):
    write("mix.wav")
    story = Story(here, run, separate("mix.wav", "-p", "dog", "-p", "cat"))
    again = separate("mix.wav", "-p", "dog", "-p", "cat", "--skip-existing")
    assert sweep_separate(story, again, number) > 10


@pytest.mark.kill
@BOTH
@pytest.mark.parametrize("how", ["--overwrite", "--skip-existing"])
def test_a_set_of_an_earlier_run_that_is_replaced(here, run, separate, number, how):
    write("mix.wav")
    assert run(separate("mix.wav", "-p", "dog", "-p", "bird", "--strength", "0.5")) == 0
    story = Story(here, run, separate("mix.wav", "-p", "dog", "-p", "cat", how))
    again = separate("mix.wav", "-p", "dog", "-p", "cat", "--skip-existing")
    assert sweep_separate(story, again, number) > 10


@pytest.mark.kill
@BOTH
def test_jobs(here, run, separate, number):
    """Recordings that were done before the process was killed are not done again."""
    for seed, name in enumerate("ab"):
        write(f"{name}.wav", seed)
    Path("jobs.jsonl").write_text("".join(f'{{"mixture": "{name}.wav"}}\n' for name in "ab"))
    story = Story(here, run, separate("--jobs", "jobs.jsonl", "-p", "dog"))
    for _ in story.killed(number):
        story.no_torn_file()
        if not story.is_new():
            continue
        done = {
            name: os.stat(f"separated/{name}/residual.wav").st_ino
            for name in "ab"
            if os.path.exists(f"separated/{name}/residual.wav")
        }
        assert story.run(separate("--jobs", "jobs.jsonl", "-p", "dog", "--skip-existing")) == 0
        assert contents() == story.after
        assert done == {name: os.stat(f"separated/{name}/residual.wav").st_ino for name in done}


@pytest.mark.kill
@BOTH
def test_remux(here, run, separate, number):
    pictures = np.random.default_rng(0).integers(0, 255, (5, 48, 64, 3), np.uint8)
    tiny_video.write_video(Path("clip.mp4"), pictures, 25, tiny.noise(1, 0.2, 48_000)[0])
    story = Story(here, run, separate("clip.mp4", "-p", "dog", "--remux"))
    assert "separated/clip/dog.mp4" in story.after
    for _ in story.killed(number):
        story.no_torn_file()
        if story.is_new():
            assert story.run(separate("clip.mp4", "-p", "dog", "--remux", "--skip-existing")) == 0
            assert contents() == story.after


# ---- what else is written -----------------------------------------------------------------------------------


def redone(story: Story, again: str, number: int) -> None:
    for _ in story.killed(number):
        story.no_torn_file()
        if number == signal.SIGTERM:
            story.stopped()
        if story.is_new():
            assert story.run(again) == 0, said(story.here)
            assert contents() == story.after


@pytest.mark.kill
@BOTH
def test_rack(here, run, tiny_weights, number):
    pytest.importorskip("pedalboard")
    write("mix.wav")
    Path("plain.rack.toml").write_text('prompts = ["dog"]\n[strips.dog]\ngain_db = -6.0\n')
    rack = partial(command, "rack", "run", "mix.wav", "plain.rack.toml", "--stems", "--model", tiny_weights)
    redone(Story(here, run, rack()), rack("--overwrite"), number)


@pytest.mark.kill
@BOTH
def test_session_export(here, run, number):
    write("mix.wav")
    Path("stems").mkdir()
    for seed, name in enumerate(("dog", "residual")):
        write(f"stems/{name}.wav", seed)
    export = partial(command, "session", "export", "mix.wav", "stems", "--format", "reaper")
    redone(Story(here, run, export()), export("--overwrite"), number)


@pytest.mark.kill
def test_training_checkpoint(here, run):
    """Whoever trains goes on from the last checkpoint, and saves the next one."""
    pytest.importorskip("fast_bss_eval")  # of the extra for training
    begin = (
        "from pathlib import Path\n"
        "from sam_audio.training.recipes.separator import load_state\n"
        "import tiny\n"
        "from sam_audio.training.recipes.separator import Recipe\n"
        "state = load_state(Path('state.pt'), Recipe(network=tiny.CONFIG))\n"
    )
    save = f"{begin}state.step = {{}}\nstate.save(Path('state.pt'))\n"
    assert run(save.format(1)) == 0, said(here)
    story = Story(here, run, save.format(2))
    for number in (signal.SIGKILL, signal.SIGTERM):
        for _ in story.killed(number):
            story.no_torn_file()
            step = 2 if contents()["state.pt"] == story.after["state.pt"] else 1
            assert run(f"{begin}assert state.step == {step}") == 0, said(here)
            assert run(save.format(2)) == 0
            assert contents() == story.after


# What the hub's own library leaves in its cache when it is killed, and never takes away.
HUB_PARTS = re.compile(
    r"/blobs/(tmp_[^/]*|[^/]*\.incomplete)$|/refs/[^/]*\.tmp$|/tmp[^/]*/dummy_file_[a-z]*$"
)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as downloads need: one repository, the files of a folder."""

    folder: Path
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:  # noqa: N802 - the name of the base class
        self.do_GET(with_content=False)

    def do_GET(self, with_content: bool = True) -> None:  # noqa: N802
        path = self.folder / self.path.rpartition("/")[2]
        if "/resolve/" not in self.path or not path.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = path.read_bytes()
        begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if begin else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0123456789" * 4)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        if with_content:
            self.wfile.write(content[begin:])

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@pytest.fixture
def hub(tmp_path):
    """Address of a stand-in for the hub, and the files that it has."""
    folder = official_tiny.make(tmp_path / "hub", PEAudioVideo)
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Ours", (Hub,), {"folder": folder})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


@pytest.mark.kill
@BOTH
def test_model_download(here, run, hub, number):
    address, folder = hub
    own = {"HF_ENDPOINT": address, "HF_HOME": "hub", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    code = f"import os; os.environ.update({own!r}); " + command("models", "download", "someone/finetuned")
    story = Story(here, run, code)
    expected = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fetched() -> dict[str, bytes]:
        return {Path(name).name: content for name, content in contents().items() if "/snapshots/" in name}

    for _ in story.killed(number):
        assert fetched().items() <= expected.items()  # what has its name is whole
        if story.is_new():
            assert run(code) == 0, said(here)
            found = contents()
            unnamed = {name for name in found if HUB_PARTS.search(name)}
            assert {name: found[name] for name in found.keys() - unnamed} == story.after
