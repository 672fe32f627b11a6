"""Disks and stores, also such as answer 500, hang, or change what they hold."""

from __future__ import annotations

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from sam_audio.errors import AudioReadError, AudioWriteError, UserError
from sam_audio.scale import locking
from sam_audio.scale.stores import DiskFolder, Patience, fetch, open_folder, version_of

QUICK = Patience(timeout_s=1.5, attempts=4, pause_s=0.01)


@pytest.fixture(params=["disk", "s3", "memory"])
def folder(request, tmp_path):
    if request.param == "s3":
        return open_folder(f"{request.getfixturevalue('s3')}/{tmp_path.name}")
    if request.param == "memory":
        return open_folder(f"memory://{tmp_path.name}")
    return open_folder(str(tmp_path / "out"))


def test_what_is_put_is_there(folder):
    with folder.staging() as staging:
        (staging / "x").write_bytes(b"first")
        folder.put(staging / "x", "track/stem.wav")
        (staging / "x").write_bytes(b"second")
        folder.put(staging / "x", "track/stem.wav")
    assert not staging.exists()
    assert folder.read("track/stem.wav") == b"second"
    assert folder.size_bytes("track/stem.wav") == 6
    assert folder.size_bytes("track/other.wav") is None
    folder.write("track/notes", b"n")
    assert folder.names("track") == ["track/notes", "track/stem.wav"]
    assert folder.names("nowhere") == []
    folder.remove("track/notes")
    folder.remove("track/notes")
    assert folder.names("track") == ["track/stem.wav"]
    with pytest.raises(FileNotFoundError):
        folder.read("track/notes")


def test_a_name_is_created_once(folder):
    assert folder.create("lock", b"mine")
    assert not folder.create("lock", b"yours")
    assert folder.read("lock") == b"mine"


def test_one_run_at_a_time(folder):
    with (
        locking.locked(folder),
        pytest.raises(AudioWriteError, match="in use by another run"),
        locking.locked(folder),
    ):
        pass
    with locking.locked(folder):
        pass


def test_the_lock_of_the_dead_is_free(folder, monkeypatch):
    if isinstance(folder, DiskFolder):
        pytest.skip("the kernel's")
    with locking.locked(folder):
        held = folder.read(locking.LOCK)
    folder.write(locking.LOCK, held.replace(str(os.getpid()).encode(), b"4194303"))
    with locking.locked(folder):  # this machine knows that process 4194303 is none
        pass
    folder.write(locking.LOCK, held.replace(b'"host": "', b'"host": "another-'))
    with pytest.raises(AudioWriteError, match="another-"), locking.locked(folder):
        pass
    monkeypatch.setattr(locking, "STALE_S", 0.0)
    with locking.locked(folder):
        pass


def test_recordings_come_from_s3(s3, tmp_path):
    folder = open_folder(f"{s3}/in")
    folder.write("a.wav", b"sound")
    source = fetch(f"{s3}/in/a.wav", tmp_path, Patience())
    assert (source.path.name, source.path.read_bytes()) == ("a.wav", b"sound")
    assert source.version == version_of(f"{s3}/in/a.wav")
    folder.write("a.wav", b"other")
    assert source.version != version_of(f"{s3}/in/a.wav")


def test_http_takes_no_outputs():
    with pytest.raises(UserError, match="takes no outputs"):
        open_folder("https://example.org/out")


# ---- a store with bad days ------------------------------------------------------------------------------


class Moody(BaseHTTPRequestHandler):
    """Answers each request as the next of its server's moods says; well, when there are no more."""

    body = b"sound" * 1000

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, with_body):
        mood = self.server.moods.pop(0) if self.server.moods else "well"
        if mood == "hang":
            self.server.over.wait()
        if mood in ("500", "404"):
            self.send_error(int(mood))
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.send_header("ETag", self.server.tag)
        self.end_headers()
        if with_body:
            self.wfile.write(self.body[: 100 if mood in ("cut", "stall") else None])
            if mood == "stall":
                self.server.over.wait()

    def log_message(self, *_):
        pass


@pytest.fixture
def moody():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Moody)
    server.moods, server.tag, server.over = [], "one", threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


def url(server):
    return f"http://127.0.0.1:{server.server_port}/a.wav"


