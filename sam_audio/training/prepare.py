"""Data for training: fetch, decode and render everything that is missing from the bank."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from pathlib import Path

from sam_audio.errors import UserError
from sam_audio.paths import cache_dir
from sam_audio.training.bank import build_manifest_shards, build_shards, build_song_shards
from sam_audio.training.collect import fetch
from sam_audio.training.more_sounds import more_sounds
from sam_audio.training.music import find_soundfonts, render_many

log = logging.getLogger(__name__)

SOUNDFONTS = ("fluid-soundfont-gm", "musescore-general-soundfont-lossless")  # Debian packages, MIT
N_SOLOS, SOLOS_PER_SHARD = 1600, 200
N_SONGS, SONGS_PER_SHARD = 420, 40


def bank_dir() -> Path:
    """Where the bank is kept."""
    return cache_dir() / "bank"


def prepare(data_dir: Path, workers: int = 2) -> Path:
    """Builds what the bank lacks and returns its folder; does nothing when it is complete.

    Raises:
        UserError: the manifest is not in ``data_dir``, or a program is missing.
    """
    bank = bank_dir()
    build_manifest_shards(data_dir, bank, workers)
    build_shards(more_sounds(), data_dir, bank, workers)
    fonts = None
    for kind, total, per_shard in (("solo", N_SOLOS, SOLOS_PER_SHARD), ("song", N_SONGS, SONGS_PER_SHARD)):
        first = _next_seed(bank, kind)
        if first < total:
            fonts = fonts or soundfonts()
            log.info("rendering %s %d to %d", kind, first, total)
            rendered = render_many(range(first, total), fonts, workers, solo=kind == "solo")
            build_song_shards(rendered, bank, kind, per_shard)
    return bank


def _next_seed(bank: Path, kind: str) -> int:
    """Rendered clips carry their seed in the name of their song; rendering goes on after the largest."""
    seeds = [-1]
    for path in bank.glob(f"{kind}-*.json"):
        seeds += [
            int(clip["song"].removeprefix(f"{kind}-"))
            for clip in json.loads(path.read_text(encoding="utf-8"))
        ]
    return max(seeds) + 1


def soundfonts() -> list[Path]:
    """Paths of the soundfonts, fetched and unpacked when needed.

    Raises:
        UserError: fluidsynth or dpkg is not installed.
    """
    for program in ("fluidsynth", "dpkg"):
        if shutil.which(program) is None:
            raise UserError(
                f"rendering music needs the program {program}: install it (apt-get install {program})"
            )
    root = cache_dir() / "downloads" / "unpacked"
    for package in SOUNDFONTS:
        if not (root / package).exists():
            archive = fetch("debian", package)
            (root / package).mkdir(parents=True)
            subprocess.run(["dpkg", "-x", str(archive), str(root / package)], check=True)
    return find_soundfonts(root)
