"""What every separator has to keep: checks that the tests of any third-party model can run.

>>> check_separator(load("mine"))  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sam_audio.errors import UserError
from sam_audio.io.arrays import ArrayRecording
from sam_audio.separation import run
from sam_audio.separator.base import SeparationModel, SeparationStream
from sam_audio.sinks import Memory
from sam_audio.types import Condition, Samples


def check_separator(
    model: SeparationModel, texts: Sequence[str] = ("dog barking", "rain"), seconds: float = 1.0
) -> None:
    """Tries a model with noise, in one and two channels, in blocks of many sizes, and with all that it declares.

    Args:
        model: loaded.
        texts: two or more that it understands.
        seconds: of the noise; more than the model waits for is good.

    Raises:
        AssertionError: it breaks a promise; the message says which.
    """
    _check_separates(model, texts, seconds)
    for variant in model.variants(3)[1:]:
        assert variant.label, f"{model.name}: a variant beside the model itself has no label"
        _check_separates(variant.model, texts, seconds)
    try:
        live = model.live()
    except UserError:
        return
    assert live.emitted(0) == 0, f"{live.name}: samples are out before any went in"
    _check_separates(live, texts, seconds)


def _check_separates(model: SeparationModel, texts: Sequence[str], seconds: float) -> None:
    assert isinstance(model.name, str) and model.name, "a model has no name"
    assert isinstance(model.sample_rate, int) and model.sample_rate > 0, f"{model.name}: no sample rate in Hz"
    conditions = model.encode(list(texts))
    names = [condition.name for condition in conditions]
    assert names == list(texts), f"{model.name}: encode() gives conditions of other names than {list(texts)}"
    for channels in (1, 2):
        noise = _noise(channels, round(seconds * model.sample_rate))
        whole = _stems(model.open(conditions, channels), noise, noise.shape[-1])
        _check_stems(model, whole, (len(texts), *noise.shape))
        _check_blocks(model, conditions, noise, whole)
        _check_sum(model, conditions, channels, seconds)
    for length in (0, 1, 100):
        few = _noise(2, length)
        _check_stems(model, _stems(model.open(conditions, 2), few, max(length, 1)), (len(texts), 2, length))
    _check_clock(model, conditions, seconds)


def _check_stems(model: SeparationModel, stems: Samples, shape: tuple[int, ...]) -> None:
    assert stems.shape == shape, f"{model.name}: stems of shape {stems.shape}, where {shape} is due"
    assert stems.dtype == np.float32, f"{model.name}: stems of {stems.dtype}, where float32 is due"
    assert np.isfinite(stems).all(), f"{model.name}: some samples of the stems are no numbers"


def _check_blocks(
    model: SeparationModel, conditions: list[Condition], noise: Samples, whole: Samples
) -> None:
    """Two recordings at once, cut in other ways: neither the cuts nor the neighbour may change anything."""
    before = noise.copy()
    rng = np.random.default_rng(0)
    one, other = (model.open(conditions, len(noise)) for _ in range(2))
    parts, start = [], 0
    while start < noise.shape[-1]:
        size = int(rng.integers(1, 4000))
        parts.append(one.push(noise[:, start : start + size]))
        other.push(-noise[:, start : start + size])
        start += size
    stems = np.concatenate([*parts, one.finish()], axis=-1)
    other.finish()
    assert stems.shape == whole.shape and np.allclose(stems, whole, atol=1e-5), (
        f"{model.name}: the output depends on how the recording is cut, or on another stream"
    )
    assert np.array_equal(noise, before), f"{model.name}: a stream changes the samples it is given"


def _check_sum(model: SeparationModel, conditions: list[Condition], channels: int, seconds: float) -> None:
    recording = ArrayRecording(_noise(channels, round(seconds * 44_100)), 44_100)
    memory = Memory(len(conditions) + 1, channels)
    run(model, conditions, recording, [memory])
    assert np.allclose(memory.parts.sum(axis=0), recording.samples, atol=1e-5), (
        f"{model.name}: stems and residual do not sum to the mixture"
    )


def _check_clock(model: SeparationModel, conditions: list[Condition], seconds: float) -> None:
    """Where a model says when its samples come, they come then."""
    try:
        model.emitted(0)
    except UserError:
        return
    block = model.block_samples or 4_800
    stream, out = model.open(conditions, 1), 0
    for n in range(1, round(seconds * model.sample_rate) // block):
        out += stream.push(_noise(1, block)).shape[-1]
        told = max(model.emitted(n * block), 0)
        assert out == told, (
            f"{model.name}: {out} samples are out after {n * block}, and emitted() says {told}"
        )


def _stems(stream: SeparationStream, samples: Samples, size: int) -> Samples:
    starts = range(0, samples.shape[-1], size)
    return np.concatenate(
        [*(stream.push(samples[:, start : start + size]) for start in starts), stream.finish()], axis=-1
    )


def _noise(channels: int, n_samples: int) -> Samples:
    return np.random.default_rng(1).uniform(-0.5, 0.5, (channels, n_samples)).astype(np.float32)
