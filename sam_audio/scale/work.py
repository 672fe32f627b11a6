"""One item from its source to its place, in a worker: fetched, done in a staging folder, then put in place."""

from __future__ import annotations

import errno
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam_audio.errors import AudioWriteError, UserError
from sam_audio.scale.catalogue import DONE, FAILED
from sam_audio.scale.inputs import Item
from sam_audio.scale.stores import Patience, fetch, open_folder
from sam_audio.scale.tasks import Asked, Task, how

UNCHANGED = "unchanged"  # status of an item whose recording has another time but the same bytes
STOPPED = "stopped"  # of one whose outputs cannot be written, which no other item's can be either

Row = dict[str, Any]
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Assignment:
    """An item for a worker; ``content`` is that of the recording that it is done for already."""

    item: Item
    content: str | None = None


@dataclass(frozen=True)
class Work:
    """All that a worker needs to know; plain data.

    Args:
        task: what is done.
        out: folder of the outputs, a path or URI.
        retries: how often an item that fails is tried again.
        patience: with stores.
    """

    task: Task
    out: str
    retries: int = 2
    patience: Patience = field(default_factory=Patience)

    def load(self) -> Callable[[Assignment], Row]:
        """Loads the model; what comes back does items, one at a time, and raises nothing but what ends a process."""
        do = self.task.load()
        folder = open_folder(self.out, self.patience)
        digest = how(self.task)

        def once(assignment: Assignment) -> Row:
            item = assignment.item
            with ExitStack() as stack:
                staging = Path(stack.enter_context(folder.staging()))
                fetched = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=staging)))
                source = fetch(item.source, fetched, self.patience)
                facts: Row = {"content": source.content, "version": source.version}
                if source.content == assignment.content:
                    return {"status": UNCHANGED, **facts}
                stems = staging / "stems"
                stems.mkdir()
                row = do(source.path, Asked(item.prompts, stems, item.track.rpartition("/")[2]))
                source.check_unchanged()
                for stem in row.get("stems", []):  # the residual last: a set is whole if it is there
                    file = stems / stem["path"]
                    stem["path"] = f"{item.track}/{file.name}"
                    folder.put(file, stem["path"])
                return {"status": DONE, **facts, **row}

        def attempts(assignment: Assignment) -> Row:
            begun = time.monotonic()
            row: Row = {}
            for attempt in range(1, self.retries + 2):
                try:
                    row = once(assignment)
                except Exception as error:
                    full = isinstance(error, AudioWriteError) or getattr(error, "errno", None) in _NO_ROOM
                    row = {"status": STOPPED if full else FAILED, "error": told(error)}
                row["attempts"] = attempt
                if row["status"] in (DONE, UNCHANGED):
                    break
                time.sleep(
                    min(10.0, self.patience.pause_s * 2 ** (attempt - 1)) if attempt <= self.retries else 0
                )
            item = assignment.item
            own = {"track": item.track, "source": item.source, "prompts": list(item.prompts)}
            return {
                **own,
                "task": self.task.name,
                "how": digest,
                "elapsed_s": time.monotonic() - begun,
                **row,
            }

        return attempts

    def failed(self, item: Item, error: str, attempts: int) -> Row:
        """The row of an item whose worker did not live to say anything."""
        own = {"track": item.track, "source": item.source, "prompts": list(item.prompts)}
        return {
            **own,
            "task": self.task.name,
            "how": how(self.task),
            "status": FAILED,
            "error": error,
            "attempts": attempts,
        }


def told(error: Exception) -> str:
    """An exception in one sentence."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there was not enough memory for it: use fewer workers, or a machine with more"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
