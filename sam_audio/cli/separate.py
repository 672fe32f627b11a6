"""``separate MIX... --prompt TEXT``"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from sam_audio.cli import logs
from sam_audio.cli.options import fields_as_options, given_clues, given_model_options
from sam_audio.cli.shared import prompts_option
from sam_audio.errors import UserError
from sam_audio.options import JUDGING, MACHINE, RECORDINGS, STEMS, RenderOptions

if TYPE_CHECKING:
    from judge.rank import Ranker
    from sam_audio.api import Separator
    from sam_audio.plan import Job


EXIT_ERRORS = 2
EXIT_BUG = 1
EXIT_ABSENT = 3


@fields_as_options(options=RenderOptions)
def separate(
    context: typer.Context,
    mixtures: Annotated[
        Optional[list[str]],
        typer.Argument(
            metavar="MIX...",
            help="Recordings, or folders of them, to separate; - is standard input.",
            show_default=False,
        ),
    ] = None,
    prompt: Annotated[
        Optional[list[str]],
        prompts_option("What to pull out, also 'dog barking@3.2-5.0'. May be given several times."),
    ] = None,
    options: RenderOptions = RenderOptions(),  # noqa: B008 (frozen)
    recursive: Annotated[
        bool,
        typer.Option(
            "--recursive", help="Of folders, also what is in the folders below.", rich_help_panel=RECORDINGS
        ),
    ] = False,
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="See: sam-audio models list.")] = "nano",
    device: Annotated[
        str, typer.Option("--device", "-d", help="auto, cpu, cuda or mps.", rich_help_panel=MACHINE)
    ] = "auto",
    threads: Annotated[
        Optional[int],
        typer.Option(metavar="N", help="CPU threads.", show_default="all cores", rich_help_panel=MACHINE),
    ] = None,
    jobs: Annotated[
        Optional[str],
        typer.Option(
            metavar="FILE.jsonl",
            help="One JSON object a line: mixture, prompts, out...",
            show_default=False,
            rich_help_panel=RECORDINGS,
        ),
    ] = None,
    session: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="FOLDER",
            help="A session that the editor saved.",
            show_default=False,
            rich_help_panel=RECORDINGS,
        ),
    ] = None,
    remux: Annotated[
        bool,
        typer.Option(
            "--remux", help="Of a video, also write videos with the separated sounds.", rich_help_panel=STEMS
        ),
    ] = False,
    export: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="NAME",
            help="Make a session or more of the stems; see sam-audio plugins.",
            show_default=False,
            rich_help_panel=STEMS,
        ),
    ] = None,
    post: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="NAME",
            help="Change the stems on their way out.",
            show_default=False,
            rich_help_panel=STEMS,
        ),
    ] = None,
    judge_model: Annotated[
        str,
        typer.Option(
            metavar="NAME|PATH",
            help="nano, or a published Judge.",
            show_default="nano",
            rich_help_panel=JUDGING,
        ),
    ] = "auto",
    ranker: Annotated[
        Optional[str],
        typer.Option(
            metavar="NAME",
            help="What chooses among candidates: similarity, activity, or a plugin's.",
            show_default="the judge",
            rich_help_panel=JUDGING,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Tell what would be written, and how long it would take.",
            rich_help_panel=RECORDINGS,
        ),
    ] = False,
    fail_if_absent: Annotated[
        bool,
        typer.Option(
            "--fail-if-absent", help="Exit code 3 when a sound is not in the mix.", rich_help_panel=JUDGING
        ),
    ] = False,
    json_summary: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
    report: Annotated[
        Optional[Path],
        typer.Option(
            metavar="FILE", help="Write that summary to a file.", show_default=False, rich_help_panel=MACHINE
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only errors.", rich_help_panel=MACHINE)
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Levels, peaks and times of every stem.", rich_help_panel=MACHINE
        ),
    ] = False,
    log_level: Annotated[Optional[logs.Level], logs.option(rich_help_panel=MACHINE)] = None,
) -> None:
    """Pull sounds out of recordings by asking for them.

    Writes separated/MIX/SOUND.wav for each prompt and separated/MIX/residual.wav, which sum to the mixture.
    """
    from sam_audio.cli import planned, running
    from sam_audio.cli.console import Console
    from sam_audio.cli.rehearsal import rehearse
    from sam_audio.cli.shared import json_text, outputs, show_json
    from sam_audio.extending.registry import registry
    from sam_audio.plan import Plan

    if not mixtures and jobs is None and not session:
        raise UserError(
            "no recording is given: separate MIX --prompt TEXT, with ./ before a MIX that begins with a dash"
        )
    options.check()
    if fail_if_absent and not options.judge:
        raise UserError("only the judge knows what is absent: leave out --no-judge or --fail-if-absent")
    if options.candidates > 1 and not options.judge and ranker is None:
        raise UserError(
            "candidates are chosen by a judge: leave out --no-judge, name a --ranker, or ask for one candidate"
        )
    chooser = None if ranker is None else registry().get("rankers", ranker)
    names = [*(export or ()), *(["remux"] if remux else [])]
    exporters = [registry().get("exporters", name) for name in names]
    post_processors = [registry().get("post_processors", name) for name in post or ()]
    model, asked, found = _jobs(
        context, mixtures or [], prompt or [], options, recursive, jobs, session or [], model
    )
    work = planned.without_outputs(planned.understood(asked), found)
    plans = [one for one in work if isinstance(one, Plan)]
    planned.check_outputs(plans, json_summary, bool(exporters))
    if report is not None:
        planned.check_report(report, plans, jobs)
    model_options = given_model_options(context)

    def load() -> tuple[Separator, Ranker | None]:
        from sam_audio.api import Separator

        loaded = Separator(model, device, threads, model_options, judge_model)
        return loaded, None if chooser is None else chooser.load(loaded.device)

    how = {
        "model": model,
        **model_options,
        "post": post or [],
        "ranker": ranker,
        "judge": judge_model if options.candidates > 1 else None,
    }
    going_on = options.skip_existing and report is not None and planned.is_report(report)
    with outputs([] if report is None else [str(report)], options.overwrite or going_on) as written:
        to_stdout = json_summary or any(one.to_stdout for one in plans)
        console = Console(quiet, verbose, to_stdout)
        if dry_run:
            summary, bug = rehearse(work, load, how, console, exporters)
        else:
            summary, bug = running.separate_all(work, load, how, console, exporters, post_processors)
        for file in written:
            file.write(f"{json_text(summary)}\n".encode())
    if json_summary:
        show_json(summary)
    if summary["errors"]:
        raise typer.Exit(EXIT_BUG if bug else EXIT_ERRORS)
    if fail_if_absent and not dry_run:
        _fail_if_absent(summary)


def _jobs(
    context: typer.Context,
    mixtures: Sequence[str],
    texts: Sequence[str],
    options: RenderOptions,
    recursive: bool,
    jobs: str | None,
    sessions: Sequence[str],
    model: str,
) -> tuple[str, list[Job | UserError], set[str]]:
    """The model, all jobs of the command line, of a job file and of sessions, and the recordings that were found in
    folders."""
    from sam_audio.cli.folders import recordings_in
    from sam_audio.jobs import read_jobs
    from sam_audio.plan import Job
    from sam_audio.prompts import resolve

    prompts, clues = tuple(texts), given_clues(context)
    if mixtures and not prompts and not clues:
        raise UserError("nothing is asked for: give at least one --prompt, for example --prompt guitar")
    if prompts or clues:
        resolve(prompts, clues)  # what cannot be understood is said once, and before anything is loaded
    work: list[Job | UserError] = []
    found: set[str] = set()
    for mixture in mixtures:
        if not os.path.isdir(mixture):
            work.append(Job(mixture, prompts, options, clues=clues))
            continue
        try:
            for one in recordings_in(mixture, recursive, str(options.out)):
                if isinstance(one, UserError):
                    work.append(one)
                else:
                    found.add(one[0])
                    work.append(Job(one[0], prompts, options, one[1], clues))
        except UserError as error:
            work.append(error)
    if jobs is not None:
        work += read_jobs(jobs, options, prompts, clues)
    if sessions:
        model, saved = _sessions(context, sessions, options, prompts, clues)
        work += saved
    if not work:
        raise UserError(f"{jobs} holds no jobs: write one JSON object a line")
    return model, work, found


def _sessions(
    context: typer.Context,
    folders: Sequence[str],
    options: RenderOptions,
    prompts: tuple[str, ...],
    clues: dict[str, Any],
) -> tuple[str, list[Job]]:
    """The model and the jobs of saved sessions; what the command line says itself comes first."""
    from sam_audio.cli.shared import was_given
    from sam_audio.plan import Job
    from sam_audio.session import is_model_name, read_session

    saved = [read_session(folder) for folder in folders]
    models = {context.params["model"]} if was_given(context, "model") else {one.model for one in saved}
    for one in saved:
        if one.model in models and not was_given(context, "model") and not is_model_name(one.model):
            raise UserError(
                f"the session {one.name} was separated with the files {one.model}: if you trust them, say --model"
            )
    if len(models) > 1:
        raise UserError(f"the sessions use the models {', '.join(sorted(models))}: choose one with --model")
    made = []
    for one in saved:
        own = options if was_given(context, "strength") else replace(options, strength=one.strength)
        asked = prompts or one.asked()
        if not asked and not clues:
            raise UserError(f"nothing is asked for in the session {one.name}: give a --prompt")
        of_model = {} if was_given(context, "model") else one.options
        of_model = {
            name: value for name, value in of_model.items() if name not in given_model_options(context)
        }
        made.append(Job(str(one.mixture), asked, own, Path(one.title).stem, clues, of_model))
    return models.pop(), made


def _fail_if_absent(summary: dict[str, Any]) -> None:
    """Ends with EXIT_ABSENT if a sound is not in its mixture; says so of what the judge cannot tell."""
    asked = [stem for file in summary["files"] for stem in [*file["stems"], *file["removed"]]]
    for stem in asked:
        if stem["in_mixture"] is None:
            print(f"warning: the judge cannot tell whether {stem['name']} is in the mix", file=sys.stderr)
    for one in summary["skipped"]:
        print(
            f"warning: {one['mixture']} was skipped, so nobody has looked what is in the mix", file=sys.stderr
        )
    if any(stem["in_mixture"] is False for stem in asked):
        raise typer.Exit(EXIT_ABSENT)
