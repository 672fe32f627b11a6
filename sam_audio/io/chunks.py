"""Chunks of wav and aiff files that belong to the sound though they are none: time code, markers, loops, texts.

A stem takes them over, so that it spots to the same place of a session as its recording. Where only a part of the
recording is separated, what stands in samples is moved with it (EBU Tech 3285 for ``bext``; Multimedia Programming
Interface and Data Specifications 1.0 for ``cue``, ``smpl`` and ``LIST adtl``).
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

MOST_BYTES = 16 << 20  # of all chunks of a file together; real ones have some thousands
_MOST_CHUNKS = 1000  # of real files; damaged ones may seem to have no end of them
_WAV_NAMES = (b"bext", b"iXML", b"cue ", b"smpl", b"LIST", b"id3 ", b"ID3 ")
_AIFF_TEXTS = {b"NAME": b"INAM", b"AUTH": b"IART", b"(c) ": b"ICOP", b"ANNO": b"ICMT"}
_W64_START = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_BEXT_TIME, _BEXT_VERSION, _BEXT_LOUDNESS = 338, 346, 412  # offsets in bytes
_NO_LOUDNESS = struct.pack("<5H", *[0x7FFF] * 5)  # says that it is not known
_CUE_BYTES = _LOOP_BYTES = 24
_SMPL_BYTES = 36  # before its loops
_XML_TIMES = (  # low and high half of the samples since midnight
    (b"TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_LO", b"TIMESTAMP_SAMPLES_SINCE_MIDNIGHT_HI"),
    (b"BWF_TIME_REFERENCE_LOW", b"BWF_TIME_REFERENCE_HIGH"),
)


class Chunk(NamedTuple):
    """A name of four bytes, and what follows it, as in a wav file."""

    name: bytes
    body: bytes


def read_chunks(path: Path) -> list[Chunk]:
    """What is kept of a RIFF, RF64, BW64, Wave64 or AIFF file, aiff's as chunks of a wav; nothing of other files.

    Raises:
        OSError: the file cannot be read.
        ValueError: there is more of it than MOST_BYTES.
    """
    found: list[Chunk] = []
    left = MOST_BYTES
    with path.open("rb") as file:
        is_aiff = file.read(4) == b"FORM"
        wanted = (*_AIFF_TEXTS, b"MARK", b"ID3 ") if is_aiff else _WAV_NAMES
        file.seek(0)
        for name, size in _walk(file):
            if name in wanted:
                left -= size
                if left < 0:
                    raise ValueError(f"its chunks are larger than {MOST_BYTES >> 20} MB")
                found.append(Chunk(name, file.read(size)))
    return list(_of_aiff(found)) if is_aiff else found


def part_of(chunks: Iterable[Chunk], start_frame: int, frames: int | None) -> list[Chunk]:
    """What is true of a part of the recording: times are moved, and markers and loops outside of it left out.

    Args:
        chunks: of the whole recording.
        start_frame: where the part begins, in samples.
        frames: how long it is, None to the end.
    """
    moved: list[Chunk] = []
    markers: set[int] = set()
    chunks = list(chunks)
    for name, body in chunks:
        if name == b"cue ":
            body, markers = _moved_cue(body, start_frame, frames)
        elif name == b"bext":
            body = _moved_bext(body, start_frame)
        elif name == b"iXML":
            body = _moved_xml(body, start_frame)
        elif name == b"smpl":
            body = _moved_loops(body, start_frame, frames)
        moved.append(Chunk(name, body))
    if start_frame == 0 and frames is None:
        return moved
    return [
        Chunk(name, _labels_of(body, markers))
        if name == b"LIST" and body[:4] == b"adtl"
        else Chunk(name, body)
        for name, body in moved
    ]


def packed(chunks: Iterable[Chunk]) -> bytes:
    """Chunks as they stand in a wav file, each of an even length."""
    return b"".join(
        struct.pack("<4sI", name, len(body)) + body + b"\0" * (len(body) % 2) for name, body in chunks
    )


def texts_of(chunks: Iterable[Chunk]) -> dict[str, str]:
    """The texts of LIST INFO by their names of four letters."""
    found: dict[str, str] = {}
    for name, body in chunks:
        if name == b"LIST" and body[:4] == b"INFO":
            for key, value in _inner(body[4:]):
                text = _decoded(value.partition(b"\0")[0]).strip()
                if text:
                    found.setdefault(key.decode("latin-1"), text)
    return found


def info_chunk(texts: dict[str, str]) -> Chunk:
    """A LIST INFO of texts by their names of four letters."""
    parts = [
        Chunk(key.encode("latin-1"), value.encode("utf-8", "replace") + b"\0") for key, value in texts.items()
    ]
    return Chunk(b"LIST", b"INFO" + packed(parts))


def _walk(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Name and size of every chunk, before whose body the file is left; what is cut off is not among them."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(40)
    data_bytes = None
    if start[:4] in (b"RIFF", b"RF64", b"BW64") and start[8:12] == b"WAVE":
        head, pad, position = "<4sI", 2, 12
    elif start[:4] == b"FORM" and start[8:12] in (b"AIFF", b"AIFC"):
        head, pad, position = ">4sI", 2, 12
    elif start[:16] == _W64_START:
        head, pad, position = "<4s12xQ", 8, 40
    else:
        return
    length = struct.calcsize(head)
    for _ in range(_MOST_CHUNKS):
        file.seek(position)
        found = file.read(length)
        if len(found) < length:
            return
        name, size = struct.unpack(head, found)
        if pad == 8:
            size -= length  # Wave64 counts the head of a chunk, too
        if name == b"ds64" and len(sizes := file.read(16)) == 16:
            data_bytes = struct.unpack("<8xQ", sizes)[0]
            file.seek(position + length)
        if name == b"data" and size == 0xFFFFFFFF and data_bytes is not None:
            size = data_bytes
        position += length + size
        if size < 0 or position > end:
            return
        position += -position % pad
        yield name, size


def _inner(body: bytes) -> Iterator[Chunk]:
    """The chunks of a LIST, behind its type."""
    position = 0
    while position + 8 <= len(body):
        name, size = struct.unpack_from("<4sI", body, position)
        yield Chunk(name, body[position + 8 : position + 8 + size])
        position += 8 + size + size % 2


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace")


def _of_aiff(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """aiff's texts as LIST INFO, its markers as cue points with labels."""
    texts: dict[str, str] = {}
    for name, body in chunks:
        if name in _AIFF_TEXTS:
            texts.setdefault(_AIFF_TEXTS[name].decode(), _decoded(body.partition(b"\0")[0]))
        elif name == b"MARK":
            yield from _cue_of_marks(body)
        else:
            yield Chunk(name, body)
    if texts:
        yield info_chunk(texts)


