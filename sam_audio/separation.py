"""The main path: blocks of a mixture in, aligned blocks of stems and residual out.

Everything that separates goes through :class:`Separation`: whole recordings by :func:`run`, racks and live
operation block by block. The model works at its own rate; stems come back at the mixture's rate, channel count and
length, and the residual is what they leave of the mixture, so that they always sum to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from sam_audio.beside import Beside
from sam_audio.extending.hookspecs import PostProcessor
from sam_audio.io.buffer import SampleQueue
from sam_audio.io.resample import Resampler
from sam_audio.separator.base import SeparationModel, SeparationStream
from sam_audio.types import Block, Condition, Samples

# float32 samples -> the values that an output file will hold
Quantiser = Callable[[Samples], Samples]

BLOCK_S = 0.5  # fed at a time to models that do not mind
_WAITING = 2  # blocks of a window's length that wait for each sink


class Readable(Protocol):
    """A recording that can be read more than once: a file (`sam_audio.io.AudioReader`) or an array.

    Attributes:
        sample_rate: in Hz.
        channels: C.
        frames: how many there are in all; None if unknown.
    """

    @property
    def sample_rate(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def frames(self) -> int | None: ...

    def blocks(self, block_frames: int) -> Iterable[Samples]:
        """It from its start, blocks (C, n) float32."""
        ...


class Sink:
    """Takes a separation as it is made.

    Attributes:
        sample_rate: None for blocks at the recording's rate, as they will be stored. A sink that has a rate of its
            own gets the model's stems as they are, without residual, where that is the model's rate.
        calls_back: whether it calls what others have written, which is then called on the thread that it knows.
            Other sinks of :func:`run` work on a thread beside the model.
    """

    sample_rate: int | None = None
    calls_back: bool = False

    def begin(self, stream: SeparationStream) -> None:
        """Before anything is pushed: the model's stream."""

    def write(self, block: Block) -> None:
        """The next samples."""
        raise NotImplementedError


class Separation:
    """Separates one recording, push by push.

    The model is fed in blocks of a fixed size, so the output does not depend on how the caller cuts the recording,
    to the last bit.

    Args:
        model: what separates.
        conditions: N prompts.
        sample_rate: of the recording, in Hz.
        channels: C.
        strength: how boldly to cut, 0..2.
        stream: of the model, opened for this recording; by default with this strength.
        post: changes to the stems on their way out.
        quantise: rounds stems to what their file can hold, before the residual is taken; the residual then makes up for
            the rounding.
        close: sinks that get the model's stems before they are converted to the recording's rate and rounded.
        hand: hands a block to a sink; by default at once.
    """

    def __init__(
        self,
        model: SeparationModel,
        conditions: list[Condition],
        sample_rate: int,
        channels: int,
        strength: float = 1.0,
        *,
        stream: SeparationStream | None = None,
        post: Sequence[PostProcessor] = (),
        quantise: Quantiser | None = None,
        close: Sequence[Sink] = (),
        hand: Callable[[Sink, Block], None] | None = None,
    ) -> None:
        self._hand = hand or (lambda sink, block: sink.write(block))
        self.n_stems, self.channels, self.sample_rate = len(conditions), channels, sample_rate
        self._model_rate = model.sample_rate
        self._feed = feed_size(model, sample_rate)
        self.stream = stream or model.open(
            conditions, channels, strength
        )  # before anything changes its stems
        self._stream = self.stream
        for processor in post:
            self._stream = processor.wrap(self._stream, conditions, channels, model.sample_rate)
        self._quantise, self._close = quantise, list(close)
        self._to_model = Resampler(sample_rate, model.sample_rate, channels)
        self._to_mixture = Resampler(model.sample_rate, sample_rate, self.n_stems * channels)
        self._incoming = SampleQueue((channels,))
        self._mixture = SampleQueue((channels,))  # waits for its stems
        self._converted = SampleQueue(
            (channels,)
        )  # the mixture at the model's rate, for those that are close

    def push(self, samples: Samples) -> Block:
        """Shape: (C, n); the block that comes out is (C, m), m may be 0."""
        self._incoming.put(np.array(samples, np.float32))  # a copy: the caller may use its buffer again
        return self._joined([self._through(block) for block in self._fed()])

    def finish(self) -> Block:
        """The samples that are still owed."""
        rest = self._incoming.take(self._feed)
        self._mixture.put(rest)
        fed = ([self._to_model.push(rest)] if rest.shape[-1] else []) + [self._to_model.finish()]
        estimates = [self._separated(samples, self._stream.push(samples)) for samples in fed]
        estimates.append(self._separated(fed[-1][:, :0], self._stream.finish()))
        out = [self._to_mixture.push(flat) for flat in estimates] + [self._to_mixture.finish()]
        stems = np.concatenate(out, axis=-1)
        missing = max(0, len(self._mixture) - stems.shape[-1])  # two conversions of rate may lose a sample
        return self._aligned(np.pad(stems, ((0, 0), (0, missing))))

    def _fed(self) -> Iterator[Samples]:
        while len(self._incoming) >= self._feed:
            yield self._incoming.take(self._feed)

    def _through(self, block: Samples) -> Block:
        self._mixture.put(block)
        samples = self._to_model.push(block)
        return self._aligned(self._to_mixture.push(self._separated(samples, self._stream.push(samples))))

    def _separated(self, samples: Samples, estimates: Samples) -> Samples:
        """Shows the model's stems to those that are close; (N, C, m) -> (N * C, m)."""
        if self._close:
            self._converted.put(samples)
            block = Block(self._converted.take(estimates.shape[-1]), estimates, self._model_rate)
            for sink in self._close:
                self._hand(sink, block)
        return estimates.reshape(self.n_stems * self.channels, -1)

    def _aligned(self, flat: Samples) -> Block:
        mixture = self._mixture.take(flat.shape[-1])
        stems = flat[:, : mixture.shape[-1]].reshape(self.n_stems, self.channels, -1)
        if self._quantise is not None:
            stems = self._quantise(stems)
        residual = mixture - stems.sum(axis=0, dtype=np.float32)
        return Block(mixture, np.concatenate([stems, residual[None]]), self.sample_rate)

    def _joined(self, blocks: list[Block]) -> Block:
        if len(blocks) == 1:
            return blocks[0]
        nothing = np.zeros((self.n_stems + 1, self.channels, 0), np.float32)
        mixture = np.concatenate([nothing[0], *(block.mixture for block in blocks)], axis=-1)
        parts = np.concatenate([nothing, *(block.parts for block in blocks)], axis=-1)
        return Block(mixture, parts, self.sample_rate)


