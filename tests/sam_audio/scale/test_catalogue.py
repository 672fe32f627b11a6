from __future__ import annotations

import json

import pytest

from sam_audio.errors import AudioReadError, UserError
from sam_audio.scale import catalogue
from sam_audio.scale.catalogue import Catalogue, ask, known_tracks
from sam_audio.scale.stores import open_folder


def stem(name, present, precision, prompt=None):
    return {
        "name": name,
        "prompt": prompt or name,
        "path": f"t/{name}.wav",
        "bytes": 10,
        "level_db": -6.0,
        "present": present,
        "in_mixture": present is not None and present >= 0.5,
        "precision": precision,
        "spans": [{"start_s": 0.5, "end_s": 1.0, "score": 0.75}],
    }


def row(track, *stems, status="done", **more):
    base = {
        "track": track,
        "source": f"/in/{track}.wav",
        "task": "separate",
        "status": status,
        "seconds": 2.0,
    }
    return {**base, "how": "h", "content": "c", "version": "v", "stems": list(stems), **more}


@pytest.fixture
def folder(tmp_path):
    return open_folder(str(tmp_path / "out"))


@pytest.fixture
def filled(folder):
    made = Catalogue(folder)
    made.add(row("a", stem("guitar", 0.9, 2.0), stem("drums", 0.9, 3.0)))
    made.add(row("b", stem("guitar", 0.1, 1.5), {"name": "residual", "path": "b/residual.wav", "bytes": 1}))
    made.add(row("c", status="failed", error="no sound", stems=None))
    made.flush()
    return folder


def test_all_stems_said_to_be_there_with_precision_below(filled, cli):
    """The question of the brief, in one command."""
    done = cli("catalogue", "query", filled.uri, "in_mixture AND precision < 2.5", "--format", "json")
    assert [(one["track"], one["name"]) for one in json.loads(done.out)["rows"]] == [("a", "guitar")]
    table = cli("catalogue", "query", filled.uri, "in_mixture AND precision < 2.5").out
    assert table.splitlines()[1].split() == ["a", "guitar", "guitar", "t/guitar.wav", "-6", "2", "0.9"]


def test_sql(filled):
    assert ask(filled, "SELECT track, len(stems) FROM items WHERE status = 'done' ORDER BY 1") == (
        ["track", "len(stems)"],
        [("a", 2), ("b", 2)],
    )
    assert ask(filled, "SELECT spans[1].end_s FROM stems WHERE name = 'drums'")[1] == [(1.0,)]


def test_show(filled, cli):
    shown = json.loads(cli("catalogue", "show", filled.uri, "-f", "json").out)["rows"][0]
    assert (shown["items"], shown["done"], shown["failed"]) == (3, 2, 1)
    failed = cli("catalogue", "show", filled.uri, "--failed", "-f", "csv").out
    assert failed == "source,attempts,error\n/in/c.wav,,no sound\n"


def test_long_tables_are_cut(filled, cli):
    assert "(3 more: --limit N" in cli("catalogue", "query", filled.uri, "true", "--limit", "1").out


@pytest.mark.parametrize(
    "question",
    [
        "",
        "precision <",
        "SELECT * FROM nowhere",
        "SELECT * FROM '/etc/passwd'",
        "true; COPY stems TO 'x.csv'",
    ],
)
def test_what_cannot_be_asked(filled, refused, question, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "ask" in refused("catalogue", "query", filled.uri, question)
    assert not (tmp_path / "x.csv").exists()


def test_no_catalogue(refused, tmp_path):
    assert "holds no catalogue" in refused("catalogue", "show", tmp_path)


def test_a_part_that_is_none(filled):
    filled.write("_catalogue/part-0.parquet", b"PAR1 is how it begins")
    with pytest.raises(AudioReadError, match="is no part of a catalogue"):
        ask(filled, "true")


def test_the_latest_row_of_a_track_counts(filled):
    again = Catalogue(filled)
    again.add(row("a", stem("guitar", 0.9, 4.0)))
    again.flush()
    assert ask(filled, "in_mixture")[1][0][-2] == 4.0
    assert len(ask(filled, "track = 'a'")[1]) == 1
    assert known_tracks(filled).keys() == {"a", "b"}


def test_joining_parts_changes_nothing(filled):
    for n in range(5):
        more = Catalogue(filled)
        more.add(row(f"m{n}"))
        more.flush()
    before = ask(filled, "SELECT * FROM items ORDER BY track")
    Catalogue(filled).join(most_parts=3)
    assert len(filled.names("_catalogue")) == 1
    assert ask(filled, "SELECT * FROM items ORDER BY track") == before


def test_a_join_that_was_killed_changes_nothing(filled, monkeypatch):
    before = ask(filled, "SELECT * FROM items ORDER BY track")
    monkeypatch.setattr(type(filled), "remove", lambda *_: None)  # killed before the old parts were removed
    Catalogue(filled).join(most_parts=0)
    assert len(filled.names("_catalogue")) == 2
    assert ask(filled, "SELECT * FROM items ORDER BY track") == before


def test_rows_are_written_in_time(folder, monkeypatch):
    made = Catalogue(folder)
    made.add(row("a"))
    made.flush_if_due()
    assert not folder.names("_catalogue")
    monkeypatch.setattr(catalogue, "PART_S", 0.0)
    made.flush_if_due()
    assert len(folder.names("_catalogue")) == 1
    made.flush()
    assert len(folder.names("_catalogue")) == 1


def test_an_empty_question_is_refused(filled):
    with pytest.raises(UserError, match="nothing is asked"):
        ask(filled, "  ")
