"""Songs as pure functions of a seed: who plays, in which key and tempo, through which effects.

`compose` makes a band of two to six parts, `compose_solo` one instrument alone (every label equally often).
Nothing here touches audio; `music.render` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from sam_audio.training.music import tables
from sam_audio.training.music.parts import LEAD_S, ROLES, Chord, Key, NoteEvent, Plan

TAIL_S = 1.2  # after the last bar, for notes to ring out
SONG_SECONDS = (16.0, 24.0)
SOLO_SECONDS = (6.0, 12.0)
MAX_PARTS = 6
_NUMERALS = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}


@dataclass(frozen=True)
class Note:
    """One note in seconds; `alt` plays it with the part's second articulation."""

    start_s: float
    duration_s: float
    pitch: int
    velocity: int
    alt: bool = False
    bends: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Effect:
    """A pedalboard plugin by its class name, with its arguments."""

    name: str
    settings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """One instrument of a song. `level_db` is its loudness against the song's reference level."""

    label: str
    program: int
    bank: int
    is_drum: bool
    notes: tuple[Note, ...]
    effects: tuple[Effect, ...]
    level_db: float = 0.0
    alt_preset: tuple[int, int] | None = None
    controls: tuple[tuple[float, int, int], ...] = ()  # (seconds, MIDI controller, value)
    role: str = ""
    instrument: str = ""


@dataclass(frozen=True)
class Song:
    """Everything needed to render: the plan, the parts, and what is done to all stems alike."""

    seed: int
    plan: Plan
    parts: tuple[Part, ...]
    room: Effect | None = None
    glue_db: float = 0.0  # how far the bus compressor pulls loud passages down

    @property
    def genre(self) -> str:
        return self.plan.genre

    @property
    def tempo_bpm(self) -> float:
        return self.plan.tempo_bpm

    @property
    def key(self) -> Key:
        return self.plan.key

    @property
    def seconds(self) -> float:
        return self.plan.seconds


def parse_chord(text: str, tonic: int) -> tuple[int, ...]:
    """Pitch classes of a Roman numeral, root first.

    >>> parse_chord("V7", 0), parse_chord("bVI", 9)
    ((7, 11, 2, 5), (5, 9, 0))
    """
    match = re.fullmatch(r"([b#]?)([iv]+|[IV]+)(.*)", text)
    if match is None or match[2].lower() not in _NUMERALS:
        raise ValueError(f"{text!r} is no chord: write a Roman numeral such as 'bVII' or 'iim7b5'")
    accidental, numeral, quality = match.groups()
    root = tonic + _NUMERALS[numeral.lower()] + {"b": -1, "#": 1, "": 0}[accidental]
    if numeral.islower() and quality in ("", "7"):
        quality = "m" + quality
    return tuple((root + step) % 12 for step in tables.CHORD_QUALITIES[quality])


def compose(seed: int, weights: Mapping[str, float] | None = None) -> Song:
    """A band playing 16-24 s: genre, key, tempo, harmony and two to six parts, all drawn from the seed.

    Args:
        weights: how often each genre comes; by default all, those of GENRE_WEIGHTS more often.
    """
    rng = Random(f"song {seed}")
    weights = weights or {name: tables.GENRE_WEIGHTS.get(name, 1.0) for name in tables.GENRES}
    names = tuple(weights)
    name = rng.choices(names, [weights[n] for n in names])[0]
    genre = tables.GENRES[name]
    plan = _plan(rng, name, genre, SONG_SECONDS)
    parts: list[Part] = []
    while len(parts) < 2:
        parts = _band(rng, plan, genre)
    room = Effect("Reverb", _room(rng)) if rng.random() < 0.6 else None
    return Song(seed, plan, tuple(parts), room, glue_db=rng.choice((0.0, 0.0, 3.0, 6.0)))


