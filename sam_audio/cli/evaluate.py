"""``sam-audio eval``: measures on held-out recordings."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from sam_audio.cli import evaluate_bench, evaluate_embeddings

app = typer.Typer(help="Measure models on held-out recordings.", no_args_is_help=True)
app.command("retrieval")(evaluate_embeddings.retrieval)
app.command("classification")(evaluate_embeddings.classification)
app.command("localization")(evaluate_embeddings.localization)
app.command("average")(evaluate_embeddings.average)
app.command("bench")(evaluate_bench.bench)
app.command("make-bench")(evaluate_bench.make_bench)


class Split(str, Enum):
    train = "train"
    valid = "valid"
    test = "test"


class Ask(str, Enum):
    label = "label"
    phrase = "phrase"
    spans = "spans"


Bank = Annotated[
    Optional[Path],
    typer.Option(help="Data bank, made by sam-audio train data.", show_default="cache folder"),
]
Judged = Annotated[str, typer.Option(metavar="NAME|PATH", help="Whose separations are judged.")]
Judging = Annotated[str, typer.Option(metavar="NAME|PATH", help="The judge.")]
Scenes = Annotated[
    Optional[list[str]],
    typer.Option("--scene", metavar="NAME", help="Only this kind of mixture (repeatable)."),
]
Seed = Annotated[int, typer.Option(help="Which mixtures are drawn.")]
Table = Annotated[bool, typer.Option("--json", help="Print the table as JSON.")]
Tables = Annotated[bool, typer.Option("--json", help="Print the tables as JSON.")]


@app.callback()
def _group() -> None:
    pass


@app.command("separation")
def separation(
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="Separation model.")] = "nano",
    per_scenario: Annotated[int, typer.Option("-n", min=1, help="Mixtures of each kind.")] = 60,
    seed: Seed = 0,
    split: Annotated[Split, typer.Option(help="Which recordings.")] = Split.test,
    ask: Annotated[
        Ask, typer.Option(help="By the label's own words, in other words, or by spans alone.")
    ] = Ask.label,
    alone: Annotated[
        bool,
        typer.Option("--alone", help="Each prompt in a call of its own, instead of all of a mixture in one."),
    ] = False,
    scenes: Scenes = None,
    bank: Bank = None,
    out: Annotated[
        Optional[Path], typer.Option(metavar="DIR", help="Also write tables there.", show_default=False)
    ] = None,
    json_summary: Tables = False,
) -> None:
    """SI-SDR improvement per kind of mixture, beside the mixture itself and the ideal mask."""
    from rich.console import Console
    from rich.progress import track

    from sam_audio.evaluation import separation as measure
    from sam_audio.separator import load
    from sam_audio.training.data.prepare import bank_dir

    scenarios = measure.scenarios_of(scenes)
    items = list(measure.mixtures(bank or bank_dir(), per_scenario, split.value, seed, scenarios))
    shown = track(items, description="separating", console=Console(stderr=True), transient=True)
    result = measure.evaluate(load(model), shown, ask.value, alone)
    rows = result.summary()
    if json_summary:
        print(json.dumps({"table": rows, "absent_median_db": round(result.absent_median_db(), 1)}, indent=2))
    else:
        print(measure.markdown(rows))
        below = -result.absent_median_db()
        print(f"Prompts for what is not there: {below:.1f} dB below the mixture in the median.")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "separation.md").write_text(measure.markdown(rows), encoding="utf-8")
        (out / "separation-labels.csv").write_text(measure.to_csv(result.by_label()), encoding="utf-8")


@app.command("encoders")
def encoders(
    scenes: Annotated[int, typer.Option("-n", min=0, help="Scenes to detect events in.")] = 100,
    seed: Annotated[int, typer.Option(help="Which scenes are made.")] = 0,
    split: Annotated[str, typer.Option(help="test or valid.")] = "test",
    yamnet: Annotated[bool, typer.Option(help="Also measure YAMNet (fetched once).")] = True,
    bank: Bank = None,
    json_summary: Tables = False,
) -> None:
    """Zero-shot classification and detection of held-out recordings by the nano encoders, beside YAMNet."""
    from sam_audio.conditioning.embedding import load_frame_encoder
    from sam_audio.evaluation import encoders as measure
    from sam_audio.evaluation.tables import markdown
    from sam_audio.finding.locate import load_locator
    from sam_audio.training.data.prepare import bank_dir

    folder = bank or bank_dir()
    tables = {"classification": measure.classify(folder, split, yamnet)}
    if scenes:
        alone = load_frame_encoder("nano")
        alone.name = "PE-A-Frame nano alone"
        tables["detection"] = measure.detect([load_locator("nano"), alone], folder, scenes, split, seed)
    if json_summary:
        print(json.dumps(tables, indent=2))
    else:
        for rows in tables.values():
            print(markdown(rows))


@app.command("judge")
def judge(
    mixtures: Annotated[
        int, typer.Option("-n", min=1, help="Held-out mixtures to separate and judge.")
    ] = 100,
    separator: Judged = "nano",
    model: Judging = "nano",
    ratings: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE.csv", help="Compare with human ratings instead.", show_default=False),
    ] = None,
    candidates: Annotated[
        int, typer.Option(min=1, help="Measure instead how well it chooses among that many candidates.")
    ] = 1,
    alone: Annotated[
        bool, typer.Option("--alone", help="Candidates of each prompt in a call of its own.")
    ] = False,
    scenes: Scenes = None,
    seed: Seed = 0,
    bank: Bank = None,
    json_summary: Table = False,
) -> None:
    """Pearson and Spearman correlation of the Judge's scores with the truth, or with human ratings."""
    from sam_audio.evaluation import judging as measure
    from sam_audio.evaluation.tables import markdown
    from sam_audio.selection.judging import load_judge
    from sam_audio.separator import load
    from sam_audio.training.data.prepare import bank_dir

    loaded = load_judge(model)
    if ratings is not None:
        result = measure.evaluate_ratings(loaded, measure.read_ratings(ratings))
    elif candidates > 1:
        folder = bank or bank_dir()
        tried = measure.candidates_of(load(separator), folder, mixtures, candidates, seed, alone, scenes)
        result = measure.choosing(loaded, tried)
    else:
        items = measure.separated(load(separator), bank or bank_dir(), mixtures, seed, scenes)
        result = measure.evaluate(loaded, items)
    rows = [dict(row) for row in result.rows]
    print(json.dumps(rows, indent=2) if json_summary else markdown(rows))


@app.command("presence")
def presence(
    mixtures: Annotated[int, typer.Option("-n", min=1, help="Held-out mixtures of each kind.")] = 30,
    separator: Judged = "nano",
    model: Judging = "nano",
    seed: Seed = 0,
    bank: Bank = None,
    json_summary: Table = False,
) -> None:
    """How well the Judge knows what is in a mixture and what is not, with what bands usually have asked of music."""
    from sam_audio.evaluation import presence as measure
    from sam_audio.evaluation.tables import markdown
    from sam_audio.selection.judging import load_judge
    from sam_audio.separator import load
    from sam_audio.training.data.prepare import bank_dir

    answers = measure.told(load(separator), load_judge(model), bank or bank_dir(), mixtures, seed)
    rows = [dict(row) for row in measure.evaluate(answers).rows]
    print(json.dumps(rows, indent=2) if json_summary else markdown(rows))
