"""What several commands do alike: outputs that appear whole, progress, and files that fail one by one."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import typer

from sam_audio.cli.wording import as_flags
from sam_audio.errors import UserError

T = TypeVar("T")


def prompts_option(help: str, default_text: str | None = None) -> Any:
    """--prompt; ``default_text`` says what it is without."""
    return typer.Option("--prompt", "-p", metavar="TEXT", help=help, show_default=default_text or False)


def show(text: str) -> None:
    """Prints to stdout; of names that are no text, what can be printed."""
    print(re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text))


def show_json(summary: dict[str, Any]) -> None:
    """Prints to stdout; what its encoding may not have, and names that are no text, as JSON's own escapes."""
    utf8 = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    print(json_text(summary) if utf8 else json.dumps(summary, indent=2))


def json_text(summary: dict[str, Any]) -> str:
    """JSON that can be written as UTF-8: names that are no text stand in it as escapes, and are read as they were."""
    text = json.dumps(summary, indent=2, ensure_ascii=False)
    return text.encode(errors="backslashreplace").decode()


def complain(message: str, kind: str = "error") -> None:
    """Prints one line to stderr."""
    print(f"{kind}: {as_flags(message)}", file=sys.stderr)


def each_file(
    paths: Sequence[str], work: Callable[[str], T], description: str
) -> tuple[list[tuple[str, T]], list[dict[str, str]]]:
    """Does ``work`` for every file; one that fails is complained about and does not stop the others.

    Returns:
        (path, result) of those that went well, and {"path", "message"} of the others.
    """
    done: list[tuple[str, T]] = []
    errors = []
    with progress(description) as advance:
        for number, path in enumerate(paths):
            advance(number, len(paths), path)
            try:
                done.append((path, work(path)))
            except UserError as error:
                errors.append({"path": path, "message": str(error)})
                complain(str(error))
    return done, errors


@contextmanager
def progress(description: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr, for a callback (done, total, name); nothing when that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total, name: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None)

        def advance(done: int, total: int, name: str) -> None:
            what = f"{description} {escape(Path(name).name[-40:])}"
            bar.update(task, completed=done, total=total, description=what)

        yield advance


@contextmanager
def outputs(
    paths: Sequence[str], overwrite: bool, inputs: Sequence[str | Path] = ()
) -> Iterator[list[BinaryIO]]:
    """Opens files that appear together when the block ends, or not at all if it raises.

    Args:
        paths: of the files.
        overwrite: allow existing files to be replaced, except for ``inputs``.
        inputs: what is read meanwhile.

    Raises:
        AudioWriteError: a file exists already, or cannot be written, or is named twice.
    """
    from sam_audio.errors import AudioWriteError
    from sam_audio.io.target import FileTarget, publish_together, writing

    for path in paths:
        if sum(os.path.realpath(path) == os.path.realpath(other) for other in paths) > 1:
            raise AudioWriteError(f"{path} is to take two outputs: give each a file of its own")
    targets: list[FileTarget] = []
    with ExitStack() as undo:
        for path in paths:
            target = FileTarget(Path(path), overwrite, inputs)
            undo.callback(target.discard)
            targets.append(target)
        yield [target.file for target in targets]
        for target in targets:
            with writing(target.name):
                target.sync()
        undo.pop_all()
        publish_together(targets)


def was_given(context: typer.Context, name: str) -> bool:
    """Whether an option was written on the command line, or said by an environment variable, and not only in a file of
    settings; ``name`` is that of the parameter."""
    source = getattr(context.get_parameter_source(name), "name", "DEFAULT")
    return source not in ("DEFAULT", "DEFAULT_MAP")


def clock(seconds: float) -> str:
    """A time for people.

    >>> clock(3.25), clock(75.5), clock(3700)
    ('3.2', '1:15.5', '1:01:40.0')
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest / 10:04.1f}"
    return f"{minutes}:{rest / 10:04.1f}" if minutes else f"{rest / 10:.1f}"
