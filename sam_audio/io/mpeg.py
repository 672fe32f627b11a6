"""Walks over the frame headers of mp1, mp2 and mp3 files.

libsndfile guesses how long such a file is from its first frames and stops there, and its decoder writes what it
does not like to standard error. So it gets only what this walk finds to be one plain stream.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from sam_audio.io.findings import Findings, Trouble, cut_off, cut_off_inside

_KBITS = {  # (version 1, layer) -> kbit/s of bitrate indices 1 to 14
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_CHAIN_FRAMES = 3  # so many headers, each where the one before says, are no chance
_MOST_TO_SKIP = 1 << 20  # bytes of anything else before the first frame
_FREE_FORMAT_BYTES = 8192
_DECODER_DELAY = 529  # samples of every layer III decoder, by the convention of LAME's tag
# Xing's count of bytes may be off by that much before libsndfile's decoder complains.
_SIZE_TOLERANCE = 0.01


@dataclass(frozen=True)
class _Header:
    layer: int
    rate: int
    samples: int
    bytes: int  # 0 in free format, where only the next header tells


def looks_like_mpeg(start: bytes) -> bool:
    """Whether libsndfile would take a file that starts like this for mp1, mp2 or mp3."""
    return start.startswith(b"ID3") or (len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0)


def scan_mpeg(path: Path) -> Findings | None:
    """What is in a file of mp1, mp2 or mp3; None if it is none."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        begin = _skip_id3(data, 0)
        if data[begin : begin + 4] in (b"fLaC", b"OggS", b"RIFF", b"FORM"):
            return None
        first = _next_chain(data, begin, min(len(data), begin + _MOST_TO_SKIP), None)
        return None if first is None else _Walk(data, first, first > begin).findings()


class _Walk:
    def __init__(self, data: mmap.mmap, first: int, skipped: bool) -> None:
        self._data = data
        self._first = first
        head = _parse(data[first : first + 4])
        assert head is not None  # _next_chain found it
        self._head = head
        self._free_bytes = _free_bytes(data, first) if head.bytes == 0 else 0
        self._mono = _is_mono(data, first)
        self._changes_channels = False
        self._promised = 0  # samples; 0 where no header promises any
        self._delay = self._padding = 0  # samples of the stream's first part to leave out, by LAME's tag
        self._samples = 0
        self._tagged = 0
        self._whole_size = True
        self._plain = not skipped
        self._troubles: list[Trouble] = []
        self._cut = False

    def findings(self) -> Findings:
        self._walk()
        rate = self._head.rate
        start = self._delay + _DECODER_DELAY if self._delay or self._padding else 0
        whole = self._samples >= self._promised > 0
        trimmed = self._delay + self._padding if whole else start
        there = max(0, self._samples - trimmed)
        promised = self._promised - self._delay - self._padding
        missing = cut_off(there / rate, promised / rate) if self._promised else []
        if not missing and self._cut:
            missing = [cut_off_inside(there / rate, "in the middle of a frame")]
        plain = self._plain and self._whole_size and not (missing or self._troubles or self._tagged > 1)
        channels = 2 if self._changes_channels else None
        return Findings(plain, there, channels, self._troubles + missing)

    def _walk(self) -> None:
        data, position = self._data, self._first
        known: dict[bytes, _Header | None] = {}
        while position + 4 <= len(data):
            key = data[position : position + 3]
            if key not in known:
                known[key] = _parse(key)
            head = known[key]
            if head is None or head.layer != self._head.layer:
                again = self._after_other(position)
                if again is None:
                    return
                position = again
                continue
            frame_bytes = head.bytes or self._free_bytes + (key[2] >> 1 & 1) * (4 if head.layer == 1 else 1)
            if position + frame_bytes > len(data):
                self._cut = True
                return
            if _is_mono(data, position) != self._mono:
                self._changes_channels = True
            if head.rate != self._head.rate or self._changes_channels:
                self._plain = False
            if not (head.layer == 3 and self._read_tag(position, frame_bytes, head)):
                self._samples += head.samples * self._head.rate // head.rate
            position += frame_bytes

    def _after_other(self, position: int) -> int | None:
        """Where frames go on behind something that is none, None at the end of the sound."""
        data = self._data
        rest = len(data) - position
        if data[position : position + 3] == b"TAG" and rest <= 128:
            return None
        after_tag = _skip_id3(data, position)
        again = _next_chain(data, after_tag, len(data), self._head.layer)
        self._plain = False
        if again is None or again == after_tag > position:
            return again
        if data[position:again].strip(b"\0"):  # padding is no damage
            at_s = self._samples / self._head.rate
            self._troubles.append(
                Trouble(
                    at_s,
                    f"is damaged at {at_s:.2f} s: {again - position} bytes there are no sound, and left out",
                )
            )
        return again

    def _read_tag(self, position: int, frame_bytes: int, head: _Header) -> bool:
        """Whether a frame holds no sound but a count of those that follow, by Xing or VBRI."""
        frame = self._data[position : position + frame_bytes]
        vbri = frame[36:40] == b"VBRI"
        at = next((i for i in (36, 21, 13, 38, 23, 15) if frame[i : i + 4] in (b"Xing", b"Info")), None)
        if at is None and not vbri:
            return False
        self._tagged += 1
        if at is None:
            self._promised += int.from_bytes(frame[50:54], "big") * head.samples
            return True
        flags = int.from_bytes(frame[at + 4 : at + 8], "big")
        fields = at + 8
        if flags & 1:
            self._promised += int.from_bytes(frame[fields : fields + 4], "big") * head.samples
            fields += 4
        if flags & 2:
            size = int.from_bytes(frame[fields : fields + 4], "big")
            there = len(self._data) - position
            self._whole_size = abs(there - size) <= _SIZE_TOLERANCE * there
            fields += 4
        fields += (100 if flags & 4 else 0) + (4 if flags & 8 else 0)
        lame = frame[fields : fields + 24]
        if self._tagged == 1 and len(lame) == 24 and lame[:4] in (b"LAME", b"Lavf", b"Lavc", b"L3.9"):
            both = int.from_bytes(lame[21:24], "big")
            self._delay, self._padding = both >> 12, both & 0xFFF
        return True


