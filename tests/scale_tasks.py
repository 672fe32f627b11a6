"""A task without a model, whose recordings say what goes wrong with them."""

from __future__ import annotations

import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CopyTask:
    """Copies the recording; of one whose bytes begin with the name of a fault, that happens first."""

    slow_s: float = 0.0
    suffix: str = "bin"
    name = "copy"
    takes_prompts = False

    def load(self):
        def do(path: Path, asked):
            time.sleep(self.slow_s)
            word = path.read_bytes()[:20].split(b" ")[0].decode()
            if word in FAULTS:
                FAULTS[word](path)
            file = asked.folder / f"copy.{self.suffix}"
            shutil.copyfile(path, file)
            return {
                "seconds": 1.0,
                "stems": [{"name": "copy", "path": file.name, "bytes": file.stat().st_size}],
            }

        return do


def die(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(path: Path) -> None:
    if not path.with_suffix(".died").exists():
        path.with_suffix(".died").touch()
        die(path)


def fail_once(path: Path) -> None:
    if not path.with_suffix(".failed").exists():
        path.with_suffix(".failed").touch()
        raise OSError("a bad moment")


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def vanish(path: Path) -> None:
    path.unlink()


def hang(path: Path) -> None:
    time.sleep(600)


def hunger(path: Path) -> None:
    """Takes more memory than there is: what there is is little, so that the machine does not notice."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_AS)
    size_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size_bytes + (64 << 20), limits[1]))
    try:
        held = bytearray(256 << 20)
        raise AssertionError(f"{len(held)} bytes fit below the limit")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


FAULTS = {
    "die": die,
    "die-once": die_once,
    "fail-once": fail_once,
    "grow": grow,
    "vanish": vanish,
    "hang": hang,
    "hunger": hunger,
}