def compose_solo(seed: int, instruments: Sequence[str] | None = None) -> Song:
    """One instrument playing a phrase of 6-12 s alone; all labels come equally often.

    Args:
        instruments: keys of `music_tables.INSTRUMENTS` to choose from; by default all, and percussion.
    """
    rng = Random(f"solo {seed}")
    if instruments is None:
        label = rng.choice(sorted(tables.LABELS))
    else:
        label = rng.choice(sorted({tables.INSTRUMENTS[key].label for key in instruments}))
    name = rng.choice(tuple(tables.GENRES))
    plan = _plan(rng, name, tables.GENRES[name], SOLO_SECONDS)
    choices = [
        key
        for key, instrument in tables.INSTRUMENTS.items()
        if instrument.label == label and (instruments is None or key in instruments)
    ]
    parts: list[Part] = []
    while not parts:
        if label == "drum kit":
            groove = rng.choice([groove for groove in tables.GROOVES if groove != "waltz"])
            parts = _drum_parts(rng, plan, "drums", groove, "any", label, 0.0)
        elif label in tables.DRUM_SOUNDS and (not choices or rng.random() < 0.8):
            parts = _drum_parts(rng, plan, "percussion", label, _percussion_kit(label), label, 0.0)
        else:
            key = rng.choice(choices)
            role = rng.choice(tables.INSTRUMENTS[key].solo_roles)
            parts = _pitched_parts(rng, plan, key, role, 0.0)
    room = Effect("Reverb", _room(rng)) if rng.random() < 0.5 else None
    return Song(seed, plan, tuple(parts), room)


def compose_sung(song: Song, label: str, low: int, high: int, take: int = 0) -> Part:
    """What a singer of this range sings to a song: a tune for one, held chords for a choir.

    Args:
        label: ``choir singing``, or a label of one singer.
        take: another singer of the same song sings another tune.
    """
    rng = Random(f"sung {song.seed} {take}")
    role = "pad" if label == "choir singing" else "melody"
    notes: tuple[Note, ...] = ()
    while not notes:
        events = _arranged(rng, song.plan, ROLES[role](song.plan, rng, low, high, ""), role)
        notes = _humanised(rng, song.plan, events)
    level_db = rng.gauss(-5 if role == "pad" else 1, 2.5)
    return Part(label, 0, 0, False, notes, (), level_db, role=role, instrument="voice")


