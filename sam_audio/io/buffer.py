"""Samples that wait: first in, first out, along the last axis."""

from __future__ import annotations

from collections import deque

import numpy as np

from sam_audio.types import Samples


class SampleQueue:
    """A queue of blocks (..., n) that may be taken out in other sizes than they came in.

    Args:
        shape: of a block, without its last axis.

    >>> queue = SampleQueue((2,))
    >>> queue.put(np.ones((2, 3), np.float32))
    >>> queue.take(2).shape, len(queue), queue.take(5).shape, queue.take(5).shape
    ((2, 2), 1, (2, 1), (2, 0))
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._blocks: deque[Samples] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, block: Samples) -> None:
        if block.shape[-1]:
            self._blocks.append(block)
            self._length += block.shape[-1]

    def take(self, n: int) -> Samples:
        """The next n samples, or as many as there are."""
        n = min(n, self._length)
        self._length -= n
        taken = []
        while n:
            block = self._blocks.popleft()
            if block.shape[-1] > n:
                self._blocks.appendleft(block[..., n:])
                block = block[..., :n]
            taken.append(block)
            n -= block.shape[-1]
        if len(taken) == 1:
            return taken[0]
        return np.concatenate(taken, axis=-1) if taken else np.zeros((*self._shape, 0), np.float32)
