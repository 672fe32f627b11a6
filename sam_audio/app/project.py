"""What is being edited: an immutable state, the actions that make the next one, and undo.

Stems are not part of it: they follow from it, and are found again by `Project.key`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sam_audio.errors import UserError
from sam_audio.extending.registry import registry
from sam_audio.naming import RESIDUAL, check_prompts, distinct, slug
from sam_audio.options import OptionField
from sam_audio.prompts import Prompt, resolve
from sam_audio.session import Fader, SavedSession

MOST_PROMPTS = 12
GAIN_DB = (-60.0, 12.0)
Clue = str | float | tuple[str | float | tuple[float, ...], ...]


@dataclass(frozen=True)
class Media:
    """A recording that has been looked at.

    Args:
        path: of the file.
        name: as it was called where it came from.
        sha256: of its content.
        sample_rate: in Hz.
        channels: C.
        frames: its length in samples.
        subtype: encoding of its samples, see `sam_audio.io.AudioReader`.
        picture: width and height of its video in pixels, None without one.
        layout: where its channels belong, see `sam_audio.io.AudioReader`; None if it does not tell.
        warnings: sentences for people, of what was found while it was read.
    """

    path: Path
    name: str
    sha256: str
    sample_rate: int
    channels: int
    frames: int
    subtype: str = "PCM_16"
    picture: tuple[int, int] | None = None
    layout: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


@dataclass(frozen=True)
class Ask:
    """One stem: a text, clues by their keys (see `sam_audio.prompts`), or both."""

    text: str = ""
    clues: tuple[tuple[str, Clue], ...] = ()

    @classmethod
    def of(cls, prompt: str | Mapping[str, Any]) -> Ask:
        """From a text or an object of a session file."""
        if isinstance(prompt, str):
            return cls(prompt)
        clues = {k: _fixed(v) for k, v in prompt.items() if k != "text"}
        return cls(prompt.get("text") or "", tuple(sorted(clues.items())))

    def saved(self) -> str | dict[str, Any]:
        """The inverse of `of`."""
        if not self.clues:
            return self.text
        clues = {k: list(v) if isinstance(v, tuple) else v for k, v in self.clues}
        return {"text": self.text, **clues} if self.text else clues

    def prompt(self) -> Prompt:
        """For `Separator`."""
        saved = self.saved()
        return Prompt(self.text) if isinstance(saved, str) else Prompt(**saved)

    @property
    def hint(self) -> str:
        """What narrows it down, in words."""
        hints = {option.key: option.hint for _, option in registry().options()}
        return ", ".join((hints.get(key) or key).format(_shown(value)) for key, value in self.clues)


def _fixed(value: Any) -> Any:
    """A clue of a document as one that cannot change."""
    return tuple(map(_fixed, value)) if isinstance(value, (list, tuple)) else value


def _shown(value: Clue) -> str:
    """In words; a span may be a text or a pair of numbers."""
    if not isinstance(value, tuple):
        return str(value)
    return ", ".join("-".join(f"{s:g}" for s in one) if isinstance(one, tuple) else str(one) for one in value)


@dataclass(frozen=True)
class Project:
    """All that can be undone."""

    media: Media | None = None
    asks: tuple[Ask, ...] = ()
    model: str = "nano"
    strength: float = 1.0
    options: tuple[tuple[str, Any], ...] = ()  # of the model, as far as they are not its defaults
    faders: Mapping[str, Fader] = field(default_factory=dict)
    rack: str = ""  # the preset that it was prepared by
    effects: bool = True  # whether exports get those of the preset

    @property
    def names(self) -> list[str]:
        """Names of the stems, in the order of the asks."""
        return distinct([request.name for request in resolve([a.prompt() for a in self.asks])], [RESIDUAL])

    @property
    def title(self) -> str:
        """What it asks for and how, in a few words."""
        how = [] if self.strength == 1 else [f"strength {self.strength:g}"]
        how += [f"{name.replace('_', ' ')} {value}" for name, value in self.options]
        return " · ".join([", ".join(self.names), *how])

    @property
    def files(self) -> list[str]:
        """Names of the stems' files without extension, as `render` makes them; the residual last."""
        requests = resolve([ask.prompt() for ask in self.asks])
        return [*distinct([slug(request.name) for request in requests], [RESIDUAL]), RESIDUAL]

    @property
    def key(self) -> str | None:
        """Says which stems belong to this; None if nothing is asked for."""
        if self.media is None or not self.asks:
            return None
        asks = [ask.saved() for ask in self.asks]
        asked = [self.media.sha256, self.model, self.strength, self.options, asks]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def fader(self, name: str) -> Fader:
        return self.faders.get(name, Fader())


# ---- actions: a project in, the next one out -----------------------------------------------------------


def load(project: Project, media: Media) -> Project:
    """Starts on a recording; the model and how it separates are kept."""
    return Project(media, model=project.model, strength=project.strength, options=project.options)


