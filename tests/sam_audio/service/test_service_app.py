"""The application: who is let in, what is refused, and whole jobs by way of the client."""

from __future__ import annotations

import hmac
import io
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import tiny
from starlette.testclient import TestClient

from sam_audio.io import read_audio
from sam_audio.service import app, server
from sam_audio.service.app import create_app
from sam_audio.service.client import Client, ServiceError
from sam_audio.service.doors import MOST_JSON_BYTES
from sam_audio.service.server import server_of
from sam_audio.service.settings import Settings

TOKENS = {"a" * 20: "ann", "b" * 20: "bob"}


@pytest.fixture
def settings(tmp_path):
    made = Settings(tmp_path / "service", threads=1, most_upload_bytes=1_000_000, upload_silence_s=0.5)
    made.uploads.mkdir(parents=True)
    made.outputs.mkdir()
    return made


def talk(settings):
    """A client of an application that takes jobs and does none."""
    return TestClient(create_app(settings), base_url="http://localhost")


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def uploaded(client, content=b"sound", **more):
    return client.post("/v1/uploads", content=content, **more).json()["upload"]


# ---- doors ----------------------------------------------------------------------------------------------


def test_tokens(settings):
    client = talk(replace(settings, tokens=TOKENS))
    assert client.get("/v1/health").status_code == 200
    for headers in ({}, bearer("x"), bearer("a" * 19), bearer(""), {"Authorization": "Basic " + "a" * 20}):
        answer = client.post("/v1/uploads", content=b"x", headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert client.get("/metrics", headers=headers).status_code == 401
        assert client.get("/openapi.json", headers=headers).status_code == 401
    assert client.post("/v1/uploads", content=b"x", headers=bearer("a" * 20)).status_code == 201


def test_all_tokens_are_compared_in_constant_time(settings, monkeypatch):
    compared = []
    monkeypatch.setattr(hmac, "compare_digest", lambda *pair: compared.append(pair) or pair[0] == pair[1])
    talk(replace(settings, tokens=TOKENS)).get("/v1/jobs/x", headers=bearer("a" * 20))
    assert len(compared) == len(TOKENS)
    assert {len(one) for pair in compared for one in pair} == {32}


def test_clients_see_their_own(settings):
    client = talk(replace(settings, tokens=TOKENS))
    ann, bob = (bearer(token) for token in TOKENS)
    upload = uploaded(client, headers=ann)
    body = {"source": {"upload": upload}, "prompts": ["dog"]}
    assert client.post("/v1/separate", json=body, headers=bob).status_code == 404
    job = client.post("/v1/separate", json=body, headers=ann).json()["id"]
    assert client.get(f"/v1/jobs/{job}", headers=ann).json()["state"] == "queued"
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/outputs/dog.wav")):
        assert client.request(method, f"/v1/jobs/{job}{path}", headers=bob).status_code == 404
    assert client.delete(f"/v1/jobs/{job}", headers=ann).json()["state"] == "cancelled"


def test_names_that_are_not_the_service_s(settings):
    client = TestClient(create_app(replace(settings, hosts=("localhost",))), base_url="http://evil.example")
    assert client.get("/v1/health").status_code == 400


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:81", "http://[evil"])
def test_pages_from_elsewhere(settings, origin):
    """Which a browser lets send whatever it likes to this machine, as long as it asks for no answer."""
    client = talk(settings)
    assert client.post("/v1/uploads", content=b"x", headers={"Origin": origin}).status_code == 403
    assert client.post("/v1/uploads", content=b"x", headers={"Origin": "http://localhost"}).status_code == 201
    assert len(list(settings.uploads.iterdir())) == 1


def test_uploads_over_the_limit(settings):
    client = talk(settings)
    assert client.post("/v1/uploads", content=bytes(1_000_001)).status_code == 413

    def without_length():
        for _ in range(20):
            yield bytes(100_000)

    assert client.post("/v1/uploads", content=without_length()).status_code == 413
    assert client.post("/v1/uploads", content=b"").status_code == 400
    assert client.post("/v1/separate", content=bytes(MOST_JSON_BYTES + 1)).status_code == 413
    assert not list(settings.uploads.iterdir())  # nothing half-written is left


def test_packed_bodies(settings):
    answer = talk(settings).post("/v1/uploads", content=b"x", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


def test_no_room(settings):
    client = talk(replace(settings, most_data_bytes=3))
    assert client.post("/v1/uploads", content=b"four").status_code == 201
    assert client.post("/v1/uploads", content=b"more").status_code == 507
    assert client.post("/v1/embed", json={"texts": ["dog"]}).status_code == 507


def test_room_that_ends_while_uploads_come(settings, monkeypatch):
    monkeypatch.setattr(app, "LOOK_BYTES", 100_000)
    client = talk(replace(settings, most_data_bytes=500_000))
    assert client.post("/v1/uploads", content=(bytes(90_000) for _ in range(10))).status_code == 507
    assert not list(settings.uploads.iterdir())
    assert (
        client.post("/v1/uploads", content=bytes(400_000)).status_code == 201
    )  # what broke off takes no room


def test_a_job_that_there_is_no_room_for(settings):
    own = replace(settings, most_data_bytes=3)
    client = talk(own)
    job = client.post("/v1/embed", json={"texts": ["dog"]}).json()["id"]
    client.app.state.service.queue.add_upload("0" * 32, "testclient", 4)
    with client:  # its runner begins
        done = client.get(f"/v1/jobs/{job}/events").text.strip().splitlines()[-1]
    assert '"state": "failed"' in done and "there is no room" in done


@pytest.mark.parametrize(
    "body",
    [
        '{"texts": ["\\ud800"]}',
        '{"\\ud800": 1}',
        '{"texts": NaN}',
        '{"source": {"upload": "%s"}, "texts": Infinity}' % ("0" * 32),
        "[" * 100_000,
        '{"texts": ["dog"], "a": ' + "9" * 5000 + "}",
        b"\xff\xfe",
        "",
    ],
)
def test_bodies_that_are_no_json_or_cannot_be_told_back(settings, body):
    answer = talk(settings).post("/v1/embed", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422) and isinstance(answer.json()["detail"], str)


def test_a_queue_that_is_stuck(settings, monkeypatch):
    client = talk(settings)

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(client.app.state.service.queue, "add", full)
    answer = client.post("/v1/embed", json={"texts": ["dog"]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert "disk is full" in answer.json()["detail"]


def test_too_many_jobs(settings):
    client = talk(replace(settings, most_jobs_each=2))
    body = {"source": {"upload": uploaded(client)}, "prompts": ["dog"]}
    answers = [client.post("/v1/locate", json=body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]


SOURCE = {"upload": "0" * 32}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("separate", {"source": SOURCE, "prompts": ["dog"]}, 404),
        ("separate", {"source": {"upload": "../../etc/passwd"}, "prompts": ["dog"]}, 422),
        ("separate", {"source": {"upload": "queue.sqlite3"}, "prompts": ["dog"]}, 422),
        ("separate", {"source": {"uri": "file:///etc/passwd"}, "prompts": ["dog"]}, 422),
        ("separate", {"source": {"uri": "http://169.254.169.254/"}, "prompts": ["dog"]}, 422),
        ("separate", {"source": {}, "prompts": ["dog"]}, 422),
        ("separate", {"source": SOURCE, "prompts": []}, 422),
        ("separate", {"source": SOURCE, "prompts": [" "]}, 422),
        ("separate", {"source": SOURCE, "prompts": ["dog"] * 100}, 422),
        ("separate", {"source": SOURCE, "prompts": ["d" * 1000]}, 422),
        ("separate", {"source": SOURCE, "prompts": ["dog"], "out": "/etc"}, 422),
        ("separate", {"source": SOURCE, "prompts": ["dog"], "strength": float("1e9")}, 422),
        ("separate", {"source": SOURCE, "prompts": ["dog"], "mode": "remove", "residual": False}, 422),
        ("embed", {}, 422),
        ("judge", {"mixture": SOURCE, "stem": SOURCE, "prompt": "dog"}, 404),
        ("locate", {"source": SOURCE, "prompts": ["dog"], "threshold": 2}, 422),
    ],
)
def test_jobs_that_are_refused(settings, path, body, status):
    answer = talk(settings).post(f"/v1/{path}", json=body)
    assert answer.status_code == status and "detail" in answer.json()


def test_paths_stay_where_they_are(settings):
    client = talk(settings)
    for job in ("..%2f..%2fqueue.sqlite3", "../queue.sqlite3", "0" * 31, "0" * 31 + "/"):
        assert client.get(f"/v1/jobs/{job}").status_code in (404, 422)
    queue = client.app.state.service.queue
    job = queue.add("separate", "testclient", {}, 9, 9)
    queue.claim()
    queue.finish(job.id, {"stems": [{"path": "dog.wav"}], "residual": None})
    (settings.outputs / job.id).mkdir()
    (settings.outputs / job.id / "dog.wav").write_bytes(b"wav")
    (settings.outputs / job.id / "other").write_bytes(b"secret")
    assert client.get(f"/v1/jobs/{job.id}/outputs/dog.wav").content == b"wav"
    for name in (
        "other",
        "..%2f..%2fqueue.sqlite3",
        "..%5cqueue.sqlite3",
        "%2fetc%2fpasswd",
        "dog.wav%00",
        ".",
    ):
        assert client.get(f"/v1/jobs/{job.id}/outputs/{name}").status_code == 404


def test_openapi_names_all_routes(settings):
    paths = talk(settings).get("/openapi.json").json()["paths"]
    assert {"/v1/uploads", "/v1/separate", "/v1/judge", "/v1/locate", "/v1/embed"} <= paths.keys()
    assert set(paths["/v1/jobs/{job_id}"]) == {"get", "delete"}


def test_metrics(settings):
    client = talk(settings)
    client.post("/v1/embed", json={"texts": ["dog"]})
    text = client.get("/metrics").text
    assert 'sam_audio_jobs{kind="embed",state="queued"} 1.0' in text
    assert 'sam_audio_requests_total{method="POST",route="/v1/embed",status="202"} 1.0' in text
    assert "process_resident_memory_bytes" in text
    client.request("ANYTHING", "/v1/health")
    assert "ANYTHING" not in client.get("/metrics").text


# ---- whole jobs -----------------------------------------------------------------------------------------


@contextmanager
def serving(settings):
    """The application on a port of this machine."""
    made = create_app(settings)
    running = server_of(made, "127.0.0.1", 0)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            time.sleep(0.02)
        yield running.servers[0].sockets[0].getsockname()[1]
    finally:
        running.handle_exit(signal.SIGTERM, None)
        thread.join()


@pytest.fixture(scope="module")
def service(tmp_path_factory, tiny_weights):
    settings = Settings(
        tmp_path_factory.mktemp("service"),
        threads=1,
        model=str(tiny_weights),
        tokens=TOKENS,
        most_seconds=5.0,
        most_upload_bytes=3_000_000,
        grace_s=1.0,
    )
    with serving(settings) as port:
        yield port


@pytest.fixture
def client(service):
    return Client(f"http://127.0.0.1:{service}", token="a" * 20)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    path = tmp_path_factory.mktemp("mixture") / "mix.wav"
    soundfile.write(path, tiny.noise().T, 48_000, subtype="FLOAT")
    return path


def test_separate_and_judge(client, mixture, tmp_path):
    seen = []
    job = client.wait(client.separate(mixture, ["dog", "rain"]), lambda now: seen.append(now.state))
    assert seen[-1] == "done"
    paths = client.download(job, tmp_path)
    assert [path.name for path in paths] == ["dog.wav", "rain.wav", "residual.wav"]
    np.testing.assert_allclose(sum(read_audio(path)[0] for path in paths), read_audio(mixture)[0], atol=1e-6)
    scores = job.result["stems"][0]["scores"]
    assert 1 <= scores["overall"] <= 5
    assert str(mixture.parent) not in str(job.result) and "service" not in job.result["mixture"]
    judged = client.wait(client.judge(mixture, paths[0], "dog")).result
    assert judged["overall"] == pytest.approx(scores["overall"], abs=0.2)


def test_locate_and_embed(client, mixture):
    assert "events" in client.wait(client.locate(mixture, ["rain"])).result
    result = client.wait(client.embed(mixture, ["rain", "dog"])).result
    vectors = np.array([result["embedding"], *result["text_embeddings"]])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def zip_bomb():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mix.wav", bytes(50_000_000))
    return data.getvalue()


def flac_bomb():
    """Half an hour of silence in some kilobytes."""
    data = io.BytesIO()
    soundfile.write(data, np.zeros((1800 * 48_000, 1), np.int16), 48_000, format="FLAC")
    return data.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (zip_bomb, "^the recording is not an audio or video file that can be read"),
        (flac_bomb, "lasts longer than 5 s"),
        (lambda: b"#EXTM3U\nfile:///etc/passwd\n", "text file"),
        (lambda: b"RIFF" + bytes(100), "^the recording "),
    ],
    ids=["zip", "flac", "playlist", "torn"],
)
def test_recordings_that_are_none_or_too_long(client, tmp_path, content, says):
    path = tmp_path / "mix.wav"
    path.write_bytes(content())
    with pytest.raises(ServiceError, match=says):
        client.wait(client.separate(path, ["dog"]))


def test_a_slow_upload_is_broken_off(settings):
    with serving(settings) as port, socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        line.sendall(b"POST /v1/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        line.setblocking(False)
        answer = None
        while answer is None:  # a byte now and then is not silence, and too slow all the same
            with suppress(BlockingIOError):
                line.sendall(b"x")
            time.sleep(0.1)
            with suppress(BlockingIOError):
                answer = line.recv(1000)
    assert answer.startswith(b"HTTP/1.1 408")
    assert not list(settings.uploads.iterdir())


@pytest.mark.parametrize("sent", [b"", b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
def test_a_slow_head_is_hung_up_on(settings, monkeypatch, sent):
    monkeypatch.setattr(server, "HEAD_S", 0.5)
    with serving(settings) as port, socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        line.sendall(sent)
        assert line.recv(1000) == b""


def test_a_connection_that_is_kept_is_no_slow_one(settings, monkeypatch):
    monkeypatch.setattr(server, "HEAD_S", 0.5)
    with serving(settings) as port, socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        for _ in range(2):
            line.sendall(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):  # head and body may come apart
                answer += line.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200")


def test_the_client_needs_no_extras():
    code = (
        "import sys, sam_audio.service.client; print({'fastapi', 'pydantic', 'torch'} & sys.modules.keys())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_the_client_tells_what_is_wrong(service, tmp_path):
    with pytest.raises(ServiceError, match="a token is needed") as refused:
        Client(f"http://127.0.0.1:{service}").embed(texts=["dog"])
    assert refused.value.status == 401
    with pytest.raises(ServiceError, match="cannot be reached") as lost:
        Client("http://127.0.0.1:1").embed(texts=["dog"])
    assert lost.value.status == 0
