"""Streaming writers whose files appear whole, together, or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sam_audio.errors import AudioWriteError
from sam_audio.io.encoders import Encoder, make_encoder
from sam_audio.io.formats import INTEGER_BITS, OutputSpec, SourceInfo, check_output, full_scale
from sam_audio.io.resample import Resampler
from sam_audio.io.signals import uninterrupted
from sam_audio.io.tags import Metadata, write_tags
from sam_audio.io.target import FileTarget, StdoutTarget, publish_together, writing

_RESCALE_BLOCK = 65536
_CLIP_MODES = (None, "clamp", "rescale")


class AudioWriter:
    """Write one audio file block by block, in constant memory.

    As a context manager it commits when the block ends and discards when it raises. Members of a
    `WriterGroup` are committed by the group. wav beyond 4 GiB becomes RF64.

    Args:
        path: the file, whose missing folders are made; "-" is standard output.
        sample_rate: in Hz.
        channels: C, in the order of wav.
        layout: where the channels belong, as an `AudioReader` says; wav keeps it, the others have one for each count
            of channels, and take C channels for that.
        input_rate: of the blocks, in Hz, which are resampled if the file's differs; None is the file's.
        format: "wav", "flac", "mp3", "ogg" or "opus".
        subtype: e.g. "PCM_24" or "FLOAT"; None is the format's default (16 bits).
        overwrite: allow an existing file to be replaced.
        inputs: files that are read meanwhile, which are never replaced.
        clip_mode: what becomes of samples beyond full scale. None: integer formats saturate, others keep
            them. "clamp": saturated in every format, and wanted, so no reason for a warning. "rescale":
            everything (of the whole group) is divided by its peak, in a second pass at commit, if that
            exceeds 1.0.
        metadata: tags and more, as far as the format has a place for them.
        bitrate_kbps: of mp3, ogg or opus, in kbit/s; None is a good quality.

    Attributes:
        path, sample_rate, channels, layout, format, subtype, clip_mode: as given.
        frames: written so far.
        peak: largest absolute sample written, linear, before any clipping or rescaling.
        clipped_samples: how many samples saturated.
        applied_gain: linear; other than 1.0 only after a commit with "rescale".

    Raises:
        OutputExistsError: the file exists; also at commit, if it appeared meanwhile.
        AudioWriteError: the format cannot hold this, the path is an input, or the disk refuses.
        ValueError: a block of the wrong shape, or a write after the end.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        sample_rate: int,
        channels: int,
        layout: str | None = None,
        input_rate: int | None = None,
        format: str = "wav",
        subtype: str | None = None,
        overwrite: bool = False,
        inputs: Iterable[str | Path] = (),
        clip_mode: str | None = None,
        metadata: Metadata | None = None,
        bitrate_kbps: int | None = None,
    ) -> None:
        if clip_mode not in _CLIP_MODES:
            raise AudioWriteError(f"{clip_mode} is not a way to treat clipping: use clamp or rescale")
        self.subtype = check_output(format, subtype, sample_rate, channels)
        self.path = path
        self.sample_rate = sample_rate
        self.channels = channels
        self.layout = layout
        self.format = format
        self.clip_mode = clip_mode
        self.frames = 0
        self.peak = 0.0
        self.clipped_samples = 0
        self.applied_gain = 1.0
        self._metadata = metadata or Metadata()
        self._bitrate_kbps = bitrate_kbps
        self._resampler = Resampler(input_rate or sample_rate, sample_rate, channels)
        self._state = "open"  # -> drained -> finished -> published, or -> discarded
        self._encoder: Encoder | None = None
        self._scratch: BinaryIO | None = None
        self._target = StdoutTarget() if str(path) == "-" else FileTarget(Path(path), overwrite, inputs)
        try:
            with writing(self._target.name):
                if clip_mode == "rescale":
                    self._scratch = tempfile.TemporaryFile(dir=self._target.folder)  # noqa: SIM115
                else:
                    self._encoder = self._make_encoder()
        except BaseException:
            self.discard()
            raise

    @classmethod
    def of(cls, spec: OutputSpec, source: SourceInfo, path: str | Path, **more: Any) -> AudioWriter:
        """A writer of sound that has the source's rate and channels, stored as the spec says; ``more`` are the
        arguments that neither tells."""
        return cls(
            path,
            sample_rate=spec.sample_rate,
            channels=source.channels,
            layout=source.layout,
            input_rate=source.sample_rate,
            format=spec.format,
            subtype=spec.subtype,
            bitrate_kbps=spec.bitrate_kbps,
            **more,
        )

    def write(self, samples: np.ndarray) -> None:
        """Append float32 samples of shape (C, T), full scale +-1.0."""
        samples = np.asarray(samples, dtype=np.float32)
        if samples.ndim != 2 or samples.shape[0] != self.channels:
            raise ValueError(f"expected samples of shape ({self.channels}, T), got {samples.shape}")
        if self._state != "open":
            raise ValueError(f"write to {self._target.name}, which is {self._state}")
        self._append(self._resampler.push(samples))

    def drain(self) -> None:
        """Write what the resampler still holds: the last samples, so `peak` and `frames` are final."""
        if self._state == "open":
            self._append(self._resampler.finish())
            self._state = "drained"

    def _append(self, samples: np.ndarray) -> None:
        """Append samples at the file's own rate."""
        if samples.shape[1] == 0:
            return
        peak = float(np.abs(samples).max())
        if not np.isfinite(peak):
            raise AudioWriteError(
                f"the sound for {self._target.name} came out with NaN or infinite samples: try another model"
            )
        self.peak = max(self.peak, peak)
        self.frames += samples.shape[1]
        with writing(self._target.name):
            if self._scratch is not None:
                self._scratch.write(np.ascontiguousarray(samples.T).tobytes())
            elif self._encoder is not None:
                self._encode(samples, peak, self._encoder)

    def gain_needed(self) -> float:
        """Gain, at most 1.0, that fits the peak into full scale; 1.0 without "rescale"."""
        if self.clip_mode != "rescale" or self.peak <= 1.0:
            return 1.0
        return full_scale(self.subtype) / self.peak

    def finish(self, gain: float | None = None) -> None:
        """Complete the temporary file; the output itself does not exist yet.

        Args:
            gain: linear, applied if `clip_mode` is "rescale"; None is `gain_needed()`.
        """
        self.drain()
        if self._state != "drained":
            return
        with writing(self._target.name):
            if self._scratch is not None:
                self.applied_gain = self.gain_needed() if gain is None else gain
                self._encode_scratch(self._scratch)
            if self._encoder is not None:
                self._encoder.close()
                write_tags(self._target.file, self.format, self._metadata)
            self._target.sync()
        self._state = "finished"

    @property
    def size_bytes(self) -> int:
        """Of the file, once it is finished."""
        return os.fstat(self._target.file.fileno()).st_size

    def publish(self) -> None:
        """Give a finished file its name."""
        if self._state != "finished":
            raise ValueError(f"publish of {self._target.name}, which is {self._state}")
        with writing(self._target.name):
            self._target.publish()
        self._state = "published"

    def commit(self) -> None:
        """Finish and publish; on failure nothing is left."""
        try:
            self.finish()
            self._target.check()
            self.publish()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove everything that is not published, and the folders made for it."""
        if self._state in ("published", "discarded"):
            return
        self._state = "discarded"
        if self._encoder is not None:
            with contextlib.suppress(Exception):  # what it still has to say is thrown away
                self._encoder.close()
        self._close_scratch()
        self._target.discard()

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None and self._state in ("open", "drained", "finished"):
            self.commit()
        else:
            self.discard()

    def _make_encoder(self) -> Encoder:
        chunks = self._metadata.wav_chunks() if self.format == "wav" else b""
        return make_encoder(
            self._target.file,
            self.format,
            self.subtype,
            self.sample_rate,
            self.channels,
            self.layout,
            chunks,
            self._bitrate_kbps,
        )

    def _encode(self, samples: np.ndarray, peak: float, encoder: Encoder) -> None:
        if peak > 1.0 and (self.clip_mode == "clamp" or self.subtype in INTEGER_BITS):
            self.clipped_samples += int(np.count_nonzero(np.abs(samples) > 1.0))
            samples = np.clip(samples, -1.0, 1.0)
        encoder.write(samples)

    def _encode_scratch(self, scratch: BinaryIO) -> None:
        self._encoder = self._make_encoder()
        gain = np.float32(self.applied_gain)
        scratch.seek(0)
        while data := scratch.read(_RESCALE_BLOCK * self.channels * 4):
            samples = np.frombuffer(data, dtype=np.float32).reshape(-1, self.channels).T * gain
            self._encode(samples, float(np.abs(samples).max()), self._encoder)
        self._close_scratch()

    def _close_scratch(self) -> None:
        if self._scratch is not None:
            with contextlib.suppress(OSError):
                self._scratch.close()
            self._scratch = None


class WriterGroup:
    """Writers that commit together: either all of their files appear or none.

    As a context manager it commits when the block ends and discards when it raises. All files are completed
    first and renamed then, standard output last. Writers with "rescale" share one gain, that of the largest
    peak, so that the stems still sum to the mixture times that gain.

        with WriterGroup() as group:
            guitar = group.add(AudioWriter("song/guitar.wav", sample_rate=48000, channels=2))
            residual = group.add(AudioWriter("song/residual.wav", sample_rate=48000, channels=2))
            ...
    """

    def __init__(self) -> None:
        self._writers: list[AudioWriter] = []
        self._published = False
        self.applied_gain = 1.0

    def add(self, writer: AudioWriter) -> AudioWriter:
        """Take over the writer's commit; returns it.

        Raises:
            AudioWriteError: another member has the same path; the writer is discarded.
        """
        if any(_same_path(writer, other) for other in self._writers):
            writer.discard()
            raise AudioWriteError(f"two outputs would both be {writer.path}: give each a name of its own")
        self._writers.append(writer)
        return writer

    def finish(self) -> None:
        """Complete all files; none of them appears yet.

        Raises:
            AudioWriteError: one of them cannot be written, or its name is taken.
        """
        for writer in self._writers:
            writer.drain()
        self.applied_gain = min((writer.gain_needed() for writer in self._writers), default=1.0)
        for writer in self._writers:
            writer.finish(self.applied_gain)
        for writer in self._writers:
            writer._target.check()

    def commit(self) -> None:
        """Make all files appear, the member that was added last at last; on failure none does.

        Files that are replaced are there again if it fails.
        """
        if self._published:
            return
        try:
            self.finish()
        except BaseException:
            self.discard()
            raise
        self._published = True
        order = sorted(self._writers, key=lambda writer: str(writer.path) == "-")
        publish_together([writer._target for writer in order])

    def discard(self) -> None:
        """Remove what every member has not published."""
        with uninterrupted():
            for writer in reversed(self._writers):  # the first one made the folders, so it removes them last
                writer.discard()

    def __enter__(self) -> WriterGroup:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


def _same_path(one: AudioWriter, other: AudioWriter) -> bool:
    if "-" in (str(one.path), str(other.path)):
        return str(one.path) == str(other.path)
    return Path(one.path).resolve() == Path(other.path).resolve()
