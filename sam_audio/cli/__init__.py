"""The command line. ``separate`` is ``sam-audio separate``; each command has a module of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import typer

from sam_audio.cli import (
    classify,
    editor,
    embed,
    evaluate,
    locate,
    models,
    plugins,
    search,
    separate,
    train,
)
from sam_audio.cli.prompt_options import PromptCommand
from sam_audio.errors import UserError

app = typer.Typer(
    name="sam-audio",
    help="Pull any sound out of a recording by asking for it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("separate", cls=PromptCommand)(separate.separate)
app.command("locate")(locate.locate)
app.command("search")(search.search)
app.command("classify")(classify.classify)
app.command("embed")(embed.embed)
app.command("app")(editor.editor)  # a module called app would hide the name above
app.add_typer(models.app, name="models")
app.add_typer(train.app, name="train")
app.add_typer(evaluate.app, name="eval")
app.add_typer(plugins.app, name="plugins")
OPTIONAL = ("judge", "rack", "session", "live")  # modules that may be left out of an installation
for _name in OPTIONAL:
    if find_spec(f"sam_audio.cli.{_name}") is not None:
        _module = import_module(f"sam_audio.cli.{_name}")
        if hasattr(_module, "app"):
            app.add_typer(_module.app, name=_name)
        else:
            app.command(_name)(getattr(_module, _name))

separate_app = typer.Typer(name="separate", add_completion=False, pretty_exceptions_enable=False)
separate_app.command(cls=PromptCommand)(separate.separate)

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def main() -> None:
    """Entry point of ``sam-audio``."""
    _run(app)


def separate_main() -> None:
    """Entry point of ``separate``."""
    _run(separate_app)


def _run(command: Callable[[], object]) -> None:
    """Turns what the user can fix into one sentence and exit code 2."""
    try:
        command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        print("stopped: nothing half-written was left", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away, as head does
        sys.stderr.close()
        sys.exit(EXIT_USER_ERROR)
