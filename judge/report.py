"""How judgements are told to people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from judge.types import AXES, Judgement

if TYPE_CHECKING:
    from rich.table import Table

PRESENT_FROM = 0.5  # probability from which a sound counts as being in the mixture
_WIDE = 500


def in_mixture(judgement: Judgement | None) -> bool | None:
    """Whether what was asked for is in the mixture at all; None if nobody can tell."""
    if judgement is None or judgement.present is None:
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

    >>> presence(Judgement(4.0, 4.0, 4.0, 4.0, 0.97)), presence(Judgement(4.0, 4.0, 4.0, 4.0, 0.03))
    ('yes (97 %)', 'not in the mix (3 %)')
    """
    there = in_mixture(judgement)
    if judgement is None or judgement.present is None:
        return "not judged" if judgement is None else "-"
    return f"{'yes' if there else 'not in the mix'} ({judgement.present:.0%})".replace("%", " %")
