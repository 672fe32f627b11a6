"""``sam-audio judge``: files and folders, what it prints, and how it fails."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import tiny_judge
from tiny_judge import FakeJudge

from sam_audio.cli.judge import prompt_of

KEYS = ["overall", "recall", "precision", "faithfulness", "present"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name: str, level: float = 1.0, seconds: float = 1.5, rate: int = 48_000, channels: int = 2) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(name, level * tiny.noise(channels, seconds, rate).T, rate)
    return name


@pytest.fixture
def fake_judge(monkeypatch):
    """The judge that ``cli`` finds."""
    judge = FakeJudge()
    monkeypatch.setattr("sam_audio.selection.judging.load_judge", lambda name, device: judge)
    return judge


@pytest.fixture
def cli(run_command, fake_judge, monkeypatch):
    """Runs ``sam-audio judge`` with a fake judge."""
    monkeypatch.setenv("COLUMNS", "160")
    return partial(run_command, "sam-audio", "judge")


@pytest.fixture
def library():
    """As ``separate a.wav b.wav`` leaves it, and mixtures elsewhere."""
    for track in "ab":
        write(f"{track}.wav")
        write(f"separated/{track}/dog-barking.wav", 0.5)
        write(f"separated/{track}/residual.wav", 0.5)
    write("separated/b/guitar.wav", 0.25)
    write("separated/b/guitar-2.wav", 0.25)


def asked_of(judge: FakeJudge) -> set[str]:
    """The prompts that it has heard stems for."""
    return {prompt for _, (prompt,) in judge.heard}


# ---- files ---------------------------------------------------------------------------------------------


def test_one_stem_as_json(cli):
    result = cli(write("mix.wav"), write("stem.wav", 0.5), "-p", "dog barking", "--json")
    assert (result.code, result.err) == (0, "")
    answer = json.loads(result.out)
    assert list(answer) == ["mixture", "stem", "prompt", *KEYS]
    assert answer["overall"] == pytest.approx(3, abs=0.01)
    assert (answer["mixture"], answer["stem"], answer["prompt"]) == ("mix.wav", "stem.wav", "dog barking")


def test_a_table(cli, fake_judge):
    result = cli(write("mix.wav"), write("a.wav", 0.5), write("b.wav"), "-p", "dog", "-p", "absent cat")
    head, a, b = result.out.splitlines()
    assert result.code == 0 and head.split()[0] == "stem"
    assert a.split()[:2] == ["a.wav", "3.0"] and "yes (90 %)" in a
    assert "not in the mix (10 %)" in b
    assert asked_of(fake_judge) == {"dog", "absent cat"}


def test_one_prompt_for_all_or_none_at_all(cli, fake_judge):
    mix, stems = write("mix.wav"), [write("big-dog.wav"), write("cat.wav")]
    cli(mix, *stems, "-p", "animal")
    assert asked_of(fake_judge) == {"animal"}
    cli(mix, *stems)
    assert asked_of(fake_judge) == {"animal", "big dog", "cat"}


def test_several_as_json(cli):
    answer = json.loads(cli(write("mix.wav"), write("a.wav"), write("b.wav"), "--json").out)
    assert [stem["stem"] for stem in answer["stems"]] == ["a.wav", "b.wav"]
    assert answer["errors"] == []


def test_rates_and_channels_may_differ(cli):
    mix = write("mix.wav", rate=44_100, channels=6)
    assert cli(mix, write("stem.wav", rate=8_000, channels=1), "-p", "dog").code == 0


def test_with_the_real_thing(run_command, tmp_path):
    weights = tiny_judge.save(tmp_path / "random.safetensors")
    stem = write("dog.wav", 0.5)
    result = run_command("sam-audio", "judge", write("mix.wav"), stem, "--json", "--model", weights)
    assert result.code == 0
    answer = json.loads(result.out)
    assert all(1 <= answer[key] <= 5 for key in KEYS[:4]) and 0 <= answer["present"] <= 1


def test_silence_has_scores(run_command, tmp_path):
    weights = tiny_judge.save(tmp_path / "random.safetensors")
    silent = [write(name, 0.0) for name in ("mix.wav", "dog.wav")]
    answer = json.loads(run_command("sam-audio", "judge", *silent, "--json", "--model", weights).out)
    assert [answer[key] for key in KEYS] == [5, 5, 5, 5, 0]


# ---- folders -------------------------------------------------------------------------------------------


EXPECTED = [
    ("a", "dog-barking", "dog barking"),
    ("b", "dog-barking", "dog barking"),
    ("b", "guitar-2", "guitar"),
    ("b", "guitar", "guitar"),
]


def pairs(result) -> list[tuple[str, str, str]]:
    assert result.code == 0, result
    return [
        (Path(one["mixture"]).stem, Path(one["stem"]).stem, one["prompt"])
        for one in json.loads(result.out)["stems"]
    ]


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["separated"], EXPECTED),  # mixtures lie beside the folder
        (["separated", "--mixture", "."], EXPECTED),
        ([".", "separated"], EXPECTED),
        (["separated/b"], EXPECTED[1:]),
        (["b.wav", "separated/b"], EXPECTED[1:]),
        (["--mixture", "b.wav", "separated/b"], EXPECTED[1:]),
        (["--mixture", ".", "separated/a", "separated/b/guitar.wav"], [EXPECTED[0], EXPECTED[3]]),
    ],
)
def test_folders(cli, arguments, expected):
    assert pairs(cli(*arguments, "--json")) == expected


@pytest.mark.usefixtures("library")
def test_mixtures_in_a_folder_of_their_own(cli):
    Path("mixes").mkdir()
    for track in "ab":
        Path(f"{track}.wav").rename(f"mixes/{track}.wav")
    assert pairs(cli("separated", "--mixture", "mixes", "--json")) == EXPECTED
    result = cli("separated", "-p", "x")
    assert result.code == 2 and result.err.count("--mixture") == 4


@pytest.mark.usefixtures("library")
def test_what_fails_does_not_stop_the_others(cli):
    Path("separated/a/dog-barking.wav").write_text("no sound")
    write("separated/b/guitar.wav", seconds=0.5)
    result = cli("separated", "--json")
    assert result.code == 2
    answer = json.loads(result.out)
    assert [Path(one["stem"]).name for one in answer["stems"]] == ["dog-barking.wav", "guitar-2.wav"]
    assert [error["stem"] for error in answer["errors"]] == [
        "separated/a/dog-barking.wav",
        "separated/b/guitar.wav",
    ]
    assert result.err.count("error: ") == 2


@pytest.mark.parametrize(
    ("name", "beside", "prompt"),
    [
        ("dog-barking.wav", [], "dog barking"),
        ("guitar-2.wav", ["guitar.wav"], "guitar"),
        ("guitar-2.wav", [], "guitar 2"),
        ("808.wav", [], "808"),
        ("-.wav", [], "-"),
    ],
)
def test_prompts_come_from_names(tmp_path, name, beside, prompt):
    for other in beside:
        (tmp_path / other).touch()
    assert prompt_of(tmp_path / name) == prompt


# ---- bad input -----------------------------------------------------------------------------------------


def test_nothing_to_judge(refused):
    assert "no stem is given" in refused()
    assert "no stem is given" in refused(write("mix.wav"))
    assert "standard input" in refused("-", write("a.wav"))
    Path("empty").mkdir()
    assert "empty holds no stems" in refused(write("mix.wav"), "empty")


def test_prompts_that_do_not_fit(refused):
    files = [write(name) for name in ("mix.wav", "a.wav", "b.wav", "c.wav")]
    assert "3 stems and 2 prompts" in refused(*files, "-p", "x", "-p", "y")
    assert "prompt is empty" in refused(*files, "-p", " ")


def test_files_that_do_not_fit(refused):
    mix = write("mix.wav", seconds=2)
    assert "a.wav lasts 1.00 s and mix.wav 2.00 s" in refused(mix, write("a.wav", seconds=1))
    assert "missing.wav does not exist" in refused(mix, "missing.wav")
    assert "missing.wav does not exist" in refused("missing.wav", write("a.wav"))
    Path("text.wav").write_text("hello")
    assert "text file" in refused(mix, "text.wav")
    soundfile.write("nan.wav", np.full((96_000, 1), np.nan), 48_000, "FLOAT")
    assert "NaN" in refused(mix, "nan.wav")


def test_mixtures_that_could_be_two(cli, library):
    write("a.flac")
    result = cli("separated/a")
    assert result.code == 2 and "a.flac and a.wav could be the mixture" in result.err


def test_no_such_judge(run_command):
    files = write("a.wav"), write("b.wav")
    code, _, err = run_command("sam-audio", "judge", *files, "--model", "no.safetensors")
    assert code == 2 and "no.safetensors" in err and err.count("\n") == 1


def test_help_is_instant(monkeypatch):
    import subprocess
    import sys

    code = (
        "import sys; sys.argv = ['sam-audio', 'judge', '--help']\n"
        "from sam_audio.cli import main\n"
        "try: main()\n"
        "except SystemExit: print([m for m in ('torch', 'numpy', 'soundfile') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
