"""Writes docs/man/sam-audio.1 from the commands themselves: python docs/man/make.py; view it with man -l."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("sam-audio.1")


def page() -> str:
    """The manual page, as roff."""
    from typer.main import get_command

    from sam_audio.cli import app

    command = get_command(app)
    lines = [
        '.TH SAM-AUDIO 1 "" "sam-audio" "User Commands"',
        ".SH NAME",
        r"sam\-audio, separate \- pull any sound out of a recording by asking for it",
        ".SH SYNOPSIS",
        r".B sam\-audio",
        r".I COMMAND",
        "[options]",
        ".PP",
        r"\fBseparate\fR is \fBsam\-audio separate\fR.",
        ".SH COMMANDS",
        *_commands(command, "sam-audio"),
        ".SH EXIT STATUS",
        "0 if all is done; 2 with one sentence on standard error for what the user can mend; 3 if a sound is absent",
        "and",
        r"\fB\-\-fail\-if\-absent\fR was given; 1 for a bug; 128 and the number of a signal that ended it.",
        ".SH FILES",
        r"\fI$SAM_AUDIO_CACHE\fR, else \fI~/.cache/sam\-audio\fR: what can be had again.",
    ]
    return "\n".join(lines) + "\n"


def _commands(group: Any, name: str) -> Iterator[str]:
    for inner_name, inner in sorted(group.commands.items()):
        if inner.hidden:
            continue
        if hasattr(inner, "commands"):
            yield from _commands(inner, f"{name} {inner_name}")
            continue
        context = inner.make_context(inner_name, [], resilient_parsing=True)
        params = [one for one in inner.get_params(context) if "--help" not in one.opts]
        arguments = " ".join(_metavar(one) for one in params if one.param_type_name == "argument")
        yield f".SS {_roff(f'{name} {inner_name} {arguments}'.strip())}"
        yield from (f".PP\n{_roff(' '.join(part.split()))}" for part in (inner.help or "").split("\n\n"))
        for one in params:
            if one.param_type_name == "option" and not one.hidden:
                flags = ", ".join([*one.opts, *one.secondary_opts])
                metavar = "" if one.is_flag else f" {_metavar(one)}"
                yield f".TP\n\\fB{_roff(flags)}\\fR{_roff(metavar)}\n{_roff(' '.join((one.help or '').split()))}"


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _roff(text: str) -> str:
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