def _parse(head: bytes) -> _Header | None:
    """The header of a frame, of which three bytes are needed; None if it is none."""
    if len(head) < 3 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    index, rate_index, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or index == 15 or rate_index == 3:
        return None
    rate = _RATES_HZ[version][rate_index]
    samples = 384 if layer == 1 else 1152 if layer == 2 or version == 3 else 576
    if index == 0:
        return _Header(layer, rate, samples, 0)
    bits = _KBITS[version == 3, layer][index - 1] * 1000
    slot_bytes = 4 if layer == 1 else 1
    return _Header(layer, rate, samples, (samples // 8 * bits // rate // slot_bytes + padding) * slot_bytes)


def _next_chain(data: mmap.mmap, begin: int, end: int, layer: int | None) -> int | None:
    """The next place in `begin` to `end` where frames of this layer, or any, follow on each other."""
    position = begin - 1
    while (position := data.find(b"\xff", position + 1, end)) >= 0:
        head = _parse(data[position : position + 4])
        if head is not None and (layer is None or head.layer == layer) and _is_chain(data, position):
            return position
    return None


def _is_chain(data: mmap.mmap, position: int) -> bool:
    first = _parse(data[position : position + 4])
    free_bytes = _free_bytes(data, position) if first is not None and first.bytes == 0 else 0
    for _ in range(_CHAIN_FRAMES):
        head = _parse(data[position : position + 4])
        if head is None or first is None or (head.layer, head.rate) != (first.layer, first.rate):
            return False
        if not (head.bytes or free_bytes):
            return False
        padding = data[position + 2] >> 1 & 1
        position += head.bytes or free_bytes + padding * (4 if head.layer == 1 else 1)
        if position >= len(data):
            return position == len(data)
        if data[position : position + 3] == b"TAG":
            return True
    return True


def _free_bytes(data: mmap.mmap, position: int) -> int:
    """Bytes of a free-format frame without its padding, 0 if no frame like it follows."""
    fixed = data[position : position + 2]
    low_bits = data[position + 2] & 0xFC
    padding = (data[position + 2] >> 1 & 1) * (4 if data[position + 1] >> 1 & 3 == 3 else 1)
    following = position + 3
    while (following := data.find(fixed, following + 1, position + _FREE_FORMAT_BYTES)) >= 0:
        if data[following + 2] & 0xFC == low_bits:
            return following - position - padding
    return 0


def _is_mono(data: mmap.mmap, position: int) -> bool:
    return data[position + 3] >> 6 == 3


def _skip_id3(data: mmap.mmap, position: int) -> int:
    while data[position : position + 3] == b"ID3" and position + 10 <= len(data):
        flags, *sizes = struct.unpack("5B", data[position + 5 : position + 10])
        size = sum((value & 0x7F) << shift for value, shift in zip(sizes, (21, 14, 7, 0), strict=True))
        position += 10 + size + (10 if flags & 0x10 else 0)
    return position
