"""Which outputs are whole already, so that a batch that was stopped can go on (``--skip-existing``).

Of each set of outputs the cache remembers what it was made of: a digest, no names. The user's folders hold nothing but
what was asked for. Where nothing is remembered, as on another machine, the names and the times of the files tell.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio.errors import AudioWriteError, UserError
from sam_audio.io.parts import remove_dead_parts
from sam_audio.io.signals import uninterrupted
from sam_audio.io.target import whole_file
from sam_audio.paths import cache_dir
from sam_audio.prompts import Prompt

if TYPE_CHECKING:
    from sam_audio.plan import Plan

_DECIDE_NO_SAMPLE = ("out", "filename", "overwrite", "skip_existing", "judge")


@dataclass(frozen=True)
class OutputSet:
    """The files that a recording is separated into.

    Args:
        recording: the mixture.
        paths: the files in the order in which they get their names: the last one is there only if all are.
        asked: digest of everything that decides what is in them, the recording included.
        memory: file in the cache with what is remembered of the set at this place.
    """

    recording: Path
    paths: tuple[Path, ...]
    asked: str
    memory: Path

    def is_whole(self, exports: Sequence[str] = ()) -> bool:
        """Whether all files are there and were made of the same recording in the same way.

        What is remembered decides, and no file may be shorter than it was written. Of sets that nobody remembers all
        files have to be there, and none may be older than the recording.

        Args:
            exports: names of what has to have been made of the stems, too.
        """
        for folder in {path.parent for path in self.paths}:
            remove_dead_parts(folder)
        found = [_regular(path) for path in self.paths]
        if not found or None in found or _regular(self.recording) is None:
            return False
        remembered = self._remembered()
        if not remembered:
            made = min(one.st_mtime_ns for one in found if one is not None)
            return not exports and made >= os.stat(self.recording).st_mtime_ns
        return (
            remembered.get("asked") == self.asked
            and _none_shorter(zip(self.paths, remembered["sizes"], strict=True))
            and all(
                name in remembered["exports"] and _none_shorter(remembered["exports"][name])
                for name in exports
            )
        )

    @contextmanager
    def remembered(self, sizes: Mapping[str, int]) -> Iterator[None]:
        """Remembers the set while its finished files get their names in the block; not if that fails.

        Args:
            sizes: in bytes, by path, of those that have no name yet.
        """
        with uninterrupted():
            before = self._remembered()
            now = [sizes[str(path)] if str(path) in sizes else os.path.getsize(path) for path in self.paths]
            self._remember({"asked": self.asked, "sizes": now, "exports": {}})
            try:
                yield
            except BaseException:
                self._remember(before)
                raise

    def remember_exports(self, exports: Mapping[str, Sequence[str]]) -> None:
        """Adds what was made of the stems: files by the name of the exporter."""
        with suppress(OSError):  # one of them is not where its exporter says
            sizes = {
                name: [(path, os.path.getsize(path)) for path in paths] for name, paths in exports.items()
            }
            self._remember({**self._remembered(), "exports": sizes})

    def _remembered(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.memory.read_text()))
        except (OSError, ValueError, TypeError):
            return {}

    def _remember(self, content: Mapping[str, Any]) -> None:
        with suppress(OSError, AudioWriteError):  # then the names and times of the files have to do
            if not content:
                self.memory.unlink()
                return
            with whole_file(self.memory) as file:
                file.write(json.dumps(content).encode())


def output_set(planned: Plan, how: Any = None) -> OutputSet:
    """The files that a job makes.

    Args:
        planned: the job, understood.
        how: what else decides what comes out, such as the model; dicts and lists of texts and numbers.

    Raises:
        UserError: what is there already shall be kept, and nobody can know it.
    """
    job, options = planned.job, planned.options
    if options.skip_existing:
        check_known(job.mixture)
    deciding = {key: value for key, value in vars(options).items() if key not in _DECIDE_NO_SAMPLE}
    prompts = [job.prompts, job.clues, deciding, job.model_options, how]
    return set_at(planned.place, job.mixture, planned.writes, prompts)


def set_at(place: Path, recording: str | Path, paths: Iterable[Path], how: Any) -> OutputSet:
    """A set of outputs.

    Args:
        place: where the set is, by which it is remembered.
        recording: the mixture.
        paths: the files in the order in which they get their names.
        how: what else decides what comes out, as for `known`.
    """
    asked = [_version(recording), known(how)]
    memory = cache_dir() / "made" / f"{_digest(os.path.abspath(place))}.json"
    return OutputSet(Path(recording), tuple(paths), _digest(json.dumps(asked)), memory)


def check_known(recording: str | Path) -> None:
    """Raises UserError for a recording of which nobody can say whether it was separated already."""
    if str(recording) == "-" or Path(recording).is_fifo():
        raise UserError(
            "what comes through a pipe is not known before it is read: name a file, or leave skip_existing=True out"
        )


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()


def known(value: Any, folder: Path = Path()) -> Any:
    """Prompts, texts, numbers, dicts and lists as JSON; with every name of a file the version of that file.

    Args:
        folder: what names of files are relative to.
    """
    if isinstance(value, Prompt):
        return [value.text, value.name, known(value.clues, folder)]
    if isinstance(value, Mapping):
        return {str(key): known(one, folder) for key, one in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [known(one, folder) for one in value]
    if isinstance(value, (str, Path)):
        return [str(value), _version(folder / value)]
    return value if isinstance(value, (bool, int, float, type(None))) else repr(value)


def _version(path: str | Path) -> list[int] | None:
    """Size and time of a file; None if that is the name of none."""
    found = _regular(path)
    return None if found is None else [found.st_size, found.st_mtime_ns]


def _regular(path: str | Path) -> os.stat_result | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _none_shorter(sizes: Iterable[tuple[str | Path, int]]) -> bool:
    return all((found := _regular(path)) is not None and found.st_size >= size for path, size in sizes)
