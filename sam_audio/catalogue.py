"""The models this installation knows."""

from __future__ import annotations

import json
import math
import struct
from importlib import resources
from pathlib import Path
from typing import Any


def models() -> list[dict[str, Any]]:
    """One entry a model: name, kind, parameters, bytes, licence, where. Reads headers only, no weights."""
    shipped = [
        ("nano", "separator", "sam_audio.separator", "weights/nano-separator.safetensors"),
        ("nano", "text encoder", "peav", "weights/nano-text.safetensors"),
        ("nano", "audio encoder", "peav", "weights/nano-audio.safetensors"),
        ("nano", "video encoder", "peav", "weights/nano-video.safetensors"),
        ("nano", "judge", "peav", "weights/nano-judge.safetensors"),
    ]
    entries = []
    for name, kind, package, relative in shipped:
        path = Path(str(resources.files(package).joinpath(relative)))
        if path.exists():
            entries.append(
                {
                    "name": name,
                    "kind": kind,
                    "parameters": count_parameters(path),
                    "bytes": path.stat().st_size,
                    "licence": "Apache-2.0",
                    "where": "shipped with the package",
                }
            )
    return entries


def count_parameters(path: Path) -> int:
    """Number of values in a safetensors file, from its header."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
