"""Where recordings and results lie: a local disk, or a store that fsspec knows (s3://, gs://, https://...).

A file of an output folder appears whole or not at all: on a disk it is renamed to its name, on a store an object
has its name only when it is complete.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sam_audio.errors import AudioReadError, AudioWriteError, MissingExtraError, UserError
from sam_audio.io.parts import part_folder, remove_dead_parts
from sam_audio.io.target import whole_file, writing
from sam_audio.paths import cache_dir

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")
_S3 = ("s3", "s3a")
_LEAST_RATE = 100_000  # bytes a second, below which an upload counts as broken off
_CHUNK_BYTES = 1 << 20
# facts by which stores tell versions of an object apart, under the names that their file systems give them
_VERSION_KEYS = ("ETag", "etag", "LastModified", "mtime", "updated", "generation", "md5Hash", "checksum")


@dataclass(frozen=True)
class Patience:
    """How long a store may take.

    Args:
        timeout_s: without a byte, after which a request is given up.
        attempts: how often a request is made before it counts as failed.
        pause_s: before the second attempt; twice as long before each further one.
    """

    timeout_s: float = 60.0
    attempts: int = 6
    pause_s: float = 0.5


def scheme_of(place: str) -> str | None:
    """``s3`` of ``s3://bucket/key``; None of a path, and of ``file://``."""
    found = _SCHEME.match(place)
    return found[1].lower() if found is not None and found[1].lower() not in ("file", "local") else None


def local_path(place: str) -> Path | None:
    """The path that a place is, None if it is a store's."""
    if scheme_of(place) is not None:
        return None
    return Path(re.sub(r"^(file|local)://", "", place))


def file_system(uri: str, patience: Patience | None = None) -> tuple[AbstractFileSystem, str]:
    """The file system of a URI, and its path in it.

    Raises:
        UserError: nobody knows such URIs, or what knows them is not installed.
    """
    patience = patience or Patience()
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise MissingExtraError(f"{uri} lies in a store, which needs fsspec", "scale") from None
    try:
        system, inner = url_to_fs(uri, **_options(scheme_of(uri), patience))
    except ImportError as error:
        raise UserError(f"{uri} cannot be opened: {str(error).rstrip('.')}") from None
    except ValueError as error:
        raise UserError(
            f"{uri} is no place that fsspec knows ({error}): use a path, s3://, gs:// or https://"
        ) from None
    if scheme_of(uri) in _S3:
        system.retries = 1  # what is to be done again is done again here, and not by every layer below too
    return system, inner


def _options(scheme: str | None, patience: Patience) -> dict[str, Any]:
    if scheme in ("http", "https"):
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, connect=patience.timeout_s, sock_read=patience.timeout_s)
        return {"client_kwargs": {"timeout": timeout}, "skip_instance_cache": True}
    if scheme in _S3:
        timeouts = {"connect_timeout": patience.timeout_s, "read_timeout": patience.timeout_s}
        once = {"retries": {"total_max_attempts": 1}}
        return {"config_kwargs": {**timeouts, **once}, "use_listings_cache": False}
    if scheme in ("gs", "gcs"):
        return {"requests_timeout": patience.timeout_s, "use_listings_cache": False}
    return {"use_listings_cache": False}


def is_missing(error: Exception) -> bool:
    """Whether there is no such file: fsspec says so of http servers that fail in whatever way."""
    cause = error.__cause__ or error.__context__
    known = cause is None or isinstance(cause, (FileNotFoundError, LookupError))
    return isinstance(error, FileNotFoundError) and (known or getattr(cause, "status", None) in (404, 410))


def patiently(action: Callable[[], T], patience: Patience) -> T:
    """Does it again while a store answers with an error that may pass."""
    for attempt in range(1, patience.attempts + 1):
        try:
            return action()
        except (PermissionError, IsADirectoryError, FileExistsError):
            raise
        except Exception as error:
            if attempt == patience.attempts or is_missing(error):
                raise
            # others wait for the same store: not all of them are to come back at once
            pause_s = patience.pause_s * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
            log.warning("a store failed (%s), asked again in %.1f s", error, pause_s)
            time.sleep(pause_s)
    raise AssertionError("a request is made at least once")


