"""``separate``: what it writes, what it prints, and how it fails."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tiny

import sam_audio.cli
from sam_audio.io.target import FileTarget

RATE = 48_000


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name: str, samples=None, rate: int = RATE, subtype: str = "PCM_16") -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(name, (tiny.noise(2, 0.3, rate) if samples is None else samples).T, rate, subtype)
    return name


def read(path) -> np.ndarray:
    return soundfile.read(path, dtype="float64", always_2d=True)[0].T


def files(folder=".") -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


@pytest.fixture
def cli(monkeypatch, capfdbinary, tiny_weights):
    """Runs ``separate`` with the tiny model; gives exit code, stdout and stderr."""

    def run(*arguments, model=tiny_weights, stdin=None):
        given = [*map(str, arguments), "--model", str(model), "--no-judge"]
        monkeypatch.setattr("sys.argv", ["separate", *given])
        if stdin is not None:
            wrapped = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
            monkeypatch.setattr("sys.stdin", wrapped)
        capfdbinary.readouterr()
        try:
            sam_audio.cli.separate_main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code or 0
        out, err = capfdbinary.readouterr()
        binary = "-o" in arguments and arguments[arguments.index("-o") + 1] == "-"
        return SimpleNamespace(code=code, out=out if binary else out.decode(), err=err.decode())

    return run


def assert_one_sentence(result, *says: str) -> None:
    """Exit code 2, nothing on stdout, one line on stderr that says these."""
    assert result.code == 2, result
    assert not result.out
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1 and result.err.endswith("\n")
    assert "Traceback" not in result.err
    for part in says:
        assert part in result.err


# ---- what it writes ---------------------------------------------------------------------------------------


def test_layout(cli):
    mix = write("in/mix.wav")
    result = cli(mix, "-p", "guitar")
    assert (result.code, result.err) == (0, "")
    assert files() == ["in/mix.wav", "separated/mix/guitar.wav", "separated/mix/residual.wav"]
    lines = [line.split("  ")[0] for line in result.out.splitlines()]
    assert lines == ["separated/mix/guitar.wav", "separated/mix/residual.wav"]
    total = read("separated/mix/guitar.wav") + read("separated/mix/residual.wav")
    np.testing.assert_allclose(total, read(mix), atol=2**-15)


def test_names_are_slugs_with_numbers(cli):
    cli(write("mix.wav"), "-p", "Big dog!", "-p", "big dog", "-p", "residual", "-o", "out")
    assert files("out/mix") == ["big-dog-2.wav", "big-dog.wav", "residual-2.wav", "residual.wav"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--mode", "remove"], ["mix/residual.wav"]),
        (["--mode", "remove", "--residual", "karaoke"], ["mix/karaoke.wav"]),
        (["--residual", "none"], ["mix/dog.wav"]),
        (["--residual", "Rest of it"], ["mix/dog.wav", "mix/rest-of-it.wav"]),
        (["--filename", "{track}_{stem}.{ext}"], ["mix_dog.wav", "mix_residual.wav"]),
        (["--format", "flac"], ["mix/dog.flac", "mix/residual.flac"]),
        (["-f", "mp3"], ["mix/dog.mp3", "mix/residual.mp3"]),
        (["-f", "ogg"], ["mix/dog.ogg", "mix/residual.ogg"]),
        (["-f", "opus"], ["mix/dog.opus", "mix/residual.opus"]),
    ],
)
def test_options_name_files(cli, arguments, expected):
    assert cli(write("mix.wav"), "-p", "dog", "-o", "out", *arguments).code == 0
    assert files("out") == expected
    assert all(soundfile.info(Path("out", name)).frames > 0 for name in expected)


@pytest.mark.parametrize("kept", ["PCM_16", "PCM_24", "PCM_32", "FLOAT"])
def test_depth_is_kept_unless_asked(cli, kept):
    mix = write("mix.wav", subtype=kept)
    for flag, subtype in ((None, kept), ("--int16", "PCM_16"), ("--int24", "PCM_24"), ("--float32", "FLOAT")):
        assert cli(mix, "-p", "dog", "-o", flag or "kept", *([flag] if flag else [])).code == 0
        assert soundfile.info(f"{flag or 'kept'}/mix/dog.wav").subtype == subtype


def test_part_of_a_recording(cli):
    mix = write("mix.wav", subtype="FLOAT")
    cli(mix, "-p", "dog", "--start", "0.1", "--duration", "0.1")
    total = read("separated/mix/dog.wav") + read("separated/mix/residual.wav")
    np.testing.assert_allclose(total, read(mix)[:, 4_800:9_600], atol=1e-6)


def test_strength_reaches_the_model(cli):
    mix = write("mix.wav", subtype="FLOAT")
    for strength in ("0", "1", "2"):
        cli(mix, "-p", "dog", "--strength", strength, "-o", strength)
    energies = [np.square(read(f"{strength}/mix/dog.wav")).sum() for strength in "012"]
    assert energies[0] > energies[1] > energies[2]
    np.testing.assert_allclose(read("0/mix/dog.wav"), read(mix), atol=1e-5)


def test_clip_mode(cli):
    mix = write("mix.wav", tiny.noise(1, 0.3) * 30, subtype="FLOAT")
    plain, clamp, rescale = (
        cli(mix, "-p", "dog", "--strength", "0", "--int16", "-o", str(i), *mode)
        for i, mode in enumerate(([], ["--clip-mode", "clamp"], ["--clip-mode", "rescale"]))
    )
    assert (plain.code, clamp.code, rescale.code) == (0, 0, 0)
    assert "warning: dog exceeds full scale" in plain.err
    assert (clamp.err, rescale.err) == ("", "")
    wanted = read(mix) / np.abs(read(mix)).max()
    np.testing.assert_allclose(read("2/mix/dog.wav"), wanted, atol=1e-4)


# ---- pipes ------------------------------------------------------------------------------------------------


def test_standard_input_and_output(cli):
    mix = write("mix.wav", subtype="FLOAT")
    whole = cli(mix, "-p", "dog")
    piped = cli("-", "-p", "dog", "-o", "-", stdin=Path(mix).read_bytes())
    assert (whole.code, piped.code, piped.err) == (0, 0, "")
    assert piped.out == Path("separated/mix/dog.wav").read_bytes()
    assert "separated/stdin" not in " ".join(files())


def test_the_rest_to_standard_output(cli):
    mix = write("mix.wav")
    cli(mix, "-p", "dog", "-p", "cat")
    piped = cli(mix, "-p", "dog", "-p", "cat", "-o", "-", "--mode", "remove")
    assert piped.out == Path("separated/mix/residual.wav").read_bytes()


def test_standard_input_is_called_stdin(cli):
    cli("-", "-p", "dog", stdin=Path(write("mix.wav")).read_bytes())
    assert files("separated") == ["stdin/dog.wav", "stdin/residual.wav"]


@pytest.mark.parametrize(
    "arguments", [["-p", "a", "-p", "b"], ["-p", "a", "--json"], ["other.wav", "-p", "a"]]
)
def test_standard_output_takes_one_thing(cli, arguments):
    write("other.wav")
    assert_one_sentence(cli(write("mix.wav"), *arguments, "-o", "-"), "standard output")


# ---- what it prints ---------------------------------------------------------------------------------------


def test_json(cli):
    mix = write("mix.wav")
    result = cli(mix, "-p", "dog", "-p", "cat", "--json")
    summary = json.loads(result.out)
    assert (result.code, summary["errors"]) == (0, [])
    (entry,) = summary["files"]
    assert (entry["mixture"], entry["track"], entry["sample_rate"], entry["channels"]) == (
        mix,
        "mix",
        RATE,
        2,
    )
    assert [stem["prompt"] for stem in entry["stems"]] == ["dog", "cat"]
    for stem in (*entry["stems"], entry["residual"]):
        level = 10 * np.log10(np.square(read(stem["path"])).sum() / np.square(read(mix)).sum())
        assert stem["level_db"] == pytest.approx(level, abs=0.01)
        assert stem["peak"] == pytest.approx(np.abs(read(stem["path"])).max(), abs=1e-4)
        assert stem["clipped_samples"] == 0
    assert all(stem["path"] in result.err for stem in entry["stems"])


def test_report(cli):
    mix = write("mix.wav")
    printed = json.loads(cli(mix, "-p", "dog", "--json", "--report", "new/report.json").out)
    assert json.loads(Path("new/report.json").read_text()) == printed
    assert files("new") == ["report.json"]
    cli(mix, "-p", "cat", "--report", "new/report.json", "--overwrite")
    assert json.loads(Path("new/report.json").read_text())["files"][0]["stems"][0]["name"] == "cat"


@pytest.mark.parametrize("report", [".", "mix.wav/report.json", os.devnull])
def test_reports_that_cannot_be_written(cli, report):
    mix = write("mix.wav")
    result = cli(mix, "-p", "dog", "--report", report, "-q")
    assert_one_sentence(result, "report")
    assert not Path(os.devnull).is_file()


def test_a_report_replaces_nothing_unasked(cli):
    mix = write("mix.wav")
    Path("notes.txt").write_text("mine")
    assert_one_sentence(cli(mix, "-p", "dog", "--report", "notes.txt"), "already exists", "--overwrite")
    assert (Path("notes.txt").read_text(), files()) == ("mine", ["mix.wav", "notes.txt"])


@pytest.mark.parametrize("report", ["mix.wav", "./mix.wav", "separated/mix/dog.wav", "jobs.jsonl"])
def test_a_report_never_replaces_what_is_read_or_made(cli, report):
    write("mix.wav")
    Path("jobs.jsonl").write_text('{"mixture": "mix.wav", "prompts": ["dog"]}')
    before = {name: Path(name).read_bytes() for name in files()}
    assert_one_sentence(
        cli("--jobs", "jobs.jsonl", "--report", report, "--overwrite"), "the report would replace"
    )
    assert {name: Path(name).read_bytes() for name in files()} == before


@pytest.mark.parametrize("link", [os.link, os.symlink])
@pytest.mark.parametrize("kind", ["its own mixture", "another mixture"])
def test_a_stem_never_replaces_what_is_read(cli, link, kind):
    write("separated/mix/dog.wav")
    Path("separated/other").mkdir()
    taken = "separated/mix/dog.wav"
    if kind == "another mixture":
        write("separated/mix/other.wav")
        asked = ["separated/mix/dog.wav", write("mix.wav")]
    else:
        link(os.path.abspath(taken), "mix.wav")
        asked = ["mix.wav"]
    before = {name: Path(name).read_bytes() for name in files()}
    assert_one_sentence(cli(*asked, "-p", "dog", "--overwrite"), "dog.wav would replace what is read")
    assert {name: Path(name).read_bytes() for name in files()} == before


@pytest.mark.parametrize("name", ["separated/clip/dog.mkv", "clip.mkv"])
def test_a_video_made_of_stems_never_replaces_its_own(cli, tmp_path, name):
    pytest.importorskip("av")
    from tiny_video import picture, video

    Path("separated/clip").mkdir(parents=True)
    video(tmp_path / "separated/clip/dog.mkv", [picture(20)] * 8)
    os.link("separated/clip/dog.mkv", "clip.mkv")
    before = Path("clip.mkv").read_bytes()
    filename = "clip/{stem}.{ext}"
    result = cli(name, "-p", "dog", "--remux", "--overwrite", "--filename", filename)
    assert_one_sentence(result, "would replace what is read")
    assert Path("clip.mkv").read_bytes() == before and files() == ["clip.mkv", "separated/clip/dog.mkv"]


def test_a_report_never_replaces_another_name_of_the_mixture(cli):
    os.link(write("mix.wav"), "report.json")
    before = Path("mix.wav").read_bytes()
    assert_one_sentence(
        cli("mix.wav", "-p", "dog", "--report", "report.json", "--overwrite"), "the report would replace"
    )
    assert Path("mix.wav").read_bytes() == before


@pytest.mark.parametrize("name", ["...wav", ".wav", "con.wav", "a. .wav", "a\nb.wav", "é" * 125 + ".wav"])
def test_odd_names_make_stems_within_the_folder(cli, name):
    os.replace(write("in/mix.wav"), f"in/{name}")
    result = cli(f"in/{name}", "-p", "dog", "-o", "out/here")
    assert result.code == 0, result.err
    assert [Path(path).name for path in files("out/here")] == ["dog.wav", "residual.wav"]
    assert files() == sorted([f"in/{name}", *(f"out/here/{file}" for file in files("out/here"))])


def test_two_odd_names_do_not_collide(cli):
    for name in ("a/...wav", "b/. .wav"):
        os.replace(write(f"{name[0]}/mix.wav"), name)
    result = cli("a/...wav", "b/. .wav", "-p", "dog")
    assert result.code == 0, result.err
    assert files("separated") == [
        f"untitled{n}/{stem}.wav" for n in ("-2", "") for stem in ("dog", "residual")
    ]


def test_stems_keep_tags_and_time_code(cli):
    from chunk_bytes import bext, cue, frames_of

    from sam_audio.io import AudioWriter
    from sam_audio.io.tags import Metadata, read_metadata

    kept = Metadata({"title": ("Song",), "artist": ("Zoë",)}, None, (bext(1000), cue(10, 30_000)))
    with AudioWriter("mix.wav", sample_rate=RATE, channels=2, metadata=kept) as writer:
        writer.write(tiny.noise(2, 1, RATE))
    assert cli("mix.wav", "-p", "dog barking", "--start", "0.5", "--duration", "0.25").code == 0
    for name, stem in (("dog-barking", "dog barking"), ("residual", "residual")):
        found, _ = read_metadata(Path(f"separated/mix/{name}.wav"), name)
        assert found.tags == {"title": (f"Song ({stem})",), "artist": ("Zoë",)}
        chunks = dict(found.chunks)
        assert int.from_bytes(chunks[b"bext"][338:346], "little") == 1000 + RATE // 2
        assert frames_of(chunks[b"cue "]) == [6000]
    assert cli("mix.wav", "-p", "dog", "--no-tags", "-o", "bare").code == 0
    assert read_metadata(Path("bare/mix/dog.wav"), "dog") == (Metadata(), [])


def test_damaged_tags_are_a_warning(cli):
    pytest.importorskip("mutagen")
    flac = Path("mix.flac")
    write("mix.flac")
    content = bytearray(flac.read_bytes())
    at = content.index(b"reference libFLAC")
    content[at - 4 : at] = b"\xff" * 4
    flac.write_bytes(content)
    result = cli("mix.flac", "-p", "dog", "-f", "flac")
    assert result.code == 0 and "warning: tags of mix.flac are damaged" in result.err
    assert files("separated") == ["mix/dog.flac", "mix/residual.flac"]


def test_a_template_that_pads_without_end(cli):
    result = cli(write("mix.wav"), "-p", "dog", "--filename", "{stem:>99999999999}.{ext}")
    assert_one_sentence(result, "template", "255")


def test_the_report_of_a_name_that_is_no_text(cli):
    name = os.fsdecode(b"lat\xe9.wav")
    shutil.copy(write("mix.wav"), name)
    assert cli(name, "-p", "dog", "--report", "report.json").code == 0
    assert json.loads(Path("report.json").read_bytes())["files"][0]["mixture"] == name
    assert not [file for file in files() if file.endswith(".part")]


def test_names_that_the_terminal_has_no_letters_for(cli, monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr("sys.stdout", stdout)
    assert cli(write("日本.wav"), write("🎸.wav"), "-p", "dog").code == 0
    stdout.flush()
    assert b"separated/\\u65e5\\u672c/dog.wav" in stdout.buffer.getvalue()
    stdout.buffer.truncate(0)
    stdout.buffer.seek(0)
    assert cli("🎸.wav", "-p", "dog", "--json", "--overwrite").code == 0
    stdout.flush()
    assert json.loads(stdout.buffer.getvalue())["files"][0]["mixture"] == "🎸.wav"


def test_quiet_is_silent(cli):
    result = cli(write("silence.wav", np.zeros((1, 5_000))), "-p", "dog", "-q")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_silence_is_a_warning(cli):
    result = cli(write("silence.wav", np.zeros((1, 5_000))), "-p", "dog")
    assert (result.code, result.err) == (0, "warning: silence.wav is silent, and so are its stems\n")


def test_verbose_tells_peaks_and_speed(cli):
    out = cli(write("mix.wav"), "-p", "dog", "-v").out.splitlines()
    assert all("peak" in line for line in out[:2])
    assert "x real time" in out[2]


def test_help_fits_a_screen_and_help_all_names_every_option(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    common, everything = cli("--help").out, cli("--help-all").out
    assert len(common.splitlines()) < 50 and max(map(len, common.splitlines())) <= 80
    for option in ("--prompt", "--out", "--mode", "--format", "--strength", "--json", "--help-all"):
        assert option in common and option in everything
    for option in ("--jobs", "--candidates", "--steps", "--span"):
        assert option not in common and option in everything


def test_dry_run_writes_nothing_and_tells_what_would_be(cli):
    write("a.wav"), write("b.wav")
    result = cli("a.wav", "gone.wav", "b.wav", "-p", "dog", "--dry-run", "--json")
    told = json.loads(result.out)
    assert result.code == 2 and not Path("separated").exists()
    assert [Path(path).name for path in told["files"][1]["paths"]] == ["dog.wav", "residual.wav"]
    assert told["errors"][0]["mixture"] == "gone.wav"
    assert told["sound_s"] == pytest.approx(sum(file["seconds"] for file in told["files"]))
    assert 0 < told["estimated_s"] < 1000
    assert cli("a.wav", "-p", "dog").code == 0
    assert "already exists" in cli("a.wav", "-p", "dog", "--dry-run").err
    words = cli("a.wav", "-p", "dog", "--dry-run", "--skip-existing").out
    assert "skipped" in words and "would take" not in words


# ---- several recordings -----------------------------------------------------------------------------------


def test_one_bad_recording_does_not_stop_the_others(cli):
    Path("bad.wav").write_text("no sound at all")
    result = cli(write("a.wav"), "bad.wav", "gone.wav", write("b.wav"), "-p", "dog", "--json")
    assert result.code == 2
    summary = json.loads(result.out)
    assert [entry["track"] for entry in summary["files"]] == ["a", "b"]
    assert [entry["mixture"] for entry in summary["errors"]] == ["bad.wav", "gone.wav"]
    assert [line for line in result.err.splitlines() if line.startswith("error: ")] == [
        f"error: {entry['message']}" for entry in summary["errors"]
    ]
    assert files("separated") == ["a/dog.wav", "a/residual.wav", "b/dog.wav", "b/residual.wav"]


def test_two_recordings_with_one_name(cli):
    result = cli(write("x/mix.wav"), write("y/mix.wav", tiny.noise(1, 0.2)), "-p", "dog")
    assert result.code == 0
    assert files("separated") == ["mix-2/dog.wav", "mix-2/residual.wav", "mix/dog.wav", "mix/residual.wav"]
    assert soundfile.info("separated/mix-2/dog.wav").channels == 1


def test_several_recordings_need_names_of_their_own(cli):
    result = cli(write("a.wav"), write("b.wav"), "-p", "dog", "--filename", "{stem}.{ext}", "--overwrite")
    assert_one_sentence(result, "{track}")
    assert files() == ["a.wav", "b.wav"]


def test_existing_files_stay(cli):
    mix = write("mix.wav")
    cli(mix, "-p", "dog", "-p", "cat")
    before = {name: Path(name).read_bytes() for name in files()}
    assert_one_sentence(
        cli(mix, "-p", "bird", "-p", "dog", "--strength", "0"), "already exists", "--overwrite"
    )
    assert {name: Path(name).read_bytes() for name in files()} == before
    assert cli(mix, "-p", "dog", "--strength", "0", "--overwrite").code == 0
    assert Path("separated/mix/dog.wav").read_bytes() != before["separated/mix/dog.wav"]


# ---- jobs -------------------------------------------------------------------------------------------------


def test_jobs(cli):
    write("a.wav")
    jobs = [
        {"mixture": "a.wav", "prompts": ["dog"]},
        {"mixture": "a.wav", "out": "other", "format": "flac", "residual": None, "track": "T"},
        {"mixture": "a.wav", "prompts": ["x"], "strength": 9},
        {"mixture": "a.wav", "promts": []},
        {"mixture": "gone.wav"},
    ]
    Path("jobs.jsonl").write_text("\n".join(map(json.dumps, jobs)) + "\nnonsense\n")
    result = cli("--jobs", "jobs.jsonl", "-p", "cat")
    assert result.code == 2
    assert files("separated") == ["a/dog.wav", "a/residual.wav"]
    assert files("other") == ["T/cat.flac"]
    errors = result.err.splitlines()
    assert len(errors) == 4
    assert all(line.startswith("error: ") for line in errors)
    for line, says in zip(
        errors, ("strength of 9", "line 4 of jobs.jsonl", "gone.wav", "line 6"), strict=True
    ):
        assert says in line


def test_jobs_from_standard_input(cli):
    write("a.wav")
    result = cli("--jobs", "-", stdin=b'{"mixture": "a.wav", "prompts": "dog"}\n')
    assert (result.code, files("separated")) == (0, ["a/dog.wav", "a/residual.wav"])


def test_a_job_without_prompts_anywhere(cli):
    write("a.wav")
    Path("jobs.jsonl").write_text('{"mixture": "a.wav"}\n')
    assert_one_sentence(cli("--jobs", "jobs.jsonl"), "prompt")


@pytest.mark.parametrize(("content", "says"), [("", "no jobs"), (None, "cannot be read")])
def test_job_files_that_cannot_work(cli, content, says):
    if content is not None:
        Path("jobs.jsonl").write_text(content)
    assert_one_sentence(cli("--jobs", "jobs.jsonl"), says)


def write_jobs(*jobs: dict) -> str:
    Path("jobs.jsonl").write_text("\n".join(map(json.dumps, jobs)))
    return "jobs.jsonl"


@pytest.mark.parametrize("verbose", [[], ["-v"]])
def test_a_job_that_fails_by_a_bug_does_not_stop_the_others(cli, monkeypatch, verbose):
    from sam_audio.api import Separator

    render = Separator.render_plan

    def failing(self, planned, *arguments, **more):
        if planned.job.mixture == "a.wav":
            raise TypeError("unhashable\ntype")
        return render(self, planned, *arguments, **more)

    monkeypatch.setattr(Separator, "render_plan", failing)
    result = cli(write("a.wav"), "gone.wav", write("b.wav"), "-p", "dog", "--report", "r.json", *verbose)
    assert result.code == 1
    summary = json.loads(Path("r.json").read_text())
    assert [entry["track"] for entry in summary["files"]] == ["b"]
    assert [entry["mixture"] for entry in summary["errors"]] == ["a.wav", "gone.wav"]
    message = summary["errors"][0]["message"]
    assert "TypeError: unhashable type" in message and "report it" in message
    assert f"error: {message}\n" in result.err
    assert ("Traceback" in result.err) == bool(verbose)


def test_what_fails_while_the_model_is_loaded_ends_the_run(cli, monkeypatch):
    def failing(self, *arguments):
        raise TypeError("no model")

    monkeypatch.setattr("sam_audio.api.Separator.__init__", failing)
    with pytest.raises(TypeError, match="no model"):
        cli(write("a.wav"), write("b.wav"), "-p", "dog", "--report", "r.json")
    assert files() == ["a.wav", "b.wav"]


@pytest.mark.parametrize(
    ("jobs", "arguments", "says"),
    [
        ([{}, {"prompts": "cat"}], ["-o", "-"], "standard output takes one recording, but 2"),
        ([{"out": "-"}, {"out": "-"}], [], "standard output takes one recording, but 2"),
        ([{"out": "-"}], ["--json"], "cannot take both sound and JSON"),
        ([{"out": "-"}], ["--export", "remux"], "nothing can be made"),
        ([{}, {"prompts": "cat"}], ["--filename", "{stem}.wav"], "{track}"),
        ([{"out": "x"}, {"out": "./x"}], [], "several recordings"),
    ],
)
def test_jobs_that_get_into_each_others_way(cli, jobs, arguments, says):
    write("a.wav")
    name = write_jobs(*({"mixture": "a.wav", "prompts": "dog", **job} for job in jobs))
    assert_one_sentence(cli("--jobs", name, "--overwrite", *arguments), says)
    assert files() == ["a.wav", "jobs.jsonl"]


def test_jobs_that_share_a_folder_without_getting_into_each_others_way(cli):
    write("a.wav")
    name = write_jobs(*({"mixture": "a.wav", "prompts": prompt} for prompt in ("dog", "cat")))
    result = cli("--jobs", name, "--filename", "{stem}.{ext}", "--residual", "none")
    assert (result.code, files("separated")) == (0, ["cat.wav", "dog.wav"])


def test_a_job_to_standard_output_has_it_for_itself(cli):
    write("a.wav")
    alone = cli("a.wav", "-p", "dog", "-o", "-")
    name = write_jobs({"mixture": "a.wav", "out": "-"}, {"mixture": "a.wav", "out": "folder"})
    assert cli("--jobs", name, "-p", "dog", "-o", "-").out == alone.out
    assert files("folder") == ["a/dog.wav", "a/residual.wav"]


# ---- bad input --------------------------------------------------------------------------------------------


def truncated() -> str:
    path = Path(write("full.wav"))
    Path("short.wav").write_bytes(path.read_bytes()[:20])
    path.unlink()
    return "short.wav"


def one_hertz() -> str:
    write("slow.wav", rate=8_000)
    data = bytearray(Path("slow.wav").read_bytes())
    data[24:28] = (1).to_bytes(4, "little")
    Path("slow.wav").write_bytes(data)
    return "slow.wav"


def text() -> str:
    Path("text.wav").write_text("these are words\n" * 10)
    return "text.wav"


def zero_bytes() -> str:
    Path("empty.wav").touch()
    return "empty.wav"


def folder() -> str:
    Path("folder.wav").mkdir()
    return "folder.wav"


def random_bytes() -> str:
    Path("noise.mp3").write_bytes(np.random.default_rng(0).bytes(5_000))
    return "noise.mp3"


def not_a_number() -> str:
    samples = tiny.noise(1, 0.3)
    samples[0, 7_000] = np.nan
    return write("nan.wav", samples, subtype="FLOAT")


BAD_FILES = {
    lambda: "gone.wav": "does not exist",
    lambda: "": "folder",
    folder: "is a folder",
    text: "is a text file",
    zero_bytes: "is empty",
    truncated: "damaged or cut off",
    random_bytes: "not an audio or video file",
    not_a_number: "NaN",
    one_hertz: "1 Hz",
    lambda: write("none.wav", np.zeros((1, 0))): "holds no audio",
}


@pytest.mark.parametrize(("make", "says"), BAD_FILES.items(), ids=range(len(BAD_FILES)))
def test_bad_recordings(cli, make, says):
    mix = make()
    before = files()
    result = cli(mix, "-p", "dog")
    result.err = "".join(
        line for line in result.err.splitlines(True) if "esync" not in line and "MPEG" not in line
    )
    assert_one_sentence(result, says)  # apart from what libmpg123 prints by itself
    assert files() == before
    assert not Path("separated").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-p", ""], "prompt is empty"),
        (["-p", "dog", "-p", "  "], "prompt is empty"),
        ([], "--prompt"),
        (["-p", "dog", "--strength", "3"], "0 to 2"),
        (["-p", "dog", "--strength", "nan"], "0 to 2"),
        (["-p", "dog", "--filename", "{title}.wav"], "{title}"),
        (["-p", "dog", "--filename", "{stem"], "template"),
        (["-p", "dog", "--filename", "x.wav"], "{stem}"),
        (["-p", "dog", "--filename", "{stem!z}"], "template"),
        (["-p", "dog", "--int16", "--int24"], "exclude"),
        (["-p", "dog", "-f", "mp3", "--int16"], "mp3"),
        (["-p", "dog", "-f", "flac", "--float32"], "flac"),
        (["-p", "dog", "--mode", "remove", "--residual", "none"], "residual"),
        (["-p", "dog", "--start", "-1"], "start"),
        (["-p", "dog", "--start", "100"], "ends before"),
        (["-p", "dog", "--duration", "0"], "duration"),
        (["-p", "dog", "--device", "abacus"], "abacus"),
        (["-p", "dog", "--threads", "0"], "threads"),
        (["-p", "dog", "-o", "mix.wav/out"], "not a folder"),
        (["-p", "dog", "-o", "/dev/null"], "/dev/null"),
        (["-p", "dog", "-o", "x" * 300], "too long"),
        (["-p", "dog", "--filename", "{stem}\0"], "NUL"),
    ],
)
def test_bad_arguments(cli, arguments, says):
    write("mix.wav")
    assert_one_sentence(cli("mix.wav", *arguments), says)
    assert files() == ["mix.wav"]


def test_names_that_no_disk_can_hold_are_shortened(cli):
    assert cli(write("mix.wav"), "-p", "dog", "--filename", "{stem}" + "x" * 300, "-o", "out").code == 0
    made = sorted(Path(name).name for name in files() if name != "mix.wav")
    assert len(made) == 2 and all(len(name) == 255 for name in made)
    assert made[0].startswith("dogx") and made[1].startswith("residualx")


def test_no_recording(cli):
    assert_one_sentence(cli("-p", "dog"), "no recording", "./ before a MIX that begins with a dash")


@pytest.mark.parametrize(
    "arguments", [["--format", "aac"], ["--mode", "keep"], ["--strength", "x"], ["--no-such"]]
)
def test_arguments_that_typer_refuses(cli, arguments):
    result = cli(write("mix.wav"), "-p", "dog", *arguments)
    assert result.code == 2
    assert arguments[0] in result.err
    assert "Traceback" not in result.err
    assert files() == ["mix.wav"]


def test_unknown_models(cli, tmp_path):
    mix = write("mix.wav")
    assert_one_sentence(cli(mix, "-p", "dog", model="huge"), "no model called huge")
    assert_one_sentence(cli(mix, "-p", "dog", model="gone.safetensors"), "gone.safetensors")
    assert_one_sentence(cli(mix, "-p", "dog", model=tmp_path), "has no config.json")
    assert files() == ["mix.wav"]


@pytest.mark.parametrize("damage", ["cut", "text", "no config"])
def test_damaged_models(cli, tiny_weights, damage):
    shutil.copy(tiny_weights, "m.safetensors")
    if damage != "no config":
        shutil.copy(tiny_weights.with_suffix(".json"), "m.json")
    if damage == "cut":
        Path("m.safetensors").write_bytes(tiny_weights.read_bytes()[:5_000])
    if damage == "text":
        Path("m.safetensors").write_text("weights")
    assert_one_sentence(cli(write("mix.wav"), "-p", "dog", model="m.safetensors"), "m.")
    assert not Path("separated").exists()


def test_a_write_protected_folder(cli):
    mix = write("mix.wav")
    Path("locked").mkdir()
    Path("locked").chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.access("locked", os.W_OK):
        pytest.skip("this user may write everywhere")
    assert_one_sentence(cli(mix, "-p", "dog", "-o", "locked/out"), "write-protected")


def test_a_full_disk(cli, monkeypatch):
    def full(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(FileTarget, "sync", full)
    assert_one_sentence(cli(write("mix.wav"), "-p", "dog"), "no space left")
    assert files() == ["mix.wav"]
    assert not Path("separated").exists()


def test_interrupting_leaves_nothing(cli, monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(FileTarget, "sync", interrupt)
    result = cli(write("mix.wav"), "-p", "dog")
    assert result.code == 130
    assert "Traceback" not in result.err
    assert files() == ["mix.wav"]


def test_interrupting_is_told(cli, monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(FileTarget, "sync", interrupt)
    assert cli(write("mix.wav"), "-p", "dog").err == "stopped: nothing half-written was left\n"


def test_being_ended_leaves_nothing(tiny_weights):
    """A process that gets SIGTERM when all of its files are there, but none has its name."""
    code = (
        "import os, signal; from sam_audio.io.target import FileTarget; import sam_audio.cli\n"
        "FileTarget.sync = lambda self: os.kill(os.getpid(), signal.SIGTERM)\n"
        "sam_audio.cli.separate_main()"
    )
    arguments = [
        write("mix.wav"),
        "-p",
        "dog",
        "--report",
        "r.json",
        "--model",
        str(tiny_weights),
        "--no-judge",
    ]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (143, "")
    assert done.stderr == "stopped: nothing half-written was left\n"
    assert os.listdir() == ["mix.wav"]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
@pytest.mark.parametrize("ignored", [False, True])
def test_hanging_up_ends_what_does_not_ignore_it(cli, monkeypatch, ignored):
    sync, taken = FileTarget.sync, signal.SIG_IGN if ignored else signal.SIG_DFL

    def hang_up(self):
        os.kill(os.getpid(), signal.SIGHUP)
        sync(self)

    monkeypatch.setattr(FileTarget, "sync", hang_up)
    before = signal.signal(signal.SIGHUP, taken)
    try:
        result = cli(write("mix.wav"), "-p", "dog")
        assert signal.getsignal(signal.SIGHUP) == taken
    finally:
        signal.signal(signal.SIGHUP, before)
    assert result.code == (0 if ignored else 129)
    assert len(files()) == (3 if ignored else 1)


# ---- unusual but fine -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "seconds", "rate"),
    [(24, 0.1, 48_000), (1, 0.05, 768_000), (2, 0.01, 44_100), (6, 0.2, 22_050)],
)
def test_unusual_recordings(cli, channels, seconds, rate):
    mix = write("mix.wav", tiny.noise(channels, seconds, rate), rate)
    assert cli(mix, "-p", "dog").code == 0
    info = soundfile.info("separated/mix/dog.wav")
    assert (info.channels, info.samplerate, info.frames) == (channels, rate, soundfile.info(mix).frames)
    total = read("separated/mix/dog.wav") + read("separated/mix/residual.wav")
    np.testing.assert_allclose(total, read(mix), atol=2**-15)


def test_names_in_any_script(cli):
    assert cli(write("录音 é.wav"), "-p", "吉他").code == 0
    assert files("separated") == ["录音 é/residual.wav", "录音 é/吉他.wav"]


# ---- prompts beside text ----------------------------------------------------------------------------------


def test_spans_with_text_and_alone(cli):
    mix = write("mix.wav")
    assert (
        cli(mix, "-p", "dog@0.1-0.2", "-p", "cat", "--span", "0.15-0:00.25", "--not-span", "0-0.05").code == 0
    )
    assert cli(mix, "--span", "0.1-0.2", "-o", "alone").code == 0
    assert files("separated") == ["mix/cat.wav", "mix/dog.wav", "mix/residual.wav"]
    assert files("alone") == ["mix/residual.wav", "mix/span.wav"]
    cli(mix, "-p", "cat", "-o", "plain")
    assert Path("plain/mix/cat.wav").read_bytes() != Path("separated/mix/cat.wav").read_bytes()
    total = read("alone/mix/span.wav") + read("alone/mix/residual.wav")
    np.testing.assert_allclose(total, read(mix), atol=2**-15)


def test_labels_are_spans(cli):
    mix = write("mix.wav")
    Path("labels.txt").write_text("0.1\t0.2\tdog\n")
    cli(mix, "-p", "dog", "--labels", "labels.txt", "-o", "a")
    cli(mix, "-p", "dog@0.1-0.2", "-o", "b")
    assert Path("a/mix/dog.wav").read_bytes() == Path("b/mix/dog.wav").read_bytes()


def test_spans_in_jobs(cli):
    write("mix.wav")
    jobs = [
        {"mixture": "mix.wav", "prompts": ["dog"], "spans": ["0.1-0.2"], "out": "a"},
        {"mixture": "mix.wav", "prompts": [{"text": "dog", "spans": ["0.1-0.2"], "name": "Rex"}], "out": "b"},
        {"mixture": "mix.wav", "not_spans": ["0.2-0.3"], "spans": [[0.1, 0.2]], "out": "c"},
        {"mixture": "mix.wav", "prompts": ["dog"], "spans": ["0.1-9"]},
        {"mixture": "mix.wav", "prompts": [{"words": "dog"}]},
        {"mixture": "mix.wav", "prompts": [{"text": 3}]},
    ]
    Path("jobs.jsonl").write_text("\n".join(map(json.dumps, jobs)))
    result = cli("--jobs", "jobs.jsonl")
    assert result.code == 2
    assert files("a") == ["mix/dog.wav", "mix/residual.wav"]
    assert Path("a/mix/dog.wav").read_bytes() == Path("b/mix/rex.wav").read_bytes()
    assert files("c") == ["mix/residual.wav", "mix/span.wav"]
    assert [line.startswith("error: ") for line in result.err.splitlines()] == [True] * 3
    assert (
        "beyond the end" in result.err
        and "no 'words'" in result.err
        and "the text of a prompt is 3" in result.err
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--span", "0.2-0.1"], "ends before"),
        (["--span", "soon"], "span"),
        (["--span", "0.1-5"], "beyond the end of mix.wav"),
        (["-p", "dog@0.1-5"], "beyond the end"),
        (["--not-span", "0.1-0.2"], "where the sound is not"),
        (["--span", "0.1-0.2", "--not-span", "0-0.3"], "at once"),
        (["--labels", "gone.txt"], "gone.txt"),
        (["--region", "1,2"], "no region"),
        (["--region", "1,2,3,4"], "holds no picture"),
        (["--preview", "x.png", "-p", "dog"], "a region"),
        (["-p", "dog", "--export", "tape"], "there is no exporter 'tape'"),
        (["-p", "dog", "--post", "reverb"], "there is no post processor 'reverb'"),
        (["-p", "dog", "--remux", "--start", "0.1"], "--start"),
    ],
)
def test_clues_that_cannot_be(cli, arguments, says):
    write("mix.wav")
    assert_one_sentence(cli("mix.wav", *arguments), says)
    assert files() == ["mix.wav"]


def test_a_region_of_a_video(cli, tmp_path):
    pytest.importorskip("cv2")
    av = pytest.importorskip("av")
    from tiny_video import picture, video

    video(tmp_path / "clip.mp4", [picture(20)] * 8)
    result = cli("clip.mp4", "--region", "20,30,32,32", "--preview", "shown.png", "--remux")
    assert (result.code, result.err) == (0, "")
    stems = [f"clip/{name}.{suffix}" for name in ("region", "residual") for suffix in ("mp4", "wav")]
    assert files("separated") == sorted(stems)
    assert Path("shown.png").stat().st_size
    with av.open("separated/clip/region.mp4") as muxed:
        assert [stream.type for stream in muxed.streams] == ["video", "audio"]
        assert sum(1 for _ in muxed.decode(video=0)) == 8
    with av.open("separated/clip/region.mp4") as muxed:
        sound = np.concatenate([frame.to_ndarray() for frame in muxed.decode(audio=0)], axis=1)
    stem = read("separated/clip/region.wav")[0]
    length = min(len(stem), sound.shape[1]) - 4_000
    match = np.corrcoef(stem[2_000:length], sound[0, 2_000:length])[0, 1]
    assert match > 0.9
    again = cli("clip.mp4", "--region", "20,30,32,32", "--remux", "-o", "other", "--filename", "{stem}.{ext}")
    assert again.code == 0


def test_a_preview_replaces_nothing_unasked(cli, tmp_path):
    pytest.importorskip("cv2")
    pytest.importorskip("av")
    from tiny_video import picture, video

    video(tmp_path / "clip.mp4", [picture(20)] * 8)
    Path("shown.png").write_text("mine")
    asked = ["clip.mp4", "--region", "20,30,32,32", "--preview", "shown.png"]
    assert_one_sentence(cli(*asked), "shown.png already exists", "--overwrite")
    assert (Path("shown.png").read_text(), files()) == ("mine", ["clip.mp4", "shown.png"])
    assert_one_sentence(cli(*asked, "--report", "shown.png", "--overwrite"), "the report would replace")
    assert cli(*asked, "--overwrite").code == 0
    assert Path("shown.png").read_bytes().startswith(b"\x89PNG")


def test_export_writes_a_session_beside_the_stems(cli):
    write("mix.wav")
    asked = ["mix.wav", "-p", "dog", "-p", "cat", "--export", "reaper"]
    result = cli(*asked, "--json")
    assert result.code == 0
    made = str(Path("separated/mix/mix.rpp"))
    assert json.loads(result.out)["files"][0]["exports"] == {"reaper": [made]}
    lines = [line.split() for line in Path(made).read_text().splitlines()]
    files = [line[1] for line in lines if line[0] == "FILE"]
    assert files == [f'"{name}"' for name in ("../../mix.wav", "dog.wav", "cat.wav", "residual.wav")]
    assert [line[1] for line in lines if line[0] == "MUTESOLO"] == ["1", "0", "0", "0"]
    assert_one_sentence(
        cli(*asked, "--skip-existing", "--duration", "0.2", "-o", "x"), "reaper needs the whole"
    )
    assert not Path("x").exists()


@pytest.mark.parametrize(
    ("mix", "format", "says"), [("-", "audacity", "not a pipe"), ("mix.opus", "reaper", "no .opus files")]
)
def test_sessions_that_cannot_be_are_refused_before_anything_is_separated(cli, mix, format, says):
    sound = Path(write("mix.wav")).read_bytes()
    assert_one_sentence(cli(mix, "-p", "dog", "--export", format, stdin=sound), says)
    assert files() == ["mix.wav"]


def test_a_session_never_replaces_the_file_of_a_prompt(cli):
    write("mix.wav")
    Path("separated/mix").mkdir(parents=True)
    Path("separated/mix/mix.txt").write_text("0.1\t0.2\tdog\n")
    asked = ["mix.wav", "--labels", "separated/mix/mix.txt", "--export", "audacity", "--overwrite"]
    assert_one_sentence(cli(*asked), "would replace what is read")
    assert Path("separated/mix/mix.txt").read_text() == "0.1\t0.2\tdog\n"


@pytest.mark.parametrize("mix", ["mix.wav", "-"])
def test_remux_is_refused_before_anything_is_separated(cli, mix):
    pytest.importorskip("av")
    sound = Path(write("mix.wav")).read_bytes()
    assert_one_sentence(cli(mix, "-p", "dog", "--remux", stdin=sound), "leave remux out")
    assert files() == ["mix.wav"]
    assert cli("mix.wav", "-p", "dog").code == 0


def test_a_video_without_sound_is_one_sentence(cli, tmp_path):
    pytest.importorskip("av")
    from tiny_video import picture, video

    video(tmp_path / "mute.mp4", [picture(20)] * 8, sound=False)
    assert_one_sentence(cli("mute.mp4", "--point", "30,40"), "mute.mp4")


def test_a_cut_off_recording_is_told(cli):
    whole = Path(write("mix.wav", tiny.noise(1, 1.0))).read_bytes()
    Path("mix.wav").write_bytes(whole[: len(whole) // 2])
    done = cli("mix.wav", "-p", "dog", "--json")
    assert done.code == 0
    (file,) = json.loads(done.out)["files"]
    assert any("mix.wav is cut off: of the 1.00 s" in warning for warning in file["warnings"])
