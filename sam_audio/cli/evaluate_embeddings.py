"""``sam-audio eval retrieval|classification|localization``: zero-shot measures on published data sets."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from sam_audio.cli.options import fields_as_options
from sam_audio.cli.shared import complain, outputs, show_json
from sam_audio.errors import UserError
from sam_audio.options import SpanOptions, option

if TYPE_CHECKING:
    from sam_audio.evaluation.datasets import Dataset, Item
    from sam_audio.evaluation.protocols import Evaluation, Row, Value


class Captioned(str, Enum):
    """Data sets for retrieval; the last three by the words of their labels."""

    audiocaps = "audiocaps"
    clotho = "clotho"
    vctk = "vctk"
    valor = "valor"
    msr_vtt = "msr-vtt"
    msvd = "msvd"
    didemo = "didemo"
    activitynet = "activitynet"
    activitynet_clips = "activitynet-clips"
    vggsound = "vggsound"
    kinetics400 = "kinetics400"
    esc50 = "esc50"


class Labelled(str, Enum):
    """Data sets for classification."""

    esc50 = "esc50"
    vggsound = "vggsound"
    kinetics400 = "kinetics400"
    ucf101 = "ucf101"
    hmdb51 = "hmdb51"
    moments_in_time = "moments-in-time"
    something_something = "something-something-v2"


class Timed(str, Enum):
    """Data sets for localization."""

    desed = "desed"
    audioset_strong = "audioset-strong"
    urbansed = "urbansed"


class Direction(str, Enum):
    """What is asked with, and what is looked for."""

    text_to_audio = "text-to-audio"
    audio_to_text = "audio-to-text"
    text_to_video = "text-to-video"
    video_to_text = "video-to-text"
    audio_to_video = "audio-to-video"
    video_to_audio = "video-to-audio"
    text_to_audio_video = "text-to-audio-video"
    audio_video_to_text = "audio-video-to-text"
    audio_text_to_video = "audio+text-to-video"
    video_text_to_audio = "video+text-to-audio"


class Modality(str, Enum):
    """What of a clip is classified."""

    audio = "audio"
    video = "video"


@dataclass(frozen=True)
class DatasetOptions:
    """What is measured on a data set, with which model, and where the table goes."""

    split: str | None = option(
        None, "Part of it (ESC-50: a fold, VCTK: mic1 or mic2).", shown="the usual test part"
    )
    limit: int | None = option(None, "At most so many clips, evenly spread.", least=1, shown="all")
    model: str = option("nano", "Model.", metavar="nano|NAME|PATH")
    json_table: bool = option(False, "Print the table as JSON; shares are 0..1.", key="json")
    csv: str | None = option(None, "Also write the table there.", metavar="FILE")
    overwrite: bool = option(False, "Replace a file that is there.")


Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the data set is.", show_default=False)]
PerClass = Annotated[bool, typer.Option("--per-class", help="One more row for each label.")]


@fields_as_options(options=DatasetOptions)
def retrieval(
    dataset: Annotated[Captioned, typer.Argument(show_default=False)],
    folder: Folder,
    direction: Annotated[
        Optional[list[Direction]],
        typer.Option(help="Once for each direction.", show_default="all that the data allow"),
    ] = None,
    options: DatasetOptions = DatasetOptions(),  # noqa: B008 (frozen)
) -> None:
    """Does the right clip come first? R@1, R@5, R@10 and the median rank."""
    from sam_audio.conditioning.embedding import load_embedder
    from sam_audio.evaluation import retrieval as measure
    from sam_audio.evaluation.datasets import load

    data = load(dataset.value, folder, options.split, options.limit)
    directions = [d.value for d in direction] if direction else measure.directions_of(data.items)
    with _csv_output(options.csv, options.overwrite) as write:
        embedder = load_embedder(options.model)
        result = measure.evaluate(embedder, _shown(data.items), list(dict.fromkeys(directions)))
        write(result)
    _report(data, embedder.name, result, options.json_table)


@fields_as_options(options=DatasetOptions)
def classification(
    dataset: Annotated[Labelled, typer.Argument(show_default=False)],
    folder: Folder,
    modality: Annotated[
        Optional[Modality],
        typer.Option(help="What is classified.", show_default="audio for esc50 and vggsound, else video"),
    ] = None,
    template: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="TEXT",
            help="Text around a label, which {} stands for; several are averaged.",
            show_default='"{}" and "the sound of {}" or "a video of {}"',
        ),
    ] = None,
    options: DatasetOptions = DatasetOptions(),  # noqa: B008 (frozen)
    per_class: PerClass = False,
) -> None:
    """Which label fits best? Top-1 accuracy and mAP."""
    from sam_audio.conditioning.embedding import load_embedder
    from sam_audio.evaluation import classification as measure
    from sam_audio.evaluation.datasets import load

    data = load(dataset.value, folder, options.split, options.limit)
    usual = Modality.audio if dataset in (Labelled.esc50, Labelled.vggsound) else Modality.video
    chosen = (modality or usual).value
    if chosen == "video" and not any(item.has_video for item in data.items):
        raise UserError(f"{folder} holds no videos of {dataset.value}: use --modality audio")
    with _csv_output(options.csv, options.overwrite) as write:
        embedder = load_embedder(options.model)
        shown = _shown(data.items)
        result = measure.evaluate(embedder, shown, data.labels, chosen, template or None, per_class)
        write(result)
    _report(data, embedder.name, result, options.json_table)


def average(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Holds audiocaps, clotho, valor, vctk and vggsound, as far as they are there.",
            show_default=False,
        ),
    ],
    model: Annotated[str, typer.Option(metavar="nano|NAME|PATH", help="Model.")] = "nano",
    limit: Annotated[
        Optional[int],
        typer.Option(
            min=1, help="At most so many clips of each data set, evenly spread.", show_default="all"
        ),
    ] = None,
    json_table: Annotated[
        bool, typer.Option("--json", help="Print the table as JSON; shares are 0..1.")
    ] = False,
) -> None:
    """R@1 on several data sets and their average, in the layout of PE-AV's authors and beside their figures."""
    from sam_audio.conditioning.embedding import load_embedder
    from sam_audio.evaluation import average as measure
    from sam_audio.evaluation.bench.driver import published
    from sam_audio.evaluation.protocols import Evaluation

    embedder = load_embedder(model)
    result = measure.evaluate(embedder, folder, limit, _shown)
    known = [{"system": embedder.name, **result.rows[0]}, *published("average")]
    rows: list[Row] = [
        {
            "system": row["system"],
            measure.AVERAGE: measure.average(row),
            **{c: row.get(c) for c in measure.COLUMNS},
        }
        for row in known
    ]
    if json_table:
        show_json({"model": embedder.name, "unreadable": result.unreadable, "table": rows})
    else:
        _print_table(f"R@1, {embedder.name}", Evaluation(rows, []))
    tell_unreadable(result.unreadable)


