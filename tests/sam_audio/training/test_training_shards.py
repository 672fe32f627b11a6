"""Shards: written the same every time, read in an order that depends on the seed alone, from a disk or by URL."""

from __future__ import annotations

import http.server
import itertools
import threading
from functools import partial

import numpy as np
import pytest

from sam_audio.errors import UserError
from sam_audio.training.data import shards
from sam_audio.training.data.samples import pictures_of, sound_of
from sam_audio.training.data.shards import (
    ShardStream,
    batched,
    decoded,
    expand,
    flac,
    read_shard,
    write_shard,
)

RATE = 16_000


@pytest.fixture
def folder(tmp_path):
    for shard in range(3):
        write_shard(tmp_path / f"{shard:03d}.tar", (sample(10 * shard + i) for i in range(5)))
    return tmp_path


def sample(n: int) -> dict:
    tone = np.full((1, 800), n / 100, np.float32)
    return {"__key__": f"{n:06d}", "flac": flac(tone, RATE), "json": {"label": f"sound {n}"}, "0.jpg": b"p"}


def keys(stream: ShardStream, n: int, position=None) -> list[str]:
    return [found["__key__"] for found, _ in itertools.islice(stream.samples(position or {}), n)]


def test_the_same_samples_are_the_same_bytes(tmp_path):
    for name in ("a.tar", "b.tar"):
        write_shard(tmp_path / name, [sample(1), sample(2)])
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    (found, _) = read_shard(str(tmp_path / "a.tar"))
    sound, about = sound_of(found, RATE, 1000, None)
    assert about.label == about.text("audio") == "sound 1"
    assert sound.shape == (1000,) and sound[799] == pytest.approx(0.01, abs=1e-4) and sound[800] == 0
    assert pictures_of(found) == [b"p"]


def test_every_round_has_all_samples_in_another_order(folder):
    stream = ShardStream(expand(str(folder)), seed=1, mix=2)
    rounds = keys(stream, 30)
    assert (
        sorted(rounds[:15])
        == sorted(rounds[15:])
        == sorted(f"{10 * s + i:06d}" for s in range(3) for i in range(5))
    )
    assert rounds[:15] != rounds[15:]
    assert keys(ShardStream(stream.shards, seed=2, mix=2), 15) != rounds[:15]


@pytest.mark.parametrize("at", [0, 4, 14, 15, 22])
def test_reading_goes_on_from_any_position(folder, at):
    stream = ShardStream(expand(str(folder)), seed=1, mix=2)
    seen = list(itertools.islice(stream.samples({}), 40))
    position = seen[at - 1][1] if at else {}
    again = list(itertools.islice(stream.samples(position), 40 - at))
    assert [s["__key__"] for s, _ in again] == [s["__key__"] for s, _ in seen[at:]]
    assert [s["__seed__"] for s, _ in again] == [s["__seed__"] for s, _ in seen[at:]]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_readers_share(folder, size):
    """One round: every sample goes to one reader, also where there are fewer shards than readers."""
    names = expand(str(folder))
    per_reader = {}
    for rank in range(size):
        stream = ShardStream(names, seed=1, rank=rank, size=size, mix=2)
        found = list(itertools.islice(stream.samples({}), 16))
        per_reader[rank] = [s["__key__"] for s, after in found if after["epoch"] == 0]
    everything = list(itertools.chain.from_iterable(per_reader.values()))
    assert sorted(everything) == sorted(f"{10 * s + i:06d}" for s in range(3) for i in range(5))


def test_decoding_in_threads_keeps_the_order_and_leaves_out_what_is_broken(folder):
    stream = ShardStream(expand(str(folder)), seed=1)

    def decode(found, rng):
        if found["__key__"].endswith("3"):
            raise ValueError("broken")
        return found["__key__"], int(rng.integers(1000))

    one, many = (
        list(itertools.islice(decoded(stream.samples({}), decode, workers), 20)) for workers in (1, 4)
    )
    assert one == many
    assert [key for (key, _), _ in one] == [k for k in keys(stream, 30) if not k.endswith("3")][:20]
    first, after = next(batched(iter(one), 3))
    assert first == [item for item, _ in one[:3]] and after == one[2][1]


class Flaky(http.server.SimpleHTTPRequestHandler):
    """Fails every other time."""

    requests = itertools.count()

    def do_GET(self):
        if next(self.requests) % 2 == 0:
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


def test_by_url(folder, monkeypatch):
    monkeypatch.setattr(shards, "WAIT_S", 0.01)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Flaky, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        urls = expand(f"http://127.0.0.1:{server.server_port}/{{000..002}}.tar")
        assert len(urls) == 3
        here = ShardStream(expand(str(folder)), seed=1)
        assert sorted(keys(ShardStream(urls, seed=1), 15)) == sorted(keys(here, 15))
        with pytest.raises(UserError, match="404"):
            read_shard(urls[0].replace("000", "009"))
        server.shutdown()


def test_what_cannot_be_read(folder, tmp_path):
    with pytest.raises(UserError, match="http URLs"):
        expand("pipe:echo hello")
    with pytest.raises(UserError, match="http URLs"):
        expand("s3://bucket/x.tar")
    with pytest.raises(UserError, match="no shard"):
        expand(str(tmp_path / "gone.tar"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.tar files"):
        expand(str(tmp_path / "empty"))
    (tmp_path / "junk.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(UserError, match="cannot be read"):
        read_shard(str(tmp_path / "junk.tar"))
    write_shard(tmp_path / "empty" / "0.tar", [])
    with pytest.raises(UserError, match="hold no samples"):
        next(ShardStream(expand(str(tmp_path / "empty")), seed=0).samples({}))
