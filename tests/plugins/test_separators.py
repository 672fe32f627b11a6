"""Every separator keeps what the conformance kit asks, and one in a file of its own has all that nano has."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tiny
import tiny_official
import toy_separator
from fake_entry_points import only_plugins

import sam_audio.cli
from sam_audio import Separator
from sam_audio.errors import ModelError, UserError
from sam_audio.extending import registry as registry_module
from sam_audio.extending.hookspecs import GROUP
from sam_audio.extending.separator_checks import check_separator
from sam_audio.separator import load
from sam_audio.separator.base import SeparationModel, SeparationStream
from sam_audio.separator.family import SeparatorType
from sam_audio.separator.official.options import OfficialOptions
from sam_audio.separator.official.separator import OfficialSeparator


@pytest.fixture
def toy(monkeypatch):
    """The process sees the toy's plugin."""
    point = SimpleNamespace(
        name="toy", dist=SimpleNamespace(name="sam-audio-toy", version="1"), load=lambda: toy_separator
    )
    installed = [*entry_points(group=GROUP, name="sam-audio"), point]
    only_plugins(monkeypatch, installed)
    monkeypatch.setattr(sam_audio.cli.SeparateCommand, "_more", None)
    registry_module.reset()
    yield
    registry_module.reset()
    monkeypatch.setattr(sam_audio.cli.SeparateCommand, "_more", None)


@pytest.fixture
def mix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write("mix.wav", tiny.noise(2, 2.0).T, 48_000, "FLOAT")
    return Path("mix.wav")


def test_nano(model):
    check_separator(model, seconds=0.6)


def test_an_official_model(tmp_path):
    official = tiny_official.load(tiny_official.write(tmp_path))
    check_separator(OfficialSeparator(official, "tiny", OfficialOptions(steps=2)), seconds=0.5)


def test_a_toy_in_fewer_than_sixty_lines(toy):
    assert len(Path(toy_separator.__file__).read_text().splitlines()) < 80
    lines = [line for line in Path(toy_separator.__file__).read_text().splitlines() if line.strip()]
    assert len(lines) < 60
    check_separator(load("split"), ("low", "high"), seconds=0.3)


def test_its_option_is_one_of_the_command_line_of_jobs_and_of_python(toy, mix, run_command):
    def low(folder):
        return soundfile.read(f"{folder}/mix/low.wav")[0].T

    asked = ("separate", mix, "-p", "low", "-p", "high", "--model", "split", "--no-judge")
    assert "--border-hz" in run_command("separate", "--help-all").out
    assert run_command(*asked, "-o", "a").code == 0
    assert run_command(*asked, "-o", "b", "--border-hz", "200").code == 0
    assert np.abs(low("b")).max() < 0.6 * np.abs(low("a")).max()
    Path("jobs.jsonl").write_text(
        json.dumps({"mixture": "mix.wav", "prompts": ["low"], "out": "c", "border_hz": 200.0})
    )
    done = run_command("separate", "--jobs", "jobs.jsonl", "--model", "split", "--no-judge")
    assert (done.code, done.err) == (0, "")
    np.testing.assert_allclose(low("c"), low("b"), atol=1e-6)
    stems = Separator("split", "cpu", options={"border_hz": 200.0}, judge=None).separate(mix, ["low"]).stems
    np.testing.assert_allclose(stems["low"].samples, low("b"), atol=1e-6)
    with pytest.raises(UserError, match="the model split has no --steps"):
        load("split", options={"steps": 3})


def test_it_has_candidates_and_works_live(toy, mix, run_command):
    done = run_command(
        *("separate", mix, "-p", "low", "--model", "split", "--candidates", "2", "--ranker", "activity"),
        *("--no-judge", "--json"),
    )
    tried = json.loads(done.out)["files"][0]["stems"][0]["candidates"]
    assert [one["candidate"] for one in tried] == ["", "higher border"]
    pytest.importorskip("pedalboard")
    from sam_audio.host import Rack

    rack = Rack(["low", "high"], model="split", live=True, device="cpu")
    samples = tiny.noise(2, 1.0)
    out = np.concatenate(
        [rack.process(samples[:, i : i + 512], 48_000, reset=False) for i in range(0, 48_000, 512)], -1
    )
    late = rack.latency_samples
    assert late < 600
    np.testing.assert_allclose(out[:, late:], samples[:, : out.shape[-1] - late], atol=1e-6)


class Broken(SeparationModel):
    """Forgets the last samples."""

    name, sample_rate = "broken", 48_000

    def encode(self, texts):
        from sam_audio.types import Condition

        return [Condition(text, None, text=text) for text in texts]

    def open(self, conditions, channels, strength=1.0):
        class Stream(SeparationStream):
            def push(self, samples):
                return np.stack([samples[:, :-1]] * len(conditions))

            def finish(self):
                return np.zeros((len(conditions), channels, 0), np.float32)

        return Stream()


def test_the_kit_finds_what_is_wrong():
    with pytest.raises(AssertionError, match="broken: stems of shape"):
        check_separator(Broken())


def test_a_family_that_brings_something_else_is_told(monkeypatch):
    class Other(SeparatorType):
        name = "other"

        def load(self, name, device, options):
            return object()

    monkeypatch.setattr("sam_audio.separator.family_of", lambda name: Other())
    with pytest.raises(ModelError, match="brings no SeparationModel"):
        load("other")
