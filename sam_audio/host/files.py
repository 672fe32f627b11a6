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

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sam_audio.errors import UserError
from sam_audio.host.automation import Automation
from sam_audio.host.chains import make_effect
from sam_audio.host.rack import MASTER, Rack, Strip

READY_MADE = Path(__file__).parent / "racks"
SUFFIX = ".rack.toml"
_TOP = ("description", "prompts", "strength", "strips", "buses", "master")
_NUMBERS, _FLAGS = ("gain_db", "pan"), ("solo", "mute")
_STRIP = ("chain", *_NUMBERS, *_FLAGS, "bus", "automation")


def ready_made() -> dict[str, str]:
    """Name and description of the racks that come with the package."""
    files = sorted(READY_MADE.glob(f"*{SUFFIX}"))
    return {rack_name(path): str(_parse(path).get("description", "")) for path in files}


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
    content = _parse(path)
    _check_keys(content, _TOP, path.name)
    buses = _table(content, "buses", path.name)
    prompts = content.get("prompts")
    if not isinstance(prompts, list):
        raise UserError(f'{path.name} names no prompts: write prompts = ["voice"]')
    strength = content.get("strength", 1.0)
    if not _is_number(strength):
        raise UserError(f"{path.name} has strength = {strength!r}: write a number from 0 to 2")
    # built first: what is wrong with an effect is told before a model is loaded
    strips = {
        name: _strip(values, f"{path.name}, {name}", path.parent)
        for name, values in {
            **_table(content, "strips", path.name),
            **buses,
            MASTER: _table(content, MASTER, path.name),
        }.items()
    }
    rack = Rack(prompts, buses=tuple(buses), strength=strength, **options)
    for name, strip in strips.items():
        place = rack[name]
        for key in _STRIP:
            setattr(place, key, getattr(strip, key))
    return rack


def _strip(values: Any, where: str, folder: Path) -> Strip:
    if not isinstance(values, dict):
        raise UserError(f"{where} is {values!r}: write a table of {', '.join(_STRIP)}")
    _check_keys(values, _STRIP, where)
    strip = Strip()
    for key in _NUMBERS:
        if not _is_number(values.get(key, 0)):
            raise UserError(f"{where} has {key} = {values[key]!r}: write a number")
        setattr(strip, key, float(values.get(key, 0)))
    for key in _FLAGS:
        if not isinstance(values.get(key, False), bool):
            raise UserError(f"{where} has {key} = {values[key]!r}: write true or false")
        setattr(strip, key, values.get(key, False))
    strip.bus = str(values.get("bus", MASTER))
    strip.chain = [make_effect(entry, folder) for entry in _tables(values, "chain", where)]
    strip.automation = [_automation(entry, where) for entry in _tables(values, "automation", where)]
    return strip


def _automation(entry: Mapping[str, Any], where: str) -> Automation:
    _check_keys(entry, ("target", "points", "shape"), f"the automation of {where}")
    try:
        points = tuple((float(time), float(value)) for time, value in entry["points"])
        return Automation(str(entry["target"]), points, str(entry.get("shape", "linear")))
    except (KeyError, TypeError, ValueError):
        example = '{ target = "gain_db", points = [[0, -60], [2, 0]] }'
        raise UserError(f"the automation of {where} is incomplete: write {example}") from None


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give a .rack.toml file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} is not a rack file: {' '.join(str(error).split())}") from None


def _table(content: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise UserError(f"{where} has {key} = {value!r}: write a table [{key}]")
    return value


def _tables(content: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    value = content.get(key, [])
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise UserError(f"{where} has {key} = {value!r}: write a list of tables, [{{ ... }}]")
    return value


def _check_keys(content: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in content:
        if key not in known:
            close = get_close_matches(key, known, 1)
            instead = f"did you mean {close[0]}?" if close else f"use {', '.join(known)}"
            raise UserError(f"{where} has the unknown key {key}: {instead}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
