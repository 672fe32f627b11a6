"""What goes in comes out, in order, whatever the sizes."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from sam_audio.io import buffer as queue
from sam_audio.io.buffer import SampleQueue


def test_doctests():
    assert doctest.testmod(queue).failed == 0


@pytest.mark.parametrize("shape", [(1,), (2,), (3, 2)])
@pytest.mark.parametrize(("put", "take"), [(1, 7), (7, 1), (10, 10), (64, 100)])
def test_blocks_come_out_as_they_went_in(shape, put, take):
    samples = np.random.default_rng(0).standard_normal((*shape, 100)).astype(np.float32)
    waiting, taken = SampleQueue(shape), []
    for start in range(0, 100, put):
        waiting.put(samples[..., start : start + put])
        waiting.put(samples[..., :0])
        taken.append(waiting.take(take))
    while len(waiting):
        taken.append(waiting.take(take))
    np.testing.assert_array_equal(np.concatenate(taken, axis=-1), samples)
    assert all(block.shape[-1] <= take for block in taken)


@pytest.mark.parametrize("shape", [(1,), (2,), (3, 2)])
def test_nothing_has_the_shape_of_something(shape):
    waiting = SampleQueue(shape)
    assert waiting.take(5).shape == waiting.take(0).shape == (*shape, 0)
    assert waiting.take(5).dtype == np.float32
