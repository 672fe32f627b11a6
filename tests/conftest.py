"""Fixtures shared by the tests; everything here is seeded, tiny and offline."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a separator with random weights."""
    return tiny.save_network(
        tmp_path_factory.mktemp("weights") / "tiny-separator.safetensors", tiny.network()
    )


@pytest.fixture(scope="session")
def separator(tiny_weights):
    """A loaded :class:`sam_audio.Separator` with random weights."""
    from sam_audio import Separator

    return Separator(tiny_weights, device="cpu")


@pytest.fixture(scope="session")
def model(separator):
    """Its :class:`NanoSeparator`."""
    return separator.model


@pytest.fixture(scope="session")
def bank_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_bank(tmp_path_factory.mktemp("bank"))
