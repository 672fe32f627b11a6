"""``sam-audio batch INPUT... -p TEXT --out URI``"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from sam_audio.cli.shared import complain, progress, show_json
from sam_audio.errors import UserError

if TYPE_CHECKING:
    from sam_audio.scale.batch import Engine
    from sam_audio.scale.tasks import Task

_SAY_S = 30.0
_MOST_SHOWN = 20


class TaskName(str, Enum):
    separate = "separate"
    embed = "embed"
    locate = "locate"
    caption = "caption"


class EngineName(str, Enum):
    local = "local"
    ray = "ray"


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
        Optional[list[str]],
        typer.Option(
            "--prompt",
            "-p",
            metavar="TEXT",
            help="What to pull out, or locate. May be given several times.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Optional[str],
        typer.Option(
            "--out", "-o", metavar="URI", help="Folder of outputs and catalogue.", show_default=False
        ),
    ] = None,
    task: Annotated[TaskName, typer.Option(help="What is done with each recording.")] = TaskName.separate,
    engine: Annotated[
        EngineName, typer.Option(help="local: processes on this machine; ray: a cluster.")
    ] = EngineName.local,
    workers: Annotated[
        Optional[int],
        typer.Option(metavar="N", min=1, help="Each has a model.", show_default="one for two processors"),
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", min=1, help="CPU threads of a worker.")] = 1,
    gpus: Annotated[
        float, typer.Option(metavar="N", min=0, help="Of a worker, with --engine ray; 0.5 for two on one.")
    ] = 0.0,
    address: Annotated[
        Optional[str],
        typer.Option(
            metavar="HOST:PORT", help="A Ray cluster to join.", show_default="one is started on this machine"
        ),
    ] = None,
    retries: Annotated[
        int, typer.Option(metavar="N", min=0, help="How often an item that fails is tried again.")
    ] = 2,
    timeout: Annotated[
        float, typer.Option(metavar="S", min=0.1, help="Without a byte, after which a store is asked again.")
    ] = 60.0,
    format: Annotated[str, typer.Option("--format", "-f", help="wav, flac, mp3, ogg or opus.")] = "wav",
    mode: Annotated[
        str, typer.Option(help="extract: the sounds and the rest; remove: only the rest.")
    ] = "extract",
    residual: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the rest, or none to leave it out.")
    ] = "residual",
    strength: Annotated[float, typer.Option(metavar="0..2", help="How boldly to cut.")] = 1.0,
    judge: Annotated[bool, typer.Option("--judge/--no-judge", help="Scores and presence of stems.")] = True,
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="See: sam-audio models list.")] = "nano",
    device: Annotated[str, typer.Option("--device", "-d", help="auto, cpu, cuda or mps.")] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what was made with other prompts or settings.")
    ] = False,
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
    if engine is EngineName.local and (address is not None or gpus):
        raise UserError("--address and --gpus are for a cluster: add --engine ray")
    from dataclasses import asdict

    from sam_audio.scale.batch import run_batch
    from sam_audio.scale.inputs import find_items
    from sam_audio.scale.stores import Patience
    from sam_audio.scale.work import Work

    options = {
        "format": format,
        "mode": mode,
        "residual": None if residual.lower() == "none" else residual,
        "strength": strength,
    }
    chosen = _task(task, model, device, threads, judge, options)
    patience = Patience(timeout_s=timeout)
    items = find_items(inputs, prompt or [], out, patience)
    # Ray prints what befalls its workers, and standard output is for the summary
    with _told(quiet) as told, redirect_stdout(sys.stderr):
        done = run_batch(
            items,
            Work(chosen, out, retries, patience),
            _engine(engine, workers, threads, gpus, address),
            overwrite,
            told,
        )
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


def _task(
    name: TaskName, model: str, device: str, threads: int, judge: bool, options: dict[str, Any]
) -> Task:
    from sam_audio.options import RenderOptions
    from sam_audio.scale import tasks

    if name is TaskName.separate:
        RenderOptions(**options).check()
        return tasks.SeparateTask(model, device, threads, "auto" if judge else None, options)
    if name is TaskName.embed:
        return tasks.EmbedTask(model, device, threads)
    if name is TaskName.locate:
        return tasks.LocateTask(model, device, threads)
    tasks.captioners()  # before any worker is started
    return tasks.CaptionTask(threads=threads)


def _engine(name: EngineName, workers: int | None, threads: int, gpus: float, address: str | None) -> Engine:
    if name is EngineName.ray:
        from sam_audio.scale.rays import RayEngine

        return RayEngine(workers, threads, gpus, address)
    from sam_audio.scale.batch import LocalEngine

    return LocalEngine(workers)


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
