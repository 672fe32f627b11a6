"""Chains of pedalboard effects and VST3/AU plugins: built from plain values, run in blocks."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from sam_audio.documents import Document, converted, shown, structured
from sam_audio.errors import UserError
from sam_audio.host.automation import Automation
from sam_audio.host.effects import load_pedalboard, parameters
from sam_audio.host.scan import examine
from sam_audio.io.buffer import SampleQueue
from sam_audio.types import Samples

CONTROL_SAMPLES = 256  # how often an automated parameter of an effect is set
# pedalboard tells channels from samples by which are fewer: shorter blocks wait
SHORTEST_BLOCK = 64
# effects forget what they hold when a block is longer than any before
LONGEST_BLOCK = 8192
_PROBE_S = 2.0
_NOT_EFFECTS = (
    "AudioUnitPlugin",
    "Chain",
    "ExternalPlugin",
    "Mix",
    "Pedalboard",
    "Plugin",
    "PluginContainer",
    "VST3Plugin",
)


Knob = str | int | float | bool


class _Plugin(Document):
    """The entry of a plugin in a chain."""

    plugin: str
    name: str | None = None
    preset: str | None = None
    parameters: dict[str, Knob] = {}


def effect_names() -> list[str]:
    """pedalboard's own effects."""
    pedalboard = load_pedalboard()
    plugins = [
        name
        for name, value in vars(pedalboard).items()
        if inspect.isclass(value)
        and issubclass(value, pedalboard.Plugin)
        and name not in _NOT_EFFECTS
        and not name.startswith("_")
    ]
    return sorted(plugins)


def make_effect(values: Mapping[str, Any], folder: Path = Path()) -> Any:
    """An effect from plain values, as a rack file holds them.

    ``{"effect": "Reverb", "room_size": 0.7}`` is one of pedalboard's own. ``{"plugin": "Room.vst3", "name": ...,
    "preset": "warm.vstpreset", "parameters": {"cutoff_hz": 200}}`` is a VST3 or AU plugin; all but the first may
    be left out, and paths are relative to ``folder``.

    Raises:
        UserError: an effect, file or parameter that is not there, or a value that it does not take.
    """
    if "plugin" in values:
        return _make_plugin(structured(values, _Plugin, "the entry of a plugin"), folder)
    given = converted(values, dict[str, Knob], "an effect")
    name = given.pop("effect", None)
    if name is None:
        raise UserError(
            'a chain holds an entry without effect: write { effect = "Reverb" } or { plugin = "X.vst3" }'
        )
    if name not in effect_names():
        raise UserError(f"there is no effect called {shown(name)}{_instead(str(name), effect_names())}")
    effect_class = getattr(load_pedalboard(), str(name))
    if "impulse_response_filename" in given:
        impulse = given["impulse_response_filename"]
        if not isinstance(impulse, str) or not (folder / impulse).is_file():
            raise UserError(f"{name} has no impulse response {shown(impulse)}: name a sound file")
        given["impulse_response_filename"] = str(folder / impulse)
    try:
        return effect_class(**given)
    except TypeError:
        known = _arguments(effect_class)
        unknown = next((key for key in given if key not in known), next(iter(given), None))
        if unknown is None:
            raise UserError(f"{name} needs more: give it {' and '.join(known) or 'its parameters'}") from None
        raise UserError(
            f"{name} does not take {unknown} = {shown(given[unknown])}{_instead(unknown, known)}"
        ) from None
    except (ValueError, RuntimeError, OSError, ImportError, OverflowError) as error:
        raise UserError(f"{name} cannot be set up: {_one_line(error)}") from None


def _arguments(effect_class: Any) -> list[str]:
    """What an effect can be made with, from the signature that pedalboard writes into its documentation."""
    signature = (effect_class.__init__.__doc__ or "").partition("\n")[0]
    return re.findall(r"(\w+): ", signature)[1:]  # but self


def _make_plugin(given: _Plugin, folder: Path) -> Any:
    plugin = load_plugin(folder / given.plugin, given.name)
    if given.preset is not None:
        load_preset(plugin, folder / given.preset)
    for key, value in given.parameters.items():
        set_parameter(plugin, key, value)
    return plugin


def load_plugin(path: Path, name: str | None = None) -> Any:
    """Loads a VST3 or AU plugin, after a child process has shown that it can be loaded.

    Raises:
        UserError: it is not there, is broken, or crashes.
    """
    report = examine(path)
    if report.error is not None:
        raise UserError(report.error)
    names = [plugin.name for plugin in report.plugins]
    if name is not None and name not in names:
        raise UserError(f"{path.name} holds no plugin called {name}{_instead(name, names)}")
    if name is None and len(names) > 1:
        raise UserError(f"{path.name} holds several plugins: choose one by name: {', '.join(names)}")
    try:
        return load_pedalboard().load_plugin(str(path), plugin_name=name)
    except (ImportError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} cannot be loaded: {_one_line(error)}") from None


def load_preset(plugin: Any, path: Path) -> None:
    """Gives a VST3 plugin the settings of a .vstpreset file.

    Raises:
        UserError: the file is not there, or is for another plugin.
    """
    if not path.is_file():
        raise UserError(f"there is no preset {path}: give the path of a .vstpreset file")
    if not hasattr(plugin, "load_preset"):
        raise UserError(f"{plugin_name(plugin)} takes no presets: only VST3 plugins do")
    try:
        plugin.load_preset(str(path))
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        raise UserError(f"{path.name} does not suit {plugin_name(plugin)}: {_one_line(error)}") from None


