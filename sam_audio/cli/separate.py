"""``separate MIX... --prompt TEXT``"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from sam_audio.cli.shared import complain
from sam_audio.errors import UserError

if TYPE_CHECKING:
    from judge.rank import Ranker
    from sam_audio.api import Separator
    from sam_audio.extending.hookspecs import Exporter, PostProcessor
    from sam_audio.jobs import Job
    from sam_audio.render import Progress, RenderOptions, RenderReport


EXIT_ERRORS = 2
EXIT_BUG = 1
EXIT_ABSENT = 3


class Mode(str, Enum):
    extract = "extract"
    remove = "remove"


class Format(str, Enum):
    wav = "wav"
    flac = "flac"
    mp3 = "mp3"
    ogg = "ogg"
    opus = "opus"


class ClipMode(str, Enum):
    clamp = "clamp"
    rescale = "rescale"


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
        typer.Option(
            "--prompt",
            "-p",
            metavar="TEXT",
            help="What to pull out, also 'dog barking@3.2-5.0'. May be given several times.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="DIR", help="Folder of the stems; - is standard output.")
    ] = "separated",
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Of folders, also what is in the folders below.")
    ] = False,
    filename: Annotated[
        str, typer.Option(metavar="TEMPLATE", help="Name of each file in the folder.")
    ] = "{track}/{stem}.{ext}",
    mode: Annotated[
        Mode, typer.Option(help="extract: the sounds and the rest; remove: only the rest.")
    ] = Mode.extract,
    residual: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the rest, or none to leave it out.")
    ] = "residual",
    format: Annotated[Format, typer.Option("--format", "-f", help="File format of the stems.")] = Format.wav,
    int16: Annotated[bool, typer.Option("--int16", help="16-bit samples.")] = False,
    int24: Annotated[bool, typer.Option("--int24", help="24-bit samples.")] = False,
    float32: Annotated[
        bool, typer.Option("--float32", help="Float samples; by default the input's depth is kept.")
    ] = False,
    clip_mode: Annotated[
        Optional[ClipMode],
        typer.Option(help="What to do beyond full scale; nothing but a warning by default."),
    ] = None,
    start: Annotated[float, typer.Option(metavar="S", help="Where to begin, in seconds.")] = 0.0,
    duration: Annotated[
        Optional[float],
        typer.Option(metavar="S", help="How much to separate, in seconds.", show_default="all"),
    ] = None,
    track: Annotated[
        Optional[int],
        typer.Option(
            metavar="N",
            min=1,
            help="Which sound track of a video.",
            show_default="the one that players choose",
        ),
    ] = None,
    strength: Annotated[float, typer.Option(metavar="0..2", help="How boldly to cut.")] = 1.0,
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="See: sam-audio models list.")] = "nano",
    device: Annotated[str, typer.Option("--device", "-d", help="auto, cpu, cuda or mps.")] = "auto",
    threads: Annotated[
        Optional[int], typer.Option(metavar="N", help="CPU threads.", show_default="all cores")
    ] = None,
    predict_spans: Annotated[
        Optional[bool],
        typer.Option(
            "--predict-spans/--no-predict-spans",
            help="Nano: first listen for when each prompt sounds.",
            show_default="what measures better",
        ),
    ] = None,
    steps: Annotated[
        Optional[int],
        typer.Option(metavar="N", help="Official models: solver steps.", show_default="16"),
    ] = None,
    method: Annotated[
        Optional[str],
        typer.Option(help="Official models: midpoint, euler or rk4.", show_default="midpoint"),
    ] = None,
    seed: Annotated[
        Optional[int], typer.Option(metavar="N", help="Official models: of the noise.", show_default="0")
    ] = None,
    raw: Annotated[
        Optional[bool],
        typer.Option(
            "--raw/--consistent",
            help="Official models: their own mono output, or stems that sum to the mixture.",
            show_default="consistent",
        ),
    ] = None,
    watermark: Annotated[
        Optional[bool],
        typer.Option(
            "--watermark/--no-watermark",
            help="Official models: the mark that their decoder adds.",
            show_default="watermark",
        ),
    ] = None,
    dtype: Annotated[
        Optional[str],
        typer.Option(help="Official models: float32, bfloat16 or float16.", show_default="float32"),
    ] = None,
    memory: Annotated[
        Optional[str],
        typer.Option(metavar="SIZE", help="Official models: how much to use, like 8GB.", show_default="all"),
    ] = None,
    revision: Annotated[
        Optional[str], typer.Option(help="Official models: branch, tag or commit.", show_default=False)
    ] = None,
    jobs: Annotated[
        Optional[str],
        typer.Option(
            metavar="FILE.jsonl", help="One JSON object a line: mixture, prompts, out...", show_default=False
        ),
    ] = None,
    session: Annotated[
        Optional[list[str]],
        typer.Option(metavar="FOLDER", help="A session that the editor saved.", show_default=False),
    ] = None,
    remux: Annotated[
        bool, typer.Option("--remux", help="Of a video, also write videos with the separated sounds.")
    ] = False,
    export: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="NAME", help="Make something of the stems; see sam-audio plugins.", show_default=False
        ),
    ] = None,
    post: Annotated[
        Optional[list[str]],
        typer.Option(metavar="NAME", help="Change the stems on their way out.", show_default=False),
    ] = None,
    judge: Annotated[
        bool,
        typer.Option("--judge/--no-judge", help="Say how good the stems are, and what is not in the mix."),
    ] = True,
    judge_model: Annotated[
        str,
        typer.Option(metavar="NAME|PATH", help="nano, or a published Judge.", show_default="nano"),
    ] = "auto",
    candidates: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Separate in N ways; the judge keeps the best of each stem."),
    ] = 1,
    ranker: Annotated[
        Optional[str],
        typer.Option(
            metavar="NAME",
            help="What chooses among them: similarity, activity, or a plugin's.",
            show_default="the judge",
        ),
    ] = None,
    fail_if_absent: Annotated[
        bool, typer.Option("--fail-if-absent", help="Exit code 3 when a sound is not in the mix.")
    ] = False,
    json_summary: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
    report: Annotated[
        Optional[Path], typer.Option(metavar="FILE", help="Write that summary to a file.", show_default=False)
    ] = None,
    tags: Annotated[
        bool,
        typer.Option("--tags/--no-tags", help="Stems take over tags, cover, time code and markers."),
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there already.")
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Pass over recordings whose files are whole already; go on."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Levels, peaks and times of every stem.")
    ] = False,
) -> None:
    """Pull sounds out of recordings by asking for them.

    Writes separated/MIX/SOUND.wav for each prompt and separated/MIX/residual.wav, which sum to the mixture.
    """
    from sam_audio.cli.folders import recordings_in
    from sam_audio.cli.planned import check_outputs, check_report, is_report, without_outputs
    from sam_audio.cli.prompt_options import given
    from sam_audio.cli.shared import json_text, outputs, show_json, size_bytes
    from sam_audio.extending.registry import registry
    from sam_audio.jobs import Job, read_jobs
    from sam_audio.prompts import resolve
    from sam_audio.render import RenderOptions
    from sam_audio.separator import ModelOptions

    depths = [name for name, chosen in (("int16", int16), ("int24", int24), ("float32", float32)) if chosen]
    if len(depths) > 1:
        raise UserError(f"--{depths[0]} and --{depths[1]} exclude each other: choose one")
    if not mixtures and jobs is None and not session:
        raise UserError(
            "no recording is given: separate MIX --prompt TEXT, with ./ before a MIX that begins with a dash"
        )
    options = RenderOptions(
        out=out,
        filename=filename,
        mode=mode.value,
        residual=None if residual.lower() == "none" else residual,
        format=format.value,
        depth=depths[0] if depths else None,
        clip_mode=clip_mode.value if clip_mode else None,
        overwrite=overwrite,
        skip_existing=skip_existing,
        start_s=start,
        duration_s=duration,
        sound_track=track,
        strength=strength,
        judge=judge,
        candidates=candidates,
        tags=tags,
    )
    options.check()
    if fail_if_absent and not judge:
        raise UserError("only the judge knows what is absent: leave out --no-judge or --fail-if-absent")
    if candidates > 1 and not judge and ranker is None:
        raise UserError(
            "candidates are chosen by a judge: leave out --no-judge, name a --ranker, or ask for one candidate"
        )
    chooser = None if ranker is None else registry().get("rankers", ranker)
    prompts, clues = tuple(prompt or ()), given(context)
    if mixtures and not prompts and not clues:
        raise UserError("nothing is asked for: give at least one --prompt, for example --prompt guitar")
    if prompts or clues:
        resolve(prompts, clues)  # what cannot be understood is said once, and before anything is loaded
    exporters = [
        registry().get("exporters", name) for name in [*(export or ()), *(["remux"] if remux else [])]
    ]
    post_processors = [registry().get("post_processors", name) for name in post or ()]
    if remux and (start or duration is not None):
        raise UserError(
            "--remux keeps all pictures, so it needs all of the sound: leave --start and --duration out"
        )
    work: list[Job | UserError] = []
    found: set[str] = set()  # in folders
    for mixture in mixtures or []:
        if not os.path.isdir(mixture):
            work.append(Job(mixture, prompts, options, clues=clues))
            continue
        try:
            for one in recordings_in(mixture, recursive, out):
                if isinstance(one, UserError):
                    work.append(one)
                else:
                    found.add(one[0])
                    work.append(Job(one[0], prompts, options, one[1], clues))
        except UserError as error:
            work.append(error)
    if jobs is not None:
        work += read_jobs(jobs, options, prompts, clues)
    if session:
        model, saved = _sessions(context, session, options, prompts, clues)
        work += saved
    if not work:
        raise UserError(f"{jobs} holds no jobs: write one JSON object a line")
    work = without_outputs(_numbered(work), found)
    understood = [job for job in work if not isinstance(job, UserError)]
    check_outputs(understood, json_summary, bool(exporters))
    if report is not None:
        check_report(report, understood, jobs)
    to_stdout = json_summary or any(str(job.options.out) == "-" for job in understood)
    model_options = ModelOptions(
        predict_spans,
        revision,
        dtype,
        steps,
        method,
        seed,
        raw,
        watermark,
        size_bytes(memory, "an amount of memory") if memory is not None else None,
    )

    def load() -> tuple[Separator, Ranker | None]:
        from sam_audio.api import Separator

        loaded = Separator(model, device, threads, model_options, judge_model)
        return loaded, None if chooser is None else chooser.load(loaded.device)

    how = {
        "model": model,
        **model_options.given(),
        "post": post or [],
        "ranker": ranker,
        "judge": judge_model if candidates > 1 else None,
    }
    replaces_report = overwrite or (skip_existing and report is not None and is_report(report))
    with outputs([] if report is None else [str(report)], replaces_report) as written:
        console = _Console(quiet, verbose, to_stdout)
        summary, bug = _run(work, load, how, console, exporters, post_processors)
        for file in written:
            file.write(f"{json_text(summary)}\n".encode())
    if json_summary:
        show_json(summary)
    if summary["errors"]:
        raise typer.Exit(EXIT_BUG if bug else EXIT_ERRORS)
    if fail_if_absent:
        _fail_if_absent(summary)


def _sessions(
    context: typer.Context,
    folders: list[str],
    options: RenderOptions,
    prompts: tuple[str, ...],
    clues: dict[str, Any],
) -> tuple[str, list[Job]]:
    """The model and the jobs of saved sessions; what the command line says itself comes first."""
    from dataclasses import replace

    from sam_audio.cli.shared import was_given
    from sam_audio.jobs import Job
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
        made.append(Job(str(one.mixture), asked, own, Path(one.title).stem, clues))
    return models.pop(), made


def _fail_if_absent(summary: dict[str, Any]) -> None:
    """Ends with EXIT_ABSENT if a sound is not in its mixture; says so of what the judge cannot tell."""
    asked = [stem for file in summary["files"] for stem in [*file["stems"], *file["removed"]]]
    for stem in asked:
        if stem["in_mixture"] is None:
            print(f"warning: nobody can tell whether {stem['name']} is in the mix", file=sys.stderr)
    for one in summary["skipped"]:
        print(
            f"warning: {one['mixture']} was skipped, so nobody has looked what is in the mix", file=sys.stderr
        )
    if any(stem["in_mixture"] is False for stem in asked):
        raise typer.Exit(EXIT_ABSENT)


def _numbered(work: list[Any]) -> list[Any]:
    """Gives mixtures of one call that share a name and a folder distinct tracks."""
    from dataclasses import replace

    from sam_audio.naming import distinct, safe_track
    from sam_audio.render import track_name

    by_folder: dict[str, list[int]] = {}
    for i, job in enumerate(work):
        if not isinstance(job, UserError):
            by_folder.setdefault(str(job.options.out), []).append(i)
    for indices in by_folder.values():
        names = distinct(safe_track(work[i].track or track_name(work[i].mixture)) for i in indices)
        for i, name in zip(indices, names, strict=True):
            work[i] = replace(work[i], track=name)
    return work


def _run(
    work: Sequence[Job | UserError],
    load: Callable[[], tuple[Separator, Ranker | None]],
    how: dict[str, Any],
    console: _Console,
    exporters: Sequence[Exporter] = (),
    post: Sequence[PostProcessor] = (),
) -> tuple[dict[str, Any], bool]:
    """Does every job; one that fails does not keep the others from being done.

    Args:
        load: what separates and what chooses among candidates, called when first needed.
        how: what decides, beside the jobs, what comes out.

    Returns:
        The summary, and whether something failed in a way that it must not.
    """
    from dataclasses import replace

    from sam_audio.cli.planned import check_job
    from sam_audio.made import output_set

    files: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    errors: list[dict[str, str]] = []
    loaded: tuple[Separator, Ranker | None] | None = None
    loading = bug = False
    names = [exporter.name for exporter in exporters]
    for number, job in enumerate(work):
        try:
            if isinstance(job, UserError):
                raise job
            made = output_set(job.mixture, job.prompts, job.clues, job.options, job.track, how)
            if job.options.skip_existing and made.is_whole(names):
                skipped.append({"mixture": job.mixture, "paths": [str(path) for path in made.paths]})
                console.skipped(job.mixture)
                continue
            check_job(job, exporters)
            if loaded is None:
                loading = True
                loaded = load()
                loading = False
            separator, ranker = loaded
            with console.progress(job.mixture, number, len(work)) as progress:
                done = separator.render(
                    job.mixture,
                    job.prompts,
                    replace(job.options, skip_existing=False, overwrite=job.options.replaces),
                    clues=job.clues,
                    post=post,
                    made=made,
                    ranker=ranker,
                    track=job.track,
                    progress=progress,
                )
            files.append(done.as_dict())
            console.done(done)
            n_warnings = len(done.warnings)
            for exporter in exporters:
                exported = [str(path) for path in exporter.export(done, job.options.replaces)]
                files[-1].setdefault("exports", {})[exporter.name] = exported
                console.made(exported)
            if exporters:
                made.remember_exports(files[-1]["exports"])
            files[-1]["warnings"] = list(done.warnings)
            console.warn(done.warnings[n_warnings:])
        except Exception as error:
            if loading or isinstance(error, BrokenPipeError):
                raise  # without a model nothing can be done, and without a reader nothing is wanted
            bug = bug or not isinstance(error, UserError)
            mixture = "" if isinstance(job, UserError) else job.mixture
            errors.append({"mixture": mixture, "message": console.error(error, mixture)})
    return {"files": files, "skipped": skipped, "errors": errors}, bug


class _Console:
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
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        if self._bars is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
            )
            bars = Progress(*columns, console=Console(stderr=True), transient=True)
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
                print(f"warning: {warning}", file=sys.stderr)

    def made(self, paths: Sequence[str]) -> None:
        """Names files that were made of stems."""
        if not self.quiet:
            for path in paths:
                print(path, file=self.stream)

    def error(self, error: Exception, mixture: str) -> str:
        """Complains, and returns what was said; of what nobody expected, --verbose shows where it happened."""
        message = str(error)
        if not isinstance(error, UserError):
            if self.verbose:
                traceback.print_exception(error, file=sys.stderr)
            what = " ".join(f"{type(error).__name__}: {error}".split())
            more = "" if self.verbose else " with what --verbose shows"
            message = f"{mixture} failed by a bug in sam-audio or a plugin ({what}): please report it{more}"
        complain(message)
        return message
