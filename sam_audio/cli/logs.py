"""``--log-level``: what the library says of its work."""

from __future__ import annotations

import logging
from enum import Enum
from typing import Annotated, Any, Optional

import typer


class Level(str, Enum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


def _use(level: Level | None) -> Level | None:
    if level is not None:
        # messages of one command go to where it is run, whatever was set up before
        logging.basicConfig(level=level.value.upper(), format="%(asctime)s %(name)s: %(message)s", force=True)
    return level


def option(**more: Any) -> Any:
    """The option; ``more`` are typer's words on it."""
    told = "How much to say of what is done, on standard error."
    return typer.Option("--log-level", help=told, show_default=False, callback=_use, is_eager=True, **more)


LogLevel = Annotated[Optional[Level], option()]
