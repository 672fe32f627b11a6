"""The notebooks of examples/ run, from the first cell to the last, and say what they promise."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples/notebooks").glob("*.py"))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs one in a folder of its own; gives its variables and what it printed."""

    def run(name: str) -> tuple[dict, str]:
        (tmp_path / "examples").symlink_to(ROOT / "examples")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("SAM_AUDIO_CACHE", str(tmp_path / "cache"))
        names = runpy.run_path(str(ROOT / "examples/notebooks" / name))
        return names, capsys.readouterr().out

    return run


def test_ten_minutes(run):
    names, out = run("ten_minutes.py")
    assert list(names["band"].stems) == ["guitar", "drums", "bass"]
    assert "not in the mixture: ['dog barking']" in out
    assert len(list(Path("notebook-stems").iterdir())) == 4


def test_search_a_folder(run):
    _, out = run("search_a_folder.py")
    assert "files indexed, 0 known" in out
    first = re.search(r"a bird singing\n +\S+ +\S+ s +(\S+)", out)[1]
    assert first == "scene.ogg"


def test_a_plugin(run):
    _, out = run("a_plugin.py")
    plain, changed = (float(share) for share in re.findall(r"below 60 Hz: ([\d.]+)%", out))
    assert changed < plain
    assert "['no-rumble', 'boldest']" in out


def test_evaluate_your_folder(run):
    names, out = run("evaluate_your_folder.py")
    assert len(names["rows"]) == 4
    assert float(re.search(r"median improvement (\S+) dB", out)[1]) > 0


def test_judge_other_stems(run):
    _, out = run("judge_other_stems.py")
    overall = {line[:14].strip(): float(line[14:].split()[0]) for line in out.splitlines()[1:]}
    assert overall.keys() == {"filter", "nano", "nothing done"}
    assert overall["nano"] > overall["nothing done"]


def test_all_are_listed_and_run_here():
    tested = {name for name in globals() if name.startswith("test_")}
    readme = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        assert f"test_{path.stem}" in tested, path.name
        assert f"notebooks/{path.name}" in readme, path.name
        assert path.read_text(encoding="utf-8").startswith("# %% [markdown]\n# # ")
    assert len(NOTEBOOKS) == 5
