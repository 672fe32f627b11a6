"""What several commands do alike."""

from __future__ import annotations

import doctest

import pytest

from sam_audio.cli import shared
from sam_audio.errors import UserError
from sam_audio.options import size_bytes


def test_doctests():
    assert doctest.testmod(shared).failed == 0


@pytest.mark.parametrize("size", ["", "much", "8 XB", "-1GB", "1.GB", "1e9"])
def test_sizes_that_are_none(size):
    with pytest.raises(UserError, match="is not a size: write it like 8GB or 500MB"):
        size_bytes(size)
    with pytest.raises(UserError, match="is not an amount of memory: write it"):
        size_bytes(size, "an amount of memory")
