"""``sam-audio embed``, ``search``, ``locate`` and ``classify``: what they print and write, and how they fail."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import fake_embedding
import numpy as np
import pytest
import soundfile
from fake_embedding import DIM, HEIGHTS, FakeEmbedder, tone

from sam_audio.cli.shared import clock
from sam_audio.errors import MissingExtraError

RATE = 48_000
COMMANDS = ("embed", "search", "locate", "classify")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAM_AUDIO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def cli(cli, monkeypatch):
    """Runs ``sam-audio`` with a model made of spectral centroids."""
    for module in ("sam_audio.conditioning.embedding", "sam_audio.finding.locate"):
        monkeypatch.setitem(sys.modules, module, fake_embedding)
    return cli


def write(name: str, *parts: np.ndarray, rate: int = RATE, subtype: str = "FLOAT") -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(name, np.concatenate(parts, axis=1).T, rate, subtype)
    return name


def files(folder=".") -> list[str]:
    """All that was made, but for the cache."""
    found = (str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())
    return sorted(name for name in found if not name.startswith("cache"))


@pytest.fixture
def sounds() -> str:
    """A folder with a recording for each word."""
    for word, hz in HEIGHTS.items():
        write(f"sounds/{word}.wav", tone(hz))
    return "sounds"


@pytest.fixture
def labels() -> str:
    Path("labels.txt").write_text(
        "# how high it is\n\n a rumble \n".replace("\n", "\r\n") + "beep\n#hum\nhiss\nbeep\n"
    )
    return "labels.txt"


# ---- embed -------------------------------------------------------------------------------------------------


def test_embed(cli, sounds):
    paths = [f"sounds/{word}.wav" for word in HEIGHTS]
    result = cli("embed", *paths, "--out", "new/emb.npz")
    assert (result.code, result.out, result.err) == (0, "new/emb.npz  5 embeddings\n", "")
    with np.load("new/emb.npz", allow_pickle=False) as saved:
        assert sorted(saved) == ["embeddings", "paths"]
        assert saved["paths"].tolist() == paths
        assert saved["embeddings"].shape == (5, DIM) and saved["embeddings"].dtype == np.float32
        for path, vector in zip(paths, saved["embeddings"], strict=True):
            np.testing.assert_array_equal(vector, FakeEmbedder().embed_audio_file(path))


def test_embed_texts_and_frames(cli, sounds):
    Path("dark.png").write_bytes(b"\x89PNG\x00")
    result = cli(
        "embed", "sounds/hum.wav", "dark.png", "--frames", "--text", "a  hum", "--text", "hiss", "-o", "e.npz"
    )
    assert (result.code, result.err) == (0, "")
    with np.load("e.npz", allow_pickle=False) as saved:
        assert saved["texts"].tolist() == ["a hum", "hiss"]
        assert saved["text_embeddings"].shape == saved["text_video_embeddings"].shape == (2, DIM)
        assert (saved["text_embeddings"] @ saved["embeddings"][0]).argmax() == 0
        assert saved["frames_0"].shape == (25, DIM) and saved["frames_1"].shape == (0, DIM)


def test_embed_text_alone(cli):
    assert cli("embed", "--text", "hum", "--out", "e").code == 0
    with np.load("e", allow_pickle=False) as saved:
        assert saved["embeddings"].shape == (0, DIM) and saved["paths"].shape == (0,)
        assert saved["text_embeddings"].shape == (1, DIM)


def test_embed_keeps_what_is_there(cli, refused, sounds):
    Path("e.npz").write_text("mine")
    says = refused("embed", "sounds/hum.wav", "--out", "e.npz")
    assert "already exists" in says and "--overwrite" in says
    assert Path("e.npz").read_text() == "mine"
    assert cli("embed", "sounds/hum.wav", "--out", "e.npz", "--overwrite").code == 0
    assert np.load("e.npz")["paths"].tolist() == ["sounds/hum.wav"]


def test_embed_goes_on_after_a_bad_file(cli, sounds):
    result = cli(
        "embed", "gone.wav", "sounds/hum.wav", "sounds", "sounds/hiss.wav", "--frames", "--out", "e.npz"
    )
    assert result.code == 2
    assert [line[:7] for line in result.err.splitlines()] == ["error: ", "error: "]
    with np.load("e.npz") as saved:
        assert saved["paths"].tolist() == ["sounds/hum.wav", "sounds/hiss.wav"]
        assert "frames_1" in saved and "frames_2" not in saved


def test_embed_of_nothing_but_bad_files_writes_nothing(refused):
    says = refused("embed", "gone.wav", "--out", "new/e.npz")
    assert "gone.wav" in says and "does not exist" in says
    assert files() == [] and not Path("new").exists()


def test_embed_of_silence_warns(cli):
    result = cli("embed", write("silence.wav", np.zeros((2, RATE))), "--out", "e.npz")
    assert result.code == 0
    assert result.err == "warning: silence.wav is silent, and its embedding means nothing\n"
    assert np.isfinite(np.load("e.npz")["embeddings"]).all()


# ---- search ------------------------------------------------------------------------------------------------


def test_search(cli, sounds):
    for word in HEIGHTS:
        result = cli("search", f"a {word}", sounds, "-k", 2)
        assert (result.code, result.err) == (0, "")
        lines = [line.split() for line in result.out.splitlines()]
        assert len(lines) == 2 and lines[0][2] == f"sounds/{word}.wav" and lines[0][1] == "0.0-1.0"
        assert float(lines[0][0]) >= float(lines[1][0])
    assert files() == [f"sounds/{word}.wav" for word in sorted(HEIGHTS)]


def test_search_json(cli, sounds):
    Path(sounds, "bad.wav").write_text("text")
    summary = json.loads(cli("search", "whistle", sounds, "--json").out)
    assert list(summary) == ["query", "index", "segments", "hits", "errors"]
    assert (summary["query"], summary["segments"]) == (
        {"text": "whistle", "like": None, "picture": None},
        5,
    )
    assert list(summary["hits"][0]) == ["path", "score", "kind", "start_s", "end_s"]
    assert summary["hits"][0]["path"] == "sounds/whistle.wav"
    assert [error["path"] for error in summary["errors"]] == ["sounds/bad.wav"]
    again = json.loads(cli("search", "whistle", summary["index"], "--json").out)
    assert again["hits"][0]["path"] == str(Path("sounds/whistle.wav").absolute())


def test_search_by_example(cli, sounds):
    write("example.flac", tone(2900, 3), subtype="PCM_16")
    assert cli("search", "--like", "example.flac", sounds).out.splitlines()[0].endswith("whistle.wav")
    Path("dark.png").write_bytes(b"\x89PNG\x00")  # 200 Hz, so to speak
    names = [line.split()[-1] for line in cli("search", sounds, "--like", "dark.png").out.splitlines()]
    assert set(names[:2]) == {"sounds/rumble.wav", "sounds/hum.wav"}


def test_search_by_text_and_example(cli, sounds):
    """Between the two lies what resembles both."""
    write("example.wav", tone(3000))
    names = [
        line.split()[-1] for line in cli("search", "hum", sounds, "--like", "example.wav").out.splitlines()
    ]
    assert set(names[:2]) <= {"sounds/whistle.wav", "sounds/hum.wav", "sounds/beep.wav"}


def test_search_by_text_sound_and_picture(cli, refused, sounds):
    """Each has its part: the order is that of the direction between their vectors."""
    write("example.wav", tone(3000))
    Path("dark.png").write_bytes(b"\x89PNG\x00")
    model = FakeEmbedder()
    parts = {
        "--prompt": ("hum", model.embed_text(["hum"])[0]),
        "--like": ("example.wav", model.embed_audio_file("example.wav")),
        "--picture": ("dark.png", model.embed_picture_file("dark.png")),
    }
    paths = [f"sounds/{word}.wav" for word in HEIGHTS]
    vectors = np.stack([model.embed_audio_file(path) for path in paths])
    for n in (1, 2, 3):
        for options in itertools.combinations(parts, n):
            query = sum(parts[option][1] for option in options)
            nearest = [paths[i] for i in np.argsort(-(vectors @ query))]
            words = itertools.chain(*((option, parts[option][0]) for option in options))
            summary = json.loads(cli("search", sounds, *words, "--json").out)
            assert [hit["path"] for hit in summary["hits"]] == nearest, options
    assert summary["query"] == {"text": "hum", "like": "example.wav", "picture": "dark.png"}
    assert cli("search", "hum", sounds, "--picture", "dark.png").code == 0
    assert "two texts" in refused("search", "hum", sounds, "-p", "hiss")


def test_search_finds_what_came_later(cli, sounds):
    cli("search", "hum", sounds)
    write("sounds/other hum.wav", tone(300))
    assert "other" not in cli("search", "hum", sounds, "--no-update").out
    assert "sounds/other hum.wav" in cli("search", "hum", sounds, "-k", 2).out
    assert "sounds/other hum.wav" in cli("search", "hum", sounds, "-k", 2, "--no-update").out


def test_search_with_an_index_of_ones_own(cli, refused, sounds):
    assert cli("search", "hum", sounds, "--index", "idx").code == 0
    assert sorted(os.listdir("idx"))[0] == "index.sqlite" and not Path("cache").exists()
    assert cli("search", "hum", "idx", "--no-update").out.splitlines()[0].endswith("hum.wav")
    assert "is an index itself" in refused("search", "hum", "idx", "--index", "other")
    Path("elsewhere").mkdir()
    assert "is the index of" in refused("search", "hum", "elsewhere", "--index", "idx")


def test_search_reports_what_it_skips(cli, sounds):
    for number in range(8):
        Path(sounds, f"bad{number}.wav").write_text("text")
    result = cli("search", "hum", sounds)
    assert result.code == 0 and len(result.out.splitlines()) == 5
    assert result.err.count("warning: skipped: bad") == 5
    assert result.err.endswith("warning: 3 more files could not be read: --json lists them\n")


def test_pictures_have_no_times(cli, sounds):
    Path(sounds, "dark.png").write_bytes(b"\x89PNG\x00")
    line = next(line for line in cli("search", "hum", sounds).out.splitlines() if line.endswith("png"))
    assert len(line.split()) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "needs something to look for"),
        (["sounds"], "needs something to look for"),
        (["", "sounds"], "empty"),
        (["  ", "sounds"], "empty"),
        (["hum", "gone"], "does not exist"),
        (["hum", "sounds/hum.wav"], "is a file"),
        (["hum", "void"], "nothing that could be indexed"),
        (["hum", "sounds", "--no-update"], "not been indexed"),
        (["hum", "sounds", "--index", "sounds"], "is no index"),
        (["hum", "sounds", "--index", "sounds/hum.wav"], "is no index"),
        (["hum", "sounds", "--index", "sounds/hum.wav/x"], "not a folder"),
        (["hum", "sounds", "--model", "huge"], "no model called huge"),
        (["sounds", "--like", "gone.wav"], "gone.wav does not exist"),
        (["sounds", "--like", "sounds"], "is a folder"),
        (["sounds", "--like", "silence.wav"], "silent"),
        (["sounds", "--picture", "sounds/hum.wav"], "hum.wav is not a picture"),
        (["-p", "hum"], "needs something to look for"),
    ],
)
def test_searches_that_cannot_work(refused, sounds, arguments, says):
    Path("void").mkdir()
    write("silence.wav", np.zeros((1, RATE)))
    assert says in refused("search", *arguments)
    assert not Path("cache").exists()


# ---- locate ------------------------------------------------------------------------------------------------


@pytest.fixture
def scene() -> str:
    return write("scene.wav", tone(300, 2), tone(8000, 1.5), tone(300, 0.48), tone(1000, 3.01))


def test_locate(cli, scene):
    result = cli(
        "locate", scene, "-p", "hiss", "-p", "beep", "-p", "rumble", "-p", "hum", "--threshold", "0.9"
    )
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "start  end  score  prompt",
        "  0.0  2.0   1.00  hum",
        "  2.0  3.5   1.00  hiss",
        "  3.5  4.0   1.00  hum",
        "  4.0  7.0   1.00  beep",
        "not heard: rumble (highest score 0.30)",
    ]


def test_locate_options(cli, scene):
    def rows(*options):
        out = cli("locate", scene, "-p", "hum", "--threshold", "0.9", "--csv", "-", *options).out
        return [(float(row["start_s"]), float(row["end_s"])) for row in csv.DictReader(io.StringIO(out))]

    assert rows() == [(0, 2), (3.52, 3.96)]  # the frames between hold two sounds
    assert rows("--min-duration", 1) == [(0, 2)]
    assert rows("--merge-gap", 2) == [(0, 3.96)]


def test_spans_end_with_the_recording(cli, scene):
    summary = json.loads(cli("locate", scene, "-p", "beep", "--json").out)
    assert summary["events"][-1]["end_s"] == pytest.approx(6.99)
    assert (summary["file"], summary["frame_rate"], summary["threshold"]) == (scene, 25, 0.3)
    assert summary["prompts"] == [{"prompt": "beep", "highest": 1}]


def test_locate_writes_every_format_at_once(cli, scene):
    outputs = ["--csv", "o/a.csv", "--report", "o/a.json", "--audacity", "o/a.txt", "--plot", "o/a.png"]
    result = cli("locate", scene, "-p", "hum", "-p", "hiss", *outputs)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("start")
    assert files("o") == ["a.csv", "a.json", "a.png", "a.txt"]
    events = json.loads(Path("o/a.json").read_text())["events"]
    labels = [line.split("\t") for line in Path("o/a.txt").read_text().splitlines()]
    rows = list(csv.DictReader(Path("o/a.csv").read_text().splitlines()))
    for event, label, row in zip(events, labels, rows, strict=True):
        assert event["prompt"] == label[2] == row["prompt"]
        assert event["start_s"] == float(label[0]) == float(row["start_s"])
        assert event["end_s"] == float(label[1]) == float(row["end_s"])
    assert Path("o/a.png").read_bytes().startswith(b"\x89PNG")


def test_locate_writes_all_or_nothing(cli, refused, scene, monkeypatch):
    Path("a.csv").write_text("mine")
    assert "already exists" in refused("locate", scene, "-p", "hum", "--report", "a.json", "--csv", "a.csv")
    assert files() == ["a.csv", "scene.wav"]
    assert cli("locate", scene, "-p", "hum", "--report", "a.json", "--csv", "a.csv", "--overwrite").code == 0

    def no_plot(*_, **__):
        raise MissingExtraError("plots need matplotlib", "search")

    monkeypatch.setattr("sam_audio.finding.spans.plot", no_plot)
    assert "matplotlib" in refused("locate", scene, "-p", "hum", "--csv", "b.csv", "--plot", "b.png")
    assert files() == ["a.csv", "a.json", "scene.wav"]


def test_locate_in_silence_and_scraps(cli):
    silence = write("silence.wav", np.zeros((2, RATE)))
    assert cli("locate", silence, "-p", "hum").out == "not heard: hum (highest score 0.00)\n"
    scrap = write("scrap.wav", tone(300, 0.01))
    assert (
        cli("locate", scrap, "-p", "hum", "--min-duration", 0, "--audacity", "-").out
        == "0.000000\t0.010000\thum\n"
    )
    assert cli("locate", scrap, "-p", "hum", "--audacity", "-", "--plot", "a.png").out == ""
    assert Path("a.png").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no recording"),
        (["scene.wav"], "nothing is asked for"),
        (["scene.wav", "-p", " "], "empty"),
        (["-", "-p", "hum"], "name a file"),
        (["gone.wav", "-p", "hum"], "does not exist"),
        ([".", "-p", "hum"], "is a folder"),
        (["scene.wav", "-p", "hum", "--threshold", "2"], "threshold"),
        (["scene.wav", "-p", "hum", "--merge-gap", "-1"], "merge gap"),
        (["scene.wav", "-p", "hum", "--min-duration", "nan"], "minimum duration"),
        (["scene.wav", "-p", "hum", "--csv", "-", "--json"], "standard output"),
        (["scene.wav", "-p", "hum", "--csv", "a", "--report", "./a"], "two outputs"),
        (["scene.wav", "-p", "hum", "--plot", "a.docx"], "png, svg, pdf"),
        (["scene.wav", "-p", "hum", "--plot", "-"], "png, svg, pdf"),
        (["scene.wav", "-p", "hum", "--csv", "scene.wav/a.csv"], "not a folder"),
        (["scene.wav", "-p", "hum", "--csv", "."], "is a folder"),
        (["scene.wav", "-p", "hum", "--csv", "scene.wav"], "is what is read"),
        (["scene.wav", "-p", "hum", "--model", "huge"], "no model called huge"),
    ],
)
def test_locating_that_cannot_work(refused, scene, arguments, says):
    assert says in refused("locate", *arguments)
    assert files() == ["scene.wav"]


# ---- classify ----------------------------------------------------------------------------------------------


def test_classify(cli, sounds, labels):
    result = cli("classify", "sounds/rumble.wav", "sounds/hiss.wav", "--labels", labels, "-k", 2)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert [lines[0], lines[3]] == ["sounds/rumble.wav", "sounds/hiss.wav"]
    assert lines[1].split(maxsplit=1)[1] == "a rumble" and lines[4].split()[1] == "hiss"
    assert len(lines) == 6


def test_classify_json(cli, sounds, labels):
    result = cli("classify", "sounds/beep.wav", "gone.wav", "--labels", labels, "--json")
    summary = json.loads(result.out)
    assert result.code == 2 and "gone.wav" in result.err
    (entry,) = summary["files"]
    assert entry["path"] == "sounds/beep.wav"
    assert sorted(best["label"] for best in entry["labels"]) == ["a rumble", "beep", "hiss"]
    assert entry["labels"][0] == {"label": "beep", "score": pytest.approx(1, abs=0.01)}
    assert [error["path"] for error in summary["errors"]] == ["gone.wav"]


def test_classify_pictures_and_silence(cli, labels):
    Path("dark.png").write_bytes(b"\x89PNG\x00")
    silence = write("silence.wav", np.zeros((1, RATE)))
    result = cli("classify", "dark.png", silence, "--labels", labels, "-k", 1)
    assert result.code == 0
    assert [line.split()[-1] for line in result.out.splitlines()] == ["dark.png", "rumble", "silence.wav"]
    assert result.err == "warning: silence.wav is silent: no label fits\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        (b"", "no labels"),
        (b"# only\n\n  \n", "no labels"),
        (b"\xff\xfe\x00d", "not UTF-8"),
    ],
)
def test_labels_that_cannot_be_used(refused, sounds, content, says):
    if content is not None:
        Path("l.txt").write_bytes(content)
    said = refused("classify", "sounds/hum.wav", "--labels", "l.txt")
    assert "l.txt" in said and says in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no file"),
        (["sounds/hum.wav"], "--labels"),
        (["sounds/hum.wav", "--labels", "sounds"], "cannot be read"),
        (["sounds/hum.wav", "--labels", "labels.txt", "--model", "huge"], "no model called huge"),
        (["sounds", "--labels", "labels.txt"], "is a folder"),
    ],
)
def test_classifying_that_cannot_work(refused, sounds, labels, arguments, says):
    assert says in refused("classify", *arguments)


# ---- every command -----------------------------------------------------------------------------------------


def not_finite(value: float):
    samples = tone(300)
    samples[0, 20_000] = value
    return write("bad.wav", samples)


BAD = {
    "missing": (lambda: None, "does not exist"),
    "empty": (lambda: Path("bad.wav").touch(), "is empty"),
    "text": (lambda: Path("bad.wav").write_text("hello"), "text file"),
    "no frames": (lambda: write("bad.wav", np.zeros((1, 0))), "holds no audio"),
    "cut off": (lambda: Path("bad.wav").write_bytes(b"RIFF\x00\x01\x00\xff"), "damaged"),
    "NaN": (lambda: not_finite(np.nan), "NaN samples"),
    "infinite": (lambda: not_finite(-np.inf), "infinite samples"),
    "folder": (lambda: Path("bad.wav").mkdir(), "is a folder"),
}
CALLS = {
    "embed": lambda *f: ["embed", *f, "--out", "out.npz"],
    "locate": lambda *f: ["locate", *f, "-p", "hum", "--csv", "out.csv", "--plot", "out.png"],
    "classify": lambda *f: ["classify", *f, "--labels", "labels.txt"],
    "search": lambda *f: ["search", "sounds", "--like", *f],
}


@pytest.mark.parametrize(("make", "says"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_bad_recordings(refused, sounds, labels, call, make, says):
    make()
    before = files()
    assert says in refused(*call("bad.wav"))
    assert files() == before and not Path("cache").exists()


@pytest.mark.parametrize(
    "samples", [tone(300, 0.01), tone(300, 0.5, channels=24)], ids=["10 ms", "24 channels"]
)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_unusual_recordings(cli, sounds, labels, call, samples):
    result = cli(*call(write("odd.wav", samples)))
    assert (result.code, result.err) == (0, ""), result


@pytest.mark.parametrize("command", ["embed", "locate"])
def test_outputs_that_cannot_be_written(refused, sounds, command, monkeypatch):
    if os.geteuid() == 0:  # root may write anywhere
        from sam_audio.io import target

        def refuse(path):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(target, "open_part", refuse)
    else:
        os.chmod(".", 0o500)
    says = refused(*CALLS[command]("sounds/hum.wav"))
    os.chmod(".", 0o700)
    assert "write-protected" in says


@pytest.mark.parametrize("command", ["embed", "locate"])
def test_a_full_disk(refused, sounds, command, monkeypatch):
    from sam_audio.io.target import FileTarget

    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileTarget, "sync", full)
    before = files()
    assert "no space left" in refused(*CALLS[command]("sounds/hum.wav"))
    assert files() == before


def test_names_that_are_no_text_can_be_shown(cli, capfd):
    from sam_audio.cli.shared import show

    show("caf\udce9.wav 雨")
    assert capfd.readouterr().out == "caf\ufffd.wav 雨\n"


def test_progress_is_for_terminals(cli, sounds, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    result = cli("search", "hum", sounds)
    assert result.code == 0 and len(result.out.splitlines()) == 5


def test_clock():
    assert [clock(s) for s in (0, 59.96, 60, 119.99, 3599.97, 36_000)] == [
        "0.0",
        "1:00.0",
        "1:00.0",
        "2:00.0",
        "1:00:00.0",
        "10:00:00.0",
    ]


def test_arguments_that_typer_refuses(cli, sounds):
    """A text without quotes, no answers wanted, an option that does not exist."""
    for arguments in (["dog", "barking", "sounds"], ["hum", "sounds", "-k", "0"], ["hum", "sounds", "--jsn"]):
        result = cli("search", *arguments)
        assert (result.code, result.out) == (2, "") and "Usage:" in result.err


HELP = """
import sys
from sam_audio.cli import {name}
print([name for name in ("torch", "numpy", "faiss", "matplotlib", "soundfile", "sqlite3") if name in sys.modules])
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_loads_nothing_heavy(name):
    done = subprocess.run(
        [sys.executable, "-c", HELP.format(name=name)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
