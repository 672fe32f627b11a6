"""``sam-audio eval bench``: the benchmarks of the field, beside what others have published on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from sam_audio.cli.evaluate_embeddings import tell_unreadable
from sam_audio.cli.shared import outputs, show, show_json

if TYPE_CHECKING:
    from sam_audio.evaluation.protocols import Row, Value


def bench(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Which benchmark.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Where its data are, laid out as published.", show_default=False),
    ],
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="Separation model.")] = "nano",
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda|mps", help="Where it runs.")] = "auto",
    judge: Annotated[str, typer.Option(metavar="NAME|PATH", help="The judge, where one is asked.")] = "nano",
    encoder: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="PE-AV that compares stems with texts.")
    ] = "nano",
    locator: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="What says which sounds are there, where that is asked.")
    ] = "nano",
    scorer: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="NAME", help="Also score by this ranker of a plugin, such as an aesthetics predictor."
        ),
    ] = None,
    limit: Annotated[
        Optional[int],
        typer.Option(min=1, metavar="N", help="At most so many items, evenly spread.", show_default="all"),
    ] = None,
    report: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE.md", help="Also write the table there.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report that is there.")] = False,
    json_table: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Measure a separator as a published benchmark does, beside what others report on it.

    NAME is sam-audio-bench, audiosep-esc50, audiosep-audiocaps, audiosep-vggsound, audiosep-music, audiosep-audioset,
    audiosep-clotho, musdb18hq, moisesdb, dnr, dcase2025, dcase2026, wham or librimix. Nothing is fetched. What is
    asked for, and how far that can be compared, is in docs/benchmarks-field.md.
    """
    from sam_audio.api import Separator
    from sam_audio.evaluation.bench.base import Tools, evaluate
    from sam_audio.evaluation.bench.driver import beside, find

    chosen = find(name)
    with outputs([] if report is None else [str(report)], overwrite) as files:
        tools = Tools(Separator(model, device, judge=None), judge, encoder, locator, scorer or ())
        result = evaluate(chosen, data, tools, limit, _shown)
        table = beside(name, tools.separator.model.name, result.rows)
        for file in files:
            file.write(_markdown(name, table).encode())
    if json_table:
        show_json({"benchmark": name, "model": model, "unreadable": result.unreadable, "table": table})
    else:
        show(_markdown(name, table))
    tell_unreadable(result.unreadable)


class Made(str, Enum):
    """Benchmarks that can be made of held-out recordings."""

    pairs = "audiosep-esc50"
    soundtracks = "dnr"
    scenes = "dcase2026"


def make_bench(
    kind: Annotated[Made, typer.Argument(help="Whose layout and recipe.", show_default=False)],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.", show_default=False)],
    count: Annotated[int, typer.Option("-n", min=1, help="Mixtures to make.")] = 100,
    seed: Annotated[int, typer.Option(help="Which ones are made.")] = 0,
    bank: Annotated[
        Optional[Path],
        typer.Option(help="Data bank, made by sam-audio train data.", show_default="cache folder"),
    ] = None,
) -> None:
    """Make a small set in the layout of a benchmark of recordings that nothing was learned from, for eval bench."""
    from sam_audio.evaluation.bench.making import make
    from sam_audio.training.data.prepare import bank_dir

    make(kind.value, folder, bank or bank_dir(), count, seed)


def _shown(items: Sequence[Any]) -> Iterable[Any]:
    from rich.console import Console
    from rich.progress import track

    return track(items, description="separating", console=Console(stderr=True), transient=True)


def _markdown(name: str, table: Sequence[Row]) -> str:
    from sam_audio.evaluation.tables import markdown

    rounded: list[dict[str, Value]] = [
        {key: _rounded(key, value) for key, value in row.items()} for row in table
    ]
    return f"{name}\n\n{markdown(rounded)}"


def _rounded(key: str, value: Value) -> Value:
    """Shares in per cent, everything else as its benchmark gives it: to two digits."""
    if not isinstance(value, float):
        return value
    return f"{100 * value:.1f} %" if key.startswith("accuracy") else f"{value:.2f}"
