"""What was made: a parquet catalogue in the folder of outputs, a row an item, which SQL can be asked about.

Rows are added in parts, each a file that appears whole. Of several rows of one track the latest counts, so that
a part written twice, or parts that were joined but not yet removed when the process was killed, do no harm.

DuckDB asks: it takes SQL, unfolds lists of stems, and reads the parts as streams through pyarrow, from any store,
without downloading extensions; polars would want the columns of nested lists taken apart by hand.
"""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sam_audio.errors import AudioReadError, MissingExtraError, UserError
from sam_audio.scale.inputs import CATALOGUE
from sam_audio.scale.stores import Folder

if TYPE_CHECKING:
    import duckdb
    import pyarrow

DONE, FAILED = "done", "failed"
PART_ROWS = 1000
PART_S = 10.0  # how long a finished row may wait for its part; what a killed driver loses is done again
MOST_PARTS = 50  # joined beyond that

STEMS_VIEW = """
CREATE VIEW stems AS
SELECT track, source, status, seconds, model, judge, UNNEST(stems, max_depth := 2)
FROM (SELECT track, source, status, seconds, model, judge, stems FROM items)
"""


@cache
def schema() -> pyarrow.Schema:
    """Columns of a row; times in seconds, levels in dB relative to the mixture, scores 1 to 5."""
    pa = _pyarrow()
    span = pa.struct([("start_s", pa.float64()), ("end_s", pa.float64()), ("score", pa.float32())])
    event = pa.struct([("prompt", pa.string()), *((one.name, one.type) for one in span)])
    caption = pa.struct([("captioner", pa.string()), ("text", pa.string()), ("confidence", pa.float32())])
    stem = pa.struct(
        [
            ("name", pa.string()),
            ("prompt", pa.string()),  # null for the residual
            ("path", pa.string()),  # below the folder of outputs
            ("bytes", pa.int64()),
            ("level_db", pa.float32()),
            ("peak", pa.float32()),
            ("clipped_samples", pa.int64()),
            *((axis, pa.float32()) for axis in ("overall", "recall", "precision", "faithfulness", "present")),
            ("in_mixture", pa.bool_()),
            ("spans", pa.list_(span)),  # where the stem holds at least a tenth of the mixture's energy
        ]
    )
    return pa.schema(
        [
            ("track", pa.string()),
            ("source", pa.string()),
            ("task", pa.string()),
            ("status", pa.string()),
            ("error", pa.string()),
            ("attempts", pa.int32()),
            ("prompts", pa.list_(pa.string())),
            ("how", pa.string()),  # digest of what decides, beside prompts and content
            ("content", pa.string()),  # digest of the recording
            ("version", pa.string()),  # of the recording, see `stores.version_of`
            ("made_at", pa.float64()),  # seconds since 1970
            ("elapsed_s", pa.float64()),
            ("seconds", pa.float64()),
            ("sample_rate", pa.int32()),
            ("channels", pa.int32()),
            ("model", pa.string()),
            ("judge", pa.string()),
            ("warnings", pa.list_(pa.string())),
            ("stems", pa.list_(stem)),
            ("events", pa.list_(event)),  # of locate
            ("captions", pa.list_(caption)),
            ("vector", pa.list_(pa.float32())),  # of embed
        ]
    )


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("the catalogue needs pyarrow, which is not installed", "scale") from None
    return pyarrow


# ---- writing --------------------------------------------------------------------------------------------


