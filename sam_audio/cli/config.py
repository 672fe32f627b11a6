"""Settings that hold for every call: `sam-audio.toml` where a command is run, a file of the user's own, and environment
variables. What is written on the command line comes first, then the environment, the folder's file, the user's.

    [separate]
    format = "flac"
    judge = false
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from sam_audio.documents import nearest, parse_toml, read_text, shown
from sam_audio.errors import UserError

PROJECT, USER = "sam-audio.toml", "config.toml"
PREFIX = "SAM_AUDIO"
# A folder may come from somebody else: its file changes how these work, and names no path.
OF_PROJECTS = ("separate", "locate", "judge", "search", "classify")
_PATHS = re.compile(r"FILE|DIR|FOLDER|PATH|URI|TEMPLATE|OUT")


def user_file() -> Path:
    """The user's own, in the folder that the system has for settings; not created here."""
    return Path(typer.get_app_dir("sam-audio")) / USER


def any_set() -> bool:
    """Whether there may be something: a file, or a variable with the names of a command and of an option. All commands
    are looked at only then."""
    files = user_file().is_file() or Path(PROJECT).is_file()
    return files or any(
        variable.startswith(PREFIX + "_") and variable.count("_") > PREFIX.count("_") + 1
        for variable in os.environ
    )


def context_settings(group: Any) -> dict[str, Any]:
    """What the click command of ``sam-audio`` is to be called with; empty if nothing is set.

    Raises:
        UserError: a file cannot be read, or says what no option is called.
    """
    settings: dict[str, Any] = {}
    commands = tuple(f"{PREFIX}_{name.upper()}_" for name in group.commands)
    if any(variable.startswith(commands) for variable in os.environ):
        settings["auto_envvar_prefix"] = PREFIX
    for file, allowed in ((user_file(), None), (Path(PROJECT), OF_PROJECTS)):
        if file.is_file():
            told = parse_toml(read_text(file, "settings of sam-audio"), str(file))
            _merge(settings.setdefault("default_map", {}), _default_map(group, told, file, allowed))
    return settings


def of_command(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """The same for one command that runs by itself."""
    alone: dict[str, Any] = {}
    if "auto_envvar_prefix" in settings:
        alone["auto_envvar_prefix"] = f"{settings['auto_envvar_prefix']}_{name.upper()}"
    if name in settings.get("default_map", {}):
        alone["default_map"] = settings["default_map"][name]
    return alone


def _default_map(
    group: Any, told: Mapping[str, Any], file: Path, allowed: tuple[str, ...] | None
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, values in told.items():
        if name not in group.commands or not isinstance(values, Mapping):
            known = sorted(group.commands)
            raise UserError(f"{file} has {shown(name)}, which is no command: {nearest(name, known)}")
        if allowed is not None and name not in allowed:
            raise UserError(f"{file} cannot change {name}: write that into {user_file()}")
        command = group.commands[name]
        if hasattr(command, "commands"):
            found[name] = _default_map(command, values, file, None)
        else:
            found[name] = dict(_parameters(name, command, values, file, allowed is not None))
    return found


def _parameters(
    name: str, command: Any, values: Mapping[str, Any], file: Path, strange: bool
) -> Iterator[tuple[str, Any]]:
    """The values by the names of the command's parameters."""
    from sam_audio.session import is_model_name

    context = command.make_context(name, [], resilient_parsing=True)
    known = {
        flag.lstrip("-").replace("-", "_"): param
        for param in command.get_params(context)
        for flag in param.opts
        if flag.startswith("--") and flag not in ("--help", "--help-all")
    }
    for key, value in values.items():
        param = known.get(key.replace("-", "_"))
        if param is None:
            raise UserError(f"{file} has {shown(key)}, which {name} has no option for: {nearest(key, known)}")
        is_path = _PATHS.search(param.metavar or "") is not None
        if strange and is_path and not (key == "model" and isinstance(value, str) and is_model_name(value)):
            raise UserError(
                f"{file} names a path as {key} of {name}: give it on the command line, or in {user_file()}"
            )
        yield param.name, value


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value
