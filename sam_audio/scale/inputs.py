"""What a batch is given: files, folders, globs, manifests and URIs become items."""

from __future__ import annotations

import csv
import io
import json
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio.documents import shown
from sam_audio.errors import AudioReadError, MissingExtraError, UserError
from sam_audio.naming import check_prompts, safe_track
from sam_audio.scale.stores import Patience, file_system, is_missing, local_path, patiently, scheme_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

MANIFESTS = (".csv", ".jsonl", ".parquet")
COLUMNS = ("source", "prompts", "track")
BETWEEN_PROMPTS = "|"  # in a csv cell
CATALOGUE = "_catalogue"  # the folder of an output that no track may take


@dataclass(frozen=True)
class Item:
    """A recording of a batch.

    Args:
        source: absolute path or URI.
        track: the folder of its outputs, below that of all.
        prompts: what is asked of it; empty for what takes none.
    """

    source: str
    track: str
    prompts: tuple[str, ...] = ()


def find_items(
    inputs: Sequence[str],
    prompts: Sequence[str] = (),
    out: str | None = None,
    patience: Patience | None = None,
) -> Iterator[Item]:
    """The items of a batch, each with a track of its own, in an order that does not change from run to run.

    A manifest (.csv, .jsonl, .parquet) has a column ``source`` and may have ``prompts`` and ``track``; sources that are
    relative lie where the manifest does. Prompts of a csv stand in one cell with | between them.

    Args:
        inputs: files, folders (with all that is in them), globs, manifests; paths or URIs.
        prompts: for items that bring none.
        out: the folder of outputs, which is left out.

    Raises:
        UserError: an input is not there, holds no recordings, or is a manifest that cannot be understood.
    """
    asked = tuple(check_prompts(prompts)) if prompts else ()
    taken: set[str] = set()
    for given in inputs:
        found = False
        for item in _items_of(given, asked, out, patience or Patience()):
            found = True
            yield _with_own_track(item, taken)
        if not found:
            raise AudioReadError(f"{given} holds no recordings: name another folder, glob or manifest")


def _with_own_track(item: Item, taken: set[str]) -> Item:
    """Two recordings of one name: the later one is told by its source, whatever else is in the batch."""
    track = safe_track(item.track)
    if track.split("/")[0] == CATALOGUE:
        track = f"_{track}"
    if track in taken:
        track = f"{track}-{blake2b(item.source.encode(errors='surrogateescape'), digest_size=4).hexdigest()}"
    if track in taken:
        raise UserError(f"{item.source} stands in the batch twice: leave one of them out")
    taken.add(track)
    return Item(item.source, track, item.prompts)


def _items_of(given: str, prompts: tuple[str, ...], out: str | None, patience: Patience) -> Iterator[Item]:
    path = local_path(given)
    if path is not None:
        given = os.path.abspath(path)
    if scheme_of(given) in ("http", "https") and not given.endswith(MANIFESTS):
        yield Item(given, _stem(given.partition("?")[0]), prompts)  # of which nobody can ask what is below
        return
    system, inner = _system(given, patience)
    try:
        info = patiently(lambda: system.info(inner), patience)
    except FileNotFoundError as error:
        if not is_missing(error):
            raise AudioReadError(f"{given} cannot be read: its store does not answer as it should") from None
        if not any(mark in given for mark in "*?["):
            raise AudioReadError(f"{given} does not exist: check its name") from None
        fixed = inner[: min(inner.index(mark) for mark in "*?[" if mark in inner)].rpartition("/")[0]
        found = patiently(lambda: system.glob(inner), patience)
        yield from _recordings(system, sorted(map(str, found)), fixed, given, prompts, out)
        return
    except UserError:
        raise
    except Exception as error:
        raise AudioReadError(f"{given} cannot be read ({' '.join(str(error).split())[:300]})") from None
    if info["type"] == "directory":
        found = patiently(lambda: system.find(inner), patience)
        yield from _recordings(system, sorted(map(str, found)), inner.rstrip("/"), given, prompts, out)
    elif given.lower().endswith(MANIFESTS):
        yield from _manifest(system, inner, given, prompts)
    else:
        yield Item(given, _stem(given), prompts)


