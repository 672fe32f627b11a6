"""Plugins: found, used, left out when broken, and begun."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tiny
from fake_entry_points import only_plugins
from typer.testing import CliRunner

import sam_audio.cli
from judge.rank import Ranker
from sam_audio import builtin
from sam_audio.cli import session
from sam_audio.conditioning.encode import encode
from sam_audio.conditioning.source import Recording
from sam_audio.errors import ModelError, OutputExistsError, PromptError, UserError
from sam_audio.export.workstation import SessionExporter, session_exporters
from sam_audio.extending import registry as registry_module
from sam_audio.extending.hookspecs import Caption, Exporter, Option, hookimpl
from sam_audio.extending.registry import Registry
from sam_audio.extending.scaffold import new_plugin
from sam_audio.prompts import Prompt, resolve
from sam_audio.separator import load
from sam_audio.separator.family import SeparatorType

ROOT = Path(__file__).parents[2]


class Point:
    """An entry point that needs no installation."""

    def __init__(self, name, load, version="1.0"):
        self.name = name
        self.dist = SimpleNamespace(name=f"sam-audio-{name}", version=version)
        self.load = load


def module(**hooks):
    """A plugin whose hooks return these lists."""
    made = types.ModuleType("plugin")
    for name, things in hooks.items():
        setattr(made, name, hookimpl(_without_arguments(things)))
    return made


def _without_arguments(things):
    def hook():
        return things

    return hook


def own(load=lambda: builtin):
    """The entry point of the package itself."""
    made = Point("sam-audio", load)
    made.dist.name = "separate-by-prompt"
    return made


def point(name, **hooks):
    return Point(name, lambda: module(**hooks))


class Loud:
    """A prompt type."""

    name = "loud"
    options = (Option("--loud", "N", "How loud."),)

    def parse(self, values):
        return values["loud"]

    def encode(self, value, condition, recording):
        return condition


def thing(name, **methods):
    return SimpleNamespace(name=name, **methods)


class Listing(Exporter):
    """An exporter of one text file."""

    name = "list"

    def export(self, report, overwrite):
        path = Path(report.stems[0].path).with_suffix(".txt")
        path.write_text(f"{[stem.name for stem in report.stems]} {overwrite}")
        return [path]


def exporter(name):
    made = Listing()
    made.name = name
    return made


def find(*points):
    """The registry of these plugins, and what it warned of."""
    warnings = []
    return Registry([*points, own()], warnings.append), warnings


@pytest.fixture
def installed(monkeypatch):
    """Makes the process see these plugins and no others."""

    def install(*points):
        only_plugins(monkeypatch, [*points, own()])
        registry_module.reset()
        return registry_module.registry()

    yield install
    registry_module.reset()


# ---- finding ----------------------------------------------------------------------------------------------


def test_the_package_is_its_own_first_plugin():
    found, warnings = find()
    assert [plugin.name for plugin in found.plugins] == ["sam-audio"]
    assert [kind.name for kind in found.all("prompt_types")] == ["span", "region"]
    exporters = ["remux", "dawproject", "reaper", "audacity", "lof", "otio", "stem.mp4"]
    assert [one.name for one in found.all("exporters")] == exporters
    assert not warnings


def test_without_its_own_plugin_nothing_goes():
    with pytest.raises(UserError, match="lacks its own plugin: reinstall it"):
        Registry([point("loud", prompt_types=[Loud()])], pytest.fail)
    with pytest.raises(UserError, match=r"broken \(ImportError: No module named missing\): reinstall it"):
        Registry([own(cannot_be_imported)], pytest.fail)


def test_what_a_plugin_provides_is_listed():
    found, _ = find(point("loud", prompt_types=[Loud()], captioners=[thing("cap", caption=lambda s, r: [])]))
    assert found.plugins[1].as_dict() == {
        "name": "loud",
        "distribution": "sam-audio-loud",
        "version": "1.0",
        "provides": {"prompt_types": ["loud"], "captioners": ["cap"]},
        "options": ["--loud"],
        "problem": None,
    }


def cannot_be_imported():
    raise ImportError("No module\nnamed missing")


def crashes():
    made = types.ModuleType("plugin")

    @hookimpl
    def prompt_types():
        return 1 / 0

    made.prompt_types = prompt_types
    return made


BROKEN = {
    "gone": (cannot_be_imported, "ImportError: No module named missing"),
    "crash": (crashes, "ZeroDivisionError"),
    "misspelt": (lambda: module(promt_types=[Loud()]), "promt_types"),
    "nothing": (lambda: types.ModuleType("plugin"), "provides nothing"),
    "none": (lambda: module(prompt_types=None), "provides nothing"),
    "number": (lambda: module(prompt_types=3), "TypeError"),
    "nameless": (lambda: module(exporters=[object()]), "has no name"),
    "methodless": (lambda: module(exporters=[thing("x")]), "no method export"),
    "baseless": (
        lambda: module(exporters=[thing("x", export=len)]),
        "exporter x is not derived from Exporter",
    ),
    "optionless": (lambda: module(prompt_types=[thing("x", parse=len, encode=len)]), "no options"),
    "dashless": (
        lambda: module(prompt_types=[thing("x", parse=len, encode=len, options=[Option("-x", "X", "")])]),
        "begin with --",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_named_once_and_left_out(name):
    load, says = BROKEN[name]
    found, warnings = find(Point(name, load), point("loud", prompt_types=[Loud()]))
    (warning,) = warnings
    assert warning.startswith(f"the plugin {name} is disabled: ")
    assert says in warning
    assert "\n" not in warning
    assert [kind.name for kind in found.all("prompt_types")] == ["span", "region", "loud"]
    assert found.plugins[1].problem and not found.plugins[2].problem


def test_a_misspelt_hook_names_the_real_ones():
    _, (warning,) = find(Point("misspelt", BROKEN["misspelt"][0]))
    assert "prompt_types, separators" in warning


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ([point("a", prompt_types=[Loud()]), point("b", prompt_types=[Loud()])], "the prompt type 'loud'"),
        (
            [point("a", exporters=[exporter("remux")])],
            "separate-by-prompt and sam-audio-a both bring the exporter 'remux'",
        ),
        (
            [
                point(
                    "a", prompt_types=[thing("x", parse=len, encode=len, options=[Option("--span", "X", "")])]
                )
            ],
            "the option --span",
        ),
        ([point("a", rankers=[thing("r", load=len), thing("r", load=len)])], "twice"),
    ],
)
def test_two_of_one_name_are_an_error_that_names_them(points, says):
    with pytest.raises(UserError) as caught:
        find(*points)
    assert says in str(caught.value)
    assert "uninstall" in str(caught.value)


def test_what_is_not_there_is_one_sentence():
    found, _ = find()
    with pytest.raises(UserError, match="there is no exporter 'tape': .* remux"):
        found.get("exporters", "tape")
    with pytest.raises(UserError, match="there is no separator 'grand': use nano"):
        found.get("separators", "grand")


def test_python_warns_of_broken_plugins(installed):
    with pytest.warns(registry_module.PluginWarning, match="the plugin gone is disabled"):
        installed(Point("gone", cannot_be_imported))


# ---- hooks ------------------------------------------------------------------------------------------------


def test_hook_prompt_types(installed):
    found = installed(point("loud", prompt_types=[Loud()]))
    (request,) = resolve([Prompt("dog", loud=7)])
    assert request.clues == ((found.get("prompt_types", "loud"), 7),)


def test_hook_separators(installed, model):
    class Grand(SeparatorType):
        name = "grand"

        def load(self, name, device, options):
            return model

    installed(point("s", separators=[Grand()]))
    assert load("grand") is model
    with pytest.raises(UserError, match="the model grand has no --steps"):
        load("grand", options={"steps": 4})
    with pytest.raises(ModelError, match="use nano, grand, a .safetensors file"):
        load("petite")


class Quietest(Ranker):
    """A ranker that likes silence."""

    sample_rate = 48_000

    def rank(self, candidates, mixture, prompt, spans=None):
        return np.array([-float(np.abs(samples).mean()) for samples in candidates])


@pytest.mark.usefixtures("nano_with_variants")
def test_hook_rankers(installed, run):
    loaded = []
    installed(point("r", rankers=[thing("quiet", load=lambda device: loaded.append(device) or Quietest())]))
    asked = ("mix.wav", "-p", "dog", "--candidates", "3", "--no-judge", "--ranker")
    code, out, _ = run(*asked, "quiet", "--json")
    (stem,) = json.loads(out)["files"][0]["stems"]
    tried = stem["candidates"]
    assert (code, loaded) == (0, ["cpu"])
    assert [one["candidate"] for one in tried if one["chosen"]] == ["strength x1.4"]
    assert stem["scores"] is None and tried[0]["score"] < 0
    code, _, err = run(*asked, "loudest")
    assert (code, err.count("\n")) == (2, 1) and "similarity, activity, quiet" in err


@pytest.mark.usefixtures("nano_with_variants")
def test_a_ranker_that_cannot_be_loaded_ends_the_run(installed, run):
    """Rather than leaving it to the judge to choose, from the second recording on."""

    def load(device):
        raise UserError("the ranker is not here: fetch it")

    installed(point("r", rankers=[thing("gone", load=load)]))
    shutil.copy("mix.wav", "other.wav")
    code, out, err = run("mix.wav", "other.wav", "-p", "dog", "--candidates", "2", "--ranker", "gone")
    assert (code, out, err) == (2, "", "error: the ranker is not here: fetch it\n")
    assert not Path("separated").exists()


def test_hook_exporters(installed, run, tmp_path):
    installed(point("e", exporters=[Listing()]))
    code, out, _ = run("mix.wav", "-p", "dog", "--export", "list", "--json")
    assert code == 0
    assert Path("separated/mix/dog.txt").read_text() == "['dog'] False"
    assert json.loads(out)["files"][0]["exports"] == {"list": ["separated/mix/dog.txt"]}


def test_exporters_are_asked_before_anything_is_separated(installed, run):
    class Tape(Listing):
        name = "tape"

        def check(self, source):
            raise UserError(f"{source} is too short for a tape: choose a longer one")

    installed(point("e", exporters=[Tape()]))
    code, out, err = run("mix.wav", "-p", "dog", "--export", "tape")
    assert (code, out, err) == (2, "", "error: mix.wav is too short for a tape: choose a longer one\n")
    assert not Path("separated").exists()


def test_a_session_exporter_of_a_plugin_serves_everywhere(installed, run):
    class Sheet(SessionExporter):
        name, title, suffix = "sheet", "A sheet of paper", ".csv"

        def write(self, session, file, folder):
            file.write(",".join(f"{track.name} {track.mute}" for track in session.tracks).encode())

    installed(point("e", exporters=[Sheet()]))
    code, _, _ = run("mix.wav", "-p", "dog", "--export", "sheet", "-q")
    assert code == 0
    made = Path("separated/mix/mix.csv").read_text()
    assert made == "mix (mixture) True,dog False,residual False"
    asked = ["export", "mix.wav", "separated/mix", "--format", "sheet", "-o", "x.csv"]
    assert CliRunner().invoke(session.app, asked).exit_code == 0
    assert Path("x.csv").read_text() == made
    assert session_exporters()["sheet"].title == "A sheet of paper"


class Halved:
    """A stream at half the level."""

    def __init__(self, stream):
        self.stream = stream

    def push(self, samples):
        return self.stream.push(samples) / 2

    def finish(self):
        return self.stream.finish() / 2


def test_hook_post_processors(installed, model, run):
    halve = thing("halve", wrap=lambda stream, conditions, channels, rate: Halved(stream))
    found = installed(point("p", post_processors=[halve]))
    mixture = tiny.noise(2)
    parts = []
    for post in ([], [found.get("post_processors", "halve")]):
        parts.append(tiny.separated(model, model.encode(["dog"]), mixture, post=post))
    np.testing.assert_allclose(parts[1][0], parts[0][0] / 2, atol=1e-6)
    np.testing.assert_allclose(parts[1].sum(axis=0), mixture, atol=1e-6)
    assert run("mix.wav", "-p", "dog", "--post", "halve")[0] == 0
    assert run("mix.wav", "-p", "dog", "-o", "whole")[0] == 0
    half, whole = (soundfile.read(f"{out}/mix/dog.wav")[0] for out in ("separated", "whole"))
    np.testing.assert_allclose(half, whole / 2, atol=2**-14)


def test_hook_text_normalisers(installed, model, run):
    words = {"chien": "dog"}
    installed(point("t", text_normalisers=[thing("french", normalise=lambda text: words.get(text, text))]))
    (condition,) = encode(resolve(["chien"]), Recording(tiny.noise(1), model, 48_000))
    assert condition.name == "chien"
    np.testing.assert_allclose(condition.vector, model.encode(["dog"])[0].vector, atol=1e-6)
    assert run("mix.wav", "-p", "chien")[0] == 0
    assert run("mix.wav", "-p", "dog", "-o", "english")[0] == 0
    assert Path("separated/mix/chien.wav").read_bytes() == Path("english/mix/dog.wav").read_bytes()


def test_hook_captioners(installed):
    found = installed(point("c", captioners=[thing("cap", caption=lambda s, r: [Caption("a dog", 0.7)])]))
    assert found.get("captioners", "cap").caption(np.zeros((1, 5)), 48_000) == [Caption("a dog", 0.7)]


# ---- the command line -------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, capfd, tmp_path, tiny_weights):
    """Runs ``separate`` in a folder with a recording; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("mix.wav", tiny.noise(2, 0.3).T, 48_000)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["separate", *arguments, "--model", str(tiny_weights)])
        # the command remembers the options it found: look again
        command = sam_audio.cli.separate_app
        monkeypatch.setattr(sam_audio.cli.SeparateCommand, "_more", None)
        try:
            sam_audio.cli._run(command)
            code = 0
        except SystemExit as exit_:
            code = exit_.code or 0
        return code, *capfd.readouterr()

    return call


