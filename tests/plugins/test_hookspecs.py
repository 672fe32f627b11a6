"""Every hook is documented, tested, and does what a plugin is told."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sam_audio.extending import hookspecs
from sam_audio.extending.hookspecs import HOOKS, Hooks, Option
from sam_audio.extending.registry import _METHODS

ROOT = Path(__file__).parents[2]


def test_there_are_hooks():
    assert len(HOOKS) == 7
    assert set(_METHODS) == set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented(hook):
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    assert re.search(rf"^### {hook}\n\n\S", page, re.MULTILINE), f"docs/plugins.md has no section {hook}"
    assert inspect.getdoc(getattr(Hooks, hook))
    for method in _METHODS[hook]:
        section = page.split(f"### {hook}\n")[1].split("\n##")[0]
        assert f"`{method}(" in section, f"docs/plugins.md does not show {method} of {hook}"


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_tested(hook):
    tests = (ROOT / "tests" / "plugins" / "test_plugins.py").read_text(encoding="utf-8")
    assert f"def test_hook_{hook}(" in tests, f"tests/plugins/test_plugins.py has no test_hook_{hook}"


def test_exported_names_are_there():
    assert all(getattr(hookspecs, name) for name in hookspecs.__all__)


@pytest.mark.parametrize(
    ("option", "key"),
    [
        (Option("--like", "F", "h"), "like"),
        (Option("--not-span", "F", "h", many=True), "not_spans"),
        (Option("--box", "F", "h", many=True, key="boxes"), "boxes"),
    ],
)
def test_options_have_keys(option, key):
    assert option.key == key


def test_a_plugin_may_import_them_cheaply():
    heavy = "numpy", "torch", "typer"
    code = f"import sys, sam_audio.extending.hookspecs; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
