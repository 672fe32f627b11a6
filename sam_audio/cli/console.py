"""What people see of a run: results on stdout, progress and problems on stderr."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio.cli.shared import clock, complain
from sam_audio.cli.wording import as_flags
from sam_audio.errors import UserError

if TYPE_CHECKING:
    from sam_audio.report import RenderReport
    from sam_audio.types import Progress


class Console:
    """What the user sees: results on stdout, progress and problems on stderr."""

    def __init__(self, quiet: bool, verbose: bool, to_stdout: bool):
        self.quiet, self.verbose = quiet, verbose
        self.stream = sys.stderr if to_stdout else sys.stdout
        self._bars: tuple[Any, Any] | None = None

    @contextmanager
    def progress(self, mixture: str, number: int, count: int) -> Iterator[Progress | None]:
        """A bar for this recording and, if it is one of several, one for all of them.

        Args:
            number: how many came before it.
            count: how many there are.
        """
        if self.quiet or not sys.stderr.isatty():
            yield None
            return
        from rich import console
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        if self._bars is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
            )
            bars = Progress(*columns, console=console.Console(stderr=True), transient=True)
            self._bars = bars, bars.add_task("", total=count, completed=number, visible=count > 1)
        bars, overall = self._bars
        bars.update(overall, completed=number, description=f"{number + 1} of {count}")
        task = bars.add_task(escape(Path(mixture).name), total=None)

        def advance(done: int, total: int | None) -> None:
            bars.update(task, completed=done, total=total)
            if total:
                bars.update(overall, completed=number + done / total)

        bars.start()
        try:
            yield advance
        finally:
            bars.stop()  # what is printed in between has the terminal for itself
            bars.remove_task(task)

    def skipped(self, mixture: str) -> None:
        if not self.quiet:
            print(f"{mixture}  skipped: its files are whole", file=self.stream)

    def planned(self, mixture: str, paths: Sequence[str], seconds: float | None) -> None:
        """Names what would be written."""
        if not self.quiet:
            print(
                f"{mixture}  {'of unknown length' if seconds is None else _time(seconds)}", file=self.stream
            )
            for path in paths:
                print(f"  {path}", file=self.stream)

    def estimate(self, sound_s: float | None, seconds: float | None) -> None:
        """Says how much sound there is, and how long it would take."""
        if not self.quiet and seconds is not None:
            print(
                f"nothing is written; {_time(sound_s or 0)} of sound would take about {_time(seconds)}",
                file=self.stream,
            )

    def done(self, report: RenderReport) -> None:
        if self.quiet:
            return
        self.warn(report.warnings)
        for stem in [*report.stems, *([report.residual] if report.residual else [])]:
            line = f"{stem.path}  {stem.level_db:+.1f} dB" if stem.path != "-" else ""
            if line and self.verbose:
                line += f"  peak {stem.peak:.3f}"
            if line:
                print(line, file=self.stream)
        if report.judge is not None:
            from judge.report import print_table

            print_table(((stem.name, stem.scores) for stem in report.asked), self.stream)
        if self.verbose:
            speed = report.seconds / max(report.elapsed_s, 1e-9)
            print(
                f"{report.seconds:.1f} s of sound in {report.elapsed_s:.1f} s ({speed:.0f}x real time)",
                file=self.stream,
            )

    def warn(self, warnings: Sequence[str]) -> None:
        """Says what is not as it should be."""
        if not self.quiet:
            for warning in warnings:
                print(f"warning: {as_flags(warning)}", file=sys.stderr)

    def made(self, paths: Sequence[str]) -> None:
        """Names files that were made of stems."""
        if not self.quiet:
            for path in paths:
                print(path, file=self.stream)

    def error(self, error: Exception, mixture: str) -> str:
        """Complains, and returns what was said; of what nobody expected, --verbose shows where it happened."""
        message = as_flags(str(error))
        if not isinstance(error, UserError):
            if self.verbose:
                traceback.print_exception(error, file=sys.stderr)
            what = " ".join(f"{type(error).__name__}: {error}".split())
            more = "" if self.verbose else " with what --verbose shows"
            message = f"{mixture} failed by a bug in sam-audio or a plugin ({what}): please report it{more}"
        complain(message)
        return message


def _time(seconds: float) -> str:
    """With its unit, where it has no colon."""
    return clock(seconds) + (" s" if seconds < 60 else "")
