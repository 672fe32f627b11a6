"""An index of the sounds, pictures and videos in a folder: built once, kept up to date, asked by vector.

An index is a folder of two files that are always consistent:

    index.sqlite       which files are known, in which state, and the segments they were cut into
    vectors-*.faiss    their unit vectors, under the ids of the segments

A commit writes the vectors to a new file first; the transaction that then changes the tables also says which
file of vectors belongs to them. Whatever interrupts an update, the index is as it was at the last commit.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import sqlite3
import stat
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from sam_audio.errors import MissingExtraError, UserError
from sam_audio.finding.media import Segment, embed_segments, kind_of
from sam_audio.io.target import writing
from sam_audio.naming import slug
from sam_audio.paths import cache_dir
from sam_audio.types import Samples

if TYPE_CHECKING:
    from sam_audio.conditioning.embedding import Embedder

__all__ = ["Hit", "SearchIndex", "Update", "default_index_dir", "is_index"]

SEGMENT_S = 10.0
_FORMAT = 1
_COMMIT_S = 5.0  # how much work an update may lose when the machine stops
_COMMIT_SHARE = 0.05  # of the time, at most, for commits in between: a large index takes long to write
_LOCK_WAIT_S = 5.0
_TABLES, _LOCK = "index.sqlite", "lock"

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value)",
    "CREATE TABLE IF NOT EXISTS files (id INTEGER PRIMARY KEY, path BLOB UNIQUE, mtime_ns INTEGER, size INTEGER)",
    "CREATE TABLE IF NOT EXISTS segments"
    " (id INTEGER PRIMARY KEY, file INTEGER, kind TEXT, start_s REAL, end_s REAL)",
    "CREATE INDEX IF NOT EXISTS segments_of_file ON segments (file)",
)
_LOOK_UP = (
    "SELECT path, kind, start_s, end_s FROM segments JOIN files ON file = files.id WHERE segments.id = ?"
)
_OF_KIND = "SELECT id FROM segments WHERE kind = ?"

_VECTORS = re.compile(r"vectors-[0-9a-f]{8}\.faiss")
_FileRow = tuple[int, bytes, int, int]
_Counts = tuple[int, int | None]
_Found = tuple[bytes, Literal["audio", "picture", "video"], float | None, float | None]


class _Meta(msgspec.Struct):
    format: int
    root: bytes
    model: str
    version: str
    vectors: str


Stamp = tuple[int, int]  # mtime_ns, size: a file that keeps them has not changed
FileProgress = Callable[[int, int, str], None]  # files done, files in all, the file in work


@dataclass(frozen=True)
class Hit:
    """A stretch of a file that answers a query.

    Attributes:
        path: of the file.
        score: cosine of query and segment, -1 to 1.
        kind: what was compared: "audio", "picture" or "video" (the moving pictures, not the sound).
        start_s, end_s: where in the file; None for pictures.
    """

    path: str
    score: float
    kind: str
    start_s: float | None
    end_s: float | None


@dataclass
class Update:
    """What `SearchIndex.update` did, in numbers of files.

    Attributes:
        added: new or changed files that were embedded.
        dropped: files that are gone.
        unchanged: files that were left alone.
        problems: (path, sentence) of files that could not be read, or only in part.
    """

    added: int = 0
    dropped: int = 0
    unchanged: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)


def default_index_dir(folder: str | Path, model: str) -> Path:
    """Where the index of a folder lives unless the user says otherwise: in the cache, one for each model."""
    path = os.path.realpath(folder)
    key = hashlib.sha256(os.fsencode(path) + b"\0" + model.encode()).hexdigest()[:16]
    return cache_dir() / "indexes" / f"{slug(os.path.basename(path))}-{key}"


def is_index(path: str | Path) -> bool:
    """Whether a folder is an index."""
    return os.path.isfile(os.path.join(path, _TABLES))


class SearchIndex:
    """The index of one folder, made by one model.

    Args:
        path: the folder of the index; made by the first `update` that finds something.
        root: the folder that is indexed; None is the one an existing index was made from.
        model: name of the model.
        version: of its weights; vectors of another version are made anew by `update`.

    Attributes:
        path, root, model: as above.

    Raises:
        UserError: the index is damaged, or not of this folder and model; `path` holds something else.
        MissingExtraError: faiss is not installed.
    """

    def __init__(self, path: str | Path, root: str | Path | None, model: str, version: str = "") -> None:
        self.path, self.model, self._version = Path(path), model, version
        self._clear()
        if is_index(self.path):
            self._load()
        elif os.path.lexists(self.path) and not _holds_only_ours(self.path):
            raise UserError(f"{self.path} is there already and is no index: choose another place for it")
        indexed = self._meta.get("root")
        if root is None:
            if indexed is None:
                raise UserError(
                    f"{self.path} is an index without content: remove it, and name a folder of sounds"
                )
            root = os.fsdecode(indexed)
        self.root = Path(root)  # in the user's own spelling, with which hits are shown
        if indexed is not None and indexed != os.fsencode(os.path.realpath(root)):
            raise UserError(
                f"{self.path} is the index of {os.fsdecode(indexed)}, not of {root}: choose another place"
            )

    def __len__(self) -> int:
        """Number of segments."""
        return self._vectors.ntotal

    def search(self, query: Samples | Mapping[str, Samples], k: int = 10) -> list[Hit]:
        """The `k` segments nearest to a vector (D,), best first.

        Args:
            query: a unit vector, or one for each kind of segment ("audio", "picture", "video"), since models
                may see a text differently when it is compared with sound or with pictures.

        Raises:
            UserError: the index was made by another version of the model.
        """
        if self._outdated():
            raise UserError(f"{self.path} was made by another version of {self.model}: let it be updated")
        if not len(self):
            return []
        with self._database() as database:
            if isinstance(query, Mapping):
                found = [
                    pair
                    for kind, vector in query.items()
                    for pair in self._nearest(vector, k, database.execute(_OF_KIND, (kind,)).fetchall())
                ]
                found = sorted(found, reverse=True)[:k]
            else:
                found = self._nearest(query, k)
            rows = [
                (score, row) for score, id_ in found for row in self._rows(database, _LOOK_UP, _Found, (id_,))
            ]
        # A row is missing if another process has replaced its file meanwhile.
        return [
            Hit(str(self.root / os.fsdecode(path)), score, kind, start_s, end_s)
            for score, (path, kind, start_s, end_s) in rows
        ]

    def update(self, embedder: Embedder, progress: FileProgress | None = None) -> Update:
        """Embeds what is new or changed, drops what is gone, and leaves the rest alone.

        What is complete is kept when this is interrupted, and the next call goes on from there. A file that
        cannot be read is skipped and tried again by the next call; one that is damaged on the way is kept up
        to there.

        Raises:
            UserError: the folder cannot be read, the index cannot be written, or another process updates it.
        """
        found, problems = self._scan()
        if not self._outdated() and {path: stamp for path, (_, stamp) in self._files.items()} == found:
            return Update(unchanged=len(found), problems=problems)
        with self._lock():
            self._load()  # another process may have been here since
            if self._outdated():
                self._clear()
                self._emptied = True
            gone = [path for path, (_, stamp) in self._files.items() if found.get(path) != stamp]
            done = Update(dropped=sum(path not in found for path in gone), problems=problems)
            done.unchanged = len(self._files) - len(gone)
            self._remove(gone)
            todo = [path for path in found if path not in self._files]
            commit_at = time.monotonic() + _COMMIT_S
            try:
                for number, path in enumerate(todo):
                    if progress is not None:
                        progress(number, len(todo), path)
                    segments, problem = embed_segments(embedder, self.root / path, SEGMENT_S)
                    if problem is not None:
                        done.problems.append((str(self.root / path), problem))
                    if segments or problem is None:
                        self._add(path, found[path], segments)
                        done.added += 1
                    if time.monotonic() >= commit_at:
                        started = time.monotonic()
                        self._commit()
                        took = time.monotonic() - started
                        commit_at = time.monotonic() + max(_COMMIT_S, took / _COMMIT_SHARE)
            finally:
                self._commit()
        return done

    def _nearest(
        self, query: Samples, k: int, among: list[tuple[int]] | None = None
    ) -> list[tuple[float, int]]:
        """(score, segment) of at most `k` segments, best first, of all or ``among`` some."""
        faiss, parameters = _faiss(), None
        if among is not None:
            selector = faiss.IDSelectorBatch(np.array(among, np.int64).reshape(-1))
            parameters = faiss.SearchParameters(sel=selector)
        queries = np.asarray(query, np.float32)[None]
        scores, ids = self._vectors.search(queries, min(k, len(self)), params=parameters)
        return [pair for pair in zip(scores[0].tolist(), ids[0].tolist(), strict=True) if pair[1] >= 0]

    # ---- in memory: what the files say, and what is to be committed ----------------------------------------

    def _clear(self) -> None:
        self._meta: dict[str, Any] = {}
        self._files: dict[str, tuple[int, Stamp]] = {}
        self._next_file, self._next_segment = 1, 1
        self._vectors: Any = _new_vectors()
        self._emptied = False  # everything committed so far is to be forgotten
        self._new_files: list[tuple[Any, ...]] = []
        self._new_segments: list[tuple[Any, ...]] = []
        self._removed: list[int] = []

    def _outdated(self) -> bool:
        return bool(self._meta) and self._meta["version"] != self._version

    def _add(self, path: str, stamp: Stamp, segments: list[Segment]) -> None:
        first, self._next_segment = self._next_segment, self._next_segment + len(segments)
        if segments:
            vectors = np.stack([segment.vector for segment in segments])
            if not self._vectors.ntotal:
                self._vectors = _new_vectors(vectors.shape[1])
            self._vectors.add_with_ids(vectors, np.arange(first, self._next_segment))
        id_, self._next_file = self._next_file, self._next_file + 1
        self._files[path] = id_, stamp
        self._new_files.append((id_, os.fsencode(path), *stamp))
        for number, part in enumerate(segments, first):
            self._new_segments.append((number, id_, part.kind, part.start_s, part.end_s))

    def _remove(self, paths: list[str]) -> None:
        ids = [self._files.pop(path)[0] for path in paths]
        if not ids:
            return
        with self._database() as database:
            segments = [
                id_
                for file in ids
                for (id_,) in database.execute("SELECT id FROM segments WHERE file = ?", (file,))
            ]
        if segments:
            self._vectors.remove_ids(np.array(segments, np.int64))
        self._removed += ids

    # ---- on disk -------------------------------------------------------------------------------------------

    def _load(self) -> None:
        for _ in range(5):
            self._clear()
            if not is_index(self.path):
                return
            with self._database() as database:
                database.execute("BEGIN")  # one state for all that follows
                tables = database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
                if not tables:
                    return  # interrupted before its first commit
                # anything else than our own tables could be a view, or have triggers, that compute without end
                if {sql for (sql,) in tables} != {s.replace("IF NOT EXISTS ", "") for s in _SCHEMA}:
                    raise self._damaged()
                self._meta = dict(database.execute("SELECT key, value FROM meta"))
                self._check_meta()
                for id_, path, mtime_ns, size in self._rows(database, "SELECT * FROM files", _FileRow):
                    self._files[os.fsdecode(path)] = id_, (mtime_ns, size)
                ((count, last),) = self._rows(database, "SELECT count(*), max(id) FROM segments", _Counts)
            self._next_file = 1 + max((id_ for id_, _ in self._files.values()), default=0)
            self._next_segment = 1 + (last or 0)
            try:
                self._vectors = _read_vectors(self.path / self._meta["vectors"])
            except FileNotFoundError:
                continue  # replaced by another process between the two reads
            except (OSError, RuntimeError, ValueError):
                break
            if self._vectors.ntotal == count:
                return
            break
        raise self._damaged()

    def _rows(
        self, database: sqlite3.Connection, query: str, kind: Any, values: tuple[int, ...] = ()
    ) -> list[Any]:
        """What a query finds, of the types that it should be of: sqlite holds any type anywhere."""
        try:
            return msgspec.convert(database.execute(query, values).fetchall(), list[kind])
        except msgspec.ValidationError:
            raise self._damaged() from None

    def _check_meta(self) -> None:
        try:
            meta = msgspec.convert(self._meta, _Meta)
        except msgspec.ValidationError:
            raise self._damaged() from None
        if meta.format != _FORMAT or not _VECTORS.fullmatch(meta.vectors):
            raise self._damaged()
        if self._meta["model"] != self.model:
            raise UserError(
                f"{self.path} is an index of the model {self._meta['model']}, not {self.model}: "
                "ask with that model, or choose another place for this one"
            )

    def _commit(self) -> None:
        if not (self._new_files or self._removed or self._emptied):
            return
        name = f"vectors-{secrets.token_hex(4)}.faiss"
        _write_vectors(self._vectors, self.path / name)
        meta = {
            "format": _FORMAT,
            "root": os.fsencode(os.path.realpath(self.root)),
            "model": self.model,
            "version": self._version,
            "vectors": name,
        }
        removed = [(id_,) for id_ in self._removed]
        with self._database() as database:
            database.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                database.execute(statement)
            if self._emptied:
                database.execute("DELETE FROM files")
                database.execute("DELETE FROM segments")
            database.executemany("DELETE FROM segments WHERE file = ?", removed)
            database.executemany("DELETE FROM files WHERE id = ?", removed)
            database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", self._new_files)
            database.executemany("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?)", self._new_segments)
            database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
            database.execute("COMMIT")
        self._meta = meta
        self._new_files, self._new_segments, self._removed, self._emptied = [], [], [], False
        for other in self.path.glob("vectors-*.faiss"):
            if other.name != name:
                with suppress(OSError):
                    other.unlink()

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path / _TABLES, isolation_level=None)) as database:
                yield database
        except sqlite3.OperationalError as error:
            raise UserError(
                f"{self.path} cannot be read or written ({error}): check the folder and its disk"
            ) from None
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            raise self._damaged() from None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Keeps other processes from updating; the lock goes with the process, however that ends."""
        with writing(str(self.path)):
            self.path.mkdir(parents=True, exist_ok=True)
        lock = self.path / _LOCK
        try:
            with closing(sqlite3.connect(lock, timeout=_LOCK_WAIT_S, isolation_level=None)) as database:
                try:
                    database.execute("BEGIN EXCLUSIVE")
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorname == "SQLITE_BUSY":
                        why = "is being updated by another process: wait for it"
                    else:
                        why = f"cannot be written ({error}): choose another place (--index)"
                    raise UserError(f"{self.path} {why}, or search it as it is (--no-update)") from None
                yield
        finally:
            if not is_index(self.path):  # nothing was worth keeping
                with suppress(OSError):
                    lock.unlink(missing_ok=True)
                    self.path.rmdir()

    def _damaged(self) -> UserError:
        return UserError(f"the index {self.path} is damaged: remove that folder, and it will be built again")

    def _scan(self) -> tuple[dict[str, Stamp], list[tuple[str, str]]]:
        """Relative path -> stamp of every file worth indexing, and the folders that cannot be read."""
        found: dict[str, Stamp] = {}
        problems = []
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.root / folder) as entries:
                    for entry in entries:
                        path = os.path.join(folder, entry.name)
                        if entry.name.startswith("."):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(path)
                        elif kind_of(entry.name) is not None:
                            with suppress(OSError):  # a link to nothing, or gone meanwhile
                                status = entry.stat()
                                if stat.S_ISREG(status.st_mode):
                                    found[path] = status.st_mtime_ns, status.st_size
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                if not folder:
                    raise UserError(
                        f"the folder {self.root} cannot be read ({reason}): name a folder of sounds, "
                        "or search its index as it is (--no-update)"
                    ) from None
                problems.append((str(self.root / folder), f"{self.root / folder} cannot be read ({reason})"))
                inside = os.path.join(folder, "")  # what was known of it is kept
                found |= {p: stamp for p, (_, stamp) in self._files.items() if p.startswith(inside)}
        return dict(sorted(found.items())), problems


