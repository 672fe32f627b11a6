"""Real songs: recorded stems of whole songs (``songs/songs.tsv`` of the data), and what may be asked of them.

A song's groups are aligned and sum to it. Some groups are parts of its drums. Two songs are held out whole.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam_audio.io import read_audio
from sam_audio.training.data import labels as label_table
from sam_audio.training.data.bank import SAMPLE_RATE, ShardWriter, shard_stem
from sam_audio.training.data.collect import HELD_OUT, TRAIN_ONLY, rows_beside

log = logging.getLogger(__name__)

CATEGORY = "real song"
DRUM_CATEGORY = "real song: part of its drums"
KIND = "real-"  # songs of the bank that are named so are real
PRODUCED = "produced"  # and these are rendered, as groups too


@dataclass(frozen=True)
class Group:
    """A group of stems: the label of the table that comes nearest, and how to ask for it alone."""

    label: str
    phrases: tuple[str, ...]


def _group(label: str, phrases: str) -> Group:
    return Group(label, tuple(phrases.split("|")))


GROUPS: dict[str, Group] = {
    "singing voice": _group("person singing", "lead vocals|lead singer|lead voice|singing voice|main vocal"),
    "backing vocals": _group(
        "choir singing", "backing vocals|vocal harmony|background vocals|vocal harmonies"
    ),
    "drums": _group("drum kit", "drums|drum kit|the drums|beat|drummer"),
    "drum beat": _group("drum kit", "drum beat|drum loop|drum machine"),
    "hi-hat": _group("hi-hat", "hi-hat|hi-hats|hi hat"),
    "kick drum": _group("kick drum", "kick drum|bass drum|kick"),
    "snare drum": _group("snare drum", "snare drum|snare"),
    "tom drums": _group("tom drum", "tom drums|toms|tom drum"),
    "cymbals": _group("cymbal", "cymbals|crash cymbal|cymbal"),
    "hand clap": _group("hand clap", "hand clap|clapping|claps"),
    "percussion": _group("shaker", "percussion"),
    "bass": _group("synthesizer", "bass|synth bass|bass line"),
    "synthesizer": _group("synthesizer", "synth lead|lead synth|synthesizer"),
    "synth melody": _group("synthesizer", "synth melody|synthesizer melody"),
    "plucked synth": _group("synthesizer", "plucked synth|synth pluck"),
    "arpeggiated synth": _group("synthesizer", "arpeggiated synth|synth arpeggio|arpeggio"),
    "synth pad": _group("synthesizer", "synth pad|pad"),
    "synth pad and bass": _group("synthesizer", "synth pad and bass"),
    "synth stabs": _group("synthesizer", "synth stabs|synth chords"),
    "piano": _group("piano", "piano|a piano|piano chords"),
    "keyboard": _group("electric piano", "keyboard|keys|electric piano"),
    "mallet percussion": _group("marimba", "mallet percussion|marimba"),
    "electronic beeps": _group("electronic beep", "electronic beeps|beeping|beeps"),
    "turntable scratch": _group("scraping", "turntable scratch|scratching|dj scratch"),
    "riser and sweep effects": _group("whoosh", "riser|sound effects|sweep effect|swoosh"),
    "ambient texture": _group("synthesizer", "ambient texture|atmospheric sound effect|atmosphere"),
}


def group_of(name: str) -> Group:
    """The group of this name; of a name that is none, the label of the table that is called so."""
    known = name in label_table.load_labels()
    return GROUPS.get(name) or Group(name, tuple(label_table.natural_phrases(name)) if known else (name,))


VOICES = frozenset({"singing voice", "backing vocals"})
DRUMS = frozenset(
    [
        "drums",
        "drum beat",
        "hi-hat",
        "kick drum",
        "snare drum",
        "tom drums",
        "cymbals",
        "hand clap",
        "percussion",
    ]
)
SYNTHESIZERS = frozenset(
    name for name, group in GROUPS.items() if group.label == "synthesizer" and name != "bass"
) - {"ambient texture"}
ACCOMPANIMENT = (
    "everything but the voice",
    "instrumental",
    "accompaniment",
    "backing track",
    "karaoke track",
    "instruments",
    "the music without the voice",
)
# What stands for several groups: which, and how to ask. An empty set is everything but the voices.
TOGETHER: tuple[tuple[frozenset[str], tuple[str, ...]], ...] = (
    (
        VOICES,
        ("vocals", "the vocals", "singing", "voice", "voices", "singing voice", "person singing", "singer"),
    ),
    (DRUMS, ("drums", "the drums", "drum kit", "drumming", "percussion")),
    (SYNTHESIZERS, ("synthesizer", "synth", "synthesizers", "keyboards")),
    (frozenset(), ACCOMPANIMENT),
)


def song_phrases() -> list[str]:
    """Every phrase that real songs are asked with."""
    single = [phrase for group in GROUPS.values() for phrase in group.phrases]
    return single + [phrase for _, phrases in TOGETHER for phrase in phrases]


def build_real_song_shards(data_dir: Path, bank_dir: Path) -> None:
    """Decodes the songs into the bank, one shard each; skips finished ones; nothing when the data have none."""
    songs: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows_beside(data_dir, "songs"):
        songs[row["song"]].append(row)
    for name, rows in songs.items():
        if (bank_dir / f"{shard_stem(KIND + name)}.json").exists():
            continue
        prefix = TRAIN_ONLY if rows[0]["split"] == "train" else HELD_OUT
        with ShardWriter(bank_dir, KIND + name) as shard:
            for row in rows:
                if row["label"] not in GROUPS:
                    log.warning("%s of %s left out: nobody knows how to ask for it", row["label"], name)
                    continue
                samples, rate = read_audio(data_dir / row["file"])
                if rate != SAMPLE_RATE:
                    raise ValueError(f"{row['file']} is at {rate} Hz, not {SAMPLE_RATE}")
                mono = samples.mean(axis=0).astype(np.float32)
                category = DRUM_CATEGORY if row["parent"] == "drums" else CATEGORY
                key = f"{prefix}{KIND}{name}/{row['file']}"
                shard.add(mono, key, row["label"], category, row["source"], row["file"], prefix + KIND + name)
        log.info("%s: %d stems", KIND + name, len(shard.clips))
