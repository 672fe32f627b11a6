"""What each member of a band plays: one small function per role, from a plan of chords to events in beats.

Every function takes (plan, rng, low, high, variant) and returns events; `ROLES` names them. Pitched events
use only the scale of the key and the tones of the chord sounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from sam_audio.training.music import tables

LEAD_S = 0.05  # silence before the first beat, so that a hurried first note is not cut


@dataclass(frozen=True)
class Key:
    """A tonic (0 = C) and a mode of `music_tables.MODES`."""

    tonic: int
    mode: str

    @property
    def pitch_classes(self) -> frozenset[int]:
        return frozenset((self.tonic + step) % 12 for step in tables.MODES[self.mode])


@dataclass(frozen=True)
class Chord:
    """A chord from beat `start`, `beats` long; `tones` are pitch classes, the root first."""

    start: float
    beats: float
    tones: tuple[int, ...]

    @property
    def root(self) -> int:
        return self.tones[0]


@dataclass(frozen=True)
class Plan:
    """What all parts of a song agree on."""

    genre: str
    tempo_bpm: float
    key: Key
    bars: int
    beats_per_bar: int
    swing: float  # where in the beat the second eighth falls
    chords: tuple[Chord, ...]
    seconds: float

    @property
    def beats(self) -> float:
        return self.bars * self.beats_per_bar

    def at(self, beat: float) -> float:
        """Seconds of a beat, swung."""
        whole, part = divmod(beat, 1.0)
        if part < 0.5:
            part *= 2 * self.swing
        else:
            part = self.swing + (part - 0.5) * 2 * (1 - self.swing)
        return LEAD_S + (whole + part) * 60 / self.tempo_bpm

    def chord_at(self, beat: float) -> Chord:
        for chord in reversed(self.chords):
            if chord.start <= beat + 1e-6:
                return chord
        return self.chords[0]

    def scale_at(self, beat: float) -> frozenset[int]:
        """The scale bent to the chord: a raised leading note replaces the plain one while it sounds."""
        chord = self.chord_at(beat)
        foreign = set(chord.tones) - self.key.pitch_classes
        clashing = {(tone + step) % 12 for tone in foreign for step in (-1, 1)} - set(chord.tones)
        return frozenset((self.key.pitch_classes - clashing) | foreign)


@dataclass(frozen=True)
class NoteEvent:
    """One note in beats; `delay_s` places strummed strings, `alt` asks for the second articulation."""

    beat: float
    beats: float
    pitch: int
    velocity: int = 90
    delay_s: float = 0.0
    alt: bool = False
    bends: tuple[tuple[float, float], ...] = ()  # (seconds after the onset, semitones)


Role = Callable[[Plan, Random, int, int, str], list[NoteEvent]]


def nearest(
    pitch_classes: frozenset[int] | set[int] | tuple[int, ...], pitch: float, low: int, high: int
) -> int:
    """The pitch of one of these classes closest to `pitch` within the range."""
    choices = [p for p in range(low, high + 1) if p % 12 in pitch_classes]
    if not choices:  # a range under an octave may lack them all: the right note matters more
        choices = [p for p in range(128) if p % 12 in pitch_classes]
    return min(choices, key=lambda p: abs(p - pitch))


def _hand(low: int, high: int, lowest: int, highest: int) -> tuple[int, int]:
    """Narrows a range to where chords sound clear, but not below 17 semitones."""
    new_low = min(max(low, lowest), max(high - 17, low))
    return new_low, max(min(high, highest), min(new_low + 17, high))


def scale_step(plan: Plan, beat: float, pitch: int, steps: int, low: int, high: int) -> int:
    """Moves along the scale, turning back at the ends of the range."""
    ladder = [p for p in range(low, high + 1) if p % 12 in plan.scale_at(beat)]
    place = min(range(len(ladder)), key=lambda i: abs(ladder[i] - pitch)) + steps
    top = len(ladder) - 1
    place = -place if place < 0 else 2 * top - place if place > top else place
    return ladder[min(max(place, 0), top)]


def voicing(chord: Chord, previous: list[int], low: int, high: int, size: int) -> list[int]:
    """A close position of the chord with the least movement from the previous one."""
    tones = list(chord.tones) if len(chord.tones) > 2 else [chord.tones[0], chord.tones[1], chord.tones[0]]
    centre = sum(previous) / len(previous) if previous else (low + high) / 2
    best: list[int] = []
    best_cost = float("inf")
    for turn in range(len(tones)):
        pitches = [nearest((tones[turn],), centre - 5, low, high)]
        for i in range(1, size):
            following = pitches[-1] + 1
            while following % 12 != tones[(turn + i) % len(tones)]:
                following += 1
            pitches.append(following)
        while pitches and pitches[-1] > high:
            pitches.pop()
        cost = (
            sum(min(abs(p - q) for q in previous) for p in pitches)
            if previous
            else abs(pitches[0] + 5 - centre)
        )
        if len(pitches) > len(best) or (len(pitches) == len(best) and cost < best_cost):
            best, best_cost = pitches, cost
    return best


def _bar_rhythm(rng: Random, meter: int, fast: bool) -> list[tuple[float, float]]:
    table = tables.FAST_RHYTHMS if fast else tables.TUNE_RHYTHMS
    beat, onsets = 0.0, []
    for length in rng.choice(table[meter]):
        if length > 0:
            onsets.append((beat, length))
        beat += abs(length)
    return onsets


def _tune(plan: Plan, rng: Random, low: int, high: int, fast: bool) -> list[NoteEvent]:
    """Phrases of two motifs (A A' B A ...), chord tones on the beats, steps between, a breath after each."""
    meter = plan.beats_per_bar
    motifs = [
        [
            (beat, length, rng.choice((-2, -1, -1, 1, 1, 2, 0, 3, -3)))
            for beat, length in _bar_rhythm(rng, meter, fast)
        ]
        for _ in range(3)
    ]
    form = rng.choice(("AABA", "ABAC", "AABC", "ABAB", "ABCA"))
    rest_chance = rng.uniform(0.02, 0.18)
    pitch = (low + high) // 2 + rng.randint(-3, 3)
    events: list[NoteEvent] = []
    for bar in range(plan.bars):
        if bar and rng.random() < rest_chance:
            continue
        ends_phrase = bar % 4 == 3
        for beat, length, steps in motifs["ABC".index(form[bar % 4])]:
            if ends_phrase and beat >= meter - 1.0 and rng.random() < 0.7:
                continue
            start = bar * meter + beat
            pitch = scale_step(plan, start, pitch, steps, low, high)
            if beat % 1.0 == 0 and rng.random() < 0.8:
                pitch = nearest(plan.chord_at(start).tones, pitch, low, high)
            accent = 10 if beat % 2 == 0 else 0
            events.append(NoteEvent(start, length * 0.97, pitch, 82 + accent))
    return events


def melody(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    return _tune(plan, rng, low, high, fast=False)


def solo(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """A busier line with string bends, slides into notes and vibrato on the long ones."""
    events = []
    for event in _tune(plan, rng, low, high, fast=True):
        bends: tuple[tuple[float, float], ...] = ()
        length_s = event.beats * 60 / plan.tempo_bpm
        if length_s > 0.35 and rng.random() < 0.45:
            reach = rng.uniform(0.08, 0.16)
            start = -rng.choice((1.0, 2.0))
            bends = tuple((reach * i / 8, start * (1 - i / 8)) for i in range(9))
        if length_s > 0.5 and rng.random() < 0.7:
            bends += _vibrato(rng, 0.25, length_s)
        events.append(NoteEvent(event.beat, event.beats, event.pitch, event.velocity + 6, bends=bends))
    return events


def _vibrato(rng: Random, start_s: float, end_s: float) -> tuple[tuple[float, float], ...]:
    half_period, depth = 1 / rng.uniform(10, 12.5), rng.uniform(0.15, 0.4)
    count = int((end_s - start_s) / half_period)
    return tuple((start_s + i * half_period, depth * (1, 0, -1, 0)[i % 4]) for i in range(count))


def counter(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """A slow second voice: chord tones in half notes and whole notes, moving as little as possible."""
    pitch, events = (low + high) // 2, []
    for chord in plan.chords:
        parts = 2 if chord.beats >= 2 and rng.random() < 0.5 else 1
        for i in range(parts):
            pitch = nearest(chord.tones, pitch + rng.choice((-3, -1, 0, 1, 3)), low, high)
            length = chord.beats / parts
            events.append(NoteEvent(chord.start + i * length, length * 0.97, pitch, 76))
    return events


def slow(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """Sparse single strokes that ring: bells, or a piano in an ambient piece."""
    events = []
    gap = rng.choice((1, 2, 2, 4))
    for i in range(int(plan.beats / gap)):
        if rng.random() < 0.8:
            pitch = nearest(plan.chord_at(i * gap).tones, rng.uniform(low, high), low, high)
            events.append(NoteEvent(i * gap, gap * 1.5, pitch, rng.randint(65, 100)))
    return events


def tremolo(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """A slow tune with every note repeated quickly (mandolin, marimba, steel drum)."""
    events = []
    for event in counter(plan, rng, low, high, variant):
        for i in range(int(event.beats / 0.25)):
            events.append(
                NoteEvent(event.beat + i * 0.25, 0.24, event.pitch, 85 if i == 0 else rng.randint(62, 76))
            )
    return events


STRUMS = (
    "D..DU.UD.U..D.DU",
    "D...D...D...D...",
    "D...D.U...U.D.U.",
    "D.D.D.D.D.D.D.D.",
    "D..U..D.U..UD.U.",
    "D.......D.D.....",
)


def _strummed(chord: Chord, low: int, high: int) -> list[int]:
    root = nearest((chord.root,), low + 4, low, low + 12)
    pitches = [root]
    for _ in range(4):
        following = pitches[-1] + 3
        while following % 12 not in chord.tones:
            following += 1
        if following <= high:
            pitches.append(following)
    return pitches


def strum(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """Guitar chords, the strings one after another: down from the lowest, up from the highest."""
    pattern = rng.choice(STRUMS)
    spread = rng.uniform(0.006, 0.022)
    events = []
    steps = plan.beats_per_bar * 4
    for step in range(plan.bars * steps):
        stroke = pattern[step % steps % 16]
        if stroke == ".":
            continue
        beat = step / 4
        pitches = _strummed(plan.chord_at(beat), low, high)
        ring = next((n for n in range(1, 9) if pattern[(step + n) % steps % 16] != "."), 8) / 4
        strings = pitches if stroke == "D" else pitches[::-1][:4]
        velocity = 90 if step % 8 == 0 else 78
        for i, pitch in enumerate(strings):
            events.append(
                NoteEvent(beat, ring * 0.95, pitch, velocity - (12 if stroke == "U" else 0), i * spread)
            )
    return events


def scratch(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """Funk guitar: short chords on sixteenths, high on the neck."""
    pattern = rng.choice(("x..x..x.x..x..x.", "..x.x..x..x.x..x", "x.xx..x.x.xx..x."))
    high_low = min(low + 12, high - 14)
    events: list[NoteEvent] = []
    chord_pitches: list[int] = []
    for step in range(int(plan.beats * 4)):
        if pattern[step % 16] == "x":
            chord_pitches = voicing(plan.chord_at(step / 4), chord_pitches, high_low, high, 3)
            length = rng.choice((0.08, 0.12, 0.2))
            events += [
                NoteEvent(step / 4, length, p, rng.randint(72, 98), i * 0.004)
                for i, p in enumerate(chord_pitches)
            ]
    return events


def finger(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """Finger-picking: the thumb alternates root and another low string, the fingers play the upper ones."""
    order = rng.choice(((2, 3, 4, 3), (4, 2, 3, 2), (3, 4, 2, 4), (2, 4, 3, 4)))
    step_beats = rng.choice((0.5, 0.5, 0.25))
    events = []
    for i in range(int(plan.beats / step_beats)):
        beat = i * step_beats
        strings = _strummed(plan.chord_at(beat), low, high)
        if beat % 1 == 0:
            events.append(
                NoteEvent(beat, 1.0, strings[0] if beat % 2 == 0 else strings[min(1, len(strings) - 1)], 88)
            )
        if beat % 1 != 0 or step_beats == 0.25:
            events.append(NoteEvent(beat, 0.9, strings[min(order[i % 4], len(strings) - 1)], 74))
    return events


COMPS = (
    "x..x......x.....",
    "..x...x...x...x.",
    "x.......x..x....",
    "x...x...x...x...",
    "x.x.x.x.x.x.x.x.",
    "x..x..x.x..x..x.",
    "x...............",
    "......x.......x.",
)


def comp(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """Keyboard chords in a rhythm, the hand moving as little as it can."""
    low, high = _hand(low, high, 50, 79)
    pattern = rng.choice(COMPS)
    hold = rng.choice((0.4, 0.8, 1.5))
    return _chords_in_rhythm(plan, rng, low, high, pattern, hold, size=4)


def _chords_in_rhythm(
    plan: Plan, rng: Random, low: int, high: int, pattern: str, hold: float, size: int
) -> list[NoteEvent]:
    events: list[NoteEvent] = []
    pitches: list[int] = []
    steps = plan.beats_per_bar * 4
    for step in range(plan.bars * steps):
        if pattern[step % steps % 16] == "x":
            pitches = voicing(plan.chord_at(step / 4), pitches, low, high, size)
            velocity = rng.randint(70, 92)
            events += [NoteEvent(step / 4, hold, pitch, velocity) for pitch in pitches]
    return events


def skank(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """The reggae off-beat chop."""
    pattern = rng.choice(("....x.......x...", "..x...x...x...x.", "..x.x.....x.x..."))
    return _chords_in_rhythm(plan, rng, *_hand(low, high, 52, 79), pattern, 0.15, size=3)


def stabs(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """Section hits: short chords in a rhythm that comes and goes, some of them held."""
    pattern = rng.choice(
        ("x..x............", "......x.x.......", "x.....x.....x...", "............x.x.", "x..x..x.........")
    )
    events = []
    for event in _chords_in_rhythm(plan, rng, low, high, pattern, 0.3, size=3):
        bar = int(event.beat // plan.beats_per_bar)
        if bar % 4 in (0, 1, 3):
            events.append(
                NoteEvent(event.beat, 1.2 if bar % 4 == 3 else 0.3, event.pitch, event.velocity + 15)
            )
    return events


def pad(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """Held chords, voice-led."""
    events: list[NoteEvent] = []
    pitches: list[int] = []
    size = rng.choice((3, 4))
    for chord in plan.chords:
        pitches = voicing(chord, pitches, low, high, size)
        events += [NoteEvent(chord.start, chord.beats * 0.99, pitch, 74) for pitch in pitches]
    return events


def arp(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """Broken chords: up, down, Alberti or in random order."""
    shape = rng.choice(("up", "down", "updown", "alberti", "random"))
    step_beats = rng.choice((0.5, 0.25, 0.25) if plan.tempo_bpm < 130 else (0.5, 0.5, 0.25))
    events = []
    pitches: list[int] = []
    for i in range(int(plan.beats / step_beats)):
        beat = i * step_beats
        pitches = voicing(plan.chord_at(beat), pitches, low, high, 4)
        n = len(pitches)
        turns = {
            "up": i % n,
            "down": n - 1 - i % n,
            "updown": abs((i % (2 * n - 2 or 1)) - (n - 1)),
            "alberti": (0, n - 1, n // 2, n - 1)[i % 4],
            "random": rng.randrange(n),
        }
        events.append(NoteEvent(beat, step_beats * 1.1, pitches[turns[shape]], 84 if beat % 1 == 0 else 72))
    return events


def montuno(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """Latin piano: syncopated octaves against chord tones."""
    low, high = _hand(low, high, 55, 84)
    events: list[NoteEvent] = []
    pitches: list[int] = []
    for step in range(int(plan.beats * 4)):
        if "x.x.xx.xx.xx.x.x"[step % 16] == "x":
            pitches = voicing(plan.chord_at(step / 4), pitches, low, max(high - 12, low + 5), 3)
            top = pitches[step % len(pitches)]
            events += [NoteEvent(step / 4, 0.24, p, 84) for p in (top, top + 12) if p <= high]
    return events


def two_hands(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """A keyboard alone: a tune above, broken or held chords below."""
    middle = min(max(60, low + 15), high - 12)
    left = rng.choice((arp, pad, comp if low < 45 else pad))
    below = left(plan, rng, max(low, middle - 19), middle, variant)
    return [*below, *_tune(plan, rng, middle + 1, min(high, middle + 24), fast=rng.random() < 0.3)]


def riff_line(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """One bar of sixteenths repeated, moved with the chords: clavinet, synth and lead riffs."""
    steps = [
        (i, rng.choice((0, 0, 1, 2, -1, 4)))
        for i in range(plan.beats_per_bar * 4)
        if i == 0 or rng.random() < 0.5
    ]
    events = []
    for bar in range(plan.bars):
        for step, move in steps:
            beat = bar * plan.beats_per_bar + step / 4
            root = nearest((plan.chord_at(beat).root,), low + 8, low, high)
            events.append(
                NoteEvent(
                    beat, 0.22, scale_step(plan, beat, root, move, low, high), 88 if step % 4 == 0 else 76
                )
            )
    return events


RIFFS = (
    "pppPpppPppPpppPp",
    "P..pp.pp.P..ppp.",
    "PppPppPppPppPpPp",
    "P.......P...P...",
    "P.P.P.P.P.P.P.P.",
    "pp.ppp.pP...pp.p",
    "P...pppp..P.pppp",
    "P.ppP.ppP.ppPPPP",
    "pppppppppppppppp",
)


def riff(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """Power chords (P: root, fifth, octave) and palm-muted low notes (p)."""
    palm = [r for r in RIFFS if "p" in r]
    patterns = [rng.choice(palm if variant in ("chug", "double") else RIFFS) for _ in range(2)]
    power_fifth = rng.random() < 0.9
    events = []
    for step in range(int(plan.beats * 4)):
        bar, place = divmod(step, plan.beats_per_bar * 4)
        stroke = patterns[bar % 4 == 3][place % 16]
        if stroke == ".":
            continue
        beat = step / 4
        chord = plan.chord_at(beat)
        root = nearest((chord.root,), low + 5, low, low + 11)
        if stroke == "p":
            events.append(NoteEvent(beat, 0.22, root, rng.randint(88, 110), alt=True))
            continue
        pattern = patterns[bar % 4 == 3]
        ring = next((n for n in range(1, 17) if pattern[(place + n) % 16] != "."), 16) / 4
        # the fifth of a diminished chord is its own
        fifth = root + next((t for t in (7, 6) if (root + t) % 12 in chord.tones), 12)
        pitches = {root, fifth, root + 12} if power_fifth else {root, root + 12}
        events += [
            NoteEvent(beat, ring * 0.97, pitch, 104, i * 0.003) for i, pitch in enumerate(sorted(pitches))
        ]
    return events


def drone(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """A tonic (and fifth) held under the instrument's own tune."""
    tonic = nearest((plan.key.tonic,), low + 5, low, low + 11)
    held = (
        [tonic, tonic + 7] if (tonic + 7) % 12 in plan.key.pitch_classes and rng.random() < 0.6 else [tonic]
    )
    length = plan.beats_per_bar * 2
    below = [
        NoteEvent(bar * plan.beats_per_bar, length, pitch, 62)
        for bar in range(0, plan.bars, 2)
        for pitch in held
    ]
    return [*below, *_tune(plan, rng, min(tonic + 5, high - 12), high, fast=rng.random() < 0.5)]


BASSES: dict[str, tuple[str, ...]] = {  # R root, 5 fifth, O octave, t a chord tone, s a scale step on the way
    "eighths": ("R.R.R.R.R.R.R.R.", "R.R.R.R.R.R.5.s.", "R...R.R.R...R.R."),
    "rock": ("R.....R.R.....R.", "R.R.R.R.R.R.R.R.", "R..R....R.R.....", "R.......R.5.O..."),
    "fifths": ("R.......5.......", "R...t...5...t...", "R.......5...s..."),
    "walking": ("R...t...5...s...", "R...s...t...s...", "R...5...t...s...", "R...t...s...s..."),
    "funk": ("R..O..R.R..5.O..", "R..R..O...s.O.R.", "R.O..OR..O5...s."),
    "offbeat": ("R.O.R.O.R.O.R.O.", "R.R.R.R.R.R.R.R.", "R..R..R.R..R..R.", "RRRRRRRRRRRRRRRR"),
    "tumbao": ("R.....5.....O...", "R.....5.5...R...", "R..R..5.....t..."),
    "chug": ("RRRRRRRRRRRRRRRR", "R.RRR.RRR.RRR.RR", "R.R.R.R.R.R.R.R.", "R..R..R..R..R.R."),
    "pedal": ("R...............", "R.......R......."),
}


def bass(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """A bass line: the root wherever a chord begins, then by the pattern of the style."""
    patterns = [rng.choice(BASSES[variant or "rock"]) for _ in range(2)]
    events: list[NoteEvent] = []
    pitch = low + 8
    steps = plan.beats_per_bar * 4
    ring = rng.choice((0.6, 0.9, 0.95))
    starts = {round(chord.start * 4) for chord in plan.chords}
    for step in range(plan.bars * steps):
        bar, place = divmod(step, steps)
        pattern = patterns[bar % 4 == 3]
        code = "R" if step in starts else pattern[place]
        if code == ".":
            continue
        chord = plan.chord_at(step / 4)
        root = nearest((chord.root,), low + 7, low, low + 12)
        tones = chord.tones
        if code == "s":  # on the way to the next chord
            target = nearest((plan.chord_at(min(step / 4 + 1, plan.beats - 1)).root,), pitch, low, high)
            pitch = scale_step(plan, step / 4, target, rng.choice((-1, 1)), low, high)
        elif code == "5":
            fifth = tuple(t for t in tones if (t - chord.root) % 12 in (6, 7)) or (chord.root,)
            pitch = nearest(fifth, root + rng.choice((-5, 7)), low, high)
        else:
            pitch = {
                "R": root,
                "O": root + 12 if root + 12 <= high else root,
                "t": nearest(tones[1:], root + 4, low, high),
            }[code]
        end = next(n for n in range(1, 99) if pattern[(place + n) % steps] != "." or step + n in starts)
        events.append(NoteEvent(step / 4, end / 4 * ring, pitch, 96 if place % 8 == 0 else 84))
    return events


def timpani(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """Roots on the first beat, now and then a roll into the next bar."""
    events = []
    for bar in range(plan.bars):
        start = bar * plan.beats_per_bar
        pitch = nearest((plan.chord_at(start).root,), (low + high) / 2, low, high)
        events.append(NoteEvent(start, 1.0, pitch, rng.randint(80, 110)))
        if rng.random() < 0.4:
            events.append(NoteEvent(start + 2, 1.0, pitch, rng.randint(65, 95)))
        if bar % 4 == 3:
            count = 8
            last = start + plan.beats_per_bar - 1
            events += [NoteEvent(last + i / count, 1 / count, pitch, 55 + 6 * i) for i in range(count)]
    return events


STRENGTHS = {"X": 112, "x": 88, "o": 55}


def drums(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """A groove of the genre (`variant`) with fills every fourth bar and crashes after them."""
    groove_name = "waltz" if plan.beats_per_bar == 3 else variant or rng.choice(tuple(tables.GROOVES))
    groove = rng.choice(tables.GROOVES[groove_name])
    steps = plan.beats_per_bar * 4
    events: list[NoteEvent] = []
    for bar in range(plan.bars):
        start = bar * plan.beats_per_bar
        fill_from = steps - rng.choice((4, 8)) if bar % 4 == 3 and rng.random() < 0.75 else steps
        for key, row in groove.items():
            for step in range(fill_from):
                strength = row[step % len(row)]
                if strength != "." and rng.random() > 0.02:
                    events.append(NoteEvent(start + step / 4, 0.2, key, STRENGTHS[strength]))
        events += _fill(rng, start, fill_from, steps)
        if bar % 4 == 0 and rng.random() < 0.6:
            events.append(NoteEvent(start, 1.0, tables.CRASH, 100))
    return events


def _fill(rng: Random, start: float, first: int, steps: int) -> list[NoteEvent]:
    drums_in_order = (tables.SNARE, *tables.TOMS)
    events = []
    for step in range(first, steps):
        if rng.random() < 0.8:
            key = drums_in_order[min((step - first) * len(drums_in_order) // max(steps - first, 1), 6)]
            events.append(NoteEvent(start + step / 4, 0.2, key, rng.randint(80, 115)))
    return events


def percussion(plan: Plan, rng: Random, low: int, high: int, variant: str) -> list[NoteEvent]:
    """One percussion instrument (`variant` is its label), or one drum of a kit, in its own pattern."""
    keys = tables.DRUM_SOUNDS[variant]
    if variant in tables.PERCUSSION and rng.random() < 0.8:
        row = rng.choice(tables.PERCUSSION[variant])
    else:
        density = rng.choice((0.15, 0.3, 0.5))
        row = "X" + "".join(rng.choice("Xxo") if rng.random() < density else "." for _ in range(15))
    several = rng.random() < 0.75
    key = rng.choice(keys)
    events = []
    for step in range(int(plan.beats * 4)):
        strength = row[step % (plan.beats_per_bar * 4) % 16]
        if strength != ".":
            struck = rng.choice(keys) if several else key
            events.append(NoteEvent(step / 4, 0.2, struck, STRENGTHS[strength]))
    return events


ROLES: dict[str, Role] = {
    f.__name__: f
    for f in (
        melody,
        solo,
        counter,
        slow,
        tremolo,
        strum,
        scratch,
        finger,
        comp,
        skank,
        stabs,
        pad,
        arp,
        montuno,
        two_hands,
        riff_line,
        riff,
        drone,
        bass,
        timpani,
        drums,
        percussion,
    )
}