def restore(media: Media, saved: SavedSession, offered: Sequence[str], racks: Container[str]) -> Project:
    """Takes the steps that a saved session names, so that it holds nothing that could not be done by hand.

    Args:
        offered: models; another one than these gives way to the first.
        racks: that presets are made of; another one is left out.

    Raises:
        UserError: a step cannot be taken.
    """
    model = saved.model if saved.model in offered else offered[0]
    opened = set_strength(Project(media, model=model), saved.strength)
    if model == saved.model:
        opened = replace(opened, options=tuple(sorted(saved.options.items())))
    for prompt in saved.prompts:
        opened = ask_for(opened, Ask.of(prompt))
    opened = set_faders(opened, {name: vars(fader) for name, fader in saved.faders.items()})
    return replace(opened, rack=saved.rack) if saved.rack in racks else opened


def ask_for(project: Project, ask: Ask) -> Project:
    """Adds a prompt.

    Raises:
        UserError: it is empty, cannot be understood, is there already, or is one too many.
    """
    if ask.text.strip() or not ask.clues:
        ask = replace(ask, text=check_prompts([ask.text])[0])
    if ask in project.asks:
        raise UserError(f"{ask.text or ask.hint} is a track already: ask for something else")
    if len(project.asks) == MOST_PROMPTS:
        raise UserError(f"there are {MOST_PROMPTS} tracks already: remove one first")
    resolve([ask.prompt()])
    return replace(project, asks=(*project.asks, ask))


def drop(project: Project, index: int) -> Project:
    """Removes a prompt; its fader is forgotten."""
    gone = project.names[index]
    asks = project.asks[:index] + project.asks[index + 1 :]
    return replace(project, asks=asks, faders={k: v for k, v in project.faders.items() if k != gone})


def instead(project: Project, words: str, text: str) -> Project:
    """Asks for something else in place of a prompt's words; its clues are kept, its fader is forgotten.

    Raises:
        UserError: as `ask_for`.
    """
    index = next(n for n, ask in enumerate(project.asks) if ask.text == words)
    gone, after = project.asks[index], project.asks[index + 1 :]
    fewer = drop(replace(project, asks=project.asks[: index + 1]), index)
    asked = ask_for(fewer, replace(gone, text=text))
    return replace(asked, asks=(*asked.asks, *after))


def set_strength(project: Project, strength: float) -> Project:
    """Raises UserError beyond 0..2."""
    if not 0 <= strength <= 2:
        raise UserError(f"a strength of {strength:g} is out of range: use 0 to 2")
    return replace(project, strength=round(float(strength), 2))


def set_model(project: Project, model: str, offered: Sequence[str]) -> Project:
    """Another model out of those that the editor offers.

    Raises:
        UserError: it is none of them. The sentence is the same for every other name, whatever lies on the disk.
    """
    if model not in offered:
        raise UserError(f"this editor does not offer that model: choose {' or '.join(offered)}")
    return project if model == project.model else replace(project, model=model, options=())


def set_option(project: Project, one: OptionField, value: Any) -> Project:
    """An option of the model; what is its default is not kept.

    Raises:
        UserError: it cannot have this value.
    """
    others = {name: said for name, said in project.options if name != one.name}
    value = one.parsed(value)
    if value != one.default:
        others[one.name] = value
    return replace(project, options=tuple(sorted(others.items())))


def set_faders(project: Project, faders: Mapping[str, Mapping[str, Any]]) -> Project:
    """What the mixer reports, by the name of the track; unknown tracks are left out and values kept in range."""
    known = [*project.names, RESIDUAL] if project.asks else []
    heard = {}
    for name in known:
        if name in faders:
            values = faders[name]
            gain = _within(values.get("gain_db", 0), *GAIN_DB)
            pan = _within(values.get("pan", 0), -1.0, 1.0)
            mute, solo = bool(values.get("mute")), bool(values.get("solo"))
            heard[name] = Fader(round(gain, 1), round(pan, 2), mute, solo)
    changed = {**project.faders, **heard}
    return replace(project, faders={k: v for k, v in changed.items() if v != Fader()})


def set_effects(project: Project, on: bool) -> Project:
    """Whether exports of the mix get the effects of the preset."""
    return replace(project, effects=on)


def _within(value: Any, low: float, high: float) -> float:
    """Numbers in range; what is no number is in the middle of what faders do: 0."""
    number = float(value)
    return 0.0 if math.isnan(number) else min(max(number, low), high)


# ---- history -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class History:
    """Where we are, what was before, and what was undone."""

    now: Project = field(default_factory=Project)
    past: tuple[Project, ...] = ()
    future: tuple[Project, ...] = ()

    def do(self, project: Project) -> History:
        """The next state; what had been undone is gone. Nothing is added where nothing changes."""
        if project == self.now:
            return self
        return History(project, (*self.past, self.now)[-MOST_STEPS:], ())

    def undo(self) -> History:
        if not self.past:
            return self
        return History(self.past[-1], self.past[:-1], (self.now, *self.future))

    def redo(self) -> History:
        if not self.future:
            return self
        return History(self.future[0], (*self.past, self.now), self.future[1:])


MOST_STEPS = 200
