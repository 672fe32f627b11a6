"""Chunks of broadcast waves to test with."""

from __future__ import annotations

import struct

from sam_audio.io.chunks import Chunk

HOUR = 3600 * 48_000  # frames


def bext(time: int = HOUR, version: int = 2) -> Chunk:
    body = struct.pack(
        "<256s32s32s10s8sQH", b"a scene", b"recorder", b"ref", b"2026-11-28", b"10:00:00", time, version
    )
    loudness = struct.pack("<5h", -2300, 100, -100, -1500, -1800)
    return Chunk(b"bext", body + bytes(64) + loudness + bytes(180) + b"A=PCM\r\n")


def cue(*frames: int) -> Chunk:
    points = [struct.pack("<II4sIII", n, frame, b"data", 0, 0, frame) for n, frame in enumerate(frames, 1)]
    return Chunk(b"cue ", struct.pack("<I", len(points)) + b"".join(points))


def frames_of(body: bytes) -> list[int]:
    return [frame for *_, frame in struct.iter_unpack("<II4sIII", body[4:])]