# ---- vectors -----------------------------------------------------------------------------------------------


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("searching needs faiss, which is not installed", "search") from None
    return faiss


def _new_vectors(dim: int = 1) -> Any:
    faiss = _faiss()
    return faiss.IndexIDMap2(faiss.IndexFlatIP(dim))


_ID_MAP, _FLAT = b"IxM2", b"IxFI"  # how faiss calls what `_new_vectors` makes
_HEADER = struct.Struct("<4siqqq?i")  # of both: name, dimension, vectors, two fillers, trained, metric
_COUNT = struct.Struct("<Q")
_INNER_PRODUCT = 0


def _read_vectors(path: Path) -> Any:
    """Raises ValueError if the file is not of the kind and size that its own header tells.

    faiss allocates what a header asks for before it reads, and knows kinds of index that are not ours.
    """
    data = path.read_bytes()
    start = _HEADER.size * 2 + _COUNT.size
    if len(data) < start:
        raise ValueError("is cut off")
    outer = _HEADER.unpack_from(data, 0)
    inner = _HEADER.unpack_from(data, _HEADER.size)
    (floats,) = _COUNT.unpack_from(data, 2 * _HEADER.size)
    dim, count = outer[1:3]
    if (outer[0], inner[0]) != (_ID_MAP, _FLAT) or inner[1:] != (*outer[1:5], True, _INNER_PRODUCT):
        raise ValueError("is another kind of index")
    if dim < 1 or count < 0:
        raise ValueError("has no size")
    if floats != dim * count or len(data) != start + 4 * floats + _COUNT.size + 8 * count:
        raise ValueError("is not as long as its header says")
    if _COUNT.unpack_from(data, start + 4 * floats) != (count,):
        raise ValueError("does not have an id for each vector")
    return _faiss().deserialize_index(np.frombuffer(data, np.uint8))


def _write_vectors(vectors: Any, path: Path) -> None:
    data = _faiss().serialize_index(vectors)
    with writing(str(path)):
        try:
            with path.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _holds_only_ours(path: Path) -> bool:
    """Whether a folder is empty but for what an interrupted first update left."""
    try:
        names = os.listdir(path)
    except OSError:
        return False
    return all(name.startswith((_TABLES, _LOCK, "vectors-")) for name in names)
