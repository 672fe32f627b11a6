"""What a browser hears and sees of a recording of any length, piece by piece: blocks of samples, tiles of peaks,
spectrograms, spans.

A `Sound` plays as soon as it is opened. Its peaks come while `Sound.draw` reads it through, once, beside the page. What
libsndfile finds its way in is read where it lies; everything else (mp3, the sound of a video) is decoded on that way
into a plain copy, since a decoder that has to begin at the beginning for each piece would never catch up with the ear.
Memory: 30 kB of peaks for a minute of sound.
"""

from __future__ import annotations

import io
import secrets
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import numpy as np
import soundfile

from sam_audio.finding.spans import SpanOptions, find_spans
from sam_audio.io import open_audio
from sam_audio.io.resample import Resampler
from sam_audio.types import Samples, Span

if TYPE_CHECKING:
    from sam_audio.app.work import Task

BLOCK_S = 5.0
PEAK_SAMPLES = 128  # that a peak of level 0 stands for; a level up it is LEVEL times as many
LEVEL = 4
TILE = 4096  # peaks
_LEVELS = 12
_PLAYED_HZ = (8_000, 96_000)  # what every browser plays
_SEEKABLE = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC")
_PLAIN = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")
_CHUNK = 4096  # peaks that are made at a time

_open: WeakValueDictionary[str, Sound] = WeakValueDictionary()


def sound_of(token: str) -> Sound | None:
    """An open sound by its token, which nobody can guess."""
    return _open.get(token)