def _plan(rng: Random, name: str, genre: tables.Genre, seconds: tuple[float, float]) -> Plan:
    tempo = rng.uniform(*genre.tempo)
    meter = rng.choice(genre.beats_per_bar)
    mode = rng.choice(tuple(genre.changes))
    key = Key(rng.randrange(12), mode)
    bar_s = meter * 60 / tempo
    length = rng.uniform(*seconds)
    bars = max(2, int((length - LEAD_S - 0.3) / bar_s))
    seconds_total = min(max(LEAD_S + bars * bar_s + TAIL_S, seconds[0]), seconds[1])
    bars_per_chord = rng.choice(genre.chord_bars)
    beats = meter * bars_per_chord
    if beats != int(beats):
        beats = float(meter)
    changes = rng.choice(genre.changes[mode]).split()
    count = int(-(-bars * meter // beats))
    chords = tuple(
        Chord(
            i * beats, min(beats, bars * meter - i * beats), parse_chord(changes[i % len(changes)], key.tonic)
        )
        for i in range(count)
    )
    return Plan(name, tempo, key, bars, meter, rng.choice(genre.swing), chords, seconds_total)


def _band(rng: Random, plan: Plan, genre: tables.Genre) -> list[Part]:
    parts: list[Part] = []
    slots = [slot for slot in genre.slots if rng.random() < slot[2]]
    # an overfull band loses players at random, but never those every band of the genre has
    while len(slots) > MAX_PARTS:
        slots.remove(rng.choice([slot for slot in slots if slot[2] < 1.0] or slots))
    used: set[str] = set()
    for role, instruments, _, level in slots:
        level += rng.gauss(0, 2)
        if role == "drums":
            parts += _drum_parts(rng, plan, role, genre.groove, genre.kit, "drum kit", level)
            continue
        free = [name for name in instruments if tables.INSTRUMENTS[name].label not in used]
        if free:
            name = rng.choice(free)
            # two electric guitars are a band's habit; two pianos would only be one confused stem
            if tables.INSTRUMENTS[name].label not in ("electric guitar", "acoustic guitar", "synthesizer"):
                used.add(tables.INSTRUMENTS[name].label)
            parts += _pitched_parts(rng, plan, name, role, level)
    if genre.percussion and len({part.label for part in parts}) < MAX_PARTS and rng.random() < 0.35:
        label = rng.choice(genre.percussion)
        parts += _drum_parts(rng, plan, "percussion", label, _percussion_kit(label), label, rng.gauss(-9, 2))
    # a stem must be one thing: fewer than two labels would be a solo
    return parts if len({part.label for part in parts}) >= 2 else []


def _percussion_kit(label: str) -> str:
    """Only the drums of a kit sound in every kit: the TR-808 has no timbales."""
    return "any" if label in tables.KIT_SOUNDS else "percussion"


def _drum_parts(
    rng: Random, plan: Plan, role: str, variant: str, kit: str, label: str, level_db: float
) -> list[Part]:
    events = _arranged(rng, plan, ROLES[role](plan, rng, 0, 127, variant), role)
    notes = _humanised(rng, plan, events)
    program = rng.choice(tables.KITS[kit])
    effects = _effects(rng, "drums" if role == "drums" else "percussion")
    part = Part(label, program, 128, True, notes, effects, level_db, role=role, instrument=f"{kit} kit")
    return [part] if notes else []


def _pitched_parts(rng: Random, plan: Plan, name: str, role: str, level_db: float) -> list[Part]:
    instrument = tables.INSTRUMENTS[name]
    function, _, variant = role.partition("/")
    low, high = _window(rng, instrument, function)
    events = _arranged(rng, plan, ROLES[function](plan, rng, low, high, variant), function)
    takes = 2 if name == "metal guitar" and rng.random() < 0.7 else 1  # played twice, as on records
    parts = []
    for _ in range(takes):
        bank, program = rng.choice(instrument.presets)
        notes = _humanised(rng, plan, events)
        controls = _controls(rng, plan, name, instrument) if notes else ()
        parts.append(
            Part(
                instrument.label,
                program,
                bank,
                False,
                notes,
                _effects(rng, instrument.family),
                level_db - 3.0 * (takes - 1),
                instrument.alt_preset,
                controls,
                role,
                name,
            )
        )
    return [part for part in parts if part.notes]


def _window(rng: Random, instrument: tables.Instrument, function: str) -> tuple[int, int]:
    """The octaves this part keeps to: all of a chord instrument, a tune's worth of a melody instrument."""
    if function in (
        "bass",
        "riff",
        "strum",
        "finger",
        "two_hands",
        "drone",
        "timpani",
        "scratch",
        "comp",
        "skank",
    ):
        return instrument.low, instrument.high
    width = min(
        rng.randint(17, 24) if function in ("melody", "solo", "counter") else 26,
        instrument.high - instrument.low,
    )
    # the middle of the range most often, the extremes now and then
    low = round(rng.triangular(instrument.low, instrument.high - width))
    return low, low + width


def _arranged(rng: Random, plan: Plan, events: list[NoteEvent], function: str) -> list[NoteEvent]:
    """Lets a part rest for some of the song: entries and pauses are what a listener separates by."""
    half = plan.bars // 2
    draw = rng.random()
    if plan.bars < 4 or draw < 0.65:
        return events
    if draw < 0.75:
        playing = range(min(half, 4), plan.bars)
    elif draw < 0.85:
        playing = range(plan.bars - min(half, 4))
    elif draw < 0.93 or function not in ("melody", "solo", "counter", "stabs", "arp"):
        playing = range(1, plan.bars)
    else:
        playing = range(0, plan.bars, 2)
    return [event for event in events if int(event.beat // plan.beats_per_bar) in set(playing)]


def _humanised(rng: Random, plan: Plan, events: list[NoteEvent]) -> tuple[Note, ...]:
    """Beats to seconds, a few milliseconds and velocity steps off, as people play."""
    looseness = rng.uniform(0.0, 0.007)
    lean = rng.gauss(0, 0.003)  # this player is a little ahead or behind
    touch = rng.uniform(2, 8)
    level = rng.randint(-14, 8)
    limit = plan.seconds - 0.05
    notes = []
    for event in events:
        start = plan.at(event.beat) + event.delay_s + min(max(rng.gauss(lean, looseness), -0.018), 0.018)
        end = plan.at(event.beat + event.beats) + event.delay_s
        velocity = min(max(round(event.velocity + level + rng.gauss(0, touch)), 18), 127)
        if start < limit:
            duration = max(min(end, limit) - start, 0.03)
            notes.append(Note(max(start, 0.0), duration, event.pitch, velocity, event.alt, event.bends))
    return tuple(sorted(notes, key=lambda note: note.start_s))


def _controls(
    rng: Random, plan: Plan, name: str, instrument: tables.Instrument
) -> tuple[tuple[float, int, int], ...]:
    """Pedal for pianos, swells and vibrato for whoever holds notes."""
    controls: list[tuple[float, int, int]] = []
    if name in ("piano", "vibraphone", "electric piano") and rng.random() < 0.5:
        for chord in plan.chords:
            controls.append((plan.at(chord.start) + 0.01, 64, 0))
            controls.append((plan.at(chord.start) + 0.06, 64, 127))
    if instrument.sustained and instrument.family in (
        "strings",
        "wind",
        "brass",
        "voice",
        "synth",
        "lead guitar",
    ):
        if rng.random() < 0.6:
            controls.append((0.0, 1, rng.randint(10, 70)))
        if rng.random() < 0.5:
            level, steps = 100, int(plan.seconds / 0.1)
            target = level
            for i in range(steps):
                if i % 15 == 0:
                    target = rng.randint(70, 127)
                level += max(min(target - level, 4), -4)
                controls.append((i * 0.1, 11, level))
    return tuple(controls)


def _room(rng: Random) -> dict[str, float]:
    size = rng.betavariate(1.5, 3)
    wet = rng.uniform(0.03, 0.12 + 0.2 * size)
    return {
        "room_size": size,
        "damping": rng.uniform(0.2, 0.8),
        "wet_level": wet,
        "dry_level": 1 - wet,
        "width": 0.0,
    }


def _maybe(rng: Random, probability: float, name: str, **settings: float) -> tuple[Effect, ...]:
    return (Effect(name, settings),) if rng.random() < probability else ()


def _cabinet(rng: Random) -> tuple[Effect, ...]:
    """A guitar loudspeaker: nothing below 80 Hz, a presence peak, a steep fall above 5 kHz."""
    corner = rng.uniform(4200, 6500)
    return (
        Effect("HighpassFilter", {"cutoff_frequency_hz": rng.uniform(70, 110)}),
        Effect(
            "PeakFilter",
            {"cutoff_frequency_hz": rng.uniform(350, 900), "gain_db": rng.uniform(-7, 3), "q": 0.8},
        ),
        Effect(
            "PeakFilter",
            {"cutoff_frequency_hz": rng.uniform(1800, 3200), "gain_db": rng.uniform(0, 5), "q": 1.0},
        ),
        *(Effect("LowpassFilter", {"cutoff_frequency_hz": corner}),) * 3,
    )


def _amplifier(rng: Random, drive_db: tuple[float, float]) -> tuple[Effect, ...]:
    """Tighten the lows, drive, loudspeaker, level: a distorted guitar."""
    return (
        Effect("HighpassFilter", {"cutoff_frequency_hz": rng.uniform(90, 180)}),
        Effect(
            "Compressor",
            {"threshold_db": -24.0, "ratio": rng.uniform(2, 5), "attack_ms": 3.0, "release_ms": 120.0},
        ),
        Effect("Distortion", {"drive_db": rng.uniform(*drive_db)}),
        *_cabinet(rng),
        # a loudspeaker driven hard: the distortion leaves almost a square wave, brought back to level
        Effect("Gain", {"gain_db": -8.0}),
    )


def _effects(rng: Random, family: str) -> tuple[Effect, ...]:
    """The chain of one part; every chain may end with a tilt, a compressor and a room of its own."""
    chain: tuple[Effect, ...] = ()
    if family == "clean guitar":
        chain += (
            *_maybe(rng, 0.3, "Distortion", drive_db=rng.uniform(4, 12)),
            *(_cabinet(rng) if rng.random() < 0.6 else ()),
        )
        chain += _maybe(
            rng, 0.3, "Chorus", rate_hz=rng.uniform(0.4, 1.8), depth=0.25, mix=rng.uniform(0.2, 0.5)
        )
    elif family == "drive guitar":
        chain += _amplifier(rng, (12, 28))
    elif family == "metal guitar":
        chain += _amplifier(rng, (26, 44))
    elif family == "lead guitar":
        chain += _amplifier(rng, (18, 38))
        chain += _maybe(
            rng, 0.5, "Delay", delay_seconds=rng.uniform(0.2, 0.5), feedback=0.25, mix=rng.uniform(0.1, 0.3)
        )
    elif family == "bass":
        chain += _maybe(
            rng, 0.6, "Compressor", threshold_db=-20.0, ratio=4.0, attack_ms=8.0, release_ms=120.0
        )
        chain += _maybe(rng, 0.25, "Distortion", drive_db=rng.uniform(6, 20))
        chain += _maybe(rng, 0.5, "LowpassFilter", cutoff_frequency_hz=rng.uniform(1500, 6000))
    elif family == "synth bass":
        chain += _maybe(rng, 0.4, "LowpassFilter", cutoff_frequency_hz=rng.uniform(600, 4000))
        chain += _maybe(rng, 0.3, "Distortion", drive_db=rng.uniform(6, 20))
    elif family in ("electric keys", "synth", "organ"):
        chain += _maybe(
            rng, 0.3, "Chorus", rate_hz=rng.uniform(0.4, 6.0), depth=0.25, mix=rng.uniform(0.2, 0.5)
        )
        chain += _maybe(rng, 0.15, "Phaser", rate_hz=rng.uniform(0.2, 2.0), depth=0.5, mix=0.5)
        chain += _maybe(rng, 0.15, "Distortion", drive_db=rng.uniform(4, 14))
        chain += _maybe(
            rng, 0.25, "Delay", delay_seconds=rng.uniform(0.15, 0.5), feedback=0.3, mix=rng.uniform(0.1, 0.35)
        )
        chain += _maybe(rng, 0.2, "LowpassFilter", cutoff_frequency_hz=rng.uniform(1500, 8000))
    elif family == "drums":
        chain += _maybe(
            rng,
            0.5,
            "Compressor",
            threshold_db=-18.0,
            ratio=rng.uniform(2, 6),
            attack_ms=12.0,
            release_ms=90.0,
        )
        chain += _maybe(rng, 0.12, "Distortion", drive_db=rng.uniform(3, 10))
    chain += _maybe(
        rng,
        0.4,
        "LowShelfFilter",
        cutoff_frequency_hz=rng.uniform(120, 350),
        gain_db=rng.uniform(-5, 4),
        q=0.7,
    )
    chain += _maybe(
        rng,
        0.5,
        "HighShelfFilter",
        cutoff_frequency_hz=rng.uniform(2500, 7000),
        gain_db=rng.uniform(-6, 5),
        q=0.7,
    )
    if family not in ("drums", "bass"):
        chain += _maybe(
            rng, 0.25, "Compressor", threshold_db=-22.0, ratio=3.0, attack_ms=10.0, release_ms=150.0
        )
    wet_often = 0.15 if "bass" in family else 0.5
    return chain + _maybe(rng, wet_often, "Reverb", **_room(rng))
