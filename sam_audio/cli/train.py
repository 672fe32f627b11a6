"""``sam-audio train``: from recordings to shipped weights, and recipes to train your own."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer.core import TyperGroup


class _Group(TyperGroup):
    """``train --recipe NAME ...`` is ``train recipe --recipe NAME ...``: a group's own options could not be followed by
    key=value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and any(arg.split("=")[0] == "--recipe" for arg in args):
            args = ["recipe", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    help="Train the nano models, or by a recipe: sam-audio train --recipe NAME [key=value ...].",
    no_args_is_help=True,
    cls=_Group,
)


@app.callback()
def _group() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


DataDir = Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder of manifest.tsv.gz.")]
RunDir = Annotated[
    Optional[Path], typer.Option(metavar="DIR", help="Where the state is kept.", show_default="cache folder")
]
Export = Annotated[
    Optional[Path], typer.Option(metavar="FILE", help="Write the weights there when the sitting ends.")
]


@app.command("list")
def list_recipes() -> None:
    """The recipes there are."""
    from sam_audio.training.recipe import names

    recipes = names()
    width = max(map(len, recipes))
    for name, about in recipes.items():
        typer.echo(f"{name:{width}}  {about}")


@app.command("recipe", hidden=True)
def by_recipe(
    recipe: Annotated[str, typer.Option(metavar="NAME|FILE.toml", help="See sam-audio train list.")],
    changes: Annotated[
        Optional[list[str]], typer.Argument(metavar="[KEY=VALUE]...", help="What to do otherwise.")
    ] = None,
    run: Annotated[
        Optional[Path],
        typer.Option(metavar="DIR", help="Where state, curves and weights go.", show_default="cache folder"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print parameters, memory and cost.")
    ] = False,
) -> None:
    """Train by a recipe; goes on from the state in the run's folder. Under torchrun all processes learn together."""
    import os

    from sam_audio.paths import cache_dir
    from sam_audio.training import recipe as recipes

    settings = recipes.load(recipe, changes or ())
    if dry_run:
        from sam_audio.training.estimate import estimate

        typer.echo(str(estimate(settings, int(os.environ.get("WORLD_SIZE", 1)))))
        return
    from sam_audio.training.trainer import train

    name = Path(recipe).stem if recipe.endswith(".toml") else recipe.replace("/", "-")
    folder = run or cache_dir() / "runs" / "-".join(filter(None, (name, settings.stage)))
    for path in train(recipes.task_of(settings), settings, folder).files:
        typer.echo(str(path))


@app.command("data")
def data(data_dir: DataDir, workers: Annotated[int, typer.Option(min=1)] = 2) -> None:
    """Fetch, decode and render the training data into the cache folder; resumes."""
    from sam_audio.training.data.prepare import prepare

    prepare(data_dir, workers)


@app.command("separator")
def separator(
    data_dir: DataDir,
    recipe: Annotated[str, typer.Option(help="Which recipe.")] = "nano",
    hours: Annotated[float, typer.Option(min=0.0, help="Length of this sitting.")] = 2.0,
    processes: Annotated[int, typer.Option(min=1, help="That learn together, one for each core.")] = 2,
    threads: Annotated[int, typer.Option(min=1, help="Of each process.")] = 1,
    run: RunDir = None,
    export: Export = None,
) -> None:
    """Train the nano separator: prepares the data, resumes from the last state, exports weights."""
    from sam_audio.errors import UserError
    from sam_audio.paths import cache_dir
    from sam_audio.training.data.examples import build_examples
    from sam_audio.training.data.prepare import prepare
    from sam_audio.training.recipes.separator import RECIPES, export_weights, plot_log, train

    if recipe not in RECIPES:
        raise UserError(f"there is no recipe called {recipe}: use {', '.join(RECIPES)}")
    bank = prepare(data_dir)
    build_examples(data_dir, bank)
    run = run or cache_dir() / "runs" / recipe
    state = train(bank, run, hours, RECIPES[recipe], threads, processes)
    plot_log(run)
    export_weights(state, export or run / f"{recipe}-separator.safetensors")


@app.command("audio")
def audio(
    data_dir: DataDir,
    minutes: Annotated[float, typer.Option(min=0.0, help="Length of this sitting.")] = 40.0,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    run: RunDir = None,
    export: Export = None,
) -> None:
    """Train the audio tower of PE-AV nano and PE-A-Frame nano; resumes."""
    from sam_audio.paths import cache_dir
    from sam_audio.training.data.prepare import prepare
    from sam_audio.training.recipes.audio import export_weights, train

    run = run or cache_dir() / "runs" / "nano-audio"
    state = train(prepare(data_dir), run, minutes, threads=threads)
    export_weights(state, export or run / "nano-audio.safetensors")


@app.command("video")
def video(
    data_dir: DataDir,
    export: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the weights.")],
    steps: Annotated[int, typer.Option(min=1)] = 3000,
    threads: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Train the video tower of PE-AV nano on labelled pictures."""
    from sam_audio.training.recipes.video import export_weights, train

    tower, scores = train(data_dir, steps, threads)
    for package, score in scores.items():
        typer.echo(f"{package}: " + ", ".join(f"{name} {value:.3g}" for name, value in score.items()))
    export_weights(tower, export)


@app.command("locator")
def locator(
    data_dir: DataDir,
    export: Annotated[Path, typer.Option(metavar="FILE.json", help="Where to write the calibration.")],
    scenes: Annotated[int, typer.Option("-n", min=1, help="Made scenes of 10 s.")] = 200,
) -> None:
    """Weigh the nano separator and PE-A-Frame nano against each other, for sam-audio locate."""
    from sam_audio.finding.locate import NanoLocator
    from sam_audio.separator.nano.model import NanoSeparator
    from sam_audio.separator.nano.timekeeping import Calibration
    from sam_audio.training.data.prepare import prepare
    from sam_audio.training.recipes import locator as training

    listening = NanoLocator(NanoSeparator(), Calibration.load())
    calibration = training.fit(listening, prepare(data_dir), scenes)
    training.export(calibration, export)
    typer.echo(f"{calibration}")


@app.command("judge")
def judge(
    data_dir: DataDir,
    separators: Annotated[
        list[Path],
        typer.Option("--separator", metavar="FILE", help="Weights whose separations it learns to judge."),
    ],
    export: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the weights.")],
    held_out: Annotated[
        Optional[list[Path]],
        typer.Option(
            metavar="FILE", help="Weights whose separations it is measured on; else those it learns from."
        ),
    ] = None,
    start: Annotated[
        Optional[str], typer.Option(metavar="NAME|FILE", help="Weights of a Judge nano to go on from.")
    ] = None,
    mixtures: Annotated[int, typer.Option(min=1, help="Mixtures, five stems each.")] = 2000,
    epochs: Annotated[int, typer.Option(min=1)] = 12,
    threads: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Train Judge nano on separations of many qualities; examples in the cache folder are used again."""
    from judge.network import load_judge
    from sam_audio.training.data.prepare import prepare
    from sam_audio.training.recipes import judge as training

    network = load_judge(start) if start else None
    bank, n_measured = prepare(data_dir), max(mixtures // 3, 1)

    def examples(makers: list[Path], n: int, split: str) -> list[Path]:
        return training.make_examples(bank, training.examples_dir(makers), n, makers, split, threads)

    shards, measured = (
        examples(separators, mixtures, "train"),
        examples(held_out or separators, n_measured, "valid"),
    )
    network, scores = training.train(
        training.load_examples(shards), training.load_examples(measured), epochs, threads, start=network
    )
    typer.echo(", ".join(f"{name} {value:.3f}" for name, value in scores.items()))
    training.export_weights(network, export)


@app.command("text")
def text(
    export: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Where to write the weights; tokenizer and card go beside them."),
    ],
    data_dir: Annotated[
        Optional[Path],
        typer.Option("--data", metavar="DIR", help="Its labels join the phrases.", show_default=False),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of 1024 phrases.")] = 4000,
    fold_in: Annotated[
        int, typer.Option(min=0, help="Closing steps that also see the held-out nouns.")
    ] = 300,
    threads: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Distil the text tower of PE-AV nano from all-MiniLM-L6-v2; resumes."""
    from sam_audio.training.recipes.text import run

    run(export, data_dir / "manifest.tsv.gz" if data_dir else None, steps, fold_in, threads)