class Sound:
    """A recording or a stem, to be played and drawn; it lives as long as somebody holds it.

    Args:
        path: of the sound.
        copy: where a copy may be written.
        seconds: how long it is where its header does not tell.
        known_spans: when it sounds, if whoever made it has an opinion.

    Attributes:
        token: its name in addresses.
        rate: at which it is played, in Hz.
        frames: its length at that rate; an estimate until it is drawn, where the file does not tell.
        source_rate, channels, subtype, layout: as `sam_audio.io.AudioReader`.
        warnings: of the reader, sentences for people; complete when it is drawn.

    Raises:
        AudioReadError, MissingExtraError: as `sam_audio.io.open_audio`.
    """

    def __init__(
        self,
        path: Path,
        copy: Path,
        seconds: float | None = None,
        known_spans: Sequence[Span] | None = None,
    ) -> None:
        with open_audio(path) as reader:
            self.source_rate, self.channels = reader.sample_rate, reader.channels
            self.subtype, self.layout = reader.subtype, reader.layout
            self.warnings = tuple(reader.warnings)
            frames, format = reader.frames, reader.format
        low, high = _PLAYED_HZ
        self.path, self._copy, self.known_spans = path, copy, known_spans
        self.rate = min(max(self.source_rate, low), high)
        seekable = format in _SEEKABLE and self.subtype.startswith(_PLAIN)
        self._in_place = seekable and frames is not None and self.rate == self.source_rate
        seconds = frames / self.source_rate if frames is not None else seconds or 0.0
        self.frames = round(seconds * self.rate)
        self.is_drawn = False
        self._done = 0  # frames that have been read
        self._peaks = bytearray()
        self._lock = threading.Lock()
        self.token = secrets.token_urlsafe(18)
        _open[self.token] = self
        weakref.finalize(self, copy.unlink, missing_ok=True)

    @property
    def seconds(self) -> float:
        return self.frames / self.rate

    @property
    def share(self) -> float:
        """How much of it is drawn, 0..1."""
        return 1.0 if self.is_drawn else min(self._done / max(self.frames, 1), 0.999)

    # ---- reading it once -----------------------------------------------------------------------------

    def draw(self, task: Task[Sound]) -> Sound:
        """Reads it from end to end, in constant memory.

        Raises:
            AudioReadError: it is damaged.
        """
        with open_audio(self.path) as reader:
            resampler = Resampler(self.source_rate, self.rate, min(self.channels, 2))
            out = None if self._in_place else self._copy.open("wb")
            try:
                rest = np.zeros((2, 0), np.float32)
                for block in reader.blocks(PEAK_SAMPLES * _CHUNK):
                    task.progress(self._done, self.frames)
                    rest = self._take(rest, block if out is None else resampler.push(playable(block)), out)
                if out is not None:
                    rest = self._take(rest, resampler.finish(), out)
                if rest.shape[1]:
                    self._add(np.abs(rest).max(axis=0, keepdims=True))
                    self._done += rest.shape[1]
            except BaseException:
                self._copy.unlink(missing_ok=True)
                raise
            finally:
                if out is not None:
                    out.close()
            self.warnings = tuple(reader.warnings)
        self.frames, self.is_drawn = self._done, True
        return self

    def _take(self, rest: Samples, block: Samples, out: io.BufferedWriter | None) -> Samples:
        """Peaks of whole runs; returns the samples that are left over."""
        if out is not None:
            out.write(np.rint(np.clip(block, -1, 1) * 32767).astype("<i2").T.tobytes())
            out.flush()
        if rest.shape[1]:
            block = np.concatenate([rest, block], axis=1)
        whole = block.shape[1] // PEAK_SAMPLES * PEAK_SAMPLES
        self._add(np.abs(block[:, :whole]).max(axis=0).reshape(-1, PEAK_SAMPLES))
        self._done += whole
        return block[:, whole:]

    def _add(self, magnitudes: Samples) -> None:
        """(n, samples) as n peaks of a byte, the root of the magnitude: quiet sounds are seen too."""
        peaks = np.sqrt(np.minimum(magnitudes.max(axis=1), 1.0)) * 255
        with self._lock:
            self._peaks += np.rint(peaks).astype(np.uint8).tobytes()

    # ---- pieces --------------------------------------------------------------------------------------

    def has(self, number: int) -> bool:
        """Whether a block can be played already."""
        end = min((number + 1) * round(BLOCK_S * self.rate), self.frames)
        return self._in_place or self.is_drawn or self._done >= end

    def block(self, number: int) -> bytes:
        """A stretch of BLOCK_S seconds as FLAC, at most stereo, less at the end, nothing behind it."""
        each = round(BLOCK_S * self.rate)
        with self._file() as file:
            samples = self._read(file, number * each, each)
        if not samples.shape[1]:
            return b""
        content = io.BytesIO()
        soundfile.write(content, np.clip(samples, -1, 1).T, self.rate, format="FLAC", subtype="PCM_16")
        return content.getvalue()

    def tile(self, level: int, number: int) -> bytes:
        """Up to TILE peaks, a byte each, as far as it is drawn: 255 times the root of the magnitude."""
        each = LEVEL ** min(level, _LEVELS)
        with self._lock:
            peaks = bytes(self._peaks[number * TILE * each : (number + 1) * TILE * each])
        return _pooled(np.frombuffer(peaks, np.uint8), each).tobytes()

    def spans(self) -> Sequence[Span]:
        """When a stem sounds: as it is known, else by how loud it is, its loud passages and what leads to and from
        them."""
        if self.known_spans is not None:
            return self.known_spans
        each = max(1, round(0.05 * self.rate / PEAK_SAMPLES))
        with self._lock:
            peaks = bytes(self._peaks)
        level = (_pooled(np.frombuffer(peaks, np.uint8), each).astype(np.float32) / 255) ** 2
        if not len(level) or (loud := float(np.percentile(level, 99.5))) < 0.003:  # -50 dB: nothing to hear
            return []
        rate_hz = self.rate / (each * PEAK_SAMPLES)
        return find_spans(np.minimum(level / loud, 1.0), rate_hz, _LOUD, self.seconds)

    def spectrogram(self, start_s: float, end_s: float, columns: int) -> bytes:
        """A stretch as a PNG, ``columns`` wide: low frequencies at the bottom, each octave equally high.

        Of a long stretch each column shows moments of its time, not all of it.
        """
        from PIL import Image

        start, length = round(start_s * self.rate), max(1, round((end_s - start_s) * self.rate))
        taper = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
        looks = min(_LOOKS, max(1, length // (columns * _WINDOW)))
        power = np.zeros((columns, _WINDOW // 2 + 1), np.float32)
        with self._file() as file:
            for n in range(columns * looks):
                middle = start + round((n + 0.5) / (columns * looks) * length)
                window = self._read(file, middle - _WINDOW // 2, _WINDOW)
                window = np.pad(window, ((0, 0), (0, _WINDOW - window.shape[1])))
                spectra = np.abs(np.fft.rfft(window * taper, axis=1)).max(axis=0).astype(np.float32)
                power[n // looks] = np.maximum(power[n // looks], spectra)
        edges_hz = np.geomspace(40, min(self.rate / 2, 20_000), _ROWS + 1)
        bins = np.clip(edges_hz * _WINDOW / self.rate, 0, _WINDOW // 2)
        first = np.minimum(bins[:-1].astype(int), _WINDOW // 2)
        rows = np.maximum.reduceat(power, first, axis=1)
        db = 20 * np.log10(np.maximum(rows / (0.25 * _WINDOW), 1e-6))
        shades = np.rint(np.clip((db + 90) / 80, 0, 1) * 255).astype(np.uint8)
        image = Image.fromarray(shades.T[::-1], "P")
        image.putpalette(_palette())
        content = io.BytesIO()
        image.save(content, "PNG")
        return content.getvalue()

    def _file(self) -> soundfile.SoundFile:
        if self._in_place:
            return soundfile.SoundFile(self.path)
        return soundfile.SoundFile(
            self._copy, "r", self.rate, min(self.channels, 2), "PCM_16", format="RAW", endian="LITTLE"
        )

    def _read(self, file: soundfile.SoundFile, start: int, frames: int) -> Samples:
        """Samples (at most 2, n); silence before the beginning, and fewer at the end."""
        before = min(max(-start, 0), frames)
        if start >= file.frames:
            return np.zeros((min(self.channels, 2), 0), np.float32)
        file.seek(max(start, 0))
        samples = playable(file.read(frames - before, dtype="float32", always_2d=True).T)
        return np.nan_to_num(np.pad(samples, ((0, 0), (before, 0))), copy=False)


_LOUD = SpanOptions(threshold=0.18, release=0.06, min_duration_s=0.15, merge_gap_s=0.4)
HEARD = SpanOptions(
    threshold=0.3, release=0.15, min_duration_s=0.15, merge_gap_s=0.4
)  # of what a model hears
_WINDOW = 2048
_LOOKS = 3  # moments of a column, at most
_ROWS = 128


def playable(block: Samples) -> Samples:
    """At most two channels (C, n): of more, those with even numbers go left and the others right."""
    if len(block) <= 2:
        return block
    return np.stack([block[0::2].mean(axis=0), block[1::2].mean(axis=0)]).astype(np.float32)


def _pooled(values: np.ndarray, each: int) -> np.ndarray:
    """The largest of each run of ``each`` neighbours in (n,)."""
    if each == 1 or not len(values):
        return values
    return np.maximum.reduceat(values, np.arange(0, len(values), each))


def _palette() -> bytes:
    """From black over violet and orange to a light yellow, 256 colours."""
    stops = np.array([[5, 6, 20], [60, 20, 110], [165, 45, 95], [245, 130, 40], [252, 250, 190]])
    shades = np.linspace(0, len(stops) - 1, 256)
    colours = [np.interp(shades, np.arange(len(stops)), stops[:, c]) for c in range(3)]
    return np.stack(colours, axis=1).astype(np.uint8).tobytes()
