"""Walks over the pages of Ogg files: whether one stream is there, whole, and its positions agree with its packets."""

import mmap
import struct
from pathlib import Path

from sam_audio.io.findings import Findings, Trouble, cut_off_inside

_PAGE = struct.Struct("<4sBBqIIIB")
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_NO_POSITION = -1  # no packet ends on this page
_OPUS_HZ = 48000  # of its positions, whatever rate was recorded


def scan_ogg(path: Path) -> Findings:
    """What is in a file of Ogg pages."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _Walk(data).findings()


def opus_mapping_family(start: bytes) -> int | None:
    """How the channels of an Opus stream are arranged (RFC 7845, 5.1.1): 0, 1 surround, 2 or 3 ambisonics, 255."""
    at = start.find(b"OpusHead")
    return start[at + 18] if 0 <= at < len(start) - 18 else None


class _Walk:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._rate = 0
        self._is_opus = self._in_tags = False
        self._serial: int | None = None
        self._sequence = 0
        self._sound_pages = 0
        self._position = 0  # of the last page, in frames
        self._ended = self._other = False
        self._plain = True
        self._samples = 0  # of the opus packets so far
        self._unfinished_packet = b""
        self._offset: int | None = None
        self._troubles: list[Trouble] = []

    def findings(self) -> Findings:
        position, cut = 0, False
        data = self._data
        while position < len(data):
            if data[position : position + 4] != b"OggS":
                again = data.find(b"OggS", position)
                if again < 0:
                    cut = not self._ended
                    break
                self._damaged(f"{again - position} bytes there are no sound, and left out")
                position = again
                continue
            if position + _PAGE.size > len(data):
                cut = True
                break
            head = _PAGE.unpack_from(data, position)
            lacing = data[position + _PAGE.size : position + _PAGE.size + head[-1]]
            begin = position + _PAGE.size + head[-1]
            position = begin + sum(lacing)
            if position > len(data):
                cut = True
                break
            self._page(head, lacing, begin)
        if (cut or not self._ended) and self._rate and not self._other:
            at_s = self._position / self._rate
            self._troubles.append(cut_off_inside(at_s, "without a last page"))
            self._plain = False
        return Findings(self._plain and not self._troubles, troubles=self._troubles)

    def _page(self, head: tuple, lacing: bytes, begin: int) -> None:
        _, _, flags, position, serial, sequence, _, _ = head
        if flags & _FIRST:
            self._first_page(serial, sequence, begin)
            return
        if serial != self._serial:
            return
        self._sequence += 1
        if sequence != self._sequence:
            self._damaged("a part is missing there")
            self._sequence = sequence
        self._ended = bool(flags & _LAST)
        if self._is_opus and self._in_tags:
            self._in_tags = bytes(lacing).count(255) == len(lacing)
        elif self._is_opus:
            self._opus_page(flags, position, lacing, begin)
        if position not in (_NO_POSITION, 0):
            if position < self._position:
                self._plain = False
            self._position = position

    def _first_page(self, serial: int, sequence: int, begin: int) -> None:
        start = self._data[begin : begin + 64]
        if start.startswith(b"OpusHead"):
            rate, is_opus = _OPUS_HZ, True
        elif start.startswith(b"\x01vorbis"):
            rate, is_opus = int.from_bytes(start[12:16], "little"), False
        elif start.startswith(b"Speex   "):
            rate, is_opus = int.from_bytes(start[36:40], "little"), False
        elif start.startswith(b"\x7fFLAC"):
            rate, is_opus = int.from_bytes(start[27:30], "big") >> 4, False
        else:
            self._plain, self._other = False, True  # pictures or texts beside the sound
            return
        if self._serial is not None:
            self._plain = False  # a chain of streams, or several side by side
        self._rate, self._is_opus, self._serial, self._sequence = rate, is_opus, serial, sequence
        self._samples, self._offset, self._ended, self._position = 0, None, False, 0
        self._unfinished_packet, self._in_tags = b"", True

    def _opus_page(self, flags: int, position: int, lacing: bytes, begin: int) -> None:
        before = self._samples
        packet = self._unfinished_packet if flags & _CONTINUED else b""
        for size in lacing:
            packet += self._data[begin : begin + min(size, 2)] if len(packet) < 2 else b""
            begin += size
            if size < 255:
                self._samples += _opus_samples(packet)
                packet = b""
        self._unfinished_packet = packet
        if position == _NO_POSITION:
            return
        offset = position - self._samples
        if self._offset is None:
            self._offset = offset
        # the last page may say that its last packet counts in part only
        is_trimmed = flags & _LAST and before - self._samples <= offset - self._offset <= 0
        if offset != self._offset and not is_trimmed:
            self._plain = False

    def _damaged(self, what: str) -> None:
        at_s = self._position / (self._rate or 1)
        if not self._troubles:  # one place is enough to know
            self._troubles.append(Trouble(at_s, f"is damaged at {at_s:.2f} s: {what}"))


def _opus_samples(packet: bytes) -> int:
    """Frames at 48 kHz of a packet, from its first two bytes (RFC 6716, 3.1)."""
    if not packet:
        return 0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        each = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        each = (480, 960)[config & 1]
    else:
        each = 120 << (config & 3)
    count = (1, 2, 2, packet[1] & 63 if len(packet) > 1 else 0)[code]
    return each * count
