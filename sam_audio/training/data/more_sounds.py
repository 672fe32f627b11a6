"""Everyday recordings beyond the manifest, to train on only: games, desktops and call clients have them.

``more_packages.tsv`` pins the packages, ``more_sounds.tsv`` says which of their files to take and what each
is. The labels come from file and folder names; a recording is listed when YAMNet agreed (a class that fits
among its first five, or above 0.1), when it lasts a quarter of a second or more, and when neither the manifest
nor the list has it already. Whatever resembled a held-out recording was left out, and none of these is ever held
out, so figures from before stay comparable.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from importlib import resources
from pathlib import Path

from sam_audio.training.data.collect import Listed, rows_beside
from sam_audio.training.music.sampler import HELD_OUT_KIT, SAMPLED


@cache
def more_sounds() -> tuple[Listed, ...]:
    """Every recording of the packaged tables, in their order."""
    packages = {row["package"]: row for row in _rows("more_packages.tsv")}
    found = []
    for row in _rows("more_sounds.tsv"):
        package = packages[row["package"]]
        for file in row["files"].split("|"):
            path = f"{row['folder']}/{file}"
            found.append(
                Listed(
                    package["source"],
                    row["package"],
                    path,
                    row["label"],
                    row["category"],
                    package["licence"],
                    seconds=0.0,
                    version=package["version"],
                    train_only=True,
                )
            )
    return tuple(found)


def beside_manifest(data_dir: Path) -> list[Listed]:
    """Recordings that the data have beside the manifest, to train on only: single notes of instruments that are not
    held out, and everyday events."""
    held_out = "|".join([*(s.source for s in SAMPLED if s.held_out and s.source), HELD_OUT_KIT])
    recordings = []
    for row in rows_beside(data_dir, "notes"):
        label = _NOTE_LABELS.get(row["label"], row["label"])
        if label and not re.search(_NOISES, row["articulation"]) and not re.search(held_out, row["source"]):
            recordings.append(_beside(row, row["source"], label, "notes"))
    recordings += [
        _beside(row, "events", row["label"], row["category"]) for row in rows_beside(data_dir, "events")
    ]
    return recordings


def _beside(row: dict[str, str], package: str, label: str, category: str) -> Listed:
    seconds = float(row["seconds"])
    return Listed("shared", package, row["file"], label, category, row["licence"], seconds, train_only=True)


# knocks and breaths of an instrument carry its label: nobody who asks for it means them
_NOISES = "noise|click|body|scrape|snap|behind"
# Labels of notes as the table has them; None: nothing that anybody would ask for by that name.
_NOTE_LABELS = {
    "crash cymbal": "cymbal",
    "ride cymbal": "cymbal",
    "cajon": "hand drum",
    "electric grand piano": "electric piano",
    "body percussion": None,
    "foot stomp": None,
}


def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files("sam_audio.training.data").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
