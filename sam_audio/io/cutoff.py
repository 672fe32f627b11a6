"""Finds wav and aiff files that end before their header says, as downloads and copies do that broke off."""

import os
import struct
from pathlib import Path
from typing import BinaryIO

from sam_audio.io.findings import Findings, Trouble

_MOST_CHUNKS = 1000  # of real files; damaged ones may seem to have no end of them
# What writers put down that cannot know how long a stream will be: 0 or the most there can be, and the like.
_MOST = 0xFFFFFFFF
_UNKNOWN = (range(1), range(0x7FFFEF00, 0x80000001), range(0xFFFFFF00, 0x100000000))


def part_there(path: Path) -> float:
    """How much of the sound that its header promises is in a file, 0 to 1; 1 too where the header says nothing."""
    try:
        with path.open("rb") as file:
            promised = _data_bytes(file)
            there = os.fstat(file.fileno()).st_size - file.tell()
    except OSError:
        return 1.0
    if promised is None or any(promised in values for values in _UNKNOWN):
        return 1.0
    return min(1.0, max(0, there) / promised)


def never_finished(path: Path) -> Findings:
    """Whether a wav has sound in it of which its header knows nothing, as when a recorder lost its power."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        kind, riff_bytes = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
        file.seek(0)
        promised = _data_bytes(file)
        there = size - file.tell()
    # A RIFF as long as the file holds no samples indeed, but something behind their place.
    if promised not in (0, _MOST) or there <= 0 or riff_bytes + 8 == size or kind == b"FORM":
        return Findings()
    what = "was never finished: its header does not say how long it is, so everything to its end was read"
    # libsndfile takes the most there can be for the end of the file, and 0 for nothing
    return Findings(plain=promised == _MOST, troubles=[Trouble(0.0, what)])


def _data_bytes(file: BinaryIO) -> int | None:
    """The promised size of the chunk of samples, before which the file is left; None if there is no such chunk."""
    start = file.read(12)
    container, kind = start[:4], start[8:]
    if container in (b"RIFF", b"RF64", b"BW64", b"RIFX") and kind == b"WAVE":
        order, wanted = ">" if container == b"RIFX" else "<", b"data"
    elif container == b"FORM" and kind in (b"AIFF", b"AIFC"):
        order, wanted = ">", b"SSND"
    else:
        return None
    beyond_4_gb = None
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return None
        name, size = struct.unpack(f"{order}4sI", head)
        if name == wanted:
            return beyond_4_gb if size == _MOST and beyond_4_gb is not None else size
        begin = file.tell()
        if name == b"ds64" and len(sizes := file.read(16)) == 16:
            beyond_4_gb = struct.unpack("<QQ", sizes)[1]
        file.seek(begin + size + size % 2)
    return None
