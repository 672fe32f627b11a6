"""A video with each of its separated sounds, everything else of it as it was."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sam_audio.errors import AudioReadError, MissingExtraError, UserError
from sam_audio.extending.hookspecs import Exporter

if TYPE_CHECKING:
    from sam_audio.io.containers import Contents, Track
    from sam_audio.report import RenderReport

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov"}  # others become mkv, which takes any pictures
_AAC_CHANNELS = 8
_AAC_RATES_HZ = (
    8_000,
    11_025,
    12_000,
    16_000,
    22_050,
    24_000,
    32_000,
    44_100,
    48_000,
    64_000,
    88_200,
    96_000,
)
_OPUS_RATES_HZ = (48_000,)
_OPUS_LAYOUTS = ["mono", "stereo", "3.0", "quad", "5.0", "5.0(side)", "5.1", "5.1(side)", "6.1", "7.1"]
BIT_RATE = 128_000  # a channel
_DISPENSABLE = ("Attachment", "Data", "Subtitle")  # what a container may be unable to hold


class Remux(Exporter):
    """Videos with the separated sounds, for ``--remux``."""

    name = "remux"
    needs_all = True  # it keeps all pictures

    def check(self, source: str) -> None:
        """Looks for pictures; what cannot be read is for the reader to say.

        Raises:
            UserError: there are none.
            MissingExtraError: there is no ffmpeg.
        """
        from sam_audio.io.containers import UndecodableError

        if source == "-" or Path(source).is_fifo():
            raise UserError("remux needs a video file, not a pipe: name it, or leave remux out")
        if not Path(source).is_file():
            return
        with suppress(UndecodableError, ValueError):  # the latter of names with a NUL
            _contents(Path(source))

    def export(self, report: RenderReport, overwrite: bool) -> list[Path]:
        """One video beside each stem, all of them or none."""
        return remux(report, overwrite)


def remux(report: RenderReport, overwrite: bool) -> list[Path]:
    """One video beside each stem, all of them or none; ``report`` is warned of streams that were left out.

    All other streams are copied as they are; the sound is encoded as AAC, in Matroska as Opus.

    Raises:
        UserError: the mixture has no pictures, or a file cannot be written.
    """
    from sam_audio.io.target import FileTarget, publish_together

    video = Path(report.mixture)
    contents = _contents(video)
    plan = _plan(video, contents, contents.sound(report.sound_track, video.name))
    stems = report.written
    paths = [Path(stem.path).with_suffix(plan.suffix) for stem in stems]
    inputs: list[str | Path] = [video, *(stem.path for stem in stems)]
    lost: list[Track] = []
    with ExitStack() as stack:
        targets = []
        for stem, path in zip(stems, paths, strict=True):
            target = FileTarget(path, overwrite, inputs)
            stack.callback(target.discard)
            targets.append(target)
            lost = _mux(video, contents, plan, Sound(Path(stem.path), stem.name), target.part)
            target.sync()
        publish_together(targets)
    if lost:
        what = ", ".join(f"{track.kind.lower()} {track.index} ({track.codec})" for track in lost)
        report.warnings.append(
            f"a {plan.suffix} file cannot hold what {video.name} has besides: {what} left out"
        )
    return paths


class Sound(NamedTuple):
    """A file that replaces a video's sound, and how it is called there."""

    path: Path
    title: str


def with_sound(video: Path, sound: Sound, out: Path) -> Path:
    """Writes a video with another sound in place of its own, which has to begin where that began.

    Returns:
        ``out`` with the suffix of what could be written.

    Raises:
        UserError: the video has no pictures or sound, or cannot be written.
    """
    contents = _contents(video)
    plan = _plan(video, contents, contents.sound(None, video.name))
    path = out.with_suffix(plan.suffix)
    _mux(video, contents, plan, sound, path)
    return path


def _contents(video: Path) -> Contents:
    from sam_audio.io.containers import probe

    contents = probe(_ffmpeg(), video)
    if contents.pictures is None:
        raise AudioReadError(f"{video.name} has no pictures to keep: leave remux out")
    return contents


@dataclass(frozen=True)
class _Plan:
    """How the videos are made: the sound track that is replaced, their suffix and container, options of the encoder,
    and a filter that says where channels belong if the files of stems cannot."""

    sound: Track
    suffix: str
    container: str
    encoder: tuple[str, ...]
    relabel: str | None = None


