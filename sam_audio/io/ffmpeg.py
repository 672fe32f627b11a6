"""Decode what libsndfile cannot (m4a, and the sound of mp4, mkv, webm) through an ffmpeg executable."""

import contextlib
import io
import logging
import os
import re
import shlex
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from sam_audio.errors import AudioReadError, MissingExtraError
from sam_audio.io.containers import GUARD_OPTIONS, Track, UndecodableError, probe
from sam_audio.io.findings import Trouble

log = logging.getLogger(__name__)

_AU_HEADER = struct.Struct(">4sIIIII")  # magic, offset of the data, size, encoding, rate, channels
_AU_FLOAT32 = 6
_DROP_FRAMES = 65536

# Silence in gaps of the sound, from one lost frame of AAC on; less is jitter, of which nothing is made. Silence before
# the sound is not left to ffmpeg, which would put it in once more where the number of channels changes.
_TIMELINE = "asetpts=PTS-({start_s})/TB,aresample=async=1:min_hard_comp=0.02"

_LOSSLESS = ("alac", "ape", "flac", "mlp", "truehd", "tta", "wavpack")


def find_ffmpeg() -> str | None:
    """Path of an ffmpeg executable: the one on PATH, else the one the `video` extra brings."""
    return next(iter(find_ffmpegs()), None)


def find_ffmpegs() -> list[str]:
    """Paths of all that there are, in the order in which they are asked: an old one cannot decode everything."""
    found = [on_path] if (on_path := shutil.which("ffmpeg")) else []
    with contextlib.suppress(ImportError, RuntimeError):
        import imageio_ffmpeg

        brought = imageio_ffmpeg.get_ffmpeg_exe()
        if not any(os.path.realpath(brought) == os.path.realpath(other) for other in found):
            found.append(brought)
    return found