def _system(given: str, patience: Patience) -> tuple[AbstractFileSystem, str]:
    if scheme_of(given) is None:
        try:
            from fsspec.implementations.local import LocalFileSystem
        except ImportError:
            raise MissingExtraError("a batch needs fsspec", "scale") from None
        return LocalFileSystem(), given
    return file_system(given, patience)


def _recordings(
    system: AbstractFileSystem,
    found: Iterable[str],
    folder: str,
    given: str,
    prompts: tuple[str, ...],
    out: str | None,
) -> Iterator[Item]:
    """Recordings and videos of a listing; what is hidden, and what lies in the folder of outputs, is left out."""
    from sam_audio.finding.media import AUDIO, VIDEO, kind_of

    outputs = None if out is None else str(_absolute(out)).rstrip("/") + "/"
    for name in found:
        source = name if scheme_of(given) is None else system.unstrip_protocol(name)
        below = posixpath.relpath(name, folder) if folder else name
        hidden = any(part.startswith(".") for part in below.split("/"))
        if hidden or kind_of(name) not in (AUDIO, VIDEO) or (outputs and source.startswith(outputs)):
            continue
        yield Item(source, posixpath.splitext(below)[0], prompts)


def _absolute(place: str) -> str:
    path = local_path(place)
    return place if path is None else os.path.abspath(path)


def _stem(name: str) -> str:
    return posixpath.splitext(posixpath.basename(name.rstrip("/")))[0]


# ---- manifests ------------------------------------------------------------------------------------------


def _manifest(system: AbstractFileSystem, inner: str, given: str, prompts: tuple[str, ...]) -> Iterator[Item]:
    rows = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[posixpath.splitext(inner)[1].lower()]
    folder = given.rpartition("/")[0]
    with system.open(inner, "rb") as file:
        try:
            for number, row in enumerate(rows(file, given), 1):
                try:
                    yield _item(row, folder, prompts)
                except UserError as error:
                    raise UserError(f"row {number} of {given}: {error}") from None
        except UnicodeDecodeError:
            raise UserError(f"{given} is not UTF-8 text: write it anew as UTF-8") from None


def _csv(file: Any, given: str) -> Iterator[Mapping[str, Any]]:
    try:
        for row in csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline="")):
            if None in row or None in row.values():
                raise UserError(f"{given} has a row of more or fewer cells than its head: correct it there")
            yield {key: value for key, value in row.items() if value != ""}
    except csv.Error as error:
        raise UserError(f"{given} is no csv ({error}): correct it there") from None


def _jsonl(file: Any, given: str) -> Iterator[Mapping[str, Any]]:
    for line in io.TextIOWrapper(file, "utf-8-sig"):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                raise UserError(f"{given} holds {shown(line)}: write one JSON object a line")
            yield row


def _parquet(file: Any, given: str) -> Iterator[Mapping[str, Any]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise MissingExtraError(f"{given} needs pyarrow", "scale") from None
    try:
        table = ParquetFile(file)
        columns = [name for name in table.schema_arrow.names if name in COLUMNS]
        for batch in table.iter_batches(columns=columns):
            for row in batch.to_pylist():
                yield {key: value for key, value in row.items() if value is not None}
    except ArrowException as error:
        raise UserError(f"{given} is no parquet file that can be read ({str(error)[:200]})") from None


def _item(row: Mapping[str, Any], folder: str, prompts: tuple[str, ...]) -> Item:
    source, asked, track = (row.get(name) for name in COLUMNS)
    if not isinstance(source, str) or not source or "\0" in source:
        raise UserError(f"the source is {shown(source)}: write the path or URI of a recording")
    if not isinstance(track, str | None):
        raise UserError(f"the track is {shown(track)}: write a text")
    if isinstance(asked, str):
        asked = [part for part in asked.split(BETWEEN_PROMPTS) if part.strip()]
    if asked is not None and not (isinstance(asked, list) and all(isinstance(one, str) for one in asked)):
        raise UserError(f"the prompts are {shown(asked)}: write a list of texts")
    if scheme_of(source) is None and not os.path.isabs(source):
        source = f"{folder}/{source}"
    if scheme_of(source) is None:
        source = os.path.abspath(str(local_path(source) or Path(source)))
    return Item(source, track or _stem(source), tuple(check_prompts(asked)) if asked else prompts)
