"""The command line. ``separate`` is ``sam-audio separate``; each command has a module of its own."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import typer

from sam_audio.cli import (
    classify,
    completion,
    config,
    data,
    editor,
    embed,
    evaluate,
    export,
    locate,
    logs,
    models,
    plugins,
    search,
    separate,
    train,
    wording,
)
from sam_audio.cli.options import SeparateCommand
from sam_audio.errors import UserError, needing_extras
from sam_audio.version import __version__


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"sam-audio {__version__} (separate-by-prompt)")
        raise typer.Exit


app = typer.Typer(
    name="sam-audio",
    help="Pull any sound out of a recording by asking for it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("separate", cls=SeparateCommand)(separate.separate)
app.command("locate")(locate.locate)
app.command("search")(search.search)
app.command("classify")(classify.classify)
app.command("embed")(embed.embed)
app.command("app")(editor.editor)  # a module called app would hide the name above
app.add_typer(models.app, name="models")
app.add_typer(train.app, name="train")
app.add_typer(data.app, name="data")
app.add_typer(evaluate.app, name="eval")
app.add_typer(plugins.app, name="plugins")
app.add_typer(export.app, name="export")
app.command("completion")(completion.completion)
OPTIONAL = (
    "judge",
    "rack",
    "session",
    "live",
    "batch",
    "catalogue",
    "serve",
    "web",
)  # modules that may be left out of an installation
for _name in OPTIONAL:
    if find_spec(f"sam_audio.cli.{_name}") is not None:
        _module = import_module(f"sam_audio.cli.{_name}")
        if hasattr(_module, "app"):
            app.add_typer(_module.app, name=_name)
        else:
            app.command(_name)(getattr(_module, _name))


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version),
    ] = False,
    log_level: logs.LogLevel = None,
) -> None:
    pass


separate_app = typer.Typer(name="separate", add_completion=False, pretty_exceptions_enable=False)
separate_app.command(cls=SeparateCommand)(separate.separate)

EXIT_USER_ERROR = 2
EXIT_SIGNAL = 128  # and the number of the signal, as shells have it
EXIT_INTERRUPTED = EXIT_SIGNAL + signal.SIGINT
# those that end a process without a word to it; Windows has no SIGHUP
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def main() -> None:
    """Entry point of ``sam-audio``."""
    _run(lambda: app(**settings()))


def separate_main() -> None:
    """Entry point of ``separate``."""
    _run(lambda: separate_app(**config.of_command(settings(), "separate")))


def settings() -> dict[str, Any]:
    """What files and environment variables say, see `sam_audio.cli.config`."""
    if not config.any_set():
        return {}
    return config.context_settings(typer.main.get_command(app))


def _run(command: Callable[[], object]) -> None:
    """Turns what the user can fix into one sentence and exit code 2, and ends tidily when told to stop."""
    # numpy's products are too small for several threads, which would only spin and take the processors from the
    # networks: with two workers on two processors each took 180 ms for what takes 73 alone. numpy is not there yet.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may have letters that the terminal has not
            stream.reconfigure(errors="backslashreplace")
    completion.ready()
    try:
        with _unwound_by_signals(), needing_extras("this command"):
            command()
    except UserError as error:
        print(f"error: {wording.as_flags(str(error))}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        _say_stopped()
        sys.exit(EXIT_INTERRUPTED)
    except SystemExit as end:  # typer makes one of Ctrl-C
        if end.code in (EXIT_INTERRUPTED, *(EXIT_SIGNAL + number for number in _ENDING)):
            _say_stopped()
        raise
    except BrokenPipeError:  # the reader of our output went away, as head does
        sys.stderr.close()
        sys.exit(EXIT_USER_ERROR)


@contextmanager
def _unwound_by_signals() -> Iterator[None]:
    """Lets signals that would end the process raise SystemExit instead, so that every file is cleaned up.

    Those that are ignored, as under nohup, or handled already stay as they are. Commands may have handlers of their
    own meanwhile, as training and the editor do.
    """
    before: dict[int, Any] = {}

    def stop(number: int, _frame: object) -> None:
        for caught in before:  # a second one would break off the cleaning up
            signal.signal(caught, signal.SIG_IGN)
        raise SystemExit(EXIT_SIGNAL + number)

    if threading.current_thread() is threading.main_thread():  # no other may have handlers
        for number in _ENDING:
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say_stopped() -> None:
    with suppress(OSError):  # the terminal may be gone
        print("stopped: nothing half-written was left", file=sys.stderr)
