"""Checkpoints of the nano models: what `save` writes, `load` reads."""

from __future__ import annotations

import torch

from peav import checkpoints


def test_a_header_of_any_length_is_read(tmp_path):
    """The first byte of one in 32 files is that of a pickle: the low byte of the header's length."""
    path, starts = tmp_path / "new" / "x-audio.safetensors", set()
    for n in range(1, 257, 8):
        checkpoints.save(path, "audio", {}, {"w" * n: torch.ones(2)})
        starts.add(path.read_bytes()[:1])
        assert list(checkpoints.load(path, "audio").tensors) == ["w" * n]
    assert b"\x80" in starts
