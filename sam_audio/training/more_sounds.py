"""Everyday recordings beyond the manifest, to train on only: games, desktops and call clients have them.

``more_packages.tsv`` pins the packages, ``more_sounds.tsv`` says which of their files to take and what each
is. The labels come from file and folder names; a recording is listed when YAMNet agreed (a class that fits
among its first five, or above 0.1), when it lasts a quarter of a second or more, and when neither the manifest
nor the list has it already. Whatever resembled a held-out recording was left out, and none of these is ever held
out, so figures from before stay comparable.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

from sam_audio.training.collect import Recording


@cache
def more_sounds() -> tuple[Recording, ...]:
    """Every recording of the packaged tables, in their order."""
    packages = {row["package"]: row for row in _rows("more_packages.tsv")}
    found = []
    for row in _rows("more_sounds.tsv"):
        package = packages[row["package"]]
        for file in row["files"].split("|"):
            path = f"{row['folder']}/{file}"
            found.append(
                Recording(
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


def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files("sam_audio.training").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