# ---- what is read ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """A recording that lies on this machine now.

    Args:
        path: of the file.
        content: digest of its bytes.
        version: what the place it came from says of it without reading it; None if that tells nothing.
        place: where it came from.
    """

    path: Path
    content: str
    version: str | None
    place: str

    def check_unchanged(self) -> None:
        """Raises AudioReadError if the file at its place is no longer what was read."""
        if local_path(self.place) is not None and version_of(self.place) != self.version:
            raise AudioReadError(f"{self.place} changed while it was read: leave it alone until it is done")


def version_of(place: str, patience: Patience | None = None) -> str | None:
    """What tells that a file was replaced, without reading it: size and time, or a store's tag; None if nothing does.

    Raises:
        AudioReadError: it is not there, or its store does not answer.
    """
    patience = patience or Patience()
    path = local_path(place)
    if path is not None:
        with _reading(place):
            found = path.stat()
        return f"{found.st_size}-{found.st_mtime_ns}"
    system, inner = file_system(place, patience)
    with _reading(place):
        info = patiently(lambda: system.info(inner), patience)
    told = [f"{key}={info[key]}" for key in _VERSION_KEYS if info.get(key) is not None]
    return "-".join([str(info.get("size")), *told]) if told else None


def fetch(place: str, folder: Path, patience: Patience, most_bytes: int | None = None) -> Source:
    """Has a recording on this machine: a local file where it is, others in ``folder``.

    Raises:
        AudioReadError: it is not there, cannot be read, changes meanwhile, or has more than ``most_bytes``.
    """
    version = version_of(place, patience)
    path = local_path(place)
    if path is None:
        system, inner = file_system(place, patience)
        path = folder / (re.sub(r"[?#].*", "", inner).rstrip("/").rpartition("/")[2][-200:] or "recording")
        fetched = path
        with _reading(place):
            patiently(lambda: _download(system, inner, fetched, most_bytes), patience)
        if version_of(place, patience) != version:
            raise AudioReadError(f"{place} changed while it was read: leave it alone until it is done")
    with _reading(place):
        source = Source(path, digest_of(path), version, place)
    source.check_unchanged()
    return source


def _download(system: AbstractFileSystem, inner: str, to: Path, most_bytes: int | None) -> None:
    size = 0
    with system.open(inner, "rb", block_size=4 * _CHUNK_BYTES) as source, to.open("wb") as target:
        while block := source.read(_CHUNK_BYTES):
            size += len(block)
            if most_bytes is not None and size > most_bytes:
                raise AudioReadError(f"{inner} is larger than {most_bytes / 1e6:.0f} MB: cut it into parts")
            target.write(block)


def digest_of(path: Path) -> str:
    """BLAKE2b of a file's bytes, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _reading(place: str) -> Iterator[None]:
    """Turns what a disk or a store raises into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # every store has exceptions of its own
        if is_missing(error):
            raise AudioReadError(f"{place} does not exist: check its name") from None
        raise AudioReadError(f"{place} cannot be read ({_told(error)}): try again later") from error


def _told(error: Exception) -> str:
    told = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(told).split())[:300]


# ---- what is written ------------------------------------------------------------------------------------


class Folder(Protocol):
    """A folder of outputs. Names are relative, with slashes."""

    @property
    def uri(self) -> str: ...

    def put(self, file: Path, name: str) -> None:
        """A finished file takes a name, from whatever had it before; ``file`` may be gone then."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """The same with bytes."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """The same, if nobody has the name; whether that was so."""
        ...

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError."""
        ...

    def remove(self, name: str) -> None:
        """Does nothing if it is not there."""
        ...

    def names(self, inner: str) -> list[str]:
        """The files directly in a folder of it, sorted."""
        ...

    def size_bytes(self, name: str) -> int | None:
        """None if it is not there."""
        ...

    def staging(self) -> Any:
        """A context: a local folder from which `put` is quick; it is removed afterwards, or by the next run."""
        ...


def open_folder(uri: str, patience: Patience | None = None) -> Folder:
    """The folder at a path or URI, which need not exist.

    Raises:
        UserError: it cannot be written by its kind, as http.
    """
    path = local_path(uri)
    if path is not None:
        return DiskFolder(str(Path(os.path.abspath(path))))
    if scheme_of(uri) in ("http", "https"):
        raise UserError(f"{uri} takes no outputs: use a folder, s3:// or gs://")
    return StoreFolder(uri.rstrip("/"), patience or Patience())


