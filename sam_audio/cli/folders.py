"""Folders as MIX: the recordings in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sam_audio.errors import AudioReadError

_OUTPUTS = "separated"  # what the folder of outputs is called if nobody says so


def recordings_in(folder: str, recursive: bool, out: str) -> Iterator[tuple[str, str] | AudioReadError]:
    """The recordings and videos of a folder, by their names, in the order of these.

    Hidden ones are left out, and so are folders of outputs.

    Args:
        folder: where to look.
        recursive: also in the folders below.
        out: the folder that outputs go to.

    Yields:
        Path and track, which is the path below the folder without the extension; an error for a folder below that
        cannot be read.

    Raises:
        AudioReadError: there are none, or the folder cannot be read.
    """
    from sam_audio.finding.media import AUDIO, VIDEO, kind_of
    from sam_audio.plan import track_name

    found = False
    problems: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=problems.append):
        kept = [] if not recursive else [name for name in folders if not _left_out(Path(place, name), out)]
        folders[:] = sorted(kept)
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and kind_of(name) in (AUDIO, VIDEO) and path.is_file():
                found = True
                below = path.relative_to(folder).parent
                yield str(path), (below / track_name(name)).as_posix()
    for problem in problems:
        found = True
        yield AudioReadError(f"{problem.filename} cannot be read ({problem.strerror}): check its permissions")
    if not found:
        more = "" if recursive else ", or look in its subfolders with --recursive"
        raise AudioReadError(f"{folder} is a folder that holds no recordings: name another folder{more}")


def _left_out(folder: Path, out: str) -> bool:
    hidden = folder.name.startswith(".")
    return hidden or folder.name == _OUTPUTS or os.path.realpath(folder) == os.path.realpath(out)