def test_options_of_plugins_are_in_the_help(installed, run):
    installed(point("loud", prompt_types=[Loud()]))
    out = run("--help-all")[1]
    assert "--loud" in out and "How loud." in out and "--span" in out
    assert run("mix.wav", "--loud", "3", "-p", "dog")[0] == 0


def test_a_broken_plugin_is_one_warning(installed, run, monkeypatch):
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [Point("gone", cannot_be_imported), own()]
    )
    registry_module.reset()
    code, _, err = run("mix.wav", "-p", "dog")
    assert code == 0
    assert err == "warning: the plugin gone is disabled: ImportError: No module named missing\n"


def test_a_plugin_cannot_take_an_option_of_the_command(installed, run):
    kind = thing("x", parse=len, encode=len, options=[Option("--out", "X", "")])
    installed(point("x", prompt_types=[kind]))
    code, _, err = run("mix.wav", "-p", "dog")
    assert (code, err.count("\n")) == (2, 1)
    assert "--out, which separate has" in err


# ---- a plugin from nothing to nothing ---------------------------------------------------------------------


def command(*arguments, path=(), cwd=None):
    """Runs Python with folders on its path; gives what it did."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *path]))}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True
    )


MAIN = "import sys; from sam_audio.cli import main; sys.argv = ['sam-audio', *sys.argv[1:]]; main()"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="installs with uv")
def test_a_new_plugin_is_made_installed_used_and_removed(tmp_path, tiny_weights):
    site = tmp_path / "site"
    soundfile.write(tmp_path / "mix.wav", tiny.noise(2, 0.3).T, 48_000)

    def cli(*arguments):
        return command("-c", MAIN, *arguments, path=[site], cwd=tmp_path)

    def names():
        return [plugin["name"] for plugin in json.loads(cli("plugins", "--json").stdout)["plugins"]]

    made = cli("plugins", "new", "my-range", "--out", "here")
    assert (made.returncode, made.stderr) == (0, "")
    folder = tmp_path / "here" / "sam-audio-my-range"
    assert (folder / "pyproject.toml").is_file()
    tested = command("-m", "pytest", "-q", "-p", "no:cacheprovider", folder, path=[folder], cwd=folder)
    assert tested.returncode == 0, tested.stdout

    assert "my-range" not in names()
    install = ["uv", "pip", "install", "--offline", "--no-deps", "--python", sys.executable, "--target", site]
    done = subprocess.run([*map(str, install), str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "my-range" in names()
    assert "--my-range" in cli("separate", "--help-all").stdout

    used = cli("separate", "mix.wav", "--my-range", "0-4000", "--model", tiny_weights)
    assert (used.returncode, used.stderr) == (0, "")
    stem = soundfile.read(tmp_path / "separated" / "mix" / "my-range.wav")[0]
    spectrum = np.abs(np.fft.rfft(stem[:, 0]))
    border = 4_000 * len(stem) // 48_000
    assert spectrum[border + 100 :].mean() < 0.05 * spectrum[: border - 100].mean()

    code = (
        "from sam_audio import Separator; from sam_audio.prompts import Prompt, resolve\n"
        "from sam_audio.conditioning.encode import encode; from sam_audio.conditioning.source import Recording\n"
        f"model = Separator({str(tiny_weights)!r}, device='cpu').model\n"
        "asked = resolve([Prompt('dog', my_range='0-4000')])\n"
        "(condition,) = encode(asked, Recording('mix.wav', model)); print(condition.name, condition.masks)"
    )
    python = command("-c", code, path=[site], cwd=tmp_path)
    assert python.stdout == "dog (Range(low_hz=0.0, high_hz=4000.0),)\n", python.stderr

    bad = cli("separate", "mix.wav", "--my-range", "loud", "--overwrite", "--model", tiny_weights)
    assert (bad.returncode, bad.stderr.count("\n")) == (2, 1)
    uninstall = ["uv", "pip", "uninstall", "--python", sys.executable, "--target", site, "sam-audio-my-range"]
    subprocess.run(list(map(str, uninstall)), check=True, capture_output=True)
    assert "my-range" not in names()
    refused = cli("separate", "mix.wav", "--my-range", "0-4000")
    assert refused.returncode == 2 and "my-range" in refused.stderr


@pytest.mark.parametrize("name", ["My", "a_b", "3d", "", "-x", "class", "a b", "../x"])
def test_names_that_no_plugin_can_have(tmp_path, name):
    with pytest.raises(PromptError, match="lower-case"):
        new_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_stays(tmp_path):
    new_plugin("x", tmp_path)
    with pytest.raises(OutputExistsError, match="already exists"):
        new_plugin("x", tmp_path)


# ---- the first-party plugins ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "folder", sorted((ROOT / "plugins").glob("*/pyproject.toml")), ids=lambda p: p.parent.name
)
def test_first_party_plugins_are_distributions(folder, monkeypatch):
    import tomllib

    project = tomllib.loads(folder.read_text(encoding="utf-8"))["project"]
    ((name, target),) = project["entry-points"]["sam_audio"].items()
    assert project["name"] == f"sam-audio-{folder.parent.name}"
    assert name == folder.parent.name
    assert (folder.parent / "README.md").read_text(encoding="utf-8").startswith(f"# {project['name']}\n")
    assert list((folder.parent / "tests").glob("test_*.py"))
    code = (
        f"import sys, {target}; print([m for m in ('numpy', 'torch', 'librosa', 'mido') if m in sys.modules])"
    )
    assert command("-c", code, path=[folder.parent]).stdout.strip() == "[]"


def test_first_party_plugins_get_along(monkeypatch):
    import importlib

    points = []
    for folder in (ROOT / "plugins").glob("*/pyproject.toml"):
        monkeypatch.syspath_prepend(str(folder.parent))
        target = f"sam_audio_{folder.parent.name.replace('-', '_')}"
        points.append(Point(folder.parent.name, lambda target=target: importlib.import_module(target)))
    found, warnings = find(*points)
    assert not warnings
    page = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")
    for _, option in found.options():
        assert f"{option.flag}" in page and f"`{option.key}`" in page or option.flag == "--preview", option
