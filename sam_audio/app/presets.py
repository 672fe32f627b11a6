"""What many people want of a recording: ready-made racks, as far as the mixer has what they are made of.

Prompts, strength and faders are taken over; effects are left to ``sam-audio rack run``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from sam_audio.app.project import Ask, Project, ask_for, set_faders, set_strength
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
    """

    name: str
    title: str
    does: str
    prompts: tuple[str, ...]
    strength: float
    faders: Mapping[str, Mapping[str, float | bool]]


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
        )
        for name in ordered
    }


def prepare(project: Project, preset: Preset) -> Project:
    """Asks for what the preset asks for, in place of what was asked for before, and sets its faders.

    Raises:
        UserError: as the actions of `project`.
    """
    prepared = set_strength(replace(project, asks=(), faders={}), preset.strength)
    for text in preset.prompts:
        prepared = ask_for(prepared, Ask(text))
    return set_faders(prepared, preset.faders)
