"""The models this installation knows: those shipped with it, and the published ones by name."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

PE_LICENCE = "Apache-2.0"
SAM_LICENCE = "SAM License"
SHIPPED = "shipped with the package"
ABSENT = "not downloaded"

_SHIPPED = (
    ("separator", "sam_audio.separator", "weights/nano-separator.safetensors"),
    ("text encoder", "peav", "weights/nano-text.safetensors"),
    ("audio encoder", "peav", "weights/nano-audio.safetensors"),
    ("video encoder", "peav", "weights/nano-video.safetensors"),
    ("judge", "judge", "weights/nano-judge.safetensors"),
)


@dataclass(frozen=True)
class Published:
    """A published model, as far as it is known without its files.

    Args:
        name: on the hub.
        kind: ``separator``, ``judge``, ``encoders`` (PE-AV) or ``frame encoder`` (PE-A-Frame).
        parameters: values in its weights, 4 bytes each; those that are stored and never used are among them.
        revision: branch of the hub's repository; None is its default one.
        files: each the first that the repository has of some; the weights are among them.
        config: of a separator, what its config.json says beyond the defaults.
    """

    name: str
    kind: str
    parameters: int
    revision: str | None
    files: tuple[tuple[str, ...], ...]
    config: Mapping[str, Any] = field(repr=False)

    @property
    def gated(self) -> bool:
        """Whether its terms have to be accepted on the hub first."""
        return self.kind in ("separator", "judge")

    @property
    def licence(self) -> str:
        return SAM_LICENCE if self.gated else PE_LICENCE


_PICKLE = (("config.json",), ("checkpoint.pt", "model.safetensors", "model.safetensors.index.json"))
_SAFE = (("config.json",), ("model.safetensors", "model.safetensors.index.json", "checkpoint.pt"))
_TOKENIZER = ("tokenizer.json",)
FILES = {
    "separator": _PICKLE,
    "judge": (*_PICKLE, _TOKENIZER),
    "encoders": (*_SAFE, _TOKENIZER),
    "frame encoder": (*_SAFE, _TOKENIZER),
}
_REVISIONS = {
    "separator": None,
    "judge": "sam_audio",
    "encoders": "perception_models",
    "frame encoder": "perception_models",
}


def _published() -> Iterator[Published]:
    def model(name: str, kind: str, parameters: int, dim: int = 0, heads: int = 0) -> Published:
        flow = {"dim": dim, "n_heads": heads, "n_layers": heads, "context_dim": dim}
        config = {"transformer": flow} if dim else {}
        return Published(f"facebook/{name}", kind, parameters, _REVISIONS[kind], FILES[kind], config)

    for variant in ("", "-tv"):
        yield model(f"sam-audio-small{variant}", "separator", 1_275_035_782, 1536, 12)
        yield model(f"sam-audio-base{variant}", "separator", 1_931_243_654, 2048, 16)
        yield model(f"sam-audio-large{variant}", "separator", 3_715_221_638, 2816, 22)
    yield model("sam-audio-judge", "judge", 1_533_804_616)
    for variant in ("", "-16-frame"):
        yield model(f"pe-av-small{variant}", "encoders", 920_797_248)
        yield model(f"pe-av-base{variant}", "encoders", 1_107_507_520)
        yield model(f"pe-av-large{variant}", "encoders", 2_308_506_688)
    yield model("pe-a-frame-small", "frame encoder", 513_484_866)
    yield model("pe-a-frame-base", "frame encoder", 634_449_730)
    yield model("pe-a-frame-large", "frame encoder", 1_530_373_186)


PUBLISHED = {model.name: model for model in _published()}


def find(name: str) -> Published | None:
    """The published model of a name, whose owner may be left out."""
    return PUBLISHED.get(name) or PUBLISHED.get(f"facebook/{name}")


def models() -> list[dict[str, Any]]:
    """Those shipped, then the published ones: name, kind, parameters, bytes, licence, gated, where.

    Reads headers only, no weights, and asks no network.
    """
    return [*shipped(), *map(_entry, PUBLISHED.values())]


def shipped() -> list[dict[str, Any]]:
    """The models that come with the package."""
    entries = []
    for kind, package, relative in _SHIPPED:
        path = Path(str(resources.files(package).joinpath(relative)))
        if path.exists():
            entries.append(
                {
                    "name": "nano",
                    "kind": kind,
                    "parameters": count_parameters(path),
                    "bytes": path.stat().st_size,
                    "licence": "Apache-2.0",
                    "gated": False,
                    "where": SHIPPED,
                    "files": [path.name],
                }
            )
    return entries


def _entry(model: Published) -> dict[str, Any]:
    return {
        "name": model.name,
        "kind": model.kind,
        "parameters": model.parameters,
        "bytes": 4 * model.parameters,
        "licence": model.licence,
        "gated": model.gated,
        "where": str(downloaded(model) or ABSENT),
        "files": [choices[0] for choices in model.files],
    }


def downloaded(model: Published, revision: str | None = None) -> Path | None:
    """The folder in the hub's cache that holds all of a model's files, or None."""
    from peav.hub import cached

    found = [cached(model.name, choices, revision or model.revision) for choices in model.files]
    return found[0].parent if found[0] is not None and all(found) else None


def count_parameters(path: Path) -> int:
    """Number of values in a safetensors file, from its header."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