@pytest.mark.parametrize(
    "moods",
    [["500"], ["hang"], ["well", "500", "500"], ["well", "cut"], ["500", "well", "cut"], ["well", "stall"]],
)
def test_a_store_that_fails_now_and_then(moody, tmp_path, moods):
    moody.moods = list(moods)
    assert fetch(url(moody), tmp_path, QUICK).path.read_bytes() == Moody.body


@pytest.fixture
def moody_s3(s3, monkeypatch):
    """The moods of a server that speaks S3, of the same buckets as that of `s3`, and those that it was in."""
    import s3fs
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    moto, over = DomainDispatcherApplication(create_backend_app), threading.Event()
    told = SimpleNamespace(moods=[], seen=[])

    def application(environ, start_response):
        mood = told.moods.pop(0) if told.moods else "well"
        told.seen.append(mood)
        if mood == "well":
            return moto(environ, start_response)
        if mood == "hang":
            over.wait()
        start_response("503 Slow Down" if mood == "503" else "500 Internal Server Error", [])
        return []

    server = make_server("127.0.0.1", 0, application, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    s3fs.S3FileSystem.clear_instance_cache()
    yield told
    s3fs.S3FileSystem.clear_instance_cache()
    over.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("moods", [["500"], ["503", "500", "503"], ["hang", "500"]])
def test_outputs_in_a_store_that_fails_now_and_then(s3, moody_s3, tmp_path, moods):
    folder = open_folder(f"{s3}/moody", QUICK)
    moody_s3.moods += moods
    folder.write("a", b"one")
    moody_s3.moods += moods
    assert folder.read("a") == b"one"
    moody_s3.moods += moods
    (tmp_path / "b").write_bytes(b"two")
    folder.put(tmp_path / "b", "b")
    assert folder.read("b") == b"two"


def test_a_store_that_takes_nothing_is_asked_so_often_and_no_more(s3, moody_s3):
    moody_s3.moods += ["500"] * 100
    with pytest.raises(AudioWriteError, match="cannot be written .*: check the store"):
        open_folder(f"{s3}/moody", QUICK).write("c", b"three")
    assert len(moody_s3.seen) == QUICK.attempts


@pytest.fixture
def gcs(monkeypatch):
    """A bucket on a server of this machine that speaks Google's protocol."""
    from gcp_storage_emulator.server import create_server

    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # looks for credentials elsewhere
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="sounds")
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server._api._httpd.server_port}")
    yield "gs://sounds"
    server.stop()


def test_gcs(gcs, tmp_path):
    folder = open_folder(f"{gcs}/out")
    (tmp_path / "x").write_bytes(b"sound")
    folder.put(tmp_path / "x", "track/stem.wav")
    folder.write("track/notes", b"n")
    assert folder.names("track") == ["track/notes", "track/stem.wav"]
    assert (folder.size_bytes("track/stem.wav"), folder.size_bytes("track/other")) == (5, None)
    source = fetch(f"{gcs}/out/track/stem.wav", tmp_path, Patience())
    assert source.path.read_bytes() == b"sound"
    folder.write("track/stem.wav", b"other")
    assert source.version != version_of(f"{gcs}/out/track/stem.wav")
    folder.remove("track/notes")
    assert folder.names("track") == ["track/stem.wav"]


@pytest.mark.parametrize("mood", ["500", "hang", "cut"])
def test_a_store_that_is_down_is_one_sentence(moody, tmp_path, mood):
    moody.moods = [mood] * 100
    with pytest.raises(AudioReadError, match="cannot be read .*: try again later"):
        fetch(url(moody), tmp_path, QUICK)


def test_what_is_not_there_is_asked_for_once(moody, tmp_path):
    moody.moods = ["404"] * 3
    with pytest.raises(AudioReadError, match="does not exist"):
        fetch(url(moody), tmp_path, QUICK)


def test_too_large(moody, tmp_path):
    with pytest.raises(AudioReadError, match="is larger than"):
        fetch(url(moody), tmp_path, QUICK, most_bytes=1000)


def test_a_file_that_is_replaced_meanwhile(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"one")
    source = fetch(str(path), tmp_path, QUICK)
    source.check_unchanged()
    path.write_bytes(b"longer")
    with pytest.raises(AudioReadError, match="changed while it was read"):
        source.check_unchanged()