@dataclass(frozen=True)
class DiskFolder:
    """A folder on a disk; ``uri`` is its absolute path."""

    uri: str

    def _path(self, name: str) -> Path:
        return Path(self.uri, name)

    def put(self, file: Path, name: str) -> None:
        path = self._path(name)
        with writing(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, path)

    def write(self, name: str, data: bytes) -> None:
        path = self._path(name)
        with whole_file(path) as file, writing(str(path)):
            file.write(data)

    def create(self, name: str, data: bytes) -> bool:
        path = self._path(name)
        with writing(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("xb") as file:
                    file.write(data)
            except FileExistsError:
                return False
        return True

    def read(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    def remove(self, name: str) -> None:
        with writing(str(self._path(name))):
            self._path(name).unlink(missing_ok=True)

    def names(self, inner: str) -> list[str]:
        path = self._path(inner)
        if not path.is_dir():
            return []
        return sorted(f"{inner}/{one.name}" for one in path.iterdir() if not one.name.startswith("."))

    def size_bytes(self, name: str) -> int | None:
        try:
            return self._path(name).stat().st_size
        except OSError:
            return None

    @contextmanager
    def staging(self) -> Iterator[Path]:
        with writing(self.uri):
            Path(self.uri).mkdir(parents=True, exist_ok=True)
            remove_dead_parts(Path(self.uri))
        with part_folder(Path(self.uri, "work")) as folder:
            yield folder


def _within(seconds: float, system: AbstractFileSystem, name: str, *args: Any, **more: Any) -> None:
    """Calls a method of a file system, for so long at most: aiohttp waits for ever for a store that takes nothing."""
    if system.async_impl:
        from fsspec.asyn import sync

        sync(system.loop, getattr(system, f"_{name}"), *args, timeout=seconds, **more)
    else:
        getattr(system, name)(*args, **more)


@dataclass(frozen=True)
class StoreFolder:
    """A folder of a store that fsspec knows."""

    uri: str
    patience: Patience = field(default_factory=Patience)

    def _seconds(self, n_bytes: int) -> float:
        """What an upload may take."""
        return self.patience.timeout_s + n_bytes / _LEAST_RATE

    def _do(self, name: str, action: Callable[[AbstractFileSystem, str], T]) -> T:
        def once() -> T:
            system, inner = file_system(f"{self.uri}/{name}", self.patience)
            return action(system, inner)

        return patiently(once, self.patience)

    def _writing(self, name: str, action: Callable[[AbstractFileSystem, str], T]) -> T:
        try:
            return self._do(name, action)
        except (UserError, FileExistsError):
            raise
        except Exception as error:
            raise AudioWriteError(
                f"{self.uri}/{name} cannot be written ({_told(error)}): check the store and your rights"
            ) from error

    def put(self, file: Path, name: str) -> None:
        seconds = self._seconds(file.stat().st_size)
        self._writing(name, lambda system, inner: _within(seconds, system, "put_file", str(file), inner))

    def write(self, name: str, data: bytes) -> None:
        seconds = self._seconds(len(data))
        self._writing(name, lambda system, inner: _within(seconds, system, "pipe_file", inner, data))

    def create(self, name: str, data: bytes) -> bool:
        seconds = self._seconds(len(data))

        def once(system: AbstractFileSystem, inner: str) -> None:
            _within(seconds, system, "pipe_file", inner, data, mode="create")

        try:
            self._writing(name, once)
        except FileExistsError:
            return False
        return True

    def read(self, name: str) -> bytes:
        return bytes(self._do(name, lambda system, inner: system.cat_file(inner)))

    def remove(self, name: str) -> None:
        def gone(system: AbstractFileSystem, inner: str) -> None:
            if system.exists(inner):
                system.rm_file(inner)

        self._writing(name, gone)

    def names(self, inner: str) -> list[str]:
        def listed(system: AbstractFileSystem, path: str) -> list[str]:
            try:
                return system.find(path, maxdepth=1)
            except FileNotFoundError:
                return []

        return sorted(f"{inner}/{found.rpartition('/')[2]}" for found in self._do(inner, listed))

    def size_bytes(self, name: str) -> int | None:
        try:
            return int(self._do(name, lambda system, inner: system.info(inner))["size"])
        except FileNotFoundError:
            return None

    @contextmanager
    def staging(self) -> Iterator[Path]:
        place = cache_dir() / "batch"
        with writing(str(place)):
            place.mkdir(parents=True, exist_ok=True)
            remove_dead_parts(place)
        with part_folder(place / "work") as folder:
            yield folder
