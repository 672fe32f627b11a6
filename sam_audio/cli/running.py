"""Doing what was planned, one after another; what fails does not keep the others from being done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sam_audio.cli.planned import Failure, check_plan
from sam_audio.errors import UserError
from sam_audio.made import OutputSet, output_set

if TYPE_CHECKING:
    from judge.rank import Ranker
    from sam_audio.api import Separator
    from sam_audio.cli.console import Console
    from sam_audio.extending.hookspecs import Exporter, PostProcessor
    from sam_audio.plan import Plan


def separate_all(
    work: Sequence[Plan | Failure],
    load: Callable[[], tuple[Separator, Ranker | None]],
    how: dict[str, Any],
    console: Console,
    exporters: Sequence[Exporter] = (),
    post: Sequence[PostProcessor] = (),
) -> tuple[dict[str, Any], bool]:
    """Does every plan.

    Args:
        load: what separates and what chooses among candidates, called when first needed.
        how: what decides, beside the jobs, what comes out.

    Returns:
        The summary, and whether something failed in a way that it must not.
    """
    files: list[dict[str, Any]] = []
    loaded: tuple[Separator, Ranker | None] | None = None

    def render(number: int, one: Plan, made: OutputSet) -> None:
        nonlocal loaded
        if loaded is None:
            try:
                loaded = load()
            except Exception as error:
                raise NothingCanBeDone from error
        separator, ranker = loaded
        with console.progress(one.job.mixture, number, len(work)) as progress:
            done = separator.render_plan(one, made, post=post, ranker=ranker, progress=progress)
        files.append(done.as_dict())
        console.done(done)
        n_warnings = len(done.warnings)
        for exporter in exporters:
            exported = [str(path) for path in exporter.export(done, one.options.replaces)]
            files[-1].setdefault("exports", {})[exporter.name] = exported
            console.made(exported)
        if exporters:
            made.remember_exports(files[-1]["exports"])
        files[-1]["warnings"] = list(done.warnings)
        console.warn(done.warnings[n_warnings:])

    rest, bug = each_plan(work, how, console, exporters, render)
    return {"files": files, **rest}, bug


class NothingCanBeDone(Exception):
    """Without a model; why is its cause."""


def each_plan(
    work: Sequence[Plan | Failure],
    how: dict[str, Any],
    console: Console,
    exporters: Sequence[Exporter],
    do: Callable[[int, Plan, OutputSet], None],
) -> tuple[dict[str, Any], bool]:
    """Calls ``do`` with every plan that is to be done, its number, and what is remembered of its outputs.

    Returns:
        ``skipped`` and ``errors`` of a summary, and whether something failed in a way that it must not.
    """
    skipped: list[dict[str, Any]] = []
    errors: list[dict[str, str]] = []
    bug = False
    names = [exporter.name for exporter in exporters]
    for number, one in enumerate(work):
        mixture = one.mixture if isinstance(one, Failure) else one.job.mixture
        try:
            if isinstance(one, Failure):
                raise one.error
            made = output_set(one, how)
            if one.options.skip_existing and made.is_whole(names):
                skipped.append({"mixture": mixture, "paths": [str(path) for path in made.paths]})
                console.skipped(mixture)
                continue
            check_plan(one, exporters)
            do(number, one, made)
        except NothingCanBeDone as stop:
            assert stop.__cause__ is not None
            raise stop.__cause__ from None
        except BrokenPipeError:
            raise  # without a reader nothing is wanted
        except Exception as error:
            bug = bug or not isinstance(error, UserError)
            errors.append({"mixture": mixture, "message": console.error(error, mixture)})
    return {"skipped": skipped, "errors": errors}, bug
