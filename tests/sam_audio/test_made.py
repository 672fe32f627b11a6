"""``--skip-existing``: what is whole stays as it is, everything else is made anew as a set."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny

from sam_audio import Separator, UserError
from sam_audio.io.target import FileTarget
from sam_audio.made import output_set
from sam_audio.options import RenderOptions
from sam_audio.plan import Job, plan

SET = ["separated/mix/cat.wav", "separated/mix/dog.wav", "separated/mix/residual.wav"]
ASK = ("-p", "dog", "-p", "cat")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAM_AUDIO_CACHE", str(tmp_path.parent / f"{tmp_path.name}-cache"))


@pytest.fixture
def cli(run_command, tiny_weights):
    """Runs ``separate`` with the tiny model."""
    return lambda *arguments: run_command("separate", *arguments, "--model", tiny_weights, "--no-judge")


def write(name: str, seconds: float = 0.3, seed: int = 0) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(name, tiny.noise(2, seconds, 48_000, seed=seed).T, 48_000, "PCM_16")
    return name


def files(folder: str = ".") -> list[str]:
    return sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())


def versions(folder: str = "separated") -> dict[str, int]:
    return {path: os.stat(path).st_ino for path in files(folder)}


def summed() -> np.ndarray:
    return sum(soundfile.read(path, dtype="int16")[0].astype(int) for path in files("separated"))


def forget() -> None:
    shutil.rmtree(os.environ["SAM_AUDIO_CACHE"])


@pytest.fixture
def made(cli):
    """A set of outputs, and what tells its files from others of their names."""
    assert cli(write("mix.wav"), *ASK).code == 0
    assert files("separated") == SET
    return versions()


# ---- what is whole ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remembered", [True, False])
def test_what_is_whole_is_passed_over_without_loading_a_model(cli, made, monkeypatch, remembered):
    if not remembered:
        forget()
    monkeypatch.setattr("sam_audio.api.Separator.__init__", None)
    result = cli("mix.wav", *ASK, "--skip-existing", "--json", "--report", "report.json")
    assert (result.code, result.err) == (0, "mix.wav  skipped: its files are whole\n")
    summary = json.loads(result.out)
    assert summary == json.loads(Path("report.json").read_text())
    paths = ["separated/mix/dog.wav", "separated/mix/cat.wav", "separated/mix/residual.wav"]
    assert summary == {"files": [], "skipped": [{"mixture": "mix.wav", "paths": paths}], "errors": []}
    assert versions() == made
    assert cli("mix.wav", *ASK, "--skip-existing").out == "mix.wav  skipped: its files are whole\n"


def test_nothing_strange_is_left_beside_the_outputs(cli, made):
    assert cli("mix.wav", *ASK, "--skip-existing").code == 0
    assert files() == ["mix.wav", *SET]


@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize("missing", SET)
def test_a_set_that_lacks_a_file_is_made_anew(cli, made, missing, remembered):
    if not remembered:
        forget()
    os.unlink(missing)
    assert cli("mix.wav", *ASK, "--skip-existing").code == 0
    assert files("separated") == SET
    assert not set(versions().values()) & (set(made.values()) - {made[missing]})
    np.testing.assert_array_equal(summed(), soundfile.read("mix.wav", dtype="int16")[0])


def test_a_file_that_was_cut_off_is_made_anew(cli, made):
    os.truncate(SET[1], 1000)
    assert cli("mix.wav", *ASK, "--skip-existing").code == 0
    np.testing.assert_array_equal(summed(), soundfile.read("mix.wav", dtype="int16")[0])


def test_a_changed_recording_is_separated_again(cli, made):
    write("mix.wav", seed=1)
    assert cli("mix.wav", *ASK, "--skip-existing").code == 0
    np.testing.assert_array_equal(summed(), soundfile.read("mix.wav", dtype="int16")[0])


def test_a_recording_that_is_newer_than_stems_that_nobody_remembers(cli, made):
    forget()
    later = os.stat(SET[0]).st_mtime + 1
    os.utime("mix.wav", (later, later))
    assert cli("mix.wav", *ASK, "--skip-existing").code == 0
    assert versions() != made


@pytest.mark.parametrize(
    "other", [["-p", "dog"], ["-p", "cat", "-p", "dog"], [*ASK, "--strength", "0.5"], [*ASK, "--int24"]]
)
def test_what_was_made_in_another_way_is_made_anew(cli, made, other):
    assert cli("mix.wav", *other, "--skip-existing").code == 0
    assert versions()["separated/mix/residual.wav"] != made["separated/mix/residual.wav"]
    again = versions()
    assert cli("mix.wav", *other, "--skip-existing").code == 0
    assert versions() == again
    assert cli("mix.wav", *ASK, "--skip-existing").code == 0  # and back: the residual was made of the others
    assert versions()["separated/mix/residual.wav"] != again["separated/mix/residual.wav"]


def test_another_model_and_files_that_prompts_name_count(cli, made, tiny_weights, run_command):
    other = shutil.copy(tiny_weights, "other.safetensors")
    shutil.copy(Path(tiny_weights).with_suffix(".json"), "other.json")
    arguments = "separate", "mix.wav", *ASK, "--no-judge", "--skip-existing", "--model", other
    assert run_command(*arguments).code == 0
    assert versions() != made
    again = versions()
    os.utime(other, (1, 1))
    assert run_command(*arguments).code == 0
    assert versions() != again
    marks = Path("marks.txt")
    marks.write_text("0.1\t0.2\tdog\n")
    assert cli("mix.wav", "--labels", marks, "--skip-existing").code == 0
    again = versions()
    assert cli("mix.wav", "--labels", marks, "--skip-existing").code == 0
    assert versions() == again
    marks.write_text("0.1\t0.25\tdog\n")
    assert cli("mix.wav", "--labels", marks, "--skip-existing").code == 0
    assert versions() != again


def test_what_was_edited_stays(cli, made):
    with open(SET[0], "ab") as file:
        file.write(b"note")
    before = Path(SET[0]).read_bytes()
    assert cli("mix.wav", *ASK, "--skip-existing").code == 0
    assert Path(SET[0]).read_bytes() == before


def test_a_run_that_fails_changes_nothing_of_what_is_remembered(cli, made, monkeypatch):
    with monkeypatch.context() as patch:

        def broken(*_):
            raise OSError("broken")

        patch.setattr(FileTarget, "publish", broken)
        assert cli("mix.wav", *ASK, "--strength", "0.5", "--overwrite").code == 2
    assert cli("mix.wav", *ASK, "--skip-existing").code == 0
    assert versions() == made


def test_a_cache_that_cannot_be_written_or_read_does_no_harm(cli, monkeypatch):
    Path("file").touch()
    monkeypatch.setenv("SAM_AUDIO_CACHE", "file")
    assert cli(write("mix.wav"), *ASK).code == 0
    made = versions()
    assert cli("mix.wav", *ASK, "--skip-existing").code == 0
    assert versions() == made
    monkeypatch.setenv("SAM_AUDIO_CACHE", "cache")
    assert cli("mix.wav", *ASK, "--overwrite").code == 0
    made = versions()
    for path in files("cache"):
        Path(path).write_text("[")
    assert cli("mix.wav", *ASK, "--skip-existing").code == 0
    assert versions() == made


def test_the_report_of_an_earlier_run_is_replaced_and_nothing_else(cli, made):
    arguments = "mix.wav", *ASK, "--skip-existing", "--report", "report.json"
    assert [cli(*arguments).code, cli(*arguments).code] == [0, 0]
    Path("report.json").write_text('{"mine": 1}')
    assert cli(*arguments).code == 2
    assert Path("report.json").read_text() == '{"mine": 1}'


# ---- choices that exclude each other, jobs, Python -----------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mix.wav", "--overwrite"], "--overwrite and --skip-existing exclude each other: choose one"),
        (["mix.wav", "-o", "-"], "leave --skip-existing out"),
        (["-"], "leave --skip-existing out"),
    ],
)
def test_where_nothing_can_be_skipped(cli, arguments, says):
    write("mix.wav")
    result = cli(*arguments, "-p", "dog", "--skip-existing")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert says in result.err
    assert files() == ["mix.wav"]


def test_jobs_say_it_themselves(cli, made):
    jobs = [
        {"mixture": "mix.wav", "prompts": ["dog", "cat"], "skip_existing": True},
        {"mixture": write("other.wav"), "prompts": ["dog"], "overwrite": True},
        {"mixture": write("third.wav"), "prompts": ["dog"], "overwrite": True, "skip_existing": True},
    ]
    Path("jobs.jsonl").write_text("\n".join(map(json.dumps, jobs)))
    result = cli("--jobs", "jobs.jsonl", "--json")
    summary = json.loads(result.out)
    assert result.code == 2
    assert [one["mixture"] for one in summary["skipped"]] == ["mix.wav"]
    assert [one["mixture"] for one in summary["files"]] == ["other.wav"]
    assert "exclude each other" in summary["errors"][0]["message"]
    assert {path: made[path] for path in SET} == {path: versions()[path] for path in SET}
    jobs = jobs[:2]
    Path("jobs.jsonl").write_text("\n".join(map(json.dumps, jobs)))
    assert cli("--jobs", "jobs.jsonl", "--skip-existing").code == 0  # the job's own overwrite comes first


def test_from_python(tiny_weights):
    separator = Separator(tiny_weights, device="cpu", judge=None)
    options = RenderOptions(skip_existing=True)
    first = separator.render(write("mix.wav"), ["dog"], options)
    made = versions()
    second = separator.render("mix.wav", ["dog"], options)
    assert (first.skipped, versions()) == ([], made)
    assert second.skipped == ["separated/mix/dog.wav", "separated/mix/residual.wav"] and not second.stems
    assert (second.track, second.sample_rate, second.channels) == ("mix", 48_000, 2)
    separator.render("mix.wav", ["dog"], RenderOptions(skip_existing=True, strength=0.5))
    assert versions() != made
    with pytest.raises(UserError, match="exclude each other"):
        separator.render("mix.wav", ["dog"], RenderOptions(skip_existing=True, overwrite=True))


def test_places_and_what_is_asked_are_told_apart():
    def of(prompt, options, track=None):
        return output_set(plan(Job("mix.wav", (prompt,), options, track)))

    write("mix.wav")
    plain = of("dog", RenderOptions())
    assert plain == of("dog", RenderOptions(overwrite=True, judge=False))
    other = of("cat", RenderOptions())
    assert (plain.memory, plain.asked) == (other.memory, plain.asked) and plain.asked != other.asked
    assert plain.memory != of("dog", RenderOptions(out="else")).memory
    assert plain.memory != of("dog", RenderOptions(), "take").memory


# ---- folders ------------------------------------------------------------------------------------------------


def test_a_folder_of_recordings(cli):
    for name in ("rec/b.wav", "rec/a.wav", "rec/.hidden.wav", "rec/below/a.wav", "rec/separated/a/x.wav"):
        write(name)
    Path("rec/notes.txt").write_text("no sound")
    Path("rec/broken.mp3").write_bytes(b"no sound either")
    result = cli("rec", "-p", "dog", "--json")
    summary = json.loads(result.out)
    assert result.code == 2
    assert [one["track"] for one in summary["files"]] == ["a", "b"]
    assert [one["mixture"] for one in summary["errors"]] == ["rec/broken.mp3"]
    os.unlink("rec/broken.mp3")
    result = cli("rec", "-p", "dog", "--recursive", "--skip-existing", "--json")
    summary = json.loads(result.out)
    assert result.code == 0
    assert [one["track"] for one in summary["files"]] == ["below/a"]
    assert [one["mixture"] for one in summary["skipped"]] == ["rec/a.wav", "rec/b.wav"]
    assert files("separated/below") == ["separated/below/a/dog.wav", "separated/below/a/residual.wav"]


@pytest.mark.parametrize("template", ["{track}/{stem}.{ext}", "{track}-{stem}.{ext}"])
def test_outputs_in_the_folder_itself_are_no_recordings(cli, template):
    write("rec/a.wav")
    write("rec/below/a.wav")
    arguments = "rec", "-p", "dog", "-o", "rec/out", "--recursive", "--skip-existing", "--filename", template
    assert cli(*arguments).code == 0
    before = files()
    assert len(before) == 6
    assert cli(*arguments).out.count("skipped") == 2
    flat = "rec", "-p", "dog", "-o", "rec", "--skip-existing", "--filename", "{track}-{stem}.{ext}"
    assert cli(*flat).code == 0
    assert files() == sorted([*before, "rec/a-dog.wav", "rec/a-residual.wav"])
    assert cli(*flat).out.count("skipped") == 1
    assert files() == sorted([*before, "rec/a-dog.wav", "rec/a-residual.wav"])


@pytest.mark.parametrize(("more", "hint"), [([], "--recursive"), (["--recursive"], "another folder")])
def test_an_empty_folder(cli, more, hint):
    Path("rec").mkdir()
    result = cli("rec", "-p", "dog", *more)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith("error: rec is a folder that holds no recordings: ") and hint in result.err
    assert cli("rec", write("mix.wav"), "-p", "dog").code == 2  # and does not keep others from being done
    assert files("separated") == ["separated/mix/dog.wav", "separated/mix/residual.wav"]


def test_progress_over_all(tiny_weights):
    """On a terminal, bars say which of how many is being separated."""
    import pty

    for name in ("rec/a.wav", "rec/b.wav"):
        write(name)
    terminal, end = pty.openpty()
    code = "import sam_audio.cli; sam_audio.cli.separate_main()"
    arguments = ["rec", "-p", "dog", "--no-judge", "--model", str(tiny_weights)]
    done = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=end, text=True
    )
    os.close(end)
    shown = b""
    try:
        while chunk := os.read(terminal, 4096):
            shown += chunk
    except OSError:  # the other end is closed
        pass
    out, _ = done.communicate()
    os.close(terminal)
    assert done.returncode == 0
    assert b"1 of 2" in shown and b"2 of 2" in shown and b"a.wav" in shown and b"b.wav" in shown
    assert out.splitlines()[0].startswith("separated/a/dog.wav")