class Catalogue:
    """The catalogue of a folder, to which rows are added; what is added is kept after `flush`."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._rows: list[dict[str, Any]] = []
        self._since_s = 0.0

    def add(self, row: dict[str, Any]) -> None:
        """Adds a row; it is on the disk after PART_S or PART_ROWS at the latest."""
        if not self._rows:
            self._since_s = time.monotonic()
        self._rows.append({**row, "made_at": time.time()})
        if len(self._rows) >= PART_ROWS:
            self.flush()

    def flush_if_due(self) -> None:
        if self._rows and time.monotonic() - self._since_s >= PART_S:
            self.flush()

    def flush(self) -> None:
        """Writes what was added.

        Raises:
            AudioWriteError: it cannot be written; it is still held then.
        """
        if self._rows:
            pa = _pyarrow()
            self._write(pa.Table.from_pylist(self._rows, schema()))
            self._rows = []

    def join(self, most_parts: int = MOST_PARTS) -> None:
        """Makes one part of all, if there are more."""
        parts = _parts(self.folder)
        if len(parts) > most_parts:
            self._write(_latest(_read(self.folder, parts)))
            for part in parts:
                self.folder.remove(part)

    def _write(self, table: pyarrow.Table) -> None:
        data = io.BytesIO()
        _pyarrow().parquet.write_table(table, data, compression="zstd")
        name = f"part-{time.time_ns():020d}-{secrets.token_hex(4)}.parquet"
        self.folder.write(f"{CATALOGUE}/{name}", data.getvalue())


# ---- reading --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """What the catalogue says of a track that is done."""

    source: str
    task: str
    how: str
    prompts: tuple[str, ...]
    content: str
    version: str | None
    outputs: tuple[tuple[str, int], ...]  # path, bytes


def known_tracks(folder: Folder) -> dict[str, Known]:
    """What is done, by track."""
    columns = [
        "track",
        "source",
        "task",
        "status",
        "how",
        "prompts",
        "content",
        "version",
        "stems",
        "made_at",
    ]
    table = _latest(_read(folder, _parts(folder), columns))
    known = {}
    rows = (row for batch in table.to_batches(max_chunksize=PART_ROWS) for row in batch.to_pylist())
    for row in rows:
        if row["status"] == DONE:
            outputs = tuple((stem["path"], stem["bytes"]) for stem in row["stems"] or [])
            prompts = tuple(row["prompts"] or ())
            known[row["track"]] = Known(
                row["source"], row["task"], row["how"], prompts, row["content"], row["version"], outputs
            )
    return known


def _parts(folder: Folder) -> list[str]:
    return [name for name in folder.names(CATALOGUE) if name.endswith(".parquet")]


def _read(folder: Folder, parts: Iterable[str], columns: Sequence[str] | None = None) -> pyarrow.Table:
    pa = _pyarrow()
    names = list(columns or schema().names)
    wanted = pa.schema([schema().field(name) for name in names])
    tables = []
    for part in parts:
        try:
            table = pa.parquet.read_table(io.BytesIO(folder.read(part)), columns=names)
            tables.append(table.cast(wanted))
        except FileNotFoundError:
            continue  # joined with others meanwhile
        except (pa.ArrowException, ValueError) as error:
            raise AudioReadError(
                f"{folder.uri}/{part} is no part of a catalogue ({' '.join(str(error).split())[:200]}): remove it"
            ) from None
    return pa.concat_tables(tables) if tables else wanted.empty_table()


def _latest(table: pyarrow.Table) -> pyarrow.Table:
    """The latest row of each track, in the order of the tracks."""
    ordered = table.sort_by([("track", "ascending"), ("made_at", "ascending")])
    tracks = ordered["track"].to_pylist()
    last = [n for n, track in enumerate(tracks) if n + 1 == len(tracks) or tracks[n + 1] != track]
    return ordered.take(_pyarrow().array(last, "int64"))


# ---- asking ---------------------------------------------------------------------------------------------


def ask(folder: Folder, question: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """What the catalogue answers.

    Args:
        question: SQL (SELECT or WITH) over the views ``items`` and ``stems``, or a condition on stems such as
            ``in_mixture AND precision < 2.5``.

    Returns:
        Names of the columns, and rows.

    Raises:
        UserError: there is no catalogue, or it cannot be asked this.
    """
    connection = _connect(folder)
    words = question.split()
    if not words:
        raise UserError(
            'nothing is asked: write a condition like "in_mixture AND precision < 2.5", or SELECT ...'
        )
    if words[0].upper() not in ("SELECT", "WITH", "FROM", "DESCRIBE", "SUMMARIZE"):
        columns = "track, name, prompt, path, level_db, overall, precision, present"
        question = f"SELECT {columns} FROM stems WHERE {question}"
    import duckdb

    try:
        answer = connection.execute(question)
        return [column[0] for column in answer.description], answer.fetchall()
    except duckdb.Error as error:
        raise UserError(
            f"the catalogue cannot be asked this ({' '.join(str(error).split())[:400]})"
        ) from None


def _connect(folder: Folder) -> duckdb.DuckDBPyConnection:
    try:
        import duckdb
    except ImportError:
        raise MissingExtraError(
            "the catalogue is asked through duckdb, which is not installed", "scale"
        ) from None
    parts = _parts(folder)
    if not parts:
        raise AudioReadError(f"{folder.uri} holds no catalogue: name the --out of a sam-audio batch")
    connection = duckdb.connect(":memory:")
    connection.register("items", _latest(_read(folder, parts)))
    connection.execute(STEMS_VIEW)
    # a question reads the catalogue and nothing else
    connection.execute("SET enable_external_access = false; SET lock_configuration = true")
    return connection


def summary(folder: Folder) -> Iterator[tuple[str, Any]]:
    """What `sam-audio catalogue show` says, as (what, value)."""
    columns, rows = ask(
        folder,
        """SELECT count(*) AS items, count(*) FILTER (status = 'done') AS done,
        count(*) FILTER (status = 'failed') AS failed, coalesce(sum(seconds) / 3600, 0) AS hours,
        coalesce(sum(elapsed_s) / 3600, 0) AS worker_hours, min(to_timestamp(made_at)::TIMESTAMP) AS earliest,
        max(to_timestamp(made_at)::TIMESTAMP) AS latest FROM items""",
    )
    yield from zip(columns, rows[0], strict=True)
