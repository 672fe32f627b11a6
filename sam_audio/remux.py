"""``--remux``: the pictures of a video with each of its separated sounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio.errors import AudioReadError, MissingExtraError, UserError

if TYPE_CHECKING:
    from sam_audio.render import RenderReport

_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov"}  # others become mkv, which takes any pictures


class Remux:
    """Copies the pictures as they are, and encodes the sound as AAC."""

    name = "remux"

    def check(self, source: str) -> None:
        """Looks for pictures before anything is separated; what cannot be read is for the reader to say.

        Raises:
            UserError: there are none.
        """
        if source == "-" or Path(source).is_fifo():
            raise UserError("--remux needs a video file, not a pipe: name it, or leave --remux out")
        av = _av()
        if not Path(source).is_file():  # not an address either, which av would go to
            return
        try:
            # a playlist, which the reader refuses, would have ffmpeg reach the network without the whitelist
            with av.open(source, options={"protocol_whitelist": "file,pipe"}) as opened:
                _pictures(opened, Path(source))
        except (av.FFmpegError, ValueError):  # the latter of names that are no text
            return

    def export(self, report: RenderReport, overwrite: bool) -> list[Path]:
        """One video beside each stem.

        Raises:
            UserError: the mixture has no pictures, or a file cannot be written.
        """
        stems = [*report.stems, *([report.residual] if report.residual else [])]
        suffix = Path(report.mixture).suffix.lower()
        container = _FORMATS.get(suffix, "matroska")
        suffix = suffix if container != "matroska" else ".mkv"
        targets = [Path(stem.path).with_suffix(suffix) for stem in stems]
        for stem, target in zip(stems, targets, strict=True):
            _mux(Path(report.mixture), Path(stem.path), target, container, overwrite)
        return targets


def _av() -> Any:
    """The module av.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingExtraError("videos need PyAV, which is not installed", "video") from None
    return av


def _pictures(opened: Any, video: Path) -> Any:
    """The first stream of pictures.

    Raises:
        AudioReadError: there is none.
    """
    if not opened.streams.video:
        raise AudioReadError(f"{video.name} has no pictures to keep: leave --remux out")
    return opened.streams.video[0]


def _mux(video: Path, sound: Path, target: Path, container: str, overwrite: bool) -> None:
    av = _av()
    from sam_audio.io.target import FileTarget, writing

    out = FileTarget(target, overwrite, [video, sound])
    try:
        with writing(out.name):
            try:
                with av.open(str(video)) as source, av.open(out.file, "w", format=container) as muxed:
                    _copy(source, _pictures(source, video), sound, muxed)
            except av.FFmpegError as error:
                raise UserError(f"{video.name} cannot be given another sound ({error.strerror})") from None
            out.sync()
            out.publish()
    finally:
        out.discard()


def _copy(source: Any, pictures: Any, sound: Path, muxed: Any) -> None:
    copied = muxed.add_stream_from_template(pictures)
    samples, encode = _encoder(sound, muxed)
    for packet in source.demux(pictures):
        if packet.dts is None:
            continue
        until = float(packet.dts * packet.time_base)
        encode(samples, until)
        packet.stream = copied
        muxed.mux(packet)
    encode(samples, float("inf"))


def _encoder(sound: Path, muxed: Any) -> tuple[Any, Any]:
    """An iterator over the sound, and a function that muxes what belongs before a time in seconds."""
    import av
    import numpy as np

    from sam_audio.io import open_audio

    reader = open_audio(sound)
    rate, channels = reader.sample_rate, reader.channels
    if channels not in _LAYOUTS:
        reader.close()
        raise UserError(f"a video cannot take {channels} channels: use 1, 2 or 6, or leave --remux out")
    wanted = rate if rate in (44_100, 48_000, 32_000) else 48_000
    stream = muxed.add_stream("aac", rate=wanted, layout=_LAYOUTS[channels])
    stream.bit_rate = 128_000 * channels
    resampler = av.AudioResampler("fltp", _LAYOUTS[channels], wanted, frame_size=1024)
    position = 0

    def blocks() -> Any:
        with reader:
            yield from reader.blocks(rate // 2)

    def encode(samples: Any, until_s: float) -> None:
        nonlocal position
        while position < until_s * rate:
            block = next(samples, None)
            if block is None:
                if until_s == float("inf"):
                    for frame in resampler.resample(None):
                        muxed.mux(stream.encode(frame))
                    muxed.mux(stream.encode(None))
                return
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(block, np.float32), "fltp", _LAYOUTS[channels]
            )
            frame.sample_rate, frame.pts = rate, position
            frame.time_base = _fraction(1, rate)
            position += block.shape[1]
            for converted in resampler.resample(frame):
                muxed.mux(stream.encode(converted))

    return blocks(), encode


def _fraction(numerator: int, denominator: int) -> Any:
    from fractions import Fraction

    return Fraction(numerator, denominator)