def run(
    model: SeparationModel,
    conditions: list[Condition],
    recording: Readable,
    sinks: Sequence[Sink],
    *,
    strength: float = 1.0,
    stream: SeparationStream | None = None,
    post: Sequence[PostProcessor] = (),
    quantise: Quantiser | None = None,
) -> None:
    """Separates a recording into sinks, in constant memory.

    Args: as of :class:`Separation`; the conditions come from `sam_audio.conditioning.encode`.
    """
    close = [sink for sink in sinks if sink.sample_rate == model.sample_rate]
    others = [sink for sink in sinks if sink.sample_rate != model.sample_rate]

    with Beside(_WAITING * len(sinks) or 1) as beside:

        def hand(sink: Sink, block: Block) -> None:
            if sink.calls_back:
                sink.write(block)
            elif block.mixture.shape[-1]:
                beside.do(partial(sink.write, block))

        separation = Separation(
            model,
            conditions,
            recording.sample_rate,
            recording.channels,
            strength,
            stream=stream,
            post=post,
            quantise=quantise,
            close=close,
            hand=hand,
        )
        for sink in close:
            sink.begin(separation.stream)

        def tell(block: Block) -> None:
            for sink in others:
                hand(sink, block)

        for samples in recording.blocks(feed_size(model, recording.sample_rate)):
            tell(separation.push(samples))
        tell(separation.finish())


def feed_size(model: SeparationModel, sample_rate: int) -> int:
    """How many samples of a recording a model is fed at a time."""
    if model.block_samples is not None:
        return max(1, round(model.block_samples * sample_rate / model.sample_rate))
    return max(1, round(BLOCK_S * sample_rate))


# Windows of nano come every 13 s, and rate converters take their time to show how far they fall behind.
SETTLE_S = 80.0


def latency(model: SeparationModel, sample_rate: int) -> int:
    """How far, in samples at ``sample_rate``, the output of a :class:`Separation` can fall behind its input.

    Found by playing the clockwork through with the real rate converters: no network is run.

    Raises:
        UserError: the model does not say when its samples come.
    """
    model.emitted(0)
    block = feed_size(model, sample_rate)
    inwards = Resampler(sample_rate, model.sample_rate, 1)
    outwards = Resampler(model.sample_rate, sample_rate, 1)
    zeros = np.zeros((1, max(block, round(SETTLE_S * model.sample_rate))), np.float32)
    pushed = given = out = behind = 0
    for n in range(1, round(SETTLE_S * sample_rate) // block + 2):
        behind = max(behind, n * block - 1 - out)  # just before this block is complete
        pushed += inwards.push(zeros[:, :block]).shape[-1]
        ready, given = model.emitted(pushed) - given, model.emitted(pushed)
        out += outwards.push(np.zeros((1, ready), np.float32)).shape[-1]
    return behind
