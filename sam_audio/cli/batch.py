"""``sam-audio batch INPUT... -p TEXT --out URI``"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from sam_audio.cli.options import fields_as_options
from sam_audio.cli.shared import complain, progress, prompts_option, show_json
from sam_audio.errors import UserError
from sam_audio.options import RenderOptions, SpanOptions, options_of
from sam_audio.scale.options import BatchOptions

if TYPE_CHECKING:
    from sam_audio.scale.batch import Engine
    from sam_audio.scale.tasks import Task

_SAY_S = 30.0
_MOST_SHOWN = 20


# what a batch decides itself
_OWN = {"stems": ("out", "filename", "overwrite", "skip_existing", "start_s", "duration_s", "sound_track")}


@fields_as_options(without=_OWN, options=BatchOptions, stems=RenderOptions, spans=SpanOptions)
def batch(
    inputs: Annotated[
        Optional[list[str]],
        typer.Argument(
            metavar="INPUT...",
            help="Recordings, folders of them, globs, manifests (csv, jsonl, parquet); paths or URIs.",
            show_default=False,
        ),
    ] = None,
    prompt: Annotated[
        Optional[list[str]], prompts_option("What to pull out, or locate. May be given several times.")
    ] = None,
    out: Annotated[
        Optional[str],
        typer.Option(
            "--out", "-o", metavar="URI", help="Folder of outputs and catalogue.", show_default=False
        ),
    ] = None,
    options: BatchOptions = BatchOptions(),  # noqa: B008 (frozen)
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="See: sam-audio models list.")] = "nano",
    device: Annotated[str, typer.Option("--device", "-d", help="auto, cpu, cuda or mps.")] = "auto",
    stems: RenderOptions = RenderOptions(),  # noqa: B008 (frozen)
    spans: SpanOptions = SpanOptions(),  # noqa: B008 (frozen)
    json_summary: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors.")] = False,
) -> None:
    """Do the same with whole libraries of recordings, on many processors or machines.

    Writes OUT/TRACK/SOUND.wav, and a catalogue that sam-audio catalogue reads. The same command again goes on where
    the last one stopped. Recordings that fail are recorded and passed over (exit code 2).
    """
    if not inputs:
        raise UserError("no recordings are given: sam-audio batch FOLDER -p guitar --out stems")
    if out is None:
        raise UserError("no place for the outputs is given: add --out FOLDER, or a URI")
    options.check()
    task = _task(options, model, device, stems, spans)
    from dataclasses import asdict

    from sam_audio.scale.batch import run_batch
    from sam_audio.scale.inputs import find_items
    from sam_audio.scale.stores import Patience
    from sam_audio.scale.work import Work

    patience = Patience(options.timeout_s)
    items = find_items(inputs, prompt or [], out, patience)
    work = Work(task, out, options.retries, patience)
    # Ray prints what befalls its workers, and standard output is for the summary
    with _told(quiet) as told, redirect_stdout(sys.stderr):
        done = run_batch(items, work, _engine(options), options.overwrite, told)
    for error in done.errors[:_MOST_SHOWN]:
        complain(f"{error['source']}: {error['message']}")
    if len(done.errors) > _MOST_SHOWN:
        complain(f"{len(done.errors) - _MOST_SHOWN} more: sam-audio catalogue show {out} --failed")
    if json_summary:
        show_json(asdict(done))
    elif not quiet:
        speed = done.seconds / max(done.elapsed_s, 1e-9)
        print(
            f"{out}  {done.done} done, {done.skipped} skipped, {done.failed} failed ({speed:.0f}x real time)"
        )
    if done.failed:
        raise typer.Exit(2)


def _task(options: BatchOptions, model: str, device: str, stems: RenderOptions, spans: SpanOptions) -> Task:
    """What is asked for.

    Raises:
        UserError: it could work on no recording, or is for another task.
    """
    _check_default(stems, "separate", options)
    _check_default(spans, "locate", options)
    from sam_audio.scale import tasks

    if options.task == "separate":
        stems.check()
        if stems.candidates > 1 and not stems.judge:
            raise UserError(
                "candidates are chosen by a judge: leave out --no-judge, or ask for one candidate"
            )
        return tasks.SeparateTask(model, device, options.threads, stems)
    if options.task == "embed":
        return tasks.EmbedTask(model, device, options.threads)
    if options.task == "locate":
        return tasks.LocateTask(model, device, options.threads, spans)
    tasks.captioners()  # before any worker is started
    return tasks.CaptionTask(threads=options.threads)


def _check_default(given: Any, task: str, options: BatchOptions) -> None:
    """Raises UserError if options of another task were given."""
    for one in options_of(type(given)) if options.task != task else ():
        if getattr(given, one.name) != one.default:
            raise UserError(f"{one.flag} is for --task {task}: leave it out of --task {options.task}")


def _engine(options: BatchOptions) -> Engine:
    if options.engine == "ray":
        from sam_audio.scale.rays import RayEngine

        return RayEngine(options.workers, options.threads, options.gpus, options.address)
    from sam_audio.scale.batch import LocalEngine

    return LocalEngine(options.workers)


@contextmanager
def _told(quiet: bool) -> Iterator[Callable[[int, int, str], None] | None]:
    """A bar with the time left; where nobody looks at a terminal, a line now and then."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with progress("batch") as advance:
            yield advance
    else:
        yield _lines()


def _lines() -> Callable[[int, int, str], None]:
    first: tuple[int, float] | None = None
    said = time.monotonic()

    def tell(done: int, total: int, name: str) -> None:
        nonlocal said, first
        now = time.monotonic()
        if first is None and done:
            first = done, now  # what was skipped before took no time, nor did the models' loading
        elif first is not None and now - said >= _SAY_S and done > first[0]:
            left_s = (now - first[1]) / (done - first[0]) * (total - done)
            print(f"{done} of {total}, {left_s / 60:.0f} min left", file=sys.stderr)
            said = now

    return tell
