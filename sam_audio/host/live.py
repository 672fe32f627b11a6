"""A session between two devices: sound from one, through whatever processes it, to the other."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sam_audio.errors import AudioReadError, UserError
from sam_audio.io.buffer import SampleQueue
from sam_audio.types import Samples

DEVICE_RATE_HZ = 48_000
HOPELESS_S = 5.0  # of sound that waits to be separated


class AudioInput(Protocol):
    """Where sound comes from: a microphone, a loopback, a file."""

    sample_rate: int
    channels: int

    def read(self, frames: int) -> Samples | None:
        """The next (C, n) samples, waiting until they have sounded; None at the end."""
        ...


class AudioOutput(Protocol):
    def write(self, samples: Samples) -> None:
        """Plays (C, n) samples."""
        ...


@dataclass
class LiveReport:
    """What a live session was like.

    Attributes:
        latency_s: from a sample's sound to its separated sound, device buffers left out.
        seconds: how long it ran.
        dropouts: blocks for which the separated sound was not ready and silence was played.
        busy: share of the time that was spent computing (real-time factor).
        worst_s: the longest that one block took to compute.
    """

    latency_s: float
    seconds: float = 0.0
    dropouts: int = 0
    busy: float = 0.0
    worst_s: float = field(default=0.0)


def run_live(
    process: Callable[[Samples, int], Samples],
    latency_samples: int,
    source: AudioInput,
    sink: AudioOutput,
    *,
    block: int = 512,
    margin_s: float = 0.08,
    seconds: float | None = None,
    stop: threading.Event | None = None,
    on_status: Callable[[LiveReport], None] | None = None,
) -> LiveReport:
    """Takes sound from a source to a sink through ``process``, which works in a thread of its own.

    Args:
        process: (C, n) samples and their rate to as many, e.g. ``lambda x, rate: rack.process(x, rate, reset=False)``.
        latency_samples: how far these lag behind.
        source, sink: devices, or files in their place.
        block: samples read and written at a time.
        margin_s: how long a computation may take before the sound breaks off; adds to the latency.
        seconds: how long to run; None until the source ends or ``stop`` is set.
        on_status: called about once a second.
    """
    rate, channels = source.sample_rate, source.channels
    margin = round(margin_s * rate)
    report = LiveReport((latency_samples + margin + block) / rate)
    incoming: queue.SimpleQueue[Samples | None] = queue.SimpleQueue()
    ready = SampleQueue((channels,))
    ready.put(np.zeros((channels, margin), np.float32))
    lock = threading.Lock()
    ended = threading.Event()
    failures: list[BaseException] = []
    busy_s = 0.0

    def work() -> None:
        nonlocal busy_s
        try:
            while (samples := incoming.get()) is not None and not ended.is_set():
                begun = time.perf_counter()
                out = process(samples, rate)
                took = time.perf_counter() - begun
                busy_s += took
                report.worst_s = max(report.worst_s, took)
                with lock:
                    ready.put(out)
        except BaseException as error:  # told by the thread that reads and writes
            failures.append(error)

    worker = threading.Thread(target=work, name="sam-audio live")
    worker.start()
    read = late = 0  # late: samples for which silence was played; skipped when they come
    told = 0.0
    try:
        while not (stop is not None and stop.is_set()) and not failures:
            if seconds is not None and read >= seconds * rate:
                break
            samples = source.read(block)
            if samples is None or not samples.shape[-1]:
                break
            n = samples.shape[-1]
            read += n
            incoming.put(samples)
            with lock:
                late -= ready.take(late).shape[-1]
                here = len(ready) >= n and not late
                out = ready.take(n) if here else np.zeros((channels, n), np.float32)
            if not here:
                late += n
                report.dropouts += 1
                if late > HOPELESS_S * rate:
                    raise UserError(
                        f"this machine is too slow to separate live: {HOPELESS_S:g} s of sound are waiting; "
                        "close other programs, or separate a recording"
                    )
            sink.write(out)
            report.seconds = read / rate
            report.busy = busy_s / max(report.seconds, 1e-9)
            if on_status is not None and report.seconds - told >= 1:
                told = report.seconds
                on_status(report)
    finally:
        # what waits is not computed any more: a thread that is still within torch or pedalboard when the interpreter
        # ends takes the process down with an abort
        ended.set()
        incoming.put(None)
        worker.join()
    if failures:
        raise failures[0]
    report.busy = busy_s / max(report.seconds, 1e-9)
    return report


class FileSource:
    """A recording that sounds in real time, or as fast as it is read, in place of a microphone."""

    def __init__(self, reader: Any, block: int, paced: bool = True):
        self.sample_rate, self.channels = reader.sample_rate, reader.channels
        self._blocks = reader.blocks(block)
        self._paced = paced
        self._begun: float | None = None
        self._read = 0

    def read(self, frames: int) -> Samples | None:
        samples = next(self._blocks, None)
        if samples is None:
            return None
        self._read += samples.shape[-1]
        if self._paced:
            now = time.perf_counter()
            self._begun = now if self._begun is None else self._begun
            time.sleep(max(0.0, self._begun + self._read / self.sample_rate - now))
        return samples


class FileSink:
    """A float wav file in place of a loudspeaker; appears when it is complete."""

    def __init__(self, path: Path, sample_rate: int, channels: int, overwrite: bool = False):
        from sam_audio.io import AudioWriter

        self._writer = AudioWriter(
            path, sample_rate=sample_rate, channels=channels, subtype="FLOAT", overwrite=overwrite
        )

    def __enter__(self) -> FileSink:
        self._writer.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._writer.__exit__(*exc)

    def write(self, samples: Samples) -> None:
        self._writer.write(samples)


class Device:
    """The sound card, through pedalboard's AudioStream; a source and a sink.

    Raises:
        MissingExtraError: pedalboard is not installed.
        UserError: there is no such device.
    """

    def __init__(
        self, input_name: str | None = None, output_name: str | None = None, sample_rate: int = DEVICE_RATE_HZ
    ):
        from sam_audio.host.chains import load_pedalboard

        load_pedalboard()
        from pedalboard.io import AudioStream

        inputs, outputs = AudioStream.input_device_names, AudioStream.output_device_names
        chosen_in = _choose(input_name, AudioStream.default_input_device_name, inputs, "input")
        chosen_out = _choose(output_name, AudioStream.default_output_device_name, outputs, "output")
        try:
            self._stream: Any = AudioStream(
                chosen_in,
                chosen_out,
                sample_rate=float(sample_rate),
                num_input_channels=2,
                num_output_channels=2,
                allow_feedback=True,
            )
        except (ValueError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise UserError(
                f"the sound card cannot be opened ({reason}): try another device or rate"
            ) from None
        self.sample_rate, self.channels = int(self._stream.sample_rate), 2

    def __enter__(self) -> Device:
        self._stream.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._stream.__exit__(*exc)

    def read(self, frames: int) -> Samples | None:
        samples = np.asarray(self._stream.read(frames), np.float32)
        if not np.isfinite(samples).all():
            raise AudioReadError("the input device gave samples that are no numbers: choose another device")
        return samples if samples.shape[0] == self.channels else np.repeat(samples[:1], self.channels, axis=0)

    def write(self, samples: Samples) -> None:
        self._stream.write(np.ascontiguousarray(samples), float(self.sample_rate))


def _choose(name: str | None, default: str | None, there: list[str], kind: str) -> str:
    if name is None:
        if default is None:
            raise UserError(
                f"this machine has no {kind} device: plug one in, or work on a file with --from and --to"
            )
        return default
    if name not in there:
        raise UserError(f"there is no {kind} device {name}: use one of {', '.join(there) or '(none)'}")
    return name
