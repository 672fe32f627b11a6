"""Chunks of broadcast waves: kept whole, moved with a part, and never trusted."""

from __future__ import annotations

import contextlib
import shutil
import struct
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from chunk_bytes import HOUR, bext, cue, frames_of
from hypothesis import given
from hypothesis import strategies as st

from sam_audio.io import AudioWriter, encoders
from sam_audio.io.chunks import (
    MOST_BYTES,
    Chunk,
    info_chunk,
    packed,
    part_of,
    read_chunks,
    texts_of,
)
from sam_audio.io.tags import Cover, Metadata, read_metadata

RATE, FRAMES = 48_000, 10_000


def labels(*texts: str) -> Chunk:
    parts = [Chunk(b"labl", struct.pack("<I", n) + text.encode() + b"\0") for n, text in enumerate(texts, 1)]
    return Chunk(b"LIST", b"adtl" + packed(parts))


def smpl(*loops: tuple[int, int], more: bytes = b"") -> Chunk:
    head = struct.pack("<9I", 0, 0, 20833, 60, 0, 0, 0, len(loops), len(more))
    return Chunk(b"smpl", head + b"".join(struct.pack("<6I", 1, 0, *loop, 0, 0) for loop in loops) + more)


IXML = Chunk(
    b"iXML",
    b"<BWFXML><SPEED><TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_HI>0</TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_HI>"
    b"<TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_LO>%d</TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_LO></SPEED></BWFXML>" % HOUR,
)
ALL = [
    bext(),
    IXML,
    cue(100, 5000, 22_050),
    smpl((1000, 2000), (4000, 9000)),
    labels("in", "middle", "beyond"),
]


def wav(chunks, *, container: str = "RIFF", before: bool = False) -> bytes:
    """A stereo wav of 16 bits, made by hand."""
    rng = np.random.default_rng(0)
    data = (rng.normal(0, 3000, (FRAMES, 2))).astype("<i2").tobytes()
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, RATE, RATE * 4, 4, 16)
    if container == "W64":
        tail = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
        parts = [Chunk(b"fmt ", fmt[8:]), *chunks, Chunk(b"data", data)]
        body = b"".join(
            name + tail + struct.pack("<Q", 24 + len(part)) + part + bytes(-len(part) % 8)
            for name, part in parts
        )
        start = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
        return start + struct.pack("<Q", 40 + len(body)) + b"wave" + tail + body
    rest = packed(chunks)
    size = len(data) if container == "RIFF" else 0xFFFFFFFF
    sound = struct.pack("<4sI", b"data", size) + data
    body = fmt + (rest + sound if before else sound + rest)
    if container == "RIFF":
        return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body
    ds64 = struct.pack("<4sIQQQI", b"ds64", 28, 4 + 36 + len(body), len(data), FRAMES, 0)
    return container.encode() + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + ds64 + body


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("container", ["RIFF", "RF64", "BW64"])
def test_chunks_are_read(tmp_path, container, before):
    (tmp_path / "a.wav").write_bytes(wav(ALL, container=container, before=before))
    assert read_chunks(tmp_path / "a.wav") == ALL


def test_chunks_of_wave64(tmp_path):
    (tmp_path / "a.w64").write_bytes(wav(ALL, container="W64"))
    assert soundfile.info(str(tmp_path / "a.w64")).frames == FRAMES
    assert read_chunks(tmp_path / "a.w64") == ALL


def test_marks_and_texts_of_aiff(tmp_path):
    path = tmp_path / "a.aiff"
    soundfile.write(path, np.zeros((FRAMES, 1)), RATE)
    marks = struct.pack(">HHIB2sxHIB3s", 2, 1, 100, 2, b"in", 2, 5000, 3, b"out")
    more = b"".join(
        struct.pack(">4sI", name, len(body)) + body + bytes(len(body) % 2)
        for name, body in [(b"MARK", marks), (b"NAME", b"Song"), (b"AUTH", "Zoë".encode("latin-1"))]
    )
    whole = path.read_bytes() + more
    path.write_bytes(whole[:4] + struct.pack(">I", len(whole) - 8) + whole[8:])
    found = read_chunks(path)
    assert frames_of(next(c.body for c in found if c.name == b"cue ")) == [100, 5000]
    assert labels("in", "out") in found
    assert texts_of(found) == {"INAM": "Song", "IART": "Zoë"}
    assert read_metadata(path, "a")[0].tags == {"title": ("Song",), "artist": ("Zoë",)}


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("large", [False, True])
def test_a_wav_with_chunks_is_read_by_all(tmp_path, monkeypatch, subtype, large):
    if large:  # RF64
        monkeypatch.setattr(encoders, "_MAX_RIFF_BYTES", 1000)
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 999)).astype(np.float32)
    metadata = Metadata(
        {"title": ("Song",), "albumartist": ("Me",)}, Cover("image/png", b"\x89PNG" * 10**5), tuple(ALL)
    )
    plain, path = tmp_path / "plain.wav", tmp_path / "a.wav"
    for name, kept in ((plain, None), (path, metadata)):
        with AudioWriter(name, sample_rate=RATE, channels=1, subtype=subtype, metadata=kept) as writer:
            writer.write(samples)
    content = path.read_bytes()
    assert content[:4] == (b"RF64" if large else b"RIFF")
    there = struct.unpack_from("<Q", content, 20)[0] if large else struct.unpack_from("<I", content, 4)[0]
    assert there == len(content) - 8
    expected = soundfile.read(plain)[0]
    assert np.array_equal(soundfile.read(path)[0], expected) and len(expected) == 999
    again, warnings = read_metadata(path, "a")
    assert not warnings and (again.tags, again.cover) == (metadata.tags, metadata.cover)
    assert [(c.name, c.body.rstrip(b"\0 ")) for c in again.chunks] == [(n, b.rstrip(b"\0 ")) for n, b in ALL]
    if subtype != "FLOAT" and not large:  # which Python's own knows
        with wave.open(str(path)) as opened:
            assert opened.getnframes() == 999
    if shutil.which("ffmpeg"):
        command = ["ffmpeg", "-v", "error", "-i", path, "-map", "0:a", "-f", "f32le", "-"]
        decoded = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "<f4")
        assert np.allclose(decoded, expected, atol=1e-7)


