"""Folders of data sets and the tables in them: files are found by name at any depth."""

from __future__ import annotations

import csv
import json
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sam_audio.errors import UserError

VIDEO = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"}
AUDIO = {".aac", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"}
MEDIA = VIDEO | AUDIO

_SHOWN = 5  # names listed in a message


class Folder:
    """All files below a folder, by name."""

    def __init__(self, root: Path, split: str) -> None:
        self.root, self.split = root, split
        self.files: dict[str, list[Path]] = defaultdict(list)
        self._media: dict[str, list[Path]] = defaultdict(list)
        for where, folders, names in os.walk(root, followlinks=True):
            folders.sort()
            for name in sorted(names):
                if name.startswith("."):  # ._x.wav, which macOS leaves beside x.wav
                    continue
                path = Path(where, name)
                self.files[name].append(path)
                if path.suffix.lower() in MEDIA:
                    self._media[path.stem].append(path)

    def annotation(self, *names: str) -> Path:
        """The first of `names` that is there."""
        for name in names:
            if name in self.files:
                return min(self.files[name], key=lambda path: len(path.parts))
        kind = Path(names[0]).suffix
        others = sorted(name for name in self.files if name.endswith(kind))
        found = f"; it has {listed(others)}: is the split right?" if others else ""
        raise UserError(f"{self.root} holds no {' or '.join(names)}{found}")

    def media(self, *names: str) -> Path:
        """The file called by the first of `names` that is there, or a path that does not exist.

        Several: the one in a folder named after the split, then one with a picture, as it also has the sound.
        """
        for name in names:
            stem = name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in MEDIA else name
            if stem in self._media:
                return min(self._media[stem], key=self._preference)
        return self.root / names[0]

    def _preference(self, path: Path) -> tuple[bool, bool]:
        inside = path.relative_to(self.root).parts[:-1]
        return self.split not in inside, path.suffix.lower() not in VIDEO


@dataclass(frozen=True)
class Line:
    """One line of a table; `where` is for messages."""

    fields: dict[str, str]
    where: str

    def __getitem__(self, column: str) -> str:
        return self.fields[column].strip()

    def number(self, column: str) -> float:
        return number(self[column], f"{self.where}: {column}")


def number(value: object, what: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{what} is {value!r}: it has to be a number of seconds")
    return number


def table(path: Path, columns: Sequence[str], delimiter: str = ",", header: bool = True) -> Iterator[Line]:
    """The lines of a csv or tsv file; `columns` must be there, or are all there are without a header."""
    # In the tsv files nothing is quoted, and a lone quotation mark would swallow the lines after it.
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = None if header else columns
            reader = csv.DictReader(file, names, restval=None, delimiter=delimiter, quoting=quoting)
            there = [name.strip() for name in reader.fieldnames or ()]
            absent = [column for column in columns if column not in there]
            if absent:
                raise UserError(f"{path} has no column {listed(absent)}; its columns are {listed(there)}")
            reader.fieldnames = there
            for fields in reader:
                where = f"line {reader.line_num} of {path}"
                if any(fields[column] is None for column in columns):
                    raise UserError(f"{where} has too few columns: it needs {', '.join(columns)}")
                yield Line(fields, where)
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path} is not a table that can be read ({error}): download it again") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check its permissions") from None


def listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:_SHOWN], *(["..."] if len(names) > _SHOWN else [])]) or "none"


def of_split(lines: Iterator[Line], column: str, split: str, path: Path) -> Iterator[Line]:
    """The lines of one split."""
    others: set[str] = set()
    found = False
    for line in lines:
        if line[column] == split:
            found = True
            yield line
        else:
            others.add(line[column])
    if not found:
        raise UserError(f"{path} has no split {split!r}; it has {listed(sorted(others))}")


def spoken(label: str) -> str:
    """As one would say it: chirping_birds -> chirping birds."""
    return label.replace("_", " ")


def read_json(path: Path) -> Any:
    """What a file of JSON holds.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # JSONDecodeError, UnicodeDecodeError
        raise UserError(f"{path} is not JSON that can be read ({error}): download it again") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a text that are not blank.

    Raises:
        UserError: it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a text that can be read ({error}): download it again") from None
    return [line.strip() for line in lines if line.strip()]
