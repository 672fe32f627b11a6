from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from sam_audio.errors import UserError
from sam_audio.scale.inputs import Item, find_items


@pytest.fixture
def library(tmp_path, monkeypatch):
    folder = tmp_path / "library"
    for name in (
        "b.wav",
        "a.flac",
        "a.ogg",
        "deep/er/c.mp3",
        "notes.txt",
        ".hidden/d.wav",
        "deep/.e.wav",
        "out/x.wav",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return folder


def tracks(*inputs, **more):
    return [item.track for item in find_items(list(map(str, inputs)), **more)]


def test_a_folder_with_all_that_is_in_it_but_hidden_and_outputs(library):
    found = list(find_items(["library"], ["guitar"], out="library/out"))
    assert [Path(item.source).relative_to(library).as_posix() for item in found] == [
        "a.flac",
        "a.ogg",
        "b.wav",
        "deep/er/c.mp3",
    ]
    names = [item.track for item in found]
    assert (names[0], names[2:]) == ("a", ["b", "deep/er/c"])
    assert (
        names[1].startswith("a-") and len(names[1]) == 10
    )  # two of one name are told apart by their sources
    assert {item.prompts for item in found} == {("guitar",)}


def test_tracks_do_not_depend_on_what_else_is_there(library):
    before = {item.source: item.track for item in find_items([str(library)])}
    (library / "aa.wav").write_bytes(b"")
    after = {item.source: item.track for item in find_items([str(library)])}
    assert before.items() <= after.items()


def test_globs_and_files(library):
    assert tracks(library / "*.wav", library / "deep/**/*.mp3") == ["b", "er/c"]
    assert tracks(library / "a.flac") == ["a"]


def test_a_file_whose_name_looks_like_a_glob(library):
    (library / "mix [1].wav").write_bytes(b"")
    assert tracks(library / "mix [1].wav") == ["mix [1]"]


MANIFEST = [
    {"source": "b.wav", "prompts": ["dog barking", "rain"], "track": "B"},
    {"source": "https://example.org/c.wav?x=1"},
]
EXPECTED = [("B", ("dog barking", "rain")), ("c", ("guitar",))]


def test_manifests(library):
    (library / "list.jsonl").write_text("\n".join(map(json.dumps, MANIFEST)) + "\n\n")
    (library / "list.csv").write_text(
        "source,prompts,track,rights\nb.wav,dog barking|rain,B,mine\nhttps://example.org/c.wav?x=1,,,\n"
    )
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(MANIFEST), library / "list.parquet")
    for kind in ("jsonl", "csv", "parquet"):
        found = list(find_items([f"library/list.{kind}"], ["guitar"]))
        assert [
            (item.track.partition("?")[0].removesuffix(".wav"), item.prompts) for item in found
        ] == EXPECTED, kind
        assert [item.source for item in found] == [str(library / "b.wav"), "https://example.org/c.wav?x=1"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.jsonl", "{", "write one JSON object a line"),
        ("a.jsonl", '{"prompts": ["x"]}', "the source is None"),
        ("a.jsonl", '{"source": "a.wav", "prompts": 3}', "row 1 of"),
        ("a.jsonl", '{"source": "a.wav", "track": 3}', "write a text"),
        ("a.csv", "source,track\na.wav\n", "more or fewer cells"),
        ("a.parquet", "no parquet", "no parquet file"),
        ("a.csv", b"source\n\xff.wav", "not UTF-8"),
    ],
)
def test_manifests_that_cannot_be_understood(tmp_path, name, text, says):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=says):
        list(find_items([str(tmp_path / name)]))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("nowhere", "does not exist"),
        ("no*where", "holds no recordings"),
        ("empty", "holds no recordings"),
        ("nonsense://x/y", "no place that fsspec knows|cannot be opened"),
    ],
)
def test_what_is_not_there(tmp_path, monkeypatch, given, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=says):
        list(find_items([given]))


def test_one_recording_twice(library):
    with pytest.raises(UserError, match="twice"):
        tracks(library / "b.wav", library / "b.wav", library / "b.wav")


def test_tracks_of_strangers_stay_in_the_folder(library):
    rows = [{"source": "b.wav", "track": track} for track in ("../../x", "/etc/x", "_catalogue/lock.json")]
    (library / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for track in tracks(library / "list.jsonl"):
        parts = track.split("/")
        assert ".." not in parts and "" not in parts and parts[0] != "_catalogue", track


def test_memory_is_a_store_too(tmp_path):
    import fsspec

    system = fsspec.filesystem("memory")
    for name in ("/lib/a.wav", "/lib/deep/b.wav", "/lib/c.txt"):
        system.pipe_file(name, b"")
    found = list(find_items(["memory://lib"]))
    assert found == [Item("memory://lib/a.wav", "a"), Item("memory://lib/deep/b.wav", "deep/b")] or found == [
        Item("memory:///lib/a.wav", "a"),
        Item("memory:///lib/deep/b.wav", "deep/b"),
    ]
    system.rm("/lib", recursive=True)