@fields_as_options(options=DatasetOptions, spans=SpanOptions)
def localization(
    dataset: Annotated[Timed, typer.Argument(show_default=False)],
    folder: Folder,
    spans: SpanOptions = SpanOptions(),  # noqa: B008 (frozen)
    options: DatasetOptions = DatasetOptions(),  # noqa: B008 (frozen)
    per_class: PerClass = False,
    negatives: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Also ask each recording for N things of an open vocabulary that it has not.",
        ),
    ] = 0,
) -> None:
    """When is each sound heard? F1 of segments (1 s) and events (200 ms), PSDS, AUROC of frames.

    The thresholds and durations are those of sam-audio locate; PSDS and AUROC do not depend on them.
    """
    from sam_audio.evaluation import localization as measure
    from sam_audio.evaluation.datasets import load
    from sam_audio.finding.locate import load_locator

    data = load(dataset.value, folder, options.split, options.limit)
    with _csv_output(options.csv, options.overwrite) as write:
        locator = load_locator(options.model)
        result = measure.evaluate(locator, _shown(data.items), data.labels, spans, per_class, negatives)
        write(result)
    _report(data, locator.name, result, options.json_table)


@contextmanager
def _csv_output(path: str | None, overwrite: bool) -> Iterator[Callable[[Evaluation], None]]:
    """A function that writes a table to `path`, or nowhere; a path that will not do is said now, not later."""

    def write(result: Evaluation) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(result.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(result.rows)
        for file in files:
            file.write(text.getvalue().encode())

    with outputs([] if path is None else [path], overwrite) as files:
        yield write


def _shown(items: Sequence[Item]) -> Iterable[Item]:
    """The items, with a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import track

    return track(items, description="listening", console=Console(stderr=True), transient=True)


def _report(data: Dataset, model: str, result: Evaluation, json_table: bool) -> None:
    """The table on stdout, what is not in it on stderr."""
    if json_table:
        summary = {
            "dataset": data.name,
            "split": data.split,
            "model": model,
            "clips": len(data.items),
            "missing": data.missing,
            "unreadable": result.unreadable,
            "table": result.rows,
        }
        show_json(summary)
    else:
        _print_table(f"{data.name} {data.split}, {len(data.items)} clips, {model}", result)
    if data.missing:
        complain(f"left out because their files are not in the folder: {data.missing}", "note")
    tell_unreadable(result.unreadable)


def tell_unreadable(messages: Sequence[str]) -> None:
    """Says on stderr what a table leaves out."""
    if messages:
        complain(
            f"left out because they could not be read: {len(messages)}, the first: {messages[0]}", "note"
        )


def _print_table(title: str, result: Evaluation) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text  # as it is: a label or a file name may look like markup

    first, *rest = result.rows[0]
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in rest:
        table.add_column(name, justify="right", no_wrap=True)
    for row in result.rows:
        table.add_row(*(Text(_cell(name, value)) for name, value in row.items()))
    Console().print(table)


def _cell(name: str, value: Value) -> str:
    """Shares in per cent, as papers give them; PSDS and AUROC as they are.

    >>> _cell("R@1", 0.458), _cell("PSDS1", 0.3512), _cell("median rank", 1.5), _cell("clips", 7)
    ('45.8 %', '0.351', '1.5', '7')
    """
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    if name.startswith(("PSDS", "AUROC")):
        return f"{value:.3f}"
    return f"{value:g}" if name == "median rank" else f"{100 * value:.1f} %"
