"""``sam-audio completion SHELL``: options at the press of Tab."""

from __future__ import annotations

import os
from enum import Enum
from typing import Annotated

import typer

PROGRAMS = ("sam-audio", "separate")


class Shell(str, Enum):
    bash = "bash"
    zsh = "zsh"
    fish = "fish"
    powershell = "powershell"


def completion(
    shell: Annotated[
        Shell, typer.Argument(metavar="SHELL", help="bash, zsh, fish or powershell.", show_default=False)
    ],
) -> None:
    """Print what makes a shell complete the options of sam-audio and separate.

    For bash, in ~/.bashrc: eval "$(sam-audio completion bash)"
    """
    from typer.completion import get_completion_script

    for program in PROGRAMS:
        print(get_completion_script(prog_name=program, complete_var=_variable(program), shell=shell.value))


def ready() -> None:
    """Teaches the commands to answer, if it is a shell that has called them."""
    if any(_variable(program) in os.environ for program in PROGRAMS):
        from typer.completion import completion_init

        completion_init()


def _variable(program: str) -> str:
    """By which the script calls a program, as typer names it."""
    return f"_{program.replace('-', '_').upper()}_COMPLETE"
