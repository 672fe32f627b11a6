"""Where official models come from: local folders, or the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from sam_audio.errors import as_model_error

if TYPE_CHECKING:
    from peav.hub import HubOptions

WEIGHTS = ("checkpoint.pt", "model.safetensors", "model.safetensors.index.json")


def config_path(name: str | Path, revision: str | None = None, **options: Unpack[HubOptions]) -> Path:
    """The config.json of a model; fetches it if the model is named by its hub id.

    Raises:
        ModelError: there is no such folder or repository, or it cannot be had; the message says what to do.
    """
    from peav.hub import find

    with as_model_error():
        return find(name, "config.json", revision, **options)


def weights_path(name: str | Path, revision: str | None = None, **options: Unpack[HubOptions]) -> Path:
    """The weights of a model; else as `config_path`."""
    from peav.hub import find

    with as_model_error():
        return find(name, WEIGHTS, revision, **options)


def beside(name: str, folder: Path) -> str | Path:
    """A model that a config names: an existing folder, by itself, in the folder of the config or beside that; else
    the name as it is, for the hub."""
    for path in (Path(name), folder / name, folder.parent / name):
        if path.is_dir():
            return path
    return name
