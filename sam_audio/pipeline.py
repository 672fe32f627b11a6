"""The main path: blocks of a mixture in, aligned blocks of stems and residual out.

Everything here streams. The model works at its own rate; stems come back at the mixture's rate, channel count
and length, and the residual is what they leave of the mixture, so that they always sum to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sam_audio.io.buffer import SampleQueue
from sam_audio.io.resample import Resampler
from sam_audio.types import Condition, Samples, SeparationModel

if TYPE_CHECKING:
    from sam_audio.selection.judging import StemJudge

# float32 samples -> the values that an output file will hold
Quantiser = Callable[[Samples], Samples]


def separate_blocks(
    model: SeparationModel,
    conditions: list[Condition],
    blocks: Iterable[Samples],
    sample_rate: int,
    channels: int,
    strength: float = 1.0,
    quantise: Quantiser | None = None,
    judges: Sequence[StemJudge] = (),
) -> Iterator[tuple[Samples, Samples]]:
    """Separates a recording block by block.

    Args:
        model: what separates.
        conditions: N prompts.
        blocks: the mixture in order, each (channels, n) float32.
        sample_rate: of the mixture, in Hz.
        channels: C.
        strength: how boldly to cut, 0..2.
        quantise: rounds stems to what their file can hold, before the residual is taken; the residual then
            makes up for the rounding.
        judges: listen along. Those that work at the model's rate get its own stems, before they are converted to the
            mixture's rate and rounded.

    Yields:
        The mixture's next samples and the stems that belong to them: (C, n) and (N + 1, C, n), the residual
        last. All n together are the mixture's length.
    """
    n_stems = len(conditions)
    stream = model.open(conditions, channels, strength)
    to_model = Resampler(sample_rate, model.sample_rate, channels)
    to_mixture = Resampler(model.sample_rate, sample_rate, n_stems * channels)
    waiting = SampleQueue((channels,))  # the mixture, for its stems
    close = [judge for judge in judges if judge.sample_rate == model.sample_rate]
    others = [judge for judge in judges if judge.sample_rate != model.sample_rate]
    converted = SampleQueue((channels,))  # the mixture at the model's rate, for those that are close
    for judge in close:
        judge.listen_along(stream)

    def separated(samples: Samples, last: bool = False) -> Samples:
        estimates = stream.push(samples)
        if last:
            estimates = np.concatenate([estimates, stream.finish()], axis=-1)
        if close:
            converted.put(samples)
            mixture = converted.take(estimates.shape[-1])
            for judge in close:
                judge.push(mixture, estimates, model.sample_rate)
        return estimates.reshape(n_stems * channels, -1)

    def aligned(estimates: Samples) -> tuple[Samples, Samples]:
        mixture = waiting.take(estimates.shape[-1])
        # the last block may come out a sample long or short of the mixture after two conversions of rate
        stems = estimates[:, : mixture.shape[-1]].reshape(n_stems, channels, -1)
        if quantise is not None:
            stems = quantise(stems)
        residual = mixture - stems.sum(axis=0, dtype=np.float32)
        for judge in others:
            judge.push(mixture, stems, sample_rate)
        return mixture, np.concatenate([stems, residual[None]])

    for block in blocks:
        waiting.put(block)
        out = to_mixture.push(separated(to_model.push(block)))
        if out.shape[-1]:
            yield aligned(out)
    rest = separated(to_model.finish(), last=True)
    out = np.concatenate([to_mixture.push(rest), to_mixture.finish()], axis=-1)
    owed = len(waiting)
    if owed:
        yield aligned(np.pad(out, ((0, 0), (0, max(0, owed - out.shape[-1])))))
