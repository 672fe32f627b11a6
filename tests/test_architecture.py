"""Who imports whom, and what an import costs; read from the source and measured in fresh processes."""

from __future__ import annotations

import ast
import importlib
import pkgutil
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


def test_peav_imports_none_of_the_others():
    for path, names in importers("peav").items():
        assert not [n for n in names if inside(n, "sam_audio", "judge", "plugins")], path


def test_judge_imports_peav_and_plain_types_only():
    for path, names in importers("judge").items():
        allowed = ["sam_audio.types", "sam_audio.errors"]
        if path == "nano.py":  # it listens with the separator, which knows nothing of judges
            allowed.append("sam_audio.separator")
        assert not [n for n in names if inside(n, "sam_audio", "plugins") and not inside(n, *allowed)], path


def test_nobody_imports_the_command_line_or_the_editor():
    for package in PACKAGES:
        for path, names in importers(package).items():
            if not path.startswith(("cli/", "app/")):
                assert not [n for n in names if inside(n, "sam_audio.cli", "sam_audio.app")], path


def test_separation_does_not_need_training():
    for path, names in importers("sam_audio").items():
        if not path.startswith(("cli/", "training/", "evaluation/")):
            assert not [n for n in names if inside(n, "sam_audio.training", "sam_audio.evaluation")], path


def test_nothing_but_training_needs_its_extra():
    extra = "asteroid", "onnx", "scipy", "pedalboard", "requests", "fast_bss_eval"
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


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("package", ["sam_audio", "peav"])
def test_importing_brings_no_torch(package):
    heavy = "torch", "numpy", "soundfile", "typer"
    assert run(f"import sys, {package}; print([m for m in {heavy} if m in sys.modules])") == "[]"


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
