"""Native Instruments Stems: an mp4 file of the mix and four stems, which DJ software plays side by side.

The first sound stream is the mix, the next four are the stems; a JSON text in the atom ``moov/udta/stem`` names
and colours them. The streams are Apple Lossless, so the stems stay in step to the sample.
"""

from __future__ import annotations

import json
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sam_audio.errors import AudioWriteError, MissingExtraError, UserError
from sam_audio.export.workstation import SessionExporter

if TYPE_CHECKING:
    from sam_audio.export.timeline import Session, Track

N_STEMS = 4
RATES = (44_100, 48_000)
COLOURS = ("#009E73", "#D55E00", "#CC79A7", "#56B4E9")


class StemMp4(SessionExporter):
    """The mix and up to four stems, lossless."""

    name, title, suffix = "stem.mp4", "Native Instruments Stems (stem.mp4)", ".stem.mp4"
    holds_sounds = True

    def check(self, source: str) -> None:
        super().check(source)
        _ffmpeg()

    def write(self, session: Session, file: BinaryIO, folder: Path) -> None:
        _encode(session, file)


def _ffmpeg() -> str:
    from sam_audio.io.ffmpeg import find_ffmpeg

    executable = find_ffmpeg()
    if executable is None:
        raise MissingExtraError("stem.mp4 needs ffmpeg, which was not found", "video", "install ffmpeg")
    return executable


def _encode(session: Session, file: BinaryIO) -> None:
    """Encodes the first track as the mix and the others as stems, faders baked in, silence in place of missing ones.

    Raises:
        UserError: more than four stems.
        MissingExtraError: there is no ffmpeg.
        AudioWriteError: ffmpeg could not encode it.
    """
    mix, *stems = session.tracks
    if len(stems) > N_STEMS:
        raise UserError(f"a stem.mp4 holds {N_STEMS} stems, not {len(stems)}: leave some out")
    with tempfile.TemporaryDirectory() as scratch:
        encoded = Path(scratch) / "stems.mp4"
        command = [_ffmpeg(), "-nostdin", "-hide_banner", "-loglevel", "error"]
        command += _streams(session, mix, stems) + ["-f", "mp4", str(encoded)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode != 0:
            message = done.stderr.decode(errors="replace").strip().splitlines()
            raise AudioWriteError(
                f"ffmpeg could not write the stems ({message[-1] if message else 'no reason'})"
            )
        add_stem_atom(encoded, file, _description([track.name for track in stems]))


def _streams(session: Session, mix: Track, stems: list[Track]) -> list[str]:
    from sam_audio.io.containers import GUARD_OPTIONS

    rate = session.sample_rate if session.sample_rate in RATES else RATES[0]
    inputs: list[str] = []
    filters: list[str] = []
    for number, track in enumerate([mix, *stems]):
        inputs += [*GUARD_OPTIONS, "-i", f"file:{track.path}"]
        gain = 1.0 if number == 0 else 0.0 if track.mute else track.gain
        left, right = gain * min(1.0, 1 - track.pan), gain * min(1.0, 1 + track.pan)
        steps = ["aformat=sample_fmts=fltp:channel_layouts=stereo", f"aresample={rate}"]
        steps += [f"pan=stereo|c0={left!r}*c0|c1={right!r}*c1"]
        filters.append(f"[{number}:a]{','.join(steps)},aformat=sample_fmts=s32p[s{number}]")
    for number in range(1 + len(stems), 1 + N_STEMS):
        seconds = session.seconds(mix.frames)
        silence = f"anullsrc=channel_layout=stereo:sample_rate={rate}:duration={seconds!r}"
        filters.append(f"{silence},aformat=sample_fmts=s32p[s{number}]")
    outputs: list[str] = []
    for number in range(1 + N_STEMS):
        outputs += ["-map", f"[s{number}]", f"-disposition:a:{number}", "default" if number == 0 else "0"]
    return [*inputs, "-filter_complex", ";".join(filters), *outputs, "-c:a", "alac", "-bitexact"]


def _description(names: list[str]) -> bytes:
    names = [*names, *["(empty)"] * (N_STEMS - len(names))]
    stems = [{"name": name, "color": colour} for name, colour in zip(names, COLOURS, strict=True)]
    off = {
        "compressor": {
            "enabled": False,
            "ratio": 1,
            "output_gain": 0,
            "release": 0.3,
            "attack": 0.003,
            "input_gain": 0,
            "threshold": 0,
            "hp_cutoff": 20,
            "dry_wet": 100,
        },
        "limiter": {"enabled": False, "release": 0.05, "threshold": 0, "ceiling": 0},
    }
    return json.dumps({"version": 1, "mastering_dsp": off, "stems": stems}).encode()


def add_stem_atom(encoded: Path, file: BinaryIO, description: bytes) -> None:
    """Copies an mp4 file whose ``moov`` is the last atom, adding ``stem`` to its ``udta``.

    Raises:
        AudioWriteError: the file is not laid out so.
    """
    with encoded.open("rb") as source:
        atoms = list(_top_atoms(source))
        if not atoms or atoms[-1][0] != b"moov":
            raise AudioWriteError("ffmpeg laid the stems out in an unknown way: use another ffmpeg")
        _, start, end = atoms[-1]
        source.seek(start + 8)
        body = source.read(end - start - 8)
        source.seek(0)
        while start:  # the sound itself, which may be large
            start -= file.write(source.read(min(start, 1 << 20)))
    parts = [(kind, body[a:b]) for kind, a, b in _atoms(body, 0, len(body))]
    udta = b"".join(part[8:] for kind, part in parts if kind == b"udta")
    others = b"".join(part for kind, part in parts if kind != b"udta")
    file.write(_atom(b"moov", others + _atom(b"udta", udta + _atom(b"stem", description))))


def _top_atoms(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of the outermost atoms of a file."""
    length, start = file.seek(0, 2), 0
    while start + 8 <= length:
        file.seek(start)
        head = file.read(16)
        size, kind = struct.unpack_from(">I4s", head)
        if size == 1 and len(head) == 16:
            size = struct.unpack_from(">Q", head, 8)[0]
        elif size == 0:
            size = length - start
        if size < 8:
            return
        yield kind, start, min(length, start + size)
        start += size


def _atom(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def _atoms(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of the atoms between two offsets."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if size < 8:
            return
        yield kind, start, min(end, start + size)
        start += size
