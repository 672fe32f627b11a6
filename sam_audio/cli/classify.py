"""``sam-audio classify FILE... --labels labels.txt``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from sam_audio.cli.shared import complain, each_file, show, show_json
from sam_audio.errors import UserError

if TYPE_CHECKING:
    from sam_audio.types import Samples


def classify(
    files: Annotated[
        Optional[list[str]],
        typer.Argument(metavar="FILE...", help="Recordings, pictures or videos.", show_default=False),
    ] = None,
    labels: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE", help="The labels to choose from, one a line.", show_default=False),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, metavar="N", help="How many labels for each file.")] = 5,
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="See: sam-audio models list.")] = "nano",
    json_labels: Annotated[bool, typer.Option("--json", help="Print the answers as JSON.")] = False,
) -> None:
    """Tell which of your own labels fit a file best.

    The scores are cosines, -1 to 1: they can be compared with each other, but are no probabilities.
    """
    if not files:
        raise UserError("no file is given: sam-audio classify FILE... --labels labels.txt")
    if labels is None:
        raise UserError("no labels are given: add --labels labels.txt, with one label a line")
    names = read_labels(labels)
    import numpy as np

    from sam_audio.conditioning.embedding import load_embedder
    from sam_audio.finding.media import embed_file, text_kind, unit

    embedder = load_embedder(model)
    tables: dict[str, Samples] = {}  # of the labels, for the kinds of media that occur

    def work(path: str) -> list[tuple[str, float]]:
        kind, vector = embed_file(embedder, path)
        direction = unit(vector)
        if direction is None:
            complain(f"{path} is silent: no label fits", "warning")
            return []
        asked = text_kind(kind)
        if asked not in tables:
            tables[asked] = embedder.embed_text(names, kind=asked)
        scores = tables[asked] @ direction
        return [(names[i], float(scores[i])) for i in np.argsort(-scores, kind="stable")[:k]]

    done, errors = each_file(files, work, "classifying")
    if json_labels:
        answers = [
            {"path": path, "labels": [{"label": label, "score": round(score, 4)} for label, score in best]}
            for path, best in done
        ]
        show_json({"files": answers, "errors": errors})
    else:
        for path, best in done:
            show(path)
            for label, score in best:
                show(f"  {score:6.3f}  {label}")
    if errors:
        raise typer.Exit(2)


def read_labels(path: Path) -> list[str]:
    """The distinct labels of a text file, one a line; blank lines and lines that begin with # do not count.

    Raises:
        UserError: the file cannot be read or holds no label.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"the labels {path} cannot be read ({reason}): name a text file") from None
    lines = (" ".join(line.split()) for line in text.split("\n"))
    names = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not names:
        raise UserError(f"{path} holds no labels: write one a line")
    return names
