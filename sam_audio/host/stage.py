"""The separator as a stage of a rack: any block in, aligned stems out, with a delay that is known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from sam_audio.errors import UserError
from sam_audio.io.buffer import SampleQueue
from sam_audio.io.resample import Resampler
from sam_audio.types import Condition, Samples, SeparationModel

LIVE_BLOCK = 256  # samples the separator is fed at a time when every millisecond counts
BLOCK_S = 0.5  # and when it does not


@runtime_checkable
class Clocked(Protocol):
    """A model whose streams give out a number of samples that depends only on how many went in."""

    block_samples: int  # to feed at a time, at the model's rate

    def emitted(self, pushed: int) -> int:
        """How many samples are out after ``pushed`` went in, both at the model's rate."""
        ...


class SeparatorStage:
    """Separates one recording, push by push.

    The separator is fed in blocks of a fixed size, so the output does not depend on how the caller cuts the
    recording, to the last bit.

    Args:
        model: what separates.
        conditions: N prompts.
        sample_rate: of the recording, in Hz.
        channels: C.
        strength: how boldly to cut, 0..2.
    """

    def __init__(
        self,
        model: SeparationModel,
        conditions: list[Condition],
        sample_rate: int,
        channels: int,
        strength: float = 1.0,
    ):
        self.channels = channels
        self.n_stems = len(conditions)
        self._block = feed_size(model, sample_rate)
        self._stream = model.open(conditions, channels, strength)
        self._to_model = Resampler(sample_rate, model.sample_rate, channels)
        self._to_mixture = Resampler(model.sample_rate, sample_rate, self.n_stems * channels)
        self._incoming = SampleQueue((channels,))
        self._mixture = SampleQueue((channels,))

    def push(self, samples: Samples) -> Samples:
        """Shapes: (C, n) in, (N + 1, C, m) out, the residual last; they sum to the mixture's next m samples."""
        self._incoming.put(np.array(samples, np.float32))  # a copy: the caller may use its buffer again
        parts = []
        while len(self._incoming) >= self._block:
            block = self._incoming.take(self._block)
            self._mixture.put(block)
            parts.append(self._parts(self._stream.push(self._to_model.push(block))))
        return self._join(parts)

    def finish(self) -> Samples:
        """The samples that are still owed, (N + 1, C, m)."""
        rest = self._incoming.take(self._block)
        self._mixture.put(rest)
        estimates = [self._stream.push(self._to_model.push(rest))] if rest.shape[-1] else []
        estimates += [self._stream.push(self._to_model.finish()), self._stream.finish()]
        out = [self._to_mixture.push(self._flat(e)) for e in estimates] + [self._to_mixture.finish()]
        stems = np.concatenate(out, axis=-1)
        missing = max(0, len(self._mixture) - stems.shape[-1])  # two conversions of rate may lose a sample
        return self._aligned(np.pad(stems, ((0, 0), (0, missing))))

    def _parts(self, estimates: Samples) -> Samples:
        return self._aligned(self._to_mixture.push(self._flat(estimates)))

    def _flat(self, estimates: Samples) -> Samples:
        return estimates.reshape(self.n_stems * self.channels, -1)

    def _aligned(self, flat: Samples) -> Samples:
        mixture = self._mixture.take(flat.shape[-1])
        stems = flat[:, : mixture.shape[-1]].reshape(self.n_stems, self.channels, -1)
        residual = mixture - stems.sum(axis=0, dtype=np.float32)
        return np.concatenate([stems, residual[None]])

    def _join(self, parts: list[Samples]) -> Samples:
        if not parts:
            return np.zeros((self.n_stems + 1, self.channels, 0), np.float32)
        return np.concatenate(parts, axis=-1)


def feed_size(model: SeparationModel, sample_rate: int) -> int:
    """How many samples of a recording the separator is fed at a time."""
    if isinstance(model, Clocked):
        return max(1, round(model.block_samples * sample_rate / model.sample_rate))
    return max(1, round(BLOCK_S * sample_rate))


# Windows of nano come every 13 s, and rate converters take their time to show how far they fall behind.
SETTLE_S = 80.0


def stage_latency(model: SeparationModel, sample_rate: int) -> int:
    """How far, in samples at ``sample_rate``, a stage's output can fall behind its input.

    Found by playing the clockwork through with the real rate converters: no network is run.

    Raises:
        UserError: the model does not say when its samples come.
    """
    emitted = _clock(model)
    block = feed_size(model, sample_rate)
    inwards = Resampler(sample_rate, model.sample_rate, 1)
    outwards = Resampler(model.sample_rate, sample_rate, 1)
    zeros = np.zeros((1, max(block, round(SETTLE_S * model.sample_rate))), np.float32)
    pushed = given = out = behind = 0
    for n in range(1, round(SETTLE_S * sample_rate) // block + 2):
        behind = max(behind, n * block - 1 - out)  # just before this block is complete
        pushed += inwards.push(zeros[:, :block]).shape[-1]
        ready, given = emitted(pushed) - given, emitted(pushed)
        out += outwards.push(np.zeros((1, ready), np.float32)).shape[-1]
    return behind


def _clock(model: SeparationModel) -> Callable[[int], int]:
    """When samples come."""
    if isinstance(model, Clocked):
        return model.emitted
    from sam_audio.separator.nano.model import NanoSeparator

    if isinstance(model, NanoSeparator):
        return _nano_emitted
    raise UserError(
        f"{model.name} does not tell its delay, so it cannot work in blocks: give the rack the whole recording"
    )


def _nano_emitted(pushed: int) -> int:
    from sam_audio.separator.nano.bands import HOP, N_FFT
    from sam_audio.separator.nano.stream import OVERLAP_FRAMES, WINDOW_FRAMES

    frames = max(0, (pushed + N_FFT // 2 - N_FFT) // HOP + 1)
    if frames < WINDOW_FRAMES:
        return 0
    step = WINDOW_FRAMES - OVERLAP_FRAMES
    return ((frames - WINDOW_FRAMES) // step + 1) * step * HOP - N_FFT // 2
