"""``sam-audio data``: captions for clips, and shards to train on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Optional

import typer

from sam_audio.errors import UserError

app = typer.Typer(help="Caption clips and make shards that recipes train on.", no_args_is_help=True)

Clips = Annotated[Path, typer.Argument(metavar="TABLE.tsv|DIR", help="Clips: a table, or a folder.")]
Folder = Annotated[Path, typer.Option("--captions", metavar="DIR", help="Where captions.jsonl is.")]
Duplicate = Annotated[float, typer.Option(help="Cosine from which two sounds are one.")]
Agreement = Annotated[float, typer.Option(help="Least cosine of a caption and its sound.")]
Most = Annotated[float, typer.Option(help="Clips of a category, times the mean of all; 0 for no limit.")]


@app.command()
def caption(
    clips: Clips,
    captions: Folder,
    captioner: Annotated[
        list[str],
        typer.Option(
            metavar="NAME", help="Installed ones (sam-audio plugins), or transformers:TASK:MODEL; repeat."
        ),
    ] = ["tagger", "picture-tagger"],  # noqa: B006
    writer: Annotated[
        str, typer.Option(metavar="rule|URL#MODEL", help="Who writes: a rule, or a server of OpenAI's kind.")
    ] = "rule",
) -> None:
    """Write three captions for every clip: heard, seen, both. The same again goes on where it was stopped."""
    from sam_audio.captioning import captioners
    from sam_audio.training.captions import engine
    from sam_audio.training.captions.clips import read_clips
    from sam_audio.training.captions.writers import writer as writer_of

    wanted = read_clips(clips)
    tellers = [captioners.captioner(name) for name in captioner]
    begun, n, failed = time.monotonic(), 0, 0
    for line in engine.caption(wanted, tellers, writer_of(writer), captions):
        n, failed = n + 1, failed + bool(line.problem)
        if line.problem:
            typer.echo(f"{line.path}: {line.problem}", err=True)
        elif n % 100 == 0:
            typer.echo(f"{n} clips, {engine.per_minute(begun, n):.0f} a minute", err=True)
    typer.echo(
        f"{n} clips captioned, {engine.per_minute(begun, n):.0f} a minute; {failed} could not be read; "
        f"{len(wanted) - n} were done before"
    )


@app.command()
def refine(
    clips: Clips,
    captions: Folder,
    by: Annotated[Path, typer.Option(metavar="DIR", help="What the recipe captions/refiner has left.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the new captions.jsonl goes.")],
    drafts: Annotated[
        int, typer.Option(min=0, help="Captions that are drawn, beside the likeliest, before PE-AV chooses.")
    ] = 4,
) -> None:
    """Write captions again by a decoder joined to a trained PE-AV. The same again goes on where it was stopped."""
    from sam_audio.training.captions import engine
    from sam_audio.training.captions.clips import read_clips
    from sam_audio.training.tasks.refine import TrainedRefiner

    if out.resolve() == captions.resolve():
        raise UserError(f"{out} holds the captions of stage 1: choose another --out")
    n = changed = 0
    for line in engine.refine(read_clips(clips), captions, TrainedRefiner(by, drafts), out):
        n += 1
        before = {said.text for said in line.about.weak.get(engine.STAGE_1, ())}
        changed += any(said.text not in before for said in line.about.captions.values())
    typer.echo(f"{n} clips refined, {changed} with another caption than before")


@app.command()
def shard(
    clips: Clips,
    captions: Folder,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where shards and table go.")],
    per_shard: Annotated[int, typer.Option(min=1, help="Clips of a shard.")] = 500,
    duplicate: Duplicate = 0.995,
    agreement: Agreement = 0.15,
    most: Most = 2.0,
    hold_out: Annotated[
        Optional[list[str]],
        typer.Option(metavar="SOURCE", help="Validate on this source, and learn from all others; repeat."),
    ] = None,
) -> None:
    """Make WebDataset shards and a parquet table of the captioned clips that are worth learning from."""
    from sam_audio.training.captions import engine
    from sam_audio.training.captions.clips import read_clips

    filters = engine.Filters(duplicate, agreement, most)
    figures = engine.shard(captions, read_clips(clips), out, filters, per_shard, hold_out or ())
    shards = sum(map(len, figures["shards"].values()))
    typer.echo(f"{figures['kept']} of {figures['clips']} clips in {shards} shards")
    for reason, n in figures["left_out"].items():
        if n:
            typer.echo(f"left out: {n}, {reason}")


@app.command()
def stats(
    captions: Folder, duplicate: Duplicate = 0.995, agreement: Agreement = 0.15, most: Most = 2.0
) -> None:
    """Print figures of captioned clips, and what the filters do, as JSON."""
    from sam_audio.training.captions import engine

    figures = engine.stats(captions, engine.Filters(duplicate, agreement, most))
    typer.echo(json.dumps(figures, indent=1))
