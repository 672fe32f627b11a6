"""``sam-audio eval retrieval|classification|localization``: zero-shot measures on published data sets."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from sam_audio.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sam_audio.evaluation.datasets import Dataset, Item
    from sam_audio.evaluation.protocols import Evaluation, Value


class Captioned(str, Enum):
    """Data sets for retrieval; the last three by the words of their labels."""

    audiocaps = "audiocaps"
    clotho = "clotho"
    vctk = "vctk"
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


class Timed(str, Enum):
    """Data sets for localization."""

    desed = "desed"
    audioset_strong = "audioset-strong"


class Direction(str, Enum):
    text_to_audio = "text-to-audio"
    audio_to_text = "audio-to-text"
    text_to_video = "text-to-video"
    video_to_text = "video-to-text"
    audio_to_video = "audio-to-video"
    video_to_audio = "video-to-audio"


class Modality(str, Enum):
    audio = "audio"
    video = "video"


Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the data set is.", show_default=False)]
Split = Annotated[
    Optional[str],
    typer.Option(help="Part of it (ESC-50: a fold, VCTK: mic1 or mic2).", show_default="the usual test part"),
]
Limit = Annotated[
    Optional[int], typer.Option(min=1, help="At most so many clips, evenly spread.", show_default="all")
]
Model = Annotated[str, typer.Option(metavar="nano|NAME|PATH", help="Model.")]
Json = Annotated[bool, typer.Option("--json", help="Print the table as JSON; shares are 0..1.")]
Csv = Annotated[
    Optional[Path], typer.Option(metavar="FILE", help="Also write the table there.", show_default=False)
]
PerClass = Annotated[bool, typer.Option("--per-class", help="One more row for each label.")]


def retrieval(
    dataset: Annotated[Captioned, typer.Argument(show_default=False)],
    folder: Folder,
    direction: Annotated[
        Optional[list[Direction]],
        typer.Option(help="Once for each direction.", show_default="all that the data allow"),
    ] = None,
    split: Split = None,
    limit: Limit = None,
    model: Model = "nano",
    json_table: Json = False,
    csv_file: Annotated[Optional[Path], typer.Option("--csv", metavar="FILE")] = None,
) -> None:
    """Does the right clip come first? R@1, R@5, R@10 and the median rank."""
    from sam_audio.embedding import load_embedder
    from sam_audio.evaluation import retrieval as measure

    data = _load(dataset.value, folder, split, limit, csv_file)
    directions = [d.value for d in direction] if direction else measure.directions_of(data.items)
    embedder = load_embedder(model)
    result = measure.evaluate(embedder, _shown(data.items), list(dict.fromkeys(directions)))
    _report(data, embedder.name, result, json_table, csv_file)
