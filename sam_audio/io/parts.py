"""Hidden files and folders that are being written: each is locked by its process, so that those of dead ones can be
told."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, which lets nobody remove a file that is open
    fcntl = None  # type: ignore[assignment]

_HOST = hashlib.blake2b(socket.gethostname().encode(), digest_size=4).hexdigest()
_PART = re.compile(r"\..*\.([0-9a-f]{8})[0-9a-f]{8}\.part", re.DOTALL)
_FOLDER_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_FOREIGN_S = 24 * 3600  # how long another machine's part lies still before it counts as dead


def part_name(path: Path) -> Path:
    """A new hidden name beside `path`, cut so that it is not too long."""
    stem = os.fsencode(path.name)[:200].decode(errors="ignore")
    return path.with_name(f".{stem}.{_HOST}{secrets.token_hex(4)}.part")


def open_part(path: Path) -> tuple[Path, BinaryIO]:
    """Creates a hidden file beside `path`, open for reading and writing, which is locked until it is closed."""
    # Not tempfile.mkstemp: its files are private to the user, while this one is to be an ordinary file
    # under the user's umask.
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        part = part_name(path)
        try:
            descriptor = os.open(part, flags, 0o666)
        except FileExistsError:
            continue
        if _lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
            return part, os.fdopen(descriptor, "w+b")
        os.close(descriptor)  # another process took it for dead before it was locked


@contextlib.contextmanager
def part_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path`, locked while the block runs; removed then, unless it was given another name."""
    # Not tempfile.mkdtemp, for the same reason.
    while True:
        part = part_name(path)
        try:
            part.mkdir()
        except FileExistsError:
            continue
        with locked_folder(part) as free:
            if (
                free is not False and part.exists()
            ):  # else another process took it for dead before it was locked
                try:
                    yield part
                finally:
                    shutil.rmtree(part, ignore_errors=True)
                return


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[bool | None]:
    """Locks a folder while the block runs: whether it was free, None where there are no locks."""
    try:
        descriptor = os.open(folder, _FOLDER_FLAGS)
    except OSError:  # gone, or Windows
        yield None if fcntl is None else False
        return
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


def remove_dead_parts(folder: Path) -> None:
    """Removes the hidden files and folders that processes left in a folder when they were killed.

    Of living processes none is removed. Locks may not be seen from other machines on a network folder, so parts of
    those are left alone until nothing was written to them for a day.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            named = _PART.fullmatch(entry.name)
            if named is not None:
                with contextlib.suppress(OSError):  # gone meanwhile, or somebody else's
                    _remove_if_dead(Path(entry.path), named[1] == _HOST)


def _remove_if_dead(part: Path, from_here: bool) -> None:
    if fcntl is None:
        if from_here:
            part.unlink()  # which says no to folders, too: what lies closed in them may be in use
        return
    is_folder = stat.S_ISDIR(os.lstat(part).st_mode)
    flags = _FOLDER_FLAGS if is_folder else os.O_RDWR | os.O_NONBLOCK
    descriptor = os.open(part, flags | os.O_NOFOLLOW)
    try:
        found = os.fstat(descriptor)
        free = _lock(descriptor)
        still = time.time() - found.st_mtime > _FOREIGN_S
        if free is not False and ((from_here and free) or still):
            if is_folder:
                shutil.rmtree(part)
            elif stat.S_ISREG(found.st_mode):
                part.unlink()
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Whether the lock was free, and is ours now; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network folders
        return None
    return True