def set_parameter(effect: Any, name: str, value: Any) -> None:
    """Sets a knob in its own unit.

    Raises:
        UserError: there is no such knob, or it does not take that value.
    """
    known = [parameter.name for parameter in parameters(effect)]
    if name not in known:
        raise UserError(f"{plugin_name(effect)} has no parameter {name}{_instead(name, known)}")
    try:
        setattr(effect, name, value)
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        message = f"{plugin_name(effect)} does not take {name} = {value!r}: {_one_line(error)}"
        raise UserError(message) from None


def plugin_name(effect: Any) -> str:
    name = getattr(effect, "name", None)
    return name if isinstance(name, str) else type(effect).__name__


class ChainRunner:
    """A chain at work on one recording: what goes in comes out aligned, later.

    Args:
        effects: pedalboard plugins, in order; none passes the sound on untouched.
        curves: automations of their parameters, set every CONTROL_SAMPLES.
        sample_rate: in Hz.
        channels: C.

    Raises:
        UserError: an automation of what is not there; more channels than effects can take.
    """

    def __init__(self, effects: Sequence[Any], curves: Sequence[Automation], sample_rate: int, channels: int):
        self.effects, self.curves, self.sample_rate, self.channels = effects, curves, sample_rate, channels
        self._board = None
        if effects:
            if channels >= SHORTEST_BLOCK:
                raise UserError(
                    f"{channels} channels are too many for effects: use fewer than {SHORTEST_BLOCK}"
                )
            self._board = _prepared(effects, sample_rate, channels)
        for curve in curves:
            if curve.effect is None or curve.effect >= len(effects):
                raise UserError(
                    f"{curve.target} cannot be automated: use gain_db, pan, or N.PARAMETER with N from 0 on "
                    "counting the effects of the chain"
                )
            set_parameter(effects[curve.effect], curve.parameter, float(curve.points[0][1]))
        self._waiting = SampleQueue((channels,))
        self._position = self._given = 0

    def push(self, samples: Samples) -> Samples:
        """Shapes: (C, n) in, (C, m) out."""
        if self._board is None:
            return samples
        self._waiting.put(samples)
        out = []
        # with automation, blocks are cut on a grid that starts with the recording
        while len(self._waiting) >= (CONTROL_SAMPLES if self.curves else SHORTEST_BLOCK):
            out.append(self._run(self._waiting.take(CONTROL_SAMPLES if self.curves else len(self._waiting))))
        return self._join(out)

    def finish(self) -> Samples:
        """What the chain still holds, (C, m); silence is fed in its place."""
        if self._board is None:
            return np.zeros((self.channels, 0), np.float32)
        rest = self._waiting.take(len(self._waiting))
        total = self._position + rest.shape[-1]
        out = []
        while self._given < total:
            block = np.zeros(
                (self.channels, max(SHORTEST_BLOCK, rest.shape[-1], CONTROL_SAMPLES)), np.float32
            )
            block[:, : rest.shape[-1]] = rest
            rest = rest[:, :0]
            out.append(self._run(block))
            if self._position > total + 60 * self.sample_rate:
                raise UserError("a plugin of the chain gives less sound than it takes: leave it out")
        excess = self._given - total
        joined = self._join(out)
        return joined[:, : joined.shape[-1] - excess] if excess > 0 else joined

    def _run(self, block: Samples) -> Samples:
        assert self._board is not None
        time_s = np.array(self._position / self.sample_rate)
        for curve in self.curves:
            assert curve.effect is not None
            setattr(self.effects[curve.effect], curve.parameter, float(curve.at(time_s)))
        out = self._board.process(np.ascontiguousarray(block), self.sample_rate, LONGEST_BLOCK, reset=False)
        self._position += block.shape[-1]
        self._given += out.shape[-1]
        return out

    def _join(self, blocks: list[Samples]) -> Samples:
        return np.concatenate(blocks, axis=-1) if blocks else np.zeros((self.channels, 0), np.float32)


def _prepared(effects: Sequence[Any], sample_rate: int, channels: int) -> Any:
    """A board of the effects that has seen its longest block, and holds nothing."""
    board = load_pedalboard().Pedalboard(list(effects))
    board.process(np.zeros((channels, LONGEST_BLOCK), np.float32), sample_rate, LONGEST_BLOCK, reset=False)
    board.reset()
    return board


def chain_latency(effects: Sequence[Any], automated: bool, sample_rate: int, channels: int) -> int:
    """How many samples a chain's output can fall behind its input; found by listening to it pass silence."""
    if not effects:
        return 0
    board = _prepared(effects, sample_rate, channels)
    block = np.zeros((channels, SHORTEST_BLOCK), np.float32)
    behind = held = 0
    for _ in range(round(_PROBE_S * sample_rate) // SHORTEST_BLOCK):
        held += SHORTEST_BLOCK - board.process(block, sample_rate, reset=False).shape[-1]
        behind = max(behind, held)
    board.reset()
    # samples that wait for a block, and the block in whose middle an effect may hold more
    return behind + SHORTEST_BLOCK + (CONTROL_SAMPLES if automated else SHORTEST_BLOCK)


def _instead(given: str, known: Sequence[str]) -> str:
    if not known:
        return ""
    close = get_close_matches(str(given), known, 1, 0.6)
    if close:
        return f": did you mean {close[0]}?"
    return f": use one of {', '.join(known[:40])}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
