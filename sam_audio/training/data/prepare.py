"""Data for training: fetch, decode and render everything that is missing from the bank."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from sam_audio.paths import cache_dir
from sam_audio.training.data.bank import build_manifest_shards, build_shards, build_song_shards, shard_stem
from sam_audio.training.data.collect import HELD_OUT, TRAIN_ONLY
from sam_audio.training.data.more_sounds import beside_manifest, more_sounds
from sam_audio.training.data.songs import PRODUCED, build_real_song_shards
from sam_audio.training.music.render import render_many
from sam_audio.training.music.sampler import Sampler
from sam_audio.training.music.soundfonts import FIRST, MORE, Soundfont, fetch_soundfonts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Music:
    """What is rendered of one kind, by seeds, and the soundfonts that it is played with."""

    kind: str
    seeds: range
    per_shard: int
    fonts: tuple[Soundfont, ...]
    is_sung: bool = False
    has_synths: bool = False

    @property
    def is_solo(self) -> bool:
        """One instrument alone, not a band."""
        return self.kind.removeprefix(TRAIN_ONLY).removeprefix(HELD_OUT) in (SOLO, PHRASE)

    @property
    def is_sampled(self) -> bool:
        """Played by recorded instruments; soundfonts only fill what these lack."""
        return self.kind.removeprefix(TRAIN_ONLY).removeprefix(HELD_OUT) in (PHRASE, BAND, PRODUCED)


SOLO, SONG = "solo", "song"
PHRASE, BAND = "phrase", "band"  # of recorded instruments
MUSIC = (
    Music(SOLO, range(1600), 200, FIRST),
    Music(SONG, range(420), 40, FIRST),
    # other timbres, added later: held-out music stays what it was
    Music(TRAIN_ONLY + SOLO, range(10_000, 11_200), 200, FIRST + MORE),
    Music(TRAIN_ONLY + SONG, range(10_000, 10_420), 40, FIRST + MORE),
    # recorded instruments; those that play the held-out ones are heard nowhere else
    Music(HELD_OUT + BAND, range(90_000, 90_060), 30, ()),
    Music(HELD_OUT + PHRASE, range(90_000, 90_120), 120, ()),
    Music(TRAIN_ONLY + PHRASE, range(20_000, 20_900), 300, ()),
    Music(TRAIN_ONLY + BAND, range(20_000, 20_160), 20, FIRST + MORE),
    # speakers of the training split made to sing, with bands and alone; more phrases of all recorded instruments
    Music(TRAIN_ONLY + BAND, range(30_000, 30_500), 20, FIRST + MORE, is_sung=True),
    Music(TRAIN_ONLY + PHRASE, range(30_000, 30_300), 300, (), is_sung=True),
    Music(TRAIN_ONLY + PHRASE, range(40_000, 41_200), 300, ()),
    # synthesizers and drum machines, sung to
    Music(TRAIN_ONLY + PRODUCED, range(50_000, 50_500), 20, FIRST + MORE, is_sung=True, has_synths=True),
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
    build_shards(beside_manifest(data_dir), data_dir, bank, workers)
    build_real_song_shards(data_dir, bank)
    for music in MUSIC:
        seeds = range(_next_seed(bank, music), music.seeds.stop)
        if music.is_sampled and not (data_dir / "notes").is_dir():
            continue
        if seeds:
            log.info("rendering %s %d to %d", music.kind, seeds.start, seeds.stop)
            sampler = None
            if music.is_sampled:
                held_out = HELD_OUT in music.kind
                sampler = Sampler.load(data_dir, bank, held_out, music.is_sung, music.has_synths)
            fonts = fetch_soundfonts(music.fonts)
            rendered = render_many(seeds, fonts, workers, solo=music.is_solo, sampler=sampler)
            package = "notes" if music.is_sampled else "soundfonts"
            build_song_shards(rendered, bank, music.kind, music.per_shard, package)
    return bank


def seed_of(song: str, music: Music) -> int | None:
    """Rendered clips carry their seed in the name of their song; None of clips of another kind."""
    kind, _, number = song.rpartition("-")
    return int(number) if kind == music.kind and number.isdigit() and int(number) in music.seeds else None


def _next_seed(bank: Path, music: Music) -> int:
    """Rendering goes on after the largest seed that is there."""
    seeds = [music.seeds.start - 1]
    for path in bank.glob(f"{shard_stem(music.kind)}-*.json"):
        clips = json.loads(path.read_text(encoding="utf-8"))
        seeds += [seed for clip in clips if (seed := seed_of(clip["song"], music)) is not None]
    return max(seeds) + 1
