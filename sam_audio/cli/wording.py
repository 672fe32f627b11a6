"""Messages of the package speak Python (``device='cpu'``); the command line speaks its flags (``--device cpu``)."""

from __future__ import annotations

import re

_VALUE = re.compile(r"\b([a-z_]+)=('[^']*'|True|False|None|\d[\w.]*)")
_OF_COMMANDS = {"device": "--device", "model": "--model", "ranker": "--ranker", "threads": "--threads"}


def as_flags(message: str) -> str:
    """The message with options as the command line writes them.

    >>> as_flags("choose another name, or let it be replaced (overwrite=True)")
    'choose another name, or let it be replaced (--overwrite)'
    >>> as_flags("use depth='float32', or clip_mode='rescale'; leave tags=False and x=3 alone")
    'use --float32, or --clip-mode rescale; leave --no-tags and x=3 alone'
    """
    return _VALUE.sub(_flag, message)


def _flag(found: re.Match[str]) -> str:
    from sam_audio.options import RenderOptions, options_of

    name, value = found[1], found[2].strip("'")
    option = {one.name: one for one in options_of(RenderOptions)}.get(name)
    if option is None:
        flag = _OF_COMMANDS.get(name)
        return found[0] if flag is None else f"{flag} {value}"
    if option.declared.switches and value in option.declared.switches:
        return f"--{value}"
    if value == "True":
        return option.flag
    if value == "False" and option.declared.off:
        return "--" + option.declared.off.replace("_", "-")
    return f"{option.flag} {value.lower()}" if value == "None" else f"{option.flag} {value}"