class FfmpegDecoder:
    """The sound of one file, decoded to float32 by a subprocess that never runs far ahead of the reads.

    The sound of a video lies on the timeline of its pictures: it starts where the container does, with silence where
    there is no sound.

    Args:
        path: a regular file.
        name: of it, for messages.
        track: number of the sound track, from 1; None is the one that players choose.
        channels: how many to give where they change on the way; None is as many as there are at first.

    Attributes:
        sample_rate, channels: of the sound, in Hz and C.
        frames: None; containers only estimate it.
        layout: where the channels belong, by ffmpeg's name, e.g. "5.1"; None if it does not know.
        troubles: what is not as it should be; whoever opened it may know more.
        format: e.g. "MOV".
        subtype: "PCM_16", "PCM_24", "PCM_32" or "FLOAT" for a lossless codec of that depth, otherwise the
            codec's name, e.g. "AAC".

    Raises:
        AudioReadError: the file has no sound, or ffmpeg cannot be run.
        MissingExtraError: there is no ffmpeg.
        UndecodableError: ffmpeg cannot read it either.
    """

    frames: int | None = None

    def __init__(self, path: Path, name: str, track: int | None = None, channels: int | None = None) -> None:
        executables = find_ffmpegs()
        if not executables:
            raise MissingExtraError(
                f"{name} needs ffmpeg, which was not found",
                "video",
                "install ffmpeg",
            )
        self._name = name
        for executable in executables:
            is_last = executable == executables[-1]
            try:
                self._open(executable, path, track, channels)
            except (UndecodableError, AudioReadError):
                if is_last:
                    raise
                continue
            if is_last or self._gives_sound():
                return
            self.close()

    def _open(self, executable: str, path: Path, track: int | None, channels: int | None) -> None:
        name = self._name
        try:
            contents = probe(executable, path)
        except OSError as error:
            raise self._cannot_run(error) from error
        chosen = contents.sound(track, name)
        self.format, self.subtype = contents.format.upper(), _subtype(chosen)
        self.layout = chosen.layout
        self.troubles: list[Trouble] = []
        if track is None and len(contents.sounds) > 1:
            count, which = len(contents.sounds), contents.describe(chosen)
            other = next(n for n, sound in enumerate(contents.sounds, 1) if sound != chosen)
            what = (
                f"has {count} sound tracks, of which {which} is used: choose another, as sound_track={other}"
            )
            self.troubles.append(Trouble(0, what))
        # "file:" keeps a name with a colon or a leading dash from being taken for a protocol or an option
        self._command = [executable, "-nostdin", "-hide_banner", "-nostats", *GUARD_OPTIONS]
        if contents.pictures is not None:
            self._command += ["-copyts"]  # else ffmpeg moves what it reads by a start of its own choice
        self._command += ["-i", f"file:{path.resolve()}", "-map", f"0:{chosen.index}"]
        first_s = 0.0
        if contents.pictures is not None:
            self._command += ["-af", _TIMELINE.format(start_s=contents.start_s)]
            first_s = _first_s(self._command)
        if channels is not None:
            self._command += ["-ac", str(channels)]
        self._command += ["-f", "au", "-c:a", "pcm_f32be", "pipe:1"]
        self._process: subprocess.Popen[bytes] | None = None
        self._start()
        self._lead = max(0, round(first_s * self.sample_rate))  # frames of silence before the sound

    def _gives_sound(self) -> bool:
        """Whether anything comes after the header, which this does not take."""
        assert self._process is not None and isinstance(self._process.stdout, io.BufferedReader)  # for mypy
        return len(self._process.stdout.peek(1)) > 0

    def seek(self, frame: int) -> None:
        """Continue reading at `frame`, or at the end if that comes first; decodes everything before.

        Raises:
            OSError: as `read`.
        """
        if frame < self._position:
            self.close()
            self._start()
        while self._position < frame:
            if self.read(min(_DROP_FRAMES, frame - self._position)).shape[1] == 0:
                return

    def read(self, frames: int) -> np.ndarray:
        """The next `frames` frames, fewer at the end, as float32 (C, T).

        Raises:
            OSError: ffmpeg broke off here: it crashed, was killed, or gave the file up.
        """
        if self._process is None or self._process.stdout is None:
            raise ValueError("read of a closed file")
        silence = np.zeros((self.channels, min(frames, max(0, self._lead - self._position))), np.float32)
        frames -= silence.shape[1]
        frame_bytes = 4 * self.channels
        data = self._process.stdout.read(frames * frame_bytes)
        if len(data) < frames * frame_bytes and (code := self._process.wait()) != 0:
            said = self._messages().strip().splitlines()
            raise OSError(said[-1] if said else f"ffmpeg ended with code {code}")
        whole = len(data) // frame_bytes * frame_bytes
        samples = np.frombuffer(data[:whole], dtype=">f4").reshape(-1, self.channels).T
        samples = np.concatenate([silence, samples], axis=1, dtype=np.float32)
        self._position += samples.shape[1]
        return samples

    def close(self) -> None:
        """End the process, wherever it is."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._log.close()

    def _start(self) -> None:
        # A file rather than a pipe for the messages: nobody reads them while it decodes, and a full pipe
        # would block it.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        log.debug("runs %s", shlex.join(self._command))
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._log,
                bufsize=1 << 16,
            )
        except OSError as error:
            self._log.close()
            raise self._cannot_run(error) from error
        try:
            self._read_header()
        except BaseException:
            self.close()
            raise
        self._position = 0

    def _cannot_run(self, error: OSError) -> AudioReadError:
        return AudioReadError(
            f"{self._name} needs ffmpeg, which cannot be run ({error.strerror}): reinstall it"
        )

    def _read_header(self) -> None:
        process = self._process
        assert process is not None and process.stdout is not None  # for mypy: _start has just made them
        header = process.stdout.read(_AU_HEADER.size)
        if len(header) < _AU_HEADER.size:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            raise UndecodableError(self._name)
        magic, offset, _, encoding, self.sample_rate, self.channels = _AU_HEADER.unpack(header)
        if magic != b".snd" or encoding != _AU_FLOAT32 or self.channels == 0:
            raise UndecodableError(self._name)
        process.stdout.read(offset - _AU_HEADER.size)

    def _messages(self) -> str:
        # not seek and read: ffmpeg writes at the same place in the file, and would overwrite its first lines
        file = self._log.fileno()
        return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")


def _first_s(command: list[str]) -> float:
    """When the first sound comes that a command decodes, in seconds; 0 if nothing does."""
    command = [*command, "-frames:a", "1", "-f", "framecrc", "pipe:1"]
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    said = ran.stdout.decode(errors="replace")
    unit = re.search(r"^#tb 0: (\d+)/(\d+)", said, re.MULTILINE)
    frame = re.search(r"^0,\s*-?\d+,\s*(-?\d+),", said, re.MULTILINE)
    return int(frame[1]) * int(unit[1]) / int(unit[2]) if frame and unit else 0.0


def _subtype(chosen: Track) -> str:
    """The depth of a lossless codec, the name of another."""
    if chosen.codec not in _LOSSLESS and not chosen.codec.startswith("pcm_"):
        return chosen.codec.upper()
    if re.search(r"\b(flt|dbl)p?\b", chosen.details):
        return "FLOAT"
    if re.search(r"\bs32p?\b", chosen.details):
        return "PCM_24" if "(24 bit)" in chosen.details else "PCM_32"
    return "PCM_16"
