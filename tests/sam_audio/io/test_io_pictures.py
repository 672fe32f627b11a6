"""Pictures of other people."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from sam_audio.errors import AudioReadError
from sam_audio.io.pictures import read_picture

Image = pytest.importorskip("PIL.Image")


def test_what_is_transparent_becomes_white(tmp_path):
    picture = Image.new("RGBA", (3, 2), (200, 0, 0, 255))
    picture.putpixel((1, 0), (0, 0, 0, 0))
    picture.save(tmp_path / "a.png")
    read = read_picture(tmp_path / "a.png")
    assert read.shape == (3, 2, 3) and read.dtype == np.uint8
    assert read[:, 0, 1].tolist() == [255, 255, 255] and read[:, 1, 2].tolist() == [200, 0, 0]


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(10**6))
    head = struct.pack(">IIBBBBB", 10_000, 8_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(AudioReadError, match=r"^bomb\.png has 10000 x 8000 pixels: shrink it first$"):
        read_picture(tmp_path / "bomb.png")


def test_damage(tmp_path):
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioReadError, match=r"^a\.png is damaged or cannot be read"):
        read_picture(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(b"junk")
    with pytest.raises(AudioReadError, match=r"^a\.png is not a picture that can be read"):
        read_picture(tmp_path / "a.png")