def _cue_of_marks(body: bytes) -> Iterator[Chunk]:
    points, labels, position = [], [], 2
    while position + 7 <= len(body):
        marker, frame, n_letters = struct.unpack_from(">HIB", body, position)
        text = body[position + 7 : position + 7 + n_letters]
        points.append(struct.pack("<II4sIII", marker, frame, b"data", 0, 0, frame))
        labels.append(Chunk(b"labl", struct.pack("<I", marker) + _decoded(text).encode() + b"\0"))
        position += 7 + n_letters + (n_letters + 1) % 2
    if points:
        yield Chunk(b"cue ", struct.pack("<I", len(points)) + b"".join(points))
        yield Chunk(b"LIST", b"adtl" + packed(labels))


def _moved_bext(body: bytes, start_frame: int) -> bytes:
    if len(body) < _BEXT_VERSION + 2:
        return body
    out = bytearray(body)
    (time,) = struct.unpack_from("<Q", out, _BEXT_TIME)
    struct.pack_into("<Q", out, _BEXT_TIME, min(time + start_frame, (1 << 64) - 1))
    (version,) = struct.unpack_from("<H", out, _BEXT_VERSION)
    if version >= 2 and len(out) >= _BEXT_LOUDNESS + len(_NO_LOUDNESS):
        # that of the mixture, which is not that of a stem
        out[_BEXT_LOUDNESS : _BEXT_LOUDNESS + len(_NO_LOUDNESS)] = _NO_LOUDNESS
    return bytes(out)


def _moved_xml(body: bytes, start_frame: int) -> bytes:
    """iXML whose time stamps are those of ``bext``."""
    if not start_frame:
        return body
    for names in _XML_TIMES:
        found = [re.search(rb"<%s>\s*(\d{1,10})\s*</" % name, body) for name in names]
        if found[0] is None or found[1] is None:
            continue
        time = int(found[0][1]) + (int(found[1][1]) << 32) + start_frame
        for name, half in zip(names, (time & 0xFFFFFFFF, time >> 32), strict=True):
            body = re.sub(rb"(<%s>)[^<]*" % name, rb"\g<1>%d" % half, body)
    return body


def _is_in(frame: int, start_frame: int, frames: int | None) -> bool:
    return start_frame <= frame and (frames is None or frame < start_frame + frames)


def _moved_cue(body: bytes, start_frame: int, frames: int | None) -> tuple[bytes, set[int]]:
    """Cue points of a part, and by which numbers labels know them."""
    points, numbers = [], set()
    end = min(4 + int.from_bytes(body[:4], "little") * _CUE_BYTES, len(body))
    for position in range(4, end - _CUE_BYTES + 1, _CUE_BYTES):
        number, order, chunk, chunk_start, block_start, frame = struct.unpack_from("<II4sIII", body, position)
        if _is_in(frame, start_frame, frames):
            order = max(0, order - start_frame)
            point = (number, order, chunk, chunk_start, block_start, frame - start_frame)
            points.append(struct.pack("<II4sIII", *point))
            numbers.add(number)
    return struct.pack("<I", len(points)) + b"".join(points), numbers


def _moved_loops(body: bytes, start_frame: int, frames: int | None) -> bytes:
    """A ``smpl`` with the loops that lie wholly within a part."""
    if len(body) < _SMPL_BYTES:
        return body
    (n_loops,) = struct.unpack_from("<I", body, 28)
    end = min(_SMPL_BYTES + n_loops * _LOOP_BYTES, len(body))
    loops = []
    for position in range(_SMPL_BYTES, end - _LOOP_BYTES + 1, _LOOP_BYTES):
        number, kind, first, last, fraction, count = struct.unpack_from("<6I", body, position)
        if _is_in(first, start_frame, frames) and _is_in(last, start_frame, frames):
            moved = (number, kind, first - start_frame, last - start_frame, fraction, count)
            loops.append(struct.pack("<6I", *moved))
    head = body[:28] + struct.pack("<I", len(loops)) + body[32:_SMPL_BYTES]
    return head + b"".join(loops) + body[end:]


def _labels_of(body: bytes, markers: set[int]) -> bytes:
    """A ``LIST adtl`` with what belongs to the markers that are left."""
    kept = [
        part
        for part in _inner(body[4:])
        if len(part.body) >= 4 and int.from_bytes(part.body[:4], "little") in markers
    ]
    return b"adtl" + packed(kept)
