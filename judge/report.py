"""How judgements are told to people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from judge.types import AXES, Judgement

if TYPE_CHECKING:
    from rich.table import Table

# probabilities below which a sound counts as absent, and from which it counts as being there; between them it may be
ABSENT_BELOW, PRESENT_FROM = 0.3, 0.7
_WIDE = 500


def in_mixture(judgement: Judgement | None) -> bool | None:
    """Whether what was asked for is in the mixture at all; None if nobody can tell, or the judge is in doubt."""
    if judgement is None or judgement.present is None:
        return None
    if ABSENT_BELOW <= judgement.present < PRESENT_FROM:
        return None
    return judgement.present >= PRESENT_FROM


def table(judged: Iterable[tuple[str, Judgement | None]]) -> Table:
    """A row a stem: its name, the four scores (1-5), and whether the sound is in the mix."""
    from rich.table import Table
    from rich.text import Text

    out = Table(box=None, pad_edge=False, header_style="bold")
    out.add_column("stem", overflow="fold")
    for axis in AXES:
        out.add_column(axis, justify="right", no_wrap=True)
    out.add_column("in the mix?", no_wrap=True)
    for name, judgement in judged:
        scores = [f"{getattr(judgement, axis):.1f}" if judgement else "-" for axis in AXES]
        out.add_row(Text(name), *scores, presence(judgement))
    return out


def print_table(judged: Iterable[tuple[str, Judgement | None]], file: TextIO) -> None:
    """Prints `table`; where nobody looks at a terminal, names are not folded."""
    from rich.console import Console

    Console(file=file, width=None if file.isatty() else _WIDE, highlight=False).print(table(judged))


def presence(judgement: Judgement | None) -> str:
    """In words, with the probability.

    >>> [presence(Judgement(4.0, 4.0, 4.0, 4.0, share)) for share in (0.97, 0.5, 0.03)]
    ['yes (97 %)', 'perhaps (50 %)', 'not in the mix (3 %)']
    """
    if judgement is None or judgement.present is None:
        return "not judged" if judgement is None else "-"
    words = {True: "yes", False: "not in the mix", None: "perhaps"}[in_mixture(judgement)]
    return f"{words} ({judgement.present:.0%})".replace("%", " %")
