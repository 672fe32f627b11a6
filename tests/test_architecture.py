"""Who imports whom, and what an import costs; read from the source and measured in fresh processes."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import judge
import peav
import sam_audio

PACKAGES = {package.__name__: Path(package.__file__).parent for package in (sam_audio, peav, judge)}


def imports(path: Path) -> set[str]:
    """Full names of everything a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def importers(package: str) -> dict[str, set[str]]:
    root = PACKAGES[package]
    return {str(path.relative_to(root)): imports(path) for path in root.rglob("*.py")}


def inside(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


# The floors, from the lowest. An import, a lazy one or one for types too, leads to a lower floor or stays in its room
# (the prefix in this table, of which the longest counts).
FLOORS = [
    ["peav"],
    ["sam_audio.beside", "sam_audio.errors", "sam_audio.paths", "sam_audio.version", "sam_audio.vocabulary"],
    ["sam_audio.devices", "sam_audio.documents", "sam_audio.models", "sam_audio.naming", "sam_audio.types"],
    ["sam_audio.options"],
    ["judge.types"],
    ["sam_audio.report"],
    ["sam_audio.io"],
    ["sam_audio.separator.base"],
    ["sam_audio.separator.family"],
    ["sam_audio.separator.nano.options", "sam_audio.separator.official.options"],
    ["sam_audio.conditioning"],
    ["sam_audio.extending"],
    ["sam_audio.prompts"],
    ["sam_audio.conditioning.encode"],
    ["sam_audio.separator"],
    ["judge"],
    ["sam_audio.separator.official"],  # one of its rankers is the Judge
    ["sam_audio.separator.families"],
    ["sam_audio.separation"],
    ["sam_audio.sinks"],
    ["sam_audio.selection"],
    ["sam_audio.notebook"],
    ["sam_audio.results", "sam_audio.plan"],
    ["sam_audio.made"],
    ["sam_audio.render"],
    ["sam_audio.api", "sam_audio.jobs", "sam_audio.session"],
    ["sam_audio.export", "sam_audio.finding", "sam_audio.host"],
    ["sam_audio.captioning"],
    ["sam_audio.scale"],
    ["sam_audio.service"],
    ["sam_audio.builtin", "sam_audio.extending.scaffold", "sam_audio.extending.separator_checks"],
    ["sam_audio.training"],
    ["sam_audio.evaluation"],
    ["sam_audio.training.recipes"],
    ["sam_audio.app", "sam_audio.web"],
    ["sam_audio.cli"],
    ["sam_audio"],  # its public names
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

FILES = {
    ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for root in PACKAGES.values()
    for path in root.rglob("*.py")
}


def room_of(name: str) -> str:
    return max((room for room in FLOOR if inside(name, room)), key=len)


def files_imported(name: str) -> set[str]:
    """The files of our packages that a file imports, anywhere in it, also for type checkers only."""
    found = set()
    for full in imports(FILES[name]):
        while full and full not in FILES:
            full = full.rpartition(".")[0]
        if full and full != name:
            found.add(full)
    return found


IMPORTS = {name: files_imported(name) for name in FILES}

# still to be mended; nothing may be added
UPWARD = {
    ("sam_audio.training.captions.engine", "sam_audio.evaluation.metrics"),
}


def test_every_import_leads_down():
    upward = set()
    for name, imported in IMPORTS.items():
        for other in imported:
            if room_of(name) != room_of(other) and FLOOR[room_of(other)] >= FLOOR[room_of(name)]:
                upward.add((name, other))
    assert upward <= UPWARD


def test_no_file_imports_itself_by_way_of_others():
    left = {name: set(imported) for name, imported in IMPORTS.items()}
    while leaves := {name for name, imported in left.items() if not imported & left.keys()}:
        left = {name: imported for name, imported in left.items() if name not in leaves}
    cyclic = {name for name in left if _reaches(name, name, left)}
    assert cyclic == set()


def _reaches(start: str, goal: str, graph: dict[str, set[str]]) -> bool:
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        for other in graph.get(ahead.pop(), ()):
            if other == goal:
                return True
            if other not in seen:
                seen.add(other)
                ahead.append(other)
    return False


def test_nothing_but_training_needs_its_extra():
    extra = "asteroid", "onnx", "onnxscript", "pedalboard", "requests", "fast_bss_eval"
    for package in PACKAGES:
        for path, names in importers(package).items():
            # the rack is what pedalboard is for; it has an extra of its own
            allowed = "pedalboard" if path.startswith("host/") else None
            if not path.startswith(("training/", "evaluation/")):
                assert not [n for n in names if inside(n, *(e for e in extra if e != allowed))], path


MODULES = sorted(
    info.name
    for package, root in PACKAGES.items()
    for info in (
        *pkgutil.walk_packages([str(root)], f"{package}."),
        *pkgutil.iter_modules([str(root.parent)]),
    )
    if inside(info.name, *PACKAGES)
)


@pytest.mark.parametrize("name", sorted(set(MODULES)))
def test_exported_members(name):
    """Every module can be imported, and has what its ``__all__`` promises."""
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert len(exported) == len(set(exported))
    for member in exported:
        assert getattr(module, member, None) is not None, member
    assert set(exported) <= set(dir(module))


@pytest.mark.parametrize("package", ["sam_audio", "peav"])
def test_what_is_not_exported_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match="no_such_name"):
        importlib.import_module(package).no_such_name  # noqa: B018


ROOT = Path(__file__).parents[1]


def test_the_files_that_the_architecture_names_exist():
    named = set(
        re.findall(
            r"`((?:sam_audio|peav|judge|tests)/[\w/.-]*)`", (ROOT / "docs/architecture.md").read_text()
        )
    )
    assert len(named) > 20
    assert not [name for name in named if not (ROOT / name).exists()]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("package", ["sam_audio", "peav"])
def test_importing_brings_no_torch(package):
    heavy = "torch", "numpy", "soundfile", "typer"
    assert run(f"import sys, {package}; print([m for m in {heavy} if m in sys.modules])") == "[]"


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "tokenizers", "scipy", "onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
sys.argv = sys.argv[1:]
from sam_audio.cli import main, separate_main
(separate_main if sys.argv[0] == "separate" else main)()
"""


def run_without(*command: object) -> subprocess.CompletedProcess[str]:
    """A command where what the extras bring is not installed."""
    return subprocess.run([sys.executable, "-c", WITHOUT, *map(str, command)], capture_output=True, text=True)


@pytest.mark.parametrize(
    "command",
    [
        ("separate", "--help"),
        ("separate", ROOT / "examples/band.wav", "-p", "guitar", "-o", "out", "--device", "cpu"),
        (
            "separate",
            ROOT / "examples/scene.ogg",
            "-p",
            "birds",
            "--span",
            "0-2",
            "-o",
            "out",
        ),
        ("sam-audio", "embed", ROOT / "examples/scene.ogg", "-o", "scene.npz"),
        ("sam-audio", "locate", ROOT / "examples/scene.ogg", "-p", "bird singing"),
        ("sam-audio", "judge", ROOT / "examples/band.wav", ROOT / "examples/band.wav", "-p", "guitar"),
    ],
    ids=lambda command: " ".join(map(str, command[:2]))[:24],
)
def test_nano_needs_no_torch(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_without(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_what_needs_torch_says_so(tiny_weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for more in (("--model", tiny_weights), ("--model", "facebook/sam-audio-small"), ("--device", "cuda")):
        done = run_without("separate", ROOT / "examples/band.wav", "-p", "guitar", *more)
        assert done.returncode == 2
        assert "needs torch, which is not installed: run pip install" in done.stderr
        assert done.stderr.count("\n") == 1


HELP = """
import resource, sys
sys.argv = ["separate", "--help"]
from sam_audio.cli import separate_main
try:
    separate_main()
except SystemExit as exit_:
    assert not exit_.code
heavy = [name for name in ("torch", "numpy", "soundfile", "scipy") if name in sys.modules]
usage = resource.getrusage(resource.RUSAGE_SELF)
print(heavy, len(sys.modules), usage.ru_utime + usage.ru_stime)
"""
measures_itself = pytest.mark.skipif(sys.platform == "win32", reason="measures with getrusage")


@measures_itself
def test_help_brings_in_little():
    """What makes it instant, whatever the machine."""
    out = run(HELP)
    heavy, modules, _ = out.splitlines()[-1].rsplit(" ", 2)
    assert "--prompt" in out
    assert heavy == "[]"
    assert int(modules) < 500  # 412 of them when this was written


@measures_itself
@pytest.mark.speed
def test_help_is_instant():
    # the fastest counts: a busy machine slows any single run down
    assert min(float(run(HELP).rsplit(" ", 1)[1]) for _ in range(8)) < 0.5


def test_loading_a_model_brings_in_no_compiler(tiny_weights):
    """On the meta device some initialisers of torch import dynamo and sympy, which takes seconds."""
    code = f"""
import sys
from sam_audio import Separator
Separator({str(tiny_weights)!r}, device="cpu")
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""
    assert run(code) == "[]"
