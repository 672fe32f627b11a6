"""What a recipe leaves: weights as safetensors, and beside them the settings that they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor

from sam_audio.errors import UserError
from sam_audio.io.target import whole_file


def write_trained(folder: Path, name: str, tensors: Mapping[str, Tensor], settings: Any) -> list[Path]:
    """Writes ``name.safetensors`` and ``name.json``."""
    from safetensors.torch import save

    stored = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    contents = {
        f"{name}.safetensors": save(stored),
        f"{name}.json": json.dumps(msgspec.to_builtins(settings), indent=1).encode(),
    }
    for file_name, content in contents.items():
        with whole_file(folder / file_name) as file:
            file.write(content)
    return [folder / file_name for file_name in contents]


def read_trained(folder: Path, name: str, what: str) -> tuple[Any, dict[str, Tensor]]:
    """The settings as plain values, and the tensors.

    Raises:
        UserError: the folder holds none; ``what`` it should be is for the message.
    """
    from safetensors.torch import load_file

    try:
        values = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        return values, load_file(folder / f"{name}.safetensors")
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no {what} that was trained here ({error}): name another") from None
