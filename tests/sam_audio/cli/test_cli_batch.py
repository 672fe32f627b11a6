"""``sam-audio batch`` with a tiny model: what it writes, and what it says."""

from __future__ import annotations

import json

import fsspec
import numpy as np
import pytest
import soundfile
import tiny

from sam_audio.cli import batch
from sam_audio.io import read_audio


@pytest.fixture
def library(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("one", "deep/two")):
        path = tmp_path / "library" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tiny.noise(seed=seed).T, 48_000, subtype="FLOAT")
    return tmp_path / "library"


def asked(cli, out, question):
    return json.loads(cli("catalogue", "query", out, question, "-f", "json").out)["rows"]


def test_separate(library, cli, tiny_weights):
    arguments = (
        "batch",
        "library",
        "-p",
        "dog",
        "-p",
        "rain",
        "-o",
        "out",
        "--workers",
        1,
        "--model",
        tiny_weights,
    )
    (library / "bad.wav").write_text("no sound")
    done = cli(*arguments, "--retries", 0)
    assert done.code == 2
    assert "2 done, 0 skipped, 1 failed" in done.out
    assert "bad.wav is a text file" in done.err
    for track in ("one", "deep/two"):
        mixture, _ = read_audio(library / f"{track}.wav")
        stems = [read_audio(f"out/{track}/{name}.wav")[0] for name in ("dog", "rain", "residual")]
        np.testing.assert_allclose(sum(stems), mixture, atol=1e-6)
    (library / "bad.wav").unlink()
    again = cli(*arguments, "--json", "-q")
    assert again.code == 0
    assert {key: json.loads(again.out)[key] for key in ("done", "skipped", "failed")} == {
        "done": 0,
        "skipped": 2,
        "failed": 0,
    }
    rows = asked(cli, "out", "SELECT * FROM stems WHERE prompt IS NOT NULL")
    assert [(row["track"], row["path"]) for row in rows] == [
        (track, f"{track}/{name}.wav") for track in ("deep/two", "one") for name in ("dog", "rain")
    ]
    for row in rows:
        assert 1 <= row["precision"] <= 5 and 0 <= row["present"] <= 1 and row["level_db"] < 0
        assert all(0 <= span["start_s"] < span["end_s"] <= 1.4 for span in row["spans"])


def test_locate_embed_and_caption(library, cli):
    locate = "batch", "library", "--task", "locate", "-p", "rain", "-o", "when", "--workers", 1
    assert cli(*locate, "--threshold", 0.001, "--min-duration", 1).code == 0
    events = asked(cli, "when", "SELECT track, events FROM items")
    assert [row["track"] for row in events] == ["deep/two", "one"]
    assert all(event["prompt"] == "rain" for row in events for event in row["events"])
    assert all(event["end_s"] - event["start_s"] >= 1 for row in events for event in row["events"])
    assert any(row["events"] for row in events)
    assert cli("batch", "library", "--task", "embed", "-o", "vectors", "--workers", 1).code == 0
    vectors = json.loads(cli("catalogue", "query", "vectors", "SELECT vector FROM items", "-f", "json").out)[
        "rows"
    ]
    np.testing.assert_allclose([np.linalg.norm(row["vector"]) for row in vectors], 1, atol=1e-5)
    assert cli("batch", "library", "--task", "caption", "-o", "captions", "--workers", 1).code == 0
    captions = asked(cli, "captions", "SELECT unnest(captions).captioner AS captioner FROM items")
    assert {row["captioner"] for row in captions} == {"tagger"}


def test_from_a_store_to_a_store(library, cli, tiny_weights, s3):
    """Recordings, outputs, catalogue and lock on a server that speaks S3."""
    system = fsspec.filesystem("s3")
    system.put(str(library), "sounds/library", recursive=True)
    arguments = (
        "batch",
        f"{s3}/library",
        "-p",
        "dog",
        "-o",
        f"{s3}/stems",
        "--workers",
        1,
        "--model",
        tiny_weights,
        "--format",
        "flac",
        "--residual",
        "rest",
    )
    assert "2 done, 0 skipped, 0 failed" in cli(*arguments).out
    found = sorted(system.find("sounds/stems"))
    assert [name for name in found if "_catalogue" not in name] == [
        f"sounds/stems/{track}/{name}.flac" for track in ("deep/two", "one") for name in ("dog", "rest")
    ]
    made = [name for name in found if "_catalogue" in name]  # and the lock is gone
    assert made and all(name.endswith(".parquet") for name in made)
    assert len(asked(cli, f"{s3}/stems", "SELECT * FROM stems")) == 4
    system.pipe_file("sounds/library/one.wav", (library / "deep/two.wav").read_bytes())
    assert "1 done, 1 skipped, 0 failed" in cli(*arguments).out


def test_progress_without_a_terminal_tells_the_time_left(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    tell = batch._lines()
    for done in range(20, 101):  # 20 were done before
        now += 2.5
        tell(done, 200, "one.wav")
    assert capsys.readouterr().err.splitlines()[:2] == ["31 of 200, 7 min left", "43 of 200, 7 min left"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no recordings are given"),
        (["library"], "no place for the outputs"),
        (["library", "-o", "out"], "nothing is asked for"),
        (["library", "-o", "out", "--task", "embed", "-p", "rain"], "takes no prompts"),
        (["library", "-o", "out", "--task", "caption", "-p", "rain"], "takes no prompts"),
        (["library", "-o", "out", "-p", "rain", "--address", "x:1"], "--engine ray"),
        (["library", "-o", "out", "-p", "rain", "--residual", "none", "--mode", "remove"], "needs a name"),
        (["library", "-o", "out", "-p", "rain", "--candidates", 2, "--no-judge"], "chosen by a judge"),
        (["library", "-o", "out", "-p", "rain", "--threshold", 0.5], "is for --task locate"),
        (["library", "-o", "out", "--task", "embed", "--format", "flac"], "is for --task separate"),
        (["library", "-o", "out", "-p", "rain", "--model", "no.safetensors"], "does not exist"),
        (["nowhere", "-o", "out", "-p", "rain"], "does not exist"),
    ],
)
def test_what_cannot_be_done(library, refused, arguments, says):
    assert says in refused("batch", *arguments)
