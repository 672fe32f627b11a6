"""pedalboard, and what can be set of its effects and plugins."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from sam_audio.errors import MissingExtraError


def load_pedalboard() -> Any:
    """The module pedalboard.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pedalboard
    except ImportError:
        raise MissingExtraError(
            "effects and plugins need pedalboard, which is not installed", "daw"
        ) from None
    return pedalboard


@dataclass(frozen=True)
class Parameter:
    """One knob: ``value`` in ``unit``; ``minimum`` and ``maximum`` where the plugin tells them."""

    name: str
    value: Any
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None


_UNITS = {"db": "dB", "hz": "Hz", "ms": "ms", "seconds": "s", "semitones": "semitones"}


def parameters(effect: Any) -> list[Parameter]:
    """What can be set, by name and with units."""
    if hasattr(effect, "parameters"):
        return [_plugin_parameter(effect, name, value) for name, value in effect.parameters.items()]
    names = [n for n, kind in inspect.getmembers(type(effect), lambda v: isinstance(v, property))]
    names = [n for n in names if not n.startswith("_") and n not in ("is_effect", "is_instrument", "plugins")]
    return [Parameter(n, getattr(effect, n), _UNITS.get(n.rsplit("_", 1)[-1], "")) for n in names]


def _plugin_parameter(effect: Any, name: str, knob: Any) -> Parameter:
    limits = [x if isinstance(x, (int, float)) else None for x in knob.range[:2]]
    low, high = limits if len(limits) == 2 else (None, None)
    # pedalboard gives values that carry their knob along: plain ones are wanted
    return Parameter(name, knob.type(getattr(effect, name)), knob.label or "", low, high)
