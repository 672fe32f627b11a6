"""``sam-audio judge``: files and folders, what it prints, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tiny
import tiny_judge
from tiny_judge import FakeJudge

import sam_audio.cli
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
def cli(monkeypatch, capfd):
    """Runs ``sam-audio judge`` with a fake judge; gives exit code, stdout and stderr."""
    judge = FakeJudge()
    monkeypatch.setattr("sam_audio.judging.load_judge", lambda name, device: judge)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["sam-audio", "judge", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "160")
        capfd.readouterr()
        try:
            sam_audio.cli.main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code or 0
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err, prompts=[p for _, (p,) in judge.heard])

    return run


@pytest.fixture
def library():
    """As ``separate a.wav b.wav`` leaves it, and mixtures elsewhere."""
    for track in "ab":
        write(f"{track}.wav")
        write(f"separated/{track}/dog-barking.wav", 0.5)
        write(f"separated/{track}/residual.wav", 0.5)
    write("separated/b/guitar.wav", 0.25)
    write("separated/b/guitar-2.wav", 0.25)


def assert_one_sentence(result, *says: str) -> None:
    assert (result.code, result.out) == (2, ""), result
    assert result.err.startswith("error: ") and result.err.count("\n") == 1
    assert "Traceback" not in result.err
    for part in says:
        assert part in result.err


# ---- files ---------------------------------------------------------------------------------------------


def test_one_stem_as_json(cli):
    result = cli(write("mix.wav"), write("stem.wav", 0.5), "-p", "dog barking", "--json")
    assert (result.code, result.err) == (0, "")
    answer = json.loads(result.out)
    assert list(answer) == ["mixture", "stem", "prompt", *KEYS]
    assert answer["overall"] == pytest.approx(3, abs=0.01)
    assert (answer["mixture"], answer["stem"], answer["prompt"]) == ("mix.wav", "stem.wav", "dog barking")


def test_a_table(cli):
    result = cli(write("mix.wav"), write("a.wav", 0.5), write("b.wav"), "-p", "dog", "-p", "absent cat")
    head, a, b = result.out.splitlines()
    assert result.code == 0 and head.split()[0] == "stem"
    assert a.split()[:2] == ["a.wav", "3.0"] and "yes (90 %)" in a
    assert "not in the mix (10 %)" in b
    assert set(result.prompts) == {"dog", "absent cat"}


def test_one_prompt_for_all_or_none_at_all(cli):
    mix, stems = write("mix.wav"), [write("big-dog.wav"), write("cat.wav")]
    assert set(cli(mix, *stems, "-p", "animal").prompts) == {"animal"}
    assert set(cli(mix, *stems).prompts) == {"animal", "big dog", "cat"}


def test_several_as_json(cli):
    answer = json.loads(cli(write("mix.wav"), write("a.wav"), write("b.wav"), "--json").out)
    assert [stem["stem"] for stem in answer["stems"]] == ["a.wav", "b.wav"]
    assert answer["errors"] == []


def test_rates_and_channels_may_differ(cli):
    mix = write("mix.wav", rate=44_100, channels=6)
    assert cli(mix, write("stem.wav", rate=8_000, channels=1), "-p", "dog").code == 0


def test_with_the_real_thing(monkeypatch, capfd, tmp_path):
    weights = tiny_judge.save(tmp_path / "random.safetensors")
    arguments = ["judge", write("mix.wav"), write("dog.wav", 0.5), "--json", "--model", str(weights)]
    monkeypatch.setattr("sys.argv", ["sam-audio", *arguments])
    with pytest.raises(SystemExit) as caught:
        sam_audio.cli.main()
        raise SystemExit(0)
    assert not caught.value.code
    answer = json.loads(capfd.readouterr().out)
    assert all(1 <= answer[key] <= 5 for key in KEYS[:4]) and 0 <= answer["present"] <= 1


def test_silence_has_scores(monkeypatch, capfd, tmp_path):
    weights = tiny_judge.save(tmp_path / "random.safetensors")
    for name in ("mix.wav", "dog.wav"):
        write(name, 0.0)
    monkeypatch.setattr(
        "sys.argv", ["sam-audio", "judge", "mix.wav", "dog.wav", "--json", "--model", str(weights)]
    )
    with pytest.raises(SystemExit):
        sam_audio.cli.main()
        raise SystemExit(0)
    answer = json.loads(capfd.readouterr().out)
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


def test_nothing_to_judge(cli):
    assert_one_sentence(cli(), "no stem is given")
    assert_one_sentence(cli(write("mix.wav")), "no stem is given")
    assert_one_sentence(cli("-", write("a.wav")), "standard input")
    Path("empty").mkdir()
    assert_one_sentence(cli(write("mix.wav"), "empty"), "empty holds no stems")


def test_prompts_that_do_not_fit(cli):
    files = [write(name) for name in ("mix.wav", "a.wav", "b.wav", "c.wav")]
    assert_one_sentence(cli(*files, "-p", "x", "-p", "y"), "3 stems and 2 prompts")
    assert_one_sentence(cli(*files, "-p", " "), "prompt is empty")


def test_files_that_do_not_fit(cli):
    mix = write("mix.wav", seconds=2)
    assert_one_sentence(cli(mix, write("a.wav", seconds=1)), "a.wav lasts 1.00 s and mix.wav 2.00 s")
    assert_one_sentence(cli(mix, "missing.wav"), "missing.wav does not exist")
    assert_one_sentence(cli("missing.wav", write("a.wav")), "missing.wav does not exist")
    Path("text.wav").write_text("hello")
    assert_one_sentence(cli(mix, "text.wav"), "text file")
    soundfile.write("nan.wav", np.full((96_000, 1), np.nan), 48_000, "FLOAT")
    assert_one_sentence(cli(mix, "nan.wav"), "NaN")


def test_mixtures_that_could_be_two(cli, library):
    write("a.flac")
    result = cli("separated/a")
    assert result.code == 2 and "a.flac and a.wav could be the mixture" in result.err


def test_no_such_judge(monkeypatch, capfd):
    monkeypatch.setattr(
        "sys.argv", ["sam-audio", "judge", write("a.wav"), write("b.wav"), "--model", "no.safetensors"]
    )
    with pytest.raises(SystemExit) as caught:
        sam_audio.cli.main()
    out, err = capfd.readouterr()
    assert caught.value.code == 2 and "no.safetensors" in err and err.count("\n") == 1


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
