"""Hidden files that are being written: each is locked by its process, so that those of dead ones can be told."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import socket
import stat
import time
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, which lets nobody remove a file that is open
    fcntl = None  # type: ignore[assignment]

_HOST = hashlib.blake2b(socket.gethostname().encode(), digest_size=4).hexdigest()
_PART = re.compile(r"\..*\.([0-9a-f]{8})[0-9a-f]{8}\.part", re.DOTALL)
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


def remove_dead_parts(folder: Path) -> None:
    """Removes the hidden files that processes left in a folder when they were killed.

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
            part.unlink()
        return
    descriptor = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        free = _lock(descriptor)
        still = time.time() - found.st_mtime > _FOREIGN_S
        if stat.S_ISREG(found.st_mode) and free is not False and ((from_here and free) or still):
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