def _plan(video: Path, contents: Contents, sound: Track) -> _Plan:
    named, channels = sound.layout or "stereo", sound.n_unnamed
    suffix, relabel = video.suffix.lower(), None
    if channels > _AAC_CHANNELS or named.startswith("ambisonic"):
        suffix = ".mkv"
    container = _FORMATS.get(suffix, "matroska")
    if container != "matroska" or not _encodes_opus():
        return _Plan(sound, suffix if container != "matroska" else ".mkv", container, ("aac",))
    # how much of AAC's first frame is silence nothing in Matroska says, so that it would come 21 ms late
    family = "-1"
    if named.startswith("ambisonic"):
        order = int(re.findall(r"\d+", named)[0])
        numbers = "|".join(str(n) for n in range((order + 1) ** 2))
        family, relabel = "2", f"channelmap={numbers}:channel_layout=ambisonic {order}"
    elif channels > _AAC_CHANNELS or (not channels and named not in _OPUS_LAYOUTS):
        family = "255"  # channels without places
    return _Plan(sound, ".mkv", container, ("libopus", "-mapping_family", family), relabel)


@cache
def _encodes_opus() -> bool:
    listed = subprocess.run([_ffmpeg(), "-hide_banner", "-encoders"], capture_output=True, check=False).stdout
    return b" libopus " in listed


def _mux(video: Path, contents: Contents, plan: _Plan, sound: Sound, out: Path) -> list[Track]:
    """Writes one video; returns the streams that its container cannot hold."""
    kinds = sorted({track.kind for track in contents.tracks} & set(_DISPENSABLE))
    unknown = [track for track in contents.tracks if track.codec == "none"]
    # as little as possible is left out
    choices = [left_out for count in range(len(kinds) + 1) for left_out in combinations(kinds, count)]
    for left_out in choices:
        lost = [track for track in contents.tracks if track in unknown or track.kind in left_out]
        command = _command(video, contents, plan, sound, out, lost)
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if ran.returncode == 0:
            return lost
        if b"No space left" in ran.stderr:  # less would only fill the disk again
            break
    said = ran.stderr.decode(errors="replace").strip().splitlines()
    reason = re.sub(r"^\[[^]]*\]\s*", "", said[-1]) if said else f"ffmpeg ended with code {ran.returncode}"
    raise UserError(f"{video.name} cannot be given another sound ({reason}): leave remux out")


def _command(
    video: Path, contents: Contents, plan: _Plan, sound: Sound, out: Path, lost: Sequence[Track]
) -> list[str]:
    from sam_audio.io import open_audio
    from sam_audio.io.containers import GUARD_OPTIONS

    kept = [track for track in contents.tracks if track not in lost]
    row = kept.index(plan.sound)
    maps = ["1:a:0" if track is plan.sound else f"0:{track.index}" for track in kept]
    command = [_ffmpeg(), "-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-copyts"]
    # the pictures keep their distance from the container's start, where the stems begin
    command += [*GUARD_OPTIONS, "-fflags", "+genpts", "-itsoffset", f"{-contents.start_s:.6f}"]
    command += ["-i", f"file:{video.resolve()}"]
    command += [*GUARD_OPTIONS, "-i", f"file:{sound.path.resolve()}"]
    for one in maps:
        command += ["-map", one]
    command += ["-map_metadata", "0", "-map_chapters", "0", "-c", "copy", f"-c:{row}", *plan.encoder]
    with open_audio(sound.path) as reader:
        channels, rate = reader.channels, reader.sample_rate
    rates = _AAC_RATES_HZ if plan.encoder[0] == "aac" else _OPUS_RATES_HZ
    rate = next((has for has in rates if has >= rate), rates[-1])
    command += [f"-b:{row}", str(BIT_RATE * channels), f"-ar:{row}", str(rate)]
    if plan.relabel is not None:
        command += [f"-filter:{row}", plan.relabel]
    for n, track in enumerate(kept):
        command += [f"-map_metadata:s:{n}", f"0:s:{track.index}"]
    # players take the separated sound, whichever they took before
    command += [
        f"-metadata:s:{row}",
        f"title={sound.title}",
        "-disposition:a",
        "0",
        f"-disposition:{row}",
        "default",
    ]
    return [*command, "-f", plan.container, f"file:{out.resolve()}"]


def _ffmpeg() -> str:
    from sam_audio.io.ffmpeg import find_ffmpeg

    executable = find_ffmpeg()
    if executable is None:
        raise MissingExtraError("remux needs ffmpeg, which was not found", "video", "install ffmpeg")
    return executable
