"""One table for an encoder, as PE-AV's authors give it: R@1 of retrieval on several data sets, and the average.

They average nine columns, one of them of data that nobody else has; here it is eight, for theirs too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sam_audio.errors import UserError
from sam_audio.evaluation import retrieval
from sam_audio.evaluation.datasets import load
from sam_audio.evaluation.items import Item
from sam_audio.evaluation.protocols import Evaluation, JointEncoder, Row, Value

__all__ = ["COLUMNS", "average", "evaluate"]

# column of the table -> data set, direction
COLUMNS = {
    "AudioCaps T-A": ("audiocaps", "text-to-audio"),
    "AudioCaps T-V": ("audiocaps", "text-to-video"),
    "AudioCaps V-A": ("audiocaps", "video-to-audio"),
    "Clotho T-A": ("clotho", "text-to-audio"),
    "VALOR T-A": ("valor", "text-to-audio"),
    "VALOR T-V": ("valor", "text-to-video"),
    "VCTK A-T": ("vctk", "audio-to-text"),
    "VGGSound V-A": ("vggsound", "video-to-audio"),
}
AVERAGE = "average of 8"


def evaluate(
    embedder: JointEncoder,
    folder: Path,
    limit: int | None = None,
    shown: Callable[[Sequence[Item]], Iterable[Item]] = iter,
) -> Evaluation:
    """A row with a column for each data set and direction, None where there is no such data set, and their average.

    Args:
        folder: holds a folder for each data set, called as `sam_audio.evaluation.datasets` calls it.
        limit: at most so many clips of each.
        shown: passes on the clips of a data set, with a progress bar say.

    Raises:
        UserError: there is none of the data sets, or one cannot be read.
    """
    found: dict[str, float] = {}
    unreadable: list[str] = []
    for name in dict.fromkeys(name for name, _ in COLUMNS.values()):
        if not (folder / name).is_dir():
            continue
        items = load(name, folder / name, limit=limit).items
        wanted = [direction for other, direction in COLUMNS.values() if other == name]
        possible = [direction for direction in wanted if direction in retrieval.directions_of(items)]
        if not possible:  # VGGSound without its pictures
            continue
        result = retrieval.evaluate(embedder, shown(items), possible)
        unreadable += result.unreadable
        for row in result.rows:
            column = next(c for c, asked in COLUMNS.items() if asked == (name, row["direction"]))
            found[column] = float(row["R@1"])  # type: ignore[arg-type]
    if not found:
        raise UserError(
            f"{folder} holds none of the folders {', '.join(dict.fromkeys(n for n, _ in COLUMNS.values()))}: "
            "give the one that they are in"
        )
    return Evaluation([{AVERAGE: average(found), **{c: found.get(c) for c in COLUMNS}}], unreadable)


def average(row: Row) -> Value:
    """The mean of the columns; None unless all of them are there.

    >>> average(dict.fromkeys(COLUMNS, 0.25)), average({"Clotho T-A": 0.5})
    (0.25, None)
    """
    values = [row.get(column) for column in COLUMNS]
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(COLUMNS) if len(known) == len(COLUMNS) else None
