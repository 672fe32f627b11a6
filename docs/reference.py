"""Writes docs/cli.md and the manual page docs/man/sam-audio.1 from the commands themselves: python docs/reference.py

View the page with man -l docs/man/sam-audio.1; a test compares both with the commands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent


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


def table() -> str:
    """All commands and options, as Markdown."""
    from typer.main import get_command

    from sam_audio.cli import app

    lines = [
        "# Commands",
        "",
        "Written by `python docs/reference.py` out of the commands. `separate` is `sam-audio separate`. Plugins that",
        "are installed add options; those of the repository are among these.",
    ]
    for name, command, arguments, options in _walk(get_command(app), "sam-audio"):
        lines += [
            "",
            f"## {name}",
            "",
            f"`{name} {arguments}`".replace(" `", "`"),
            "",
            _one_line(command.help),
        ]
        if options:
            lines += ["", "| option | |", "|---|---|"]
            lines += [f"| `{_flags(one)}` | {_one_line(one.help)} |".replace("  ", " ") for one in options]
    return "\n".join(lines) + "\n"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", r"\|")


def _flags(one: Any) -> str:
    flags = ", ".join([*one.opts, *one.secondary_opts])
    return (flags if one.is_flag else f"{flags} {_metavar(one)}").replace("|", r"\|")


def _walk(group: Any, name: str) -> Iterator[tuple[str, Any, str, list[Any]]]:
    """Each command's name, itself, its arguments and its options."""
    for inner_name, inner in sorted(group.commands.items()):
        if inner.hidden:
            continue
        if hasattr(inner, "commands"):
            yield from _walk(inner, f"{name} {inner_name}")
            continue
        context = inner.make_context(inner_name, [], resilient_parsing=True)
        params = [one for one in inner.get_params(context) if "--help" not in one.opts]
        arguments = " ".join(_metavar(one) for one in params if one.param_type_name == "argument")
        options = [one for one in params if one.param_type_name == "option" and not one.hidden]
        yield f"{name} {inner_name}", inner, arguments, options


def _commands(group: Any, name: str) -> Iterator[str]:
    for command_name, command, arguments, options in _walk(group, name):
        yield f".SS {_roff(f'{command_name} {arguments}'.strip())}"
        yield from (f".PP\n{_roff(' '.join(part.split()))}" for part in (command.help or "").split("\n\n"))
        for one in options:
            flags = ", ".join([*one.opts, *one.secondary_opts])
            metavar = "" if one.is_flag else f" {_metavar(one)}"
            yield f".TP\n\\fB{_roff(flags)}\\fR{_roff(metavar)}\n{_roff(' '.join((one.help or '').split()))}"


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _roff(text: str) -> str:
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def pages() -> dict[Path, str]:
    """What each file should hold."""
    return {DOCS / "man" / "sam-audio.1": page(), DOCS / "cli.md": table()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
