"""The index: built once, kept up to date, consistent whatever interrupts it, and fast."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import time
from pathlib import Path

import fake_embedding
import numpy as np
import pytest
import soundfile
from fake_embedding import DIM, HEIGHTS, FakeEmbedder, tone
from tiny_video import write_video

from sam_audio.errors import MissingExtraError, ModelError, UserError
from sam_audio.finding import index as search
from sam_audio.finding.index import SearchIndex, default_index_dir, is_index

pytest.importorskip("faiss")


def write(path: Path, *parts: np.ndarray, rate: int = 48_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate(parts, axis=1).T, rate)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """One short recording for each word, in folders, and things that are none of our business."""
    root = tmp_path / "sounds"
    for number, (word, hz) in enumerate(HEIGHTS.items()):
        write(root / f"disc {number % 2}" / f"{word}.wav", tone(hz))
    (root / "notes.txt").write_text("no sound")
    write(root / ".hidden" / "a.wav", tone(100))
    write(root / ".hidden.wav", tone(100))
    os.symlink("nowhere.wav", root / "broken.wav")
    return root


@pytest.fixture
def open_index(tmp_path, folder):
    """Opens the index of the folder as a new process would."""

    def make(version: str = "1", root: Path | None = folder, model: str = "nano") -> SearchIndex:
        return SearchIndex(tmp_path / "index", root, model, version)

    return make


def ask(index: SearchIndex, word: str, k: int = 3) -> list[str]:
    (query,) = FakeEmbedder().embed_text([word])
    return [Path(hit.path).stem for hit in index.search(query, k)]


def update(index: SearchIndex) -> tuple[int, int, int, list[str]]:
    """(added, dropped, unchanged, names of the files that were opened)."""
    embedder = FakeEmbedder()
    done = index.update(embedder)
    return done.added, done.dropped, done.unchanged, sorted(embedder.opened)


# ---- building and asking -----------------------------------------------------------------------------------


def test_every_sound_is_found_by_its_word(open_index):
    index = open_index()
    assert update(index)[:3] == (5, 0, 0)
    for word in HEIGHTS:
        assert ask(index, word)[0] == word
        assert ask(open_index(), word) == ask(index, word)


def test_hits_are_cosines_best_first(open_index, folder):
    index = open_index()
    index.update(FakeEmbedder())
    (query,) = FakeEmbedder().embed_text(["beep"])
    hits = index.search(query, 100)
    assert len(hits) == len(index) == 5
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for hit in hits:
        assert hit.score == pytest.approx(float(query @ FakeEmbedder().embed_audio_file(hit.path)), abs=1e-5)
        assert Path(hit.path).is_relative_to(folder)
        assert (hit.kind, hit.start_s, hit.end_s) == ("audio", 0, 1)


def test_long_recordings_say_where(open_index, folder):
    write(folder / "long.flac", tone(100, 10), tone(8000, 10), tone(1000, 4.5))
    index = open_index()
    index.update(FakeEmbedder())
    where = {}
    for word in ("rumble", "hiss", "beep"):
        (query,) = FakeEmbedder().embed_text([word])
        where[word] = next(
            (h.start_s, h.end_s) for h in index.search(query, 9) if h.path.endswith("long.flac")
        )
    assert where == {"rumble": (0, 10), "hiss": (10, 20), "beep": (20, 24.5)}


def test_silence_is_never_an_answer(open_index, folder):
    write(folder / "silence.wav", np.zeros((1, 48_000)))
    write(folder / "pause.wav", np.zeros((1, 480_000)), tone(1000, 5))
    index = open_index()
    assert update(index)[0] == 7
    assert len(index) == 6
    assert update(open_index()) == (0, 0, 7, [])  # and is not looked at again


def test_a_folder_of_silence_is_an_index_without_answers(tmp_path):
    write(tmp_path / "s" / "silence.wav", np.zeros((1, 48_000)))
    for added in (1, 0):
        index = SearchIndex(tmp_path / "index", tmp_path / "s", "nano")
        assert update(index)[0] == added
        assert ask(index, "beep") == []
    write(tmp_path / "s" / "beep.wav", tone(1000))
    assert update(index)[:3] == (1, 0, 1)
    assert ask(SearchIndex(tmp_path / "index", None, "nano"), "beep") == ["beep"]


def test_pictures_and_videos(open_index, folder, monkeypatch):
    (folder / "dark.png").write_bytes(b"\x89PNG\x00")
    write_video(folder / "film.mp4", [np.zeros((32, 32, 3), np.uint8)] * 14 * 5, 5)
    index = open_index()
    assert update(index)[0] == 7
    queries = dict(
        zip(("audio", "picture", "video"), FakeEmbedder().embed_text(["hum", "hum", "hiss"]), strict=True)
    )
    hits = index.search(queries, 100)
    assert {hit.kind for hit in hits} == set(queries)
    by_kind = {kind: [hit for hit in hits if hit.kind == kind] for kind in queries}
    (picture,) = by_kind["picture"]
    assert (picture.start_s, picture.end_s) == (None, None)
    assert [(hit.start_s, round(hit.end_s)) for hit in by_kind["video"]] == [(0, 10), (10, 14)]
    assert Path(by_kind["audio"][0].path).stem == "hum"
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert index.search(queries, 2) == hits[:2]


# ---- keeping up --------------------------------------------------------------------------------------------


def test_only_what_changed_is_embedded_again(open_index, folder):
    update(open_index())
    assert update(open_index()) == (0, 0, 5, [])
    write(folder / "new.wav", tone(300))
    write(folder / "disc 0" / "rumble.wav", tone(8000, 2))
    (folder / "disc 1" / "hum.wav").unlink()
    assert update(open_index()) == (2, 1, 3, ["new.wav", "rumble.wav"])
    index = open_index()
    assert update(index) == (0, 0, 5, [])
    assert ask(index, "hum")[0] == "new"
    assert set(ask(index, "hiss", 2)) == {"hiss", "rumble"}
    assert len(index) == 5 and sorted(ask(index, "hiss", 99)) == ["beep", "hiss", "new", "rumble", "whistle"]


def test_a_touched_file_is_embedded_again(open_index, folder):
    update(open_index())
    os.utime(folder / "disc 0" / "beep.wav", ns=(1, 1))
    assert update(open_index()) == (1, 0, 4, ["beep.wav"])


def test_an_emptied_folder_gives_an_empty_index(open_index, folder):
    update(open_index())
    shutil.rmtree(folder)
    folder.mkdir()
    index = open_index()
    assert update(index) == (0, 5, 0, [])
    assert ask(index, "beep") == [] and len(open_index()) == 0


def test_a_folder_that_is_gone_empties_nothing(open_index, folder):
    update(open_index())
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="cannot be read.*--no-update"):
        open_index().update(FakeEmbedder())
    assert len(open_index()) == 5


def test_a_folder_that_may_not_be_read_keeps_its_entries(open_index, folder, monkeypatch):
    update(open_index())
    real = os.scandir

    def refuse(path):
        if Path(path).name == "disc 0":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(search.os, "scandir", refuse)
    index = open_index()
    done = index.update(FakeEmbedder())
    assert (done.added, done.dropped, len(index)) == (0, 0, 5)
    ((path, message),) = done.problems
    assert path == str(folder / "disc 0") and "Permission denied" in message


def test_names_in_any_script_and_in_none(open_index, folder):
    names = ["雨 の音.wav", "a'b\"c;--.wav", "new\nline.wav", "e\u0301.wav"]
    for name in names:
        write(folder / "good.wav", tone(12_000)).rename(folder / name)
    assert update(open_index())[0] == 9
    index = open_index()
    assert update(index) == (0, 0, 9, [])
    (query,) = [fake_embedding.place(12_000)]
    assert {Path(hit.path).name for hit in index.search(query, 4)} == set(names)


@pytest.mark.skipif(sys.platform != "linux", reason="others have no such names")
def test_names_that_are_no_text(tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    write(tmp_path / "sounds" / "a.wav", tone(1000)).rename(tmp_path / "sounds" / name)
    index = SearchIndex(tmp_path / "index", tmp_path / "sounds", "nano")
    embedder = FakeEmbedder()
    embedder.embed_audio_segments = lambda path, segment_s: [(0.0, 1.0, fake_embedding.place(1000))]
    assert index.update(embedder).added == 1
    (hit,) = SearchIndex(tmp_path / "index", None, "nano").search(fake_embedding.place(1000))
    assert os.path.basename(hit.path) == name and os.path.exists(hit.path)


def test_new_weights_build_it_anew(open_index):
    update(open_index())
    index = open_index(version="2")
    with pytest.raises(UserError, match="another version"):
        ask(index, "beep")
    assert len(update(index)[3]) == 5
    assert update(open_index(version="2")) == (0, 0, 5, [])
    assert ask(open_index(version="2"), "beep")[0] == "beep"
    assert sorted(ask(open_index(version="2"), "beep", 99)) == sorted(HEIGHTS)


# ---- bad files ---------------------------------------------------------------------------------------------


def test_files_that_cannot_be_read_are_skipped_and_reported(open_index, folder):
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("hello")
    (folder / "photo.png").write_bytes(b"none")
    nan = tone(100)
    nan[0, 24_000] = np.nan
    soundfile.write(folder / "nan.wav", nan.T, 48_000, "FLOAT")
    write(folder / "tick.wav", tone(1000, 0.01))
    index = open_index()
    done = index.update(FakeEmbedder())
    assert done.added == 6 and len(index) == 6
    assert {Path(path).name: message.split(" ")[0] for path, message in done.problems} == {
        name: name for name in ("empty.wav", "nan.wav", "photo.png", "text.wav")
    }
    again = open_index().update(FakeEmbedder())
    assert (again.added, again.unchanged, len(again.problems)) == (0, 6, 4)
    write(folder / "text.wav", tone(1000))
    assert open_index().update(FakeEmbedder()).added == 1


def test_a_recording_damaged_on_the_way_is_kept_up_to_there(open_index, folder):
    samples = np.concatenate([tone(12_000, 10), tone(100, 5)], axis=1)
    samples[0, -5] = np.inf
    soundfile.write(folder / "damaged.wav", samples.T, 48_000, "FLOAT")
    index = open_index()
    done = index.update(FakeEmbedder())
    assert [Path(path).name for path, _ in done.problems] == ["damaged.wav"]
    (hit,) = index.search(fake_embedding.place(12_000), 1)
    assert (Path(hit.path).name, hit.start_s, hit.end_s) == ("damaged.wav", 0, 10)
    assert update(open_index()) == (0, 0, 6, [])


def test_a_model_that_fails_is_no_fault_of_the_files(open_index, folder, monkeypatch):
    """For sound; one that only lacks pictures still indexes the sounds."""

    def fail(*_):
        raise ModelError("there is no such model")

    (folder / "dark.png").write_bytes(b"\x89PNG\x00")
    monkeypatch.setattr(FakeEmbedder, "embed_picture_file", fail)
    done = open_index().update(FakeEmbedder())
    assert done.added == 5 and [Path(path).name for path, _ in done.problems] == ["dark.png"]
    write(folder / "new.wav", tone(300))
    monkeypatch.setattr(FakeEmbedder, "embed_audio_segments", fail)
    with pytest.raises(ModelError):
        open_index().update(FakeEmbedder())


# ---- interruptions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_is_complete_survives_an_interruption(open_index, folder, monkeypatch, error):
    embedder, real = FakeEmbedder(), FakeEmbedder.embed_audio_segments

    def stop_at_the_third(self, path, segment_s=10.0):
        if len(self.opened) == 3:
            raise error
        return real(self, path, segment_s)

    monkeypatch.setattr(FakeEmbedder, "embed_audio_segments", stop_at_the_third)
    with pytest.raises(error):
        open_index().update(embedder)
    monkeypatch.undo()
    assert len(open_index()) == 3
    added, _, unchanged, opened = update(open_index())
    assert (added, unchanged) == (2, 3) and not set(opened) & set(embedder.opened)


def test_commits_on_the_way(open_index, folder, monkeypatch):
    """Another process sees what is complete while the rest is still being embedded."""
    monkeypatch.setattr(search, "_COMMIT_S", 0.0)
    monkeypatch.setattr(search, "_COMMIT_SHARE", 1e9)
    seen = []
    open_index().update(
        FakeEmbedder(), lambda done, total, name: seen.append((done, total, len(open_index())))
    )
    assert seen == [(0, 5, 0), *((i, 5, i) for i in range(1, 5))]
    assert len(list((open_index().path).glob("vectors-*"))) == 1


@pytest.mark.parametrize("moment", ["vectors", "tables"])
def test_a_full_disk_leaves_the_last_state(open_index, folder, monkeypatch, moment):
    update(open_index())
    write(folder / "new.wav", tone(300))
    (folder / "disc 1" / "hum.wav").unlink()

    def full(*_):
        raise OSError(28, "No space left on device")

    if moment == "vectors":
        monkeypatch.setattr(search.os, "fsync", full)
    else:
        monkeypatch.setattr(search, "_SCHEMA", ("SELECT * FROM nowhere",))
    with pytest.raises(UserError):
        open_index().update(FakeEmbedder())
    monkeypatch.undo()
    index = open_index()
    assert len(index) == 5 and ask(index, "hum")[0] == "hum"
    assert update(index) == (1, 1, 4, ["new.wav"])


def test_leftovers_of_a_crash_do_no_harm(open_index, tmp_path):
    """Killed before the first commit: vectors and a lock, or tables without content."""
    path = tmp_path / "index"
    path.mkdir()
    (path / "vectors-0.faiss").write_bytes(b"half")
    (path / "lock").touch()
    (path / "index.sqlite").touch()
    index = open_index()
    assert update(index)[0] == 5
    assert sorted(os.listdir(path))[:2] == ["index.sqlite", "lock"] and len(os.listdir(path)) == 3


def test_nothing_to_index_leaves_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "text.wav").write_text("hello")
    for name in ("empty", "bad"):
        SearchIndex(tmp_path / "index", tmp_path / name, "nano").update(FakeEmbedder())
        assert not (tmp_path / "index").exists()


def test_one_update_at_a_time(open_index, folder, monkeypatch):
    monkeypatch.setattr(search, "_LOCK_WAIT_S", 0.1)
    index = open_index()
    index.update(FakeEmbedder())
    write(folder / "new.wav", tone(300))
    with index._lock():
        with pytest.raises(UserError, match="another process.*--no-update"):
            open_index().update(FakeEmbedder())
        assert ask(open_index(), "beep")[0] == "beep"
    assert update(open_index())[0] == 1


def test_an_update_sees_what_another_has_done(open_index, folder):
    late = open_index()
    update(open_index())
    assert update(late) == (0, 0, 5, [])
    assert ask(late, "beep")[0] == "beep"


# ---- what is no index --------------------------------------------------------------------------------------


def test_other_folders_stay_untouched(tmp_path, folder):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").touch()
    for path in (tmp_path / "mine", tmp_path / "mine" / "diary.txt", folder):
        with pytest.raises(UserError, match="is no index"):
            SearchIndex(path, folder, "nano")


def test_an_index_belongs_to_a_folder_and_a_model(open_index, tmp_path, folder):
    update(open_index())
    assert open_index(root=None).root == folder
    with pytest.raises(UserError, match="is the index of"):
        open_index(root=tmp_path)
    with pytest.raises(UserError, match="of the model nano, not large"):
        open_index(model="large")


@pytest.mark.parametrize("damage", ["tables", "vectors", "no vectors", "other vectors", "format"])
def test_damage_is_one_sentence(open_index, tmp_path, damage):
    update(open_index())
    (vectors,) = (tmp_path / "index").glob("vectors-*")
    if damage == "tables":
        (tmp_path / "index" / "index.sqlite").write_bytes(b"junk" * 1000)
    elif damage == "vectors":
        vectors.write_bytes(vectors.read_bytes()[:100])
    elif damage == "no vectors":
        vectors.unlink()
    elif damage == "other vectors":
        search._write_vectors(search._new_vectors(DIM), vectors)
    else:
        with sqlite3.connect(tmp_path / "index" / "index.sqlite") as database:
            database.execute("UPDATE meta SET value = 99 WHERE key = 'format'")
    with pytest.raises(UserError, match="is damaged: remove"):
        open_index()


def test_places_that_cannot_be_written(tmp_path, folder):
    (tmp_path / "file").touch()
    index = SearchIndex(tmp_path / "file" / "index", folder, "nano")
    with pytest.raises(UserError, match="not a folder"):
        index.update(FakeEmbedder())


def test_default_places_tell_folders_and_models_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("SAM_AUDIO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    places = {default_index_dir(f, m) for f in (tmp_path, tmp_path / "a", "/") for m in ("nano", "large")}
    assert len(places) == 6 and all(tmp_path / "cache" in place.parents for place in places)
    assert default_index_dir("a/../a", "nano") == default_index_dir(tmp_path / "a", "nano")
    assert not is_index(tmp_path)


def test_without_faiss(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match="faiss.*search"):
        SearchIndex(tmp_path / "index", tmp_path, "nano")


# ---- speed -------------------------------------------------------------------------------------------------


class RandomEmbedder(FakeEmbedder):
    """384 dimensions like the real one, and no time spent on sound."""

    dim = 384

    def embed_audio_segments(self, path, segment_s=10.0):
        vector = np.random.default_rng(int(Path(path).stem)).normal(size=384).astype(np.float32)
        yield 0.0, 5.0, vector / np.linalg.norm(vector)


@pytest.mark.speed
def test_ten_thousand_clips_answer_at_once(tmp_path):
    """Opening the index, looking for changed files and the answer itself."""
    root = tmp_path / "clips"
    for number in range(10_000):
        if number % 500 == 0:
            (root / str(number)).mkdir(parents=True)
        (root / str(number // 500 * 500) / f"{number}.wav").touch()
    embedder = RandomEmbedder()
    assert SearchIndex(tmp_path / "index", root, "nano").update(embedder).added == 10_000
    times = []
    for number in (3, 4711, 9999):
        (wanted,) = embedder.embed_audio_segments(Path(f"{number}.wav"))
        started = time.perf_counter()
        index = SearchIndex(tmp_path / "index", root, "nano")
        assert index.update(embedder).unchanged == 10_000
        hits = index.search(dict.fromkeys(("audio", "picture", "video"), wanted[2]), 10)
        times.append(time.perf_counter() - started)
        assert Path(hits[0].path).stem == str(number) and len(hits) == 10
    print(f"open, scan and search: {min(times):.3f} s")
    assert min(times) < 0.3


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE meta SET value = NULL WHERE key = 'model'",
        "UPDATE meta SET value = 3 WHERE key = 'version'",
        "UPDATE meta SET value = '../index.sqlite' WHERE key = 'vectors'",
        "UPDATE meta SET value = NULL WHERE key = 'root'",
        "UPDATE files SET path = id",
        "UPDATE files SET size = NULL",
        "CREATE TRIGGER t AFTER INSERT ON files BEGIN DELETE FROM segments; END",
        "DROP TABLE files",
        "DROP TABLE segments",
        "CREATE TABLE other (a)",
    ],
)
def test_tables_of_other_people_are_not_trusted(open_index, statement):
    update(open_index())
    database = sqlite3.connect(open_index().path / "index.sqlite")
    with database:
        database.execute(statement)
    database.close()
    with pytest.raises(UserError, match="damaged"):
        open_index()


def test_segments_of_another_type_are_damage(open_index):
    update(open_index())
    index = open_index()
    database = sqlite3.connect(index.path / "index.sqlite")
    with database:
        database.execute("UPDATE segments SET kind = 7")
    database.close()
    with pytest.raises(UserError, match="damaged"):
        ask(index, next(iter(HEIGHTS)))


@pytest.mark.parametrize(
    ("offset", "content"),
    [
        (0, b"IxPQ"),
        (4, b"\xff\xff\xff\x7f"),  # a dimension of 2**31 - 1
        (8, (2**40).to_bytes(8, "little")),  # vectors
        (37, b"IxFl"),
        (74, (2 * 10**9).to_bytes(8, "little")),  # floats: 8 GB
        (-8, b""),
    ],
)
def test_vectors_that_are_not_as_their_header_says(open_index, offset, content):
    update(open_index())
    (path,) = open_index().path.glob("vectors-*.faiss")
    data = path.read_bytes()
    path.write_bytes(data[:offset] + content + data[offset + len(content) :] if content else data[:offset])
    with pytest.raises(UserError, match="damaged"):
        open_index()