def test_what_stands_in_samples_moves_with_a_part():
    moved = {c.name: c for c in part_of(ALL, 1000, 8000)}
    assert struct.unpack_from("<Q", moved[b"bext"].body, 338) == (HOUR + 1000,)
    assert b"_LO>%d<" % (HOUR + 1000) in moved[b"iXML"].body and b"_HI>0<" in moved[b"iXML"].body
    assert frames_of(moved[b"cue "].body) == [4000]
    assert moved[b"LIST"] == Chunk(
        b"LIST", b"adtl" + packed([Chunk(b"labl", struct.pack("<I", 2) + b"middle\0")])
    )
    assert moved[b"smpl"] == smpl((0, 1000))


def test_what_belongs_to_a_sampler_stays():
    assert part_of([smpl((1, 2), (5, 9), more=b"own!")], 3, None) == [smpl((2, 6), more=b"own!")]


def test_times_beyond_32_bits():
    time = (1 << 32) - 1
    text = IXML.body.replace(b"%d" % HOUR, b"%d" % time)
    (xml,) = part_of([Chunk(b"iXML", text)], 2, None)
    assert b"_LO>1<" in xml.body and b"_HI>1<" in xml.body
    (moved,) = part_of([bext(time)], 2, None)
    assert struct.unpack_from("<Q", moved.body, 338) == (time + 2,)


def test_the_whole_keeps_everything_but_the_loudness_of_the_mixture():
    kept = part_of(ALL, 0, None)
    assert kept[1:] == ALL[1:]
    assert kept[0].body[412:422] == b"\xff\x7f" * 5
    assert kept[0].body[:412] + kept[0].body[422:] == ALL[0].body[:412] + ALL[0].body[422:]
    assert part_of([bext(version=1)], 0, None) == [bext(version=1)]


def test_texts():
    assert texts_of([info_chunk({"INAM": "Été", "ICMT": ""})]) == {"INAM": "Été"}
    assert texts_of([Chunk(b"LIST", b"INFO" + packed([Chunk(b"INAM", b"\xc9t\xe9")]))]) == {"INAM": "Été"}


def test_there_is_a_limit(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav([Chunk(b"iXML", bytes(MOST_BYTES + 1))]))
    with pytest.raises(ValueError, match="larger than 16 MB"):
        read_chunks(tmp_path / "a.wav")
    metadata, (warning,) = read_metadata(tmp_path / "a.wav", "a.wav")
    assert metadata == Metadata() and "a.wav" in warning and "16 MB" in warning


@given(
    st.sampled_from([b"bext", b"iXML", b"cue ", b"smpl", b"LIST"]),
    st.binary(max_size=500) | st.binary(max_size=100).map(lambda b: b"adtl" + b) | st.just(ALL[3].body[:50]),
    st.integers(0, 1 << 40),
    st.none() | st.integers(0, 1 << 40),
)
def test_no_chunk_breaks_a_part(name, body, start, frames):
    (moved,) = part_of([Chunk(name, body)], start, frames)
    assert moved.name == name and len(moved.body) <= max(len(body) + 30, 36)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=30), st.sampled_from(["RIFF", "RF64", "W64"]))
def test_no_damage_breaks_reading(tmp_path_factory, at, damage, container):
    content = bytearray(wav(ALL, container=container, before=True))
    content[at : at + len(damage)] = damage
    path = Path(tmp_path_factory.getbasetemp()) / "damaged.wav"
    path.write_bytes(content)
    with contextlib.suppress(ValueError):
        read_chunks(path)
