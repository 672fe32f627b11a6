"""What the pages of the docs show: their commands, with what they print, and their pieces of Python, in order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "plugins").glob("*/README.md")),
]
PROGRAMS = ("separate", "sam-audio")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ |# ).*\n)*)", re.MULTILINE)


class Shown(NamedTuple):
    """A command and what it prints, or a piece of Python."""

    kind: str  # console or python
    text: str
    prints: str = ""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of all blocks of a page."""
    return _BLOCK.findall(page.read_text(encoding="utf-8"))


def shown(page: Path) -> list[Shown]:
    """All that a page asks its reader to run."""
    found: list[Shown] = []
    for language, block in blocks(page):
        if language == "python":
            found.append(Shown("python", block))
        elif language == "console":
            found += [
                Shown("console", re.sub(r"\\\n *", "", command), prints)
                for command, prints in _COMMAND.findall(block)
            ]
    return found


def commands(page: Path) -> list[str]:
    """Commands in blocks, and those of the text that name what they take."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    inline = re.findall(rf"`((?:uv run )?(?:{'|'.join(PROGRAMS)}) [^`]*)`", text)
    return [one.text for one in shown(page) if one.kind == "console"] + inline


def words_of(command: str) -> list[str]:
    """Program and arguments of a command, without ``uv run``, comments, and what is done before and after it."""
    command = re.sub(r"^uv run (--no-dev |--extra \w+ )*", "", command.split("&&")[-1].strip())
    return shlex.split(command.split(";")[0], comments=True)


def arguments_of(command: str) -> list[str]:
    """The same of our own programs; empty for others."""
    words = words_of(command)
    return words if words and words[0] in PROGRAMS else []


def alike(text: str) -> str:
    """All numbers are the same, and all names made of them: they change with weights and machines."""
    text = re.sub(r"\b[0-9a-f]{32}\b", "N", text)
    return re.sub(r" +\n", "\n", re.sub(r" +", " ", re.sub(r"[-+]?\d+(\.\d+)?", "N", text))).strip()
