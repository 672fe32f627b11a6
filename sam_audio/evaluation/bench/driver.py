"""All benchmarks by name, and what others have published on them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.resources import files

from sam_audio.errors import UserError
from sam_audio.evaluation.bench.base import Bench
from sam_audio.evaluation.protocols import Row, Value

_MODULES = ("sam_audio_bench", "audiosep", "songs", "dnr", "dcase", "speech")


@cache
def benches() -> dict[str, Bench]:
    """Every benchmark by its name."""
    modules = [import_module(f"sam_audio.evaluation.bench.{name}") for name in _MODULES]
    return {bench.name: bench for module in modules for bench in module.BENCHES}


def find(name: str) -> Bench:
    """The benchmark of a name.

    Raises:
        UserError: there is none.
    """
    if name not in benches():
        raise UserError(f"there is no benchmark {name!r}: use {', '.join(benches())}")
    return benches()[name]


def published(name: str) -> list[Row]:
    """What others report on a benchmark: rows with ``system``, ``what``, a column a measure, and ``source``."""
    rows: dict[tuple[str, str, str], dict[str, Value]] = {}
    for line in _published():
        if line["bench"] == name:
            key = line["system"], line["what"], line["source"]
            row = rows.setdefault(key, {"system": line["system"], "what": line["what"]})
            row[line["measure"]] = float(line["value"])
    return [{**row, "source": source} for (_, _, source), row in rows.items()]


def beside(name: str, system: str, rows: Sequence[Row]) -> list[dict[str, Value]]:
    """Rows of a run and published ones in one table, with the same columns in all."""
    ours: list[Mapping[str, Value]] = [{"system": system, **row, "source": "this run"} for row in rows]
    both = [*ours, *published(name)]
    columns = [c for c in dict.fromkeys(column for row in both for column in row) if c != "source"]
    return [{column: row.get(column) for column in [*columns, "source"]} for row in both]


@cache
def _published() -> list[dict[str, str]]:
    text = files("sam_audio.evaluation.bench").joinpath("published.tsv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
