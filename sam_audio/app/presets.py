"""What many people want of a recording: ready-made racks.

Prompts, strength and faders are taken over by the mixer. Effects are applied to what is exported (see
`sam_audio.app.mixdown`): what plays in a browser comes from its own faders, without them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sam_audio.app.project import Ask, Project, ask_for, set_faders, set_strength
from sam_audio.errors import MissingExtraError
from sam_audio.host.effects import load_pedalboard
from sam_audio.host.files import READY_MADE, SUFFIX, parse_rack, rack_name


@dataclass(frozen=True)
class Preset:
    """A rack for the editor.

    Args:
        name: of the rack.
        title: for people.
        does: a sentence.
        prompts: what is asked for.
        strength: how boldly to cut, 0..2.
        faders: by stem: gain_db, pan, mute and solo.
        effects: what its chains hold, in words.
    """

    name: str
    title: str
    does: str
    prompts: tuple[str, ...]
    strength: float
    faders: Mapping[str, Mapping[str, float | bool]]
    effects: tuple[str, ...]

    @property
    def about(self) -> str:
        """What it does, with its effects."""
        return f"{self.does} Effects: {', '.join(self.effects)}." if self.effects else self.does


_TITLES = {
    "karaoke": "Karaoke",
    "podcast": "Podcast without noise",
    "drumless": "Without drums",
    "remix": "Voice, drums, bass, rest",
    "de-bleed": "A microphone without bleed",
}
_FADER = ("gain_db", "pan", "mute", "solo")


@cache
def presets() -> dict[str, Preset]:
    """By the name of the rack; those with a title here come first."""
    racks = {rack_name(path): parse_rack(path) for path in sorted(READY_MADE.glob(f"*{SUFFIX}"))}
    ordered = [name for name in _TITLES if name in racks] + [name for name in racks if name not in _TITLES]
    return {
        name: Preset(
            name,
            _TITLES.get(name, name.capitalize()),
            racks[name].get("description", ""),
            tuple(racks[name]["prompts"]),
            racks[name].get("strength", 1.0),
            {
                stem: {key: strip[key] for key in _FADER if key in strip}
                for stem, strip in racks[name].get("strips", {}).items()
            },
            _effects(racks[name]),
        )
        for name in ordered
    }


def _effects(rack: Mapping[str, Any]) -> tuple[str, ...]:
    """The kinds of effects in all chains of a rack, each once: ``HighpassFilter`` is a highpass filter."""
    strips = [
        *rack.get("strips", {}).values(),
        *rack.get("buses", {}).values(),
        rack.get("master", {}),
    ]
    names = [str(one["effect"]) for strip in strips for one in strip.get("chain", []) if "effect" in one]
    return tuple(dict.fromkeys(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower() for name in names))


@cache
def can_apply_effects() -> bool:
    """Whether pedalboard is installed, which effects need."""
    try:
        load_pedalboard()
    except MissingExtraError:
        return False
    return True


def applied(project: Project) -> str:
    """The rack whose effects exports of a project's mix get; empty for none."""
    preset = presets().get(project.rack)
    return project.rack if preset and preset.effects and project.effects and can_apply_effects() else ""


def prepare(project: Project, preset: Preset) -> Project:
    """Asks for what the preset asks for, in place of what was asked for before, and sets its faders.

    Raises:
        UserError: as the actions of `project`.
    """
    prepared = replace(project, asks=(), faders={}, rack=preset.name, effects=True)
    prepared = set_strength(prepared, preset.strength)
    for text in preset.prompts:
        prepared = ask_for(prepared, Ask(text))
    return set_faders(prepared, preset.faders)
