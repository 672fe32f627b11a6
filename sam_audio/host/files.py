"""Racks as files: prompts, chains and faders in TOML.

prompts = ["voice"]

[strips.voice]
gain_db = 3
chain = [{ effect = "Compressor", threshold_db = -22, ratio = 3 }]
automation = [{ target = "gain_db", points = [[0, -60], [2, 3]] }]

[strips.residual]
mute = true
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from sam_audio.documents import Document, parse_toml, read_text, structured
from sam_audio.errors import UserError
from sam_audio.host.automation import Automation
from sam_audio.host.chains import make_effect
from sam_audio.host.rack import MASTER, Desk, Rack, Strip

READY_MADE = Path(__file__).parent / "racks"
SUFFIX = ".rack.toml"


class _File(Document, kw_only=True):
    """What a rack file says."""

    prompts: list[str]
    description: str = ""
    strength: float = 1.0
    strips: dict[str, Any] = {}
    buses: dict[str, Any] = {}
    master: dict[str, Any] = {}


class _Strip(Document):
    """A strip of the file, under the names of `Strip`."""

    chain: list[dict[str, Any]] = []
    gain_db: float = 0.0
    pan: float = 0.0
    solo: bool = False
    mute: bool = False
    bus: str = MASTER
    automation: list[Any] = []


def ready_made() -> dict[str, str]:
    """Name and description of the racks that come with the package."""
    files = sorted(READY_MADE.glob(f"*{SUFFIX}"))
    return {rack_name(path): str(parse_rack(path).get("description", "")) for path in files}


def rack_name(path: Path) -> str:
    """``karaoke.rack.toml`` -> ``karaoke``."""
    return path.name.removesuffix(SUFFIX).removesuffix(".toml")


def find_rack(name: str) -> Path:
    """A rack file by its path, or a ready-made one by its name.

    Raises:
        UserError: there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    built_in = READY_MADE / f"{rack_name(path)}{SUFFIX}"
    if path.parent == Path() and built_in.is_file():
        return built_in
    raise UserError(f"there is no rack {name}: give a .rack.toml file, or one of {', '.join(ready_made())}")


def load_rack(path: Path, **options: Any) -> Rack:
    """A rack from its file.

    Args:
        path: see :func:`find_rack`; plugins and presets are found relative to it.
        options: of :class:`Rack`: model, live, device.

    Raises:
        UserError: the file cannot be read, or says something that a rack cannot do.
    """
    content, strips = _read(path)
    rack = Rack(content.prompts, buses=tuple(content.buses), strength=content.strength, **options)
    _place(strips, rack)
    return rack


def load_desk(path: Path, stems: Sequence[str]) -> Desk:
    """The mixer of a rack, for stems that are separated already. Those that it does not know have empty strips, and
    what it says of others is left out.

    Raises:
        UserError: as of :func:`load_rack`.
    """
    content, strips = _read(path)
    desk = Desk(stems, tuple(content.buses))
    _place({name: strip for name, strip in strips.items() if name in desk}, desk)
    return desk


def _read(path: Path) -> tuple[_File, dict[str, Strip]]:
    """What a rack file says, and its strips, buses and master. They are built first: what is wrong with an effect is
    told before a model is loaded."""
    content = structured(parse_rack(path), _File, path.name)
    said = {**content.strips, **content.buses, MASTER: content.master}
    return content, {
        name: _strip(values, f"{path.name}, {name}", path.parent) for name, values in said.items()
    }


def _place(strips: Mapping[str, Strip], desk: Desk) -> None:
    for name, strip in strips.items():
        place = desk[name]
        for field in fields(strip):
            setattr(place, field.name, getattr(strip, field.name))


def _strip(values: Any, where: str, folder: Path) -> Strip:
    given = structured(values, _Strip, where)
    chain = [make_effect(entry, folder) for entry in given.chain]
    curves = [structured(curve, Automation, f"the automation of {where}") for curve in given.automation]
    return Strip(chain, given.gain_db, given.pan, given.solo, given.mute, given.bus, curves)


def parse_rack(path: Path) -> dict[str, Any]:
    """What a rack file says; raises UserError if it cannot be read."""
    return parse_toml(read_text(path, "a .rack.toml file"), path.name)
