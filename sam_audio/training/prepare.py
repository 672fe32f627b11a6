"""Data for training: fetch, decode and render everything that is missing from the bank."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from sam_audio.paths import cache_dir
from sam_audio.training.bank import build_manifest_shards, build_shards, build_song_shards, shard_stem
from sam_audio.training.collect import TRAIN_ONLY
from sam_audio.training.more_sounds import more_sounds
from sam_audio.training.music import render_many
from sam_audio.training.soundfonts import FIRST, MORE, Soundfont, fetch_soundfonts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Music:
    """What is rendered of one kind, by seeds, and the soundfonts that it is played with."""

    kind: str
    seeds: range
    per_shard: int
    fonts: tuple[Soundfont, ...]

    @property
    def is_solo(self) -> bool:
        """One instrument alone, not a band."""
        return self.kind.removeprefix(TRAIN_ONLY) == SOLO


SOLO, SONG = "solo", "song"
MUSIC = (
    Music(SOLO, range(1600), 200, FIRST),
    Music(SONG, range(420), 40, FIRST),
    # other timbres, added later: held-out music stays what it was
    Music(TRAIN_ONLY + SOLO, range(10_000, 11_200), 200, FIRST + MORE),
    Music(TRAIN_ONLY + SONG, range(10_000, 10_420), 40, FIRST + MORE),
)


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
    for music in MUSIC:
        seeds = range(_next_seed(bank, music), music.seeds.stop)
        if seeds:
            log.info("rendering %s %d to %d", music.kind, seeds.start, seeds.stop)
            rendered = render_many(seeds, fetch_soundfonts(music.fonts), workers, solo=music.is_solo)
            build_song_shards(rendered, bank, music.kind, music.per_shard)
    return bank


def _next_seed(bank: Path, music: Music) -> int:
    """Rendered clips carry their seed in the name of their song; rendering goes on after the largest."""
    seeds = [music.seeds.start - 1]
    for path in bank.glob(f"{shard_stem(music.kind)}-*.json"):
        seeds += [
            int(clip["song"].removeprefix(f"{music.kind}-"))
            for clip in json.loads(path.read_text(encoding="utf-8"))
        ]
    return max(seeds) + 1
