"""Clips that are to be captioned: a table, or all sounds and videos of a folder."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam_audio.errors import UserError
from sam_audio.finding.media import AUDIO, VIDEO, kind_of
from sam_audio.io import open_audio
from sam_audio.io.pictures import read_frames, read_picture
from sam_audio.io.resample import Resampler
from sam_audio.types import Samples

SAMPLE_RATE, MOST_S = 48_000, 10.0
MOST_PICTURES, PICTURE_RATE_HZ = 4, 0.5
COLUMNS = ("path", "label", "category", "source", "licence", "picture")


@dataclass(frozen=True)
class Clip:
    """One row; ``path`` and ``picture`` are relative to ``folder``."""

    folder: Path
    path: str
    label: str = ""
    category: str = ""
    source: str = ""
    licence: str = ""
    picture: str = ""

    @property
    def key(self) -> str:
        """What names the clip in captions and shards."""
        return hashlib.sha1(f"{self.path}\0{self.picture}".encode()).hexdigest()[:16]

    def sound(self) -> Samples:
        """Its first seconds, (1, n) at SAMPLE_RATE.

        Raises:
            AudioReadError: there is none, or it cannot be read.
        """
        with open_audio(self.folder / self.path, duration_s=MOST_S) as reader:
            resampler = Resampler(reader.sample_rate, SAMPLE_RATE, 1)
            blocks = [resampler.push(b.mean(axis=0, keepdims=True)) for b in reader.blocks(1 << 16)]
        return np.concatenate([*blocks, resampler.finish()], axis=1)

    def pictures(self) -> Samples | None:
        """Its own, or the one it is paired with: uint8 (N, 3, H, W); None if there is none."""
        if self.picture:
            return read_picture(self.folder / self.picture)[None]
        if kind_of(self.path) != VIDEO:
            return None
        frames = []
        for _, frame in read_frames(self.folder / self.path, duration_s=MOST_S, rate_hz=PICTURE_RATE_HZ):
            frames.append(frame)
            if len(frames) == MOST_PICTURES:
                break
        return np.stack(frames) if frames else None


def read_clips(path: Path) -> list[Clip]:
    """The clips of a tab-separated table with a column ``path`` and any of COLUMNS, or of a folder.

    Raises:
        UserError: there are none, or the table has other columns.
    """
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file() and kind_of(p) in (AUDIO, VIDEO))
        clips = [Clip(path, p.relative_to(path).as_posix()) for p in found]
    else:
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
                if "path" not in (rows.fieldnames or ()):
                    raise UserError(f"{path} has no column path: write a table of {', '.join(COLUMNS)}")
                known = [name for name in COLUMNS if name in (rows.fieldnames or ())]
                clips = [Clip(path.parent, **{name: row[name] or "" for name in known}) for row in rows]
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read ({error}): name a table of clips, or a folder") from None
    clips = list({clip.key: clip for clip in clips}.values())
    if not clips:
        raise UserError(f"there are no sounds in {path}: name a table of clips, or a folder")
    return clips
