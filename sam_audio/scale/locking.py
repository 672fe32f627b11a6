"""One run at a time on a folder of outputs."""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sam_audio.errors import AudioWriteError, SamAudioError
from sam_audio.io.parts import locked_folder
from sam_audio.io.target import writing
from sam_audio.scale.inputs import CATALOGUE
from sam_audio.scale.stores import DiskFolder, Folder

LOCK = f"{CATALOGUE}/lock.json"
BEAT_S = 30.0
STALE_S = 300.0  # a lock on a store that was not renewed for so long is nobody's


@contextmanager
def locked(folder: Folder) -> Iterator[None]:
    """Keeps other runs out of the folder while the block runs.

    On a disk the lock is the kernel's and ends with the process, however that ends. On a store it is an object that is
    made only if there is none, and renewed; after a run that was killed it is free at once for the same machine, and
    for others after STALE_S.

    Raises:
        AudioWriteError: another run has it, or the folder cannot be written.
    """
    if isinstance(folder, DiskFolder):
        place = Path(folder.uri, CATALOGUE)
        with writing(folder.uri):
            place.mkdir(parents=True, exist_ok=True)
        with locked_folder(place) as free:
            if free is False:
                raise AudioWriteError(
                    f"{folder.uri} is in use by another run: wait for it, or choose another --out"
                )
            _check_writable(folder)
            yield
        return
    with _object_lock(folder):
        yield


def _check_writable(folder: DiskFolder) -> None:
    folder.write(f"{CATALOGUE}/writable", b"")
    folder.remove(f"{CATALOGUE}/writable")


@contextmanager
def _object_lock(folder: Folder) -> Iterator[None]:
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(8)}

    def told() -> bytes:
        return json.dumps({**owner, "at": time.time()}).encode()

    if not folder.create(LOCK, told()):
        other = _holder(folder)
        if _lives(other):
            raise AudioWriteError(
                f"{folder.uri} is in use by another run ({other.get('host')}, process {other.get('pid')}): "
                f"wait for it; the lock of a run that was killed ends after {STALE_S / 60:.0f} minutes"
            )
        folder.remove(LOCK)
        if not folder.create(LOCK, told()):
            raise AudioWriteError(f"{folder.uri} was taken by another run this moment: wait for it")
    over = threading.Event()

    def renew() -> None:
        while not over.wait(BEAT_S):
            with suppress(SamAudioError):  # the next beat may get through; STALE_S is ten of them
                folder.write(LOCK, told())

    beating = threading.Thread(target=renew, daemon=True)
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join()
        with suppress(SamAudioError):
            folder.remove(LOCK)


def _holder(folder: Folder) -> dict[str, Any]:
    try:
        return dict(json.loads(folder.read(LOCK)))
    except (OSError, ValueError, TypeError):
        return {}


def _lives(owner: dict[str, Any]) -> bool:
    if owner.get("host") == socket.gethostname():
        try:
            os.kill(int(owner["pid"]), 0)
        except ProcessLookupError:
            return False
        except (OSError, ValueError, KeyError):
            pass
    return time.time() - float(owner.get("at", 0)) < STALE_S
