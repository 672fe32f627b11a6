"""What the composer draws from: instruments, genres, grooves and rhythms, as plain data.

Presets are (bank, program) of the General MIDI / GS layout that FluidR3 and MuseScore General share: bank 8
and 16 hold the variations, drum kits are programs of channel 10. Pitches are MIDI note numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """One way of playing a label: presets to choose from, the comfortable range, and what it plays alone."""

    label: str
    presets: tuple[tuple[int, int], ...]
    low: int
    high: int
    family: str  # chooses the effects
    solo_roles: tuple[str, ...] = ("melody",)
    sustained: bool = True  # bowed, blown or held: gets vibrato and swells
    alt_preset: tuple[int, int] | None = None  # a second articulation (palm mute)


def _presets(text: str) -> tuple[tuple[int, int], ...]:
    """``"0:24 8:25"`` -> ((0, 24), (8, 25))."""
    pairs = (item.split(":") for item in text.split())
    return tuple((int(bank), int(program)) for bank, program in pairs)


def _held(
    label: str, presets: str, low: int, high: int, family: str, roles: str = "melody counter"
) -> Instrument:
    return Instrument(label, _presets(presets), low, high, family, tuple(roles.split()))


def _struck(
    label: str, presets: str, low: int, high: int, family: str, roles: str = "melody arp"
) -> Instrument:
    return Instrument(label, _presets(presets), low, high, family, tuple(roles.split()), sustained=False)


_GUITAR_ROLES = "strum finger melody arp"
_PALM_MUTE = (0, 28)

INSTRUMENTS: dict[str, Instrument] = {
    # plucked
    "nylon guitar": _struck("acoustic guitar", "0:24", 40, 79, "acoustic", _GUITAR_ROLES),
    "steel guitar": _struck("acoustic guitar", "0:25 8:25", 40, 79, "acoustic", _GUITAR_ROLES),
    "clean guitar": _struck("electric guitar", "0:27 0:27 8:28 0:28", 40, 84, "clean guitar", _GUITAR_ROLES),
    "jazz guitar": _struck("electric guitar", "0:26", 40, 82, "clean guitar", "melody comp strum"),
    "lap steel": _struck("electric guitar", "8:26", 45, 82, "clean guitar", "melody"),
    "drive guitar": _struck(
        "electric guitar", "0:29 0:29 0:27", 40, 86, "drive guitar", "riff strum solo melody"
    ),
    "metal guitar": Instrument(
        "electric guitar",
        _presets("0:30 0:30 0:29 0:27"),
        36,
        76,
        "metal guitar",
        ("riff", "riff/chug"),
        False,
        _PALM_MUTE,
    ),
    "lead guitar": _held("electric guitar", "0:30 0:29 8:30", 52, 88, "lead guitar", "solo melody"),
    "finger bass": _struck(
        "bass guitar", "0:33 0:34 0:37", 28, 55, "bass", "bass/eighths bass/rock bass/fifths"
    ),
    "slap bass": _struck("bass guitar", "0:36 0:37", 28, 58, "bass", "bass/funk"),
    "fretless bass": _struck("bass guitar", "0:35", 28, 58, "bass", "bass/rock bass/fifths melody"),
    "double bass": _struck("double bass", "0:32", 28, 55, "acoustic", "bass/walking bass/fifths"),
    "bowed bass": _held("double bass", "0:43", 28, 55, "strings", "melody counter bass/pedal"),
    "harp": _struck("harp", "0:46", 36, 96, "acoustic", "arp melody strum"),
    "banjo": _struck("banjo", "0:105", 50, 81, "acoustic", "finger arp melody"),
    "ukulele": _struck("ukulele", "8:24", 55, 81, "acoustic", "strum finger melody"),
    "mandolin": _struck("mandolin", "16:25", 55, 88, "acoustic", "tremolo melody strum"),
    "sitar": _struck("sitar", "0:104", 48, 79, "acoustic", "drone solo melody"),
    "koto": _struck("koto", "0:107 8:107", 48, 84, "acoustic", "melody arp"),
    "shamisen": _struck("shamisen", "0:106", 50, 79, "acoustic", "melody"),
    "kalimba": _struck("kalimba", "0:108", 60, 88, "acoustic"),
    "dulcimer": _struck("dulcimer", "0:15", 55, 84, "acoustic", "melody arp tremolo"),
    # keys
    "piano": _struck("piano", "0:0 0:1 0:0 0:3", 28, 96, "keys", "two_hands comp arp melody two_hands"),
    "electric piano": _struck(
        "electric piano", "0:4 0:5 8:4 8:5 0:2", 36, 90, "electric keys", "two_hands comp"
    ),
    "clavinet": _struck("clavinet", "0:7", 40, 84, "electric keys", "riff_line comp"),
    "harpsichord": _struck("harpsichord", "0:6 8:6", 36, 86, "acoustic", "two_hands arp melody"),
    "pipe organ": _held("pipe organ", "0:19 8:19", 36, 88, "organ", "two_hands pad melody"),
    "electric organ": _held(
        "electric organ", "0:16 0:17 0:18 8:16 8:17", 36, 90, "organ", "comp pad two_hands melody"
    ),
    "harmonium": _held("harmonium", "0:20", 43, 84, "acoustic", "two_hands pad melody"),
    "accordion": _held("accordion", "0:21 8:21 0:23", 48, 88, "acoustic", "two_hands comp melody"),
    "harmonica": _held("harmonica", "0:22", 60, 88, "acoustic", "solo melody"),
    "celesta": _struck("celesta", "0:8", 60, 100, "mallet"),
    "glockenspiel": _struck("glockenspiel", "0:9", 72, 103, "mallet"),
    "music box": _struck("music box", "0:10", 60, 98, "mallet", "arp melody two_hands"),
    "vibraphone": _struck("vibraphone", "0:11", 53, 89, "mallet", "melody comp arp"),
    "marimba": _struck("marimba", "0:12", 45, 91, "mallet", "arp melody tremolo"),
    "xylophone": _struck("xylophone", "0:13", 60, 100, "mallet", "melody arp"),
    "tubular bells": _struck("tubular bells", "0:14", 60, 77, "mallet", "slow"),
    "church bells": _struck("church bells", "8:14", 45, 72, "mallet", "slow"),
    "steel drum": _struck("steel drum", "0:114", 55, 84, "mallet", "melody tremolo arp"),
    "bell": _struck("bell", "0:112", 60, 90, "mallet", "slow melody"),
    "timpani": _struck("timpani", "0:47", 40, 57, "acoustic", "timpani"),
    "taiko": _struck("taiko drum", "0:116", 45, 64, "acoustic", "timpani"),
    # bowed
    "violin": _held("violin", "0:40 8:40 0:40", 55, 96, "strings"),
    "fiddle": _held("violin", "0:110", 55, 88, "strings", "melody solo"),
    "viola": _held("viola", "0:41", 48, 84, "strings"),
    "cello": _held("cello", "0:42", 36, 72, "strings", "melody counter bass/pedal"),
    "string ensemble": _held(
        "string ensemble",
        "0:48 0:49 0:44 8:48 20:48 40:48 30:49",
        43,
        88,
        "strings",
        "pad counter melody stabs",
    ),
    "pizzicato": _struck("string ensemble", "0:45 0:45 20:45 40:45", 40, 88, "strings", "arp melody"),
    # voices
    "choir": _held("choir singing", "0:52 0:53", 48, 81, "voice", "pad counter melody"),
    # blown
    "flute": _held("flute", "0:73", 60, 96, "wind"),
    "piccolo": _held("piccolo", "0:72", 74, 105, "wind", "melody"),
    "recorder": _held("recorder", "0:74", 60, 91, "wind", "melody"),
    "pan flute": _held("pan flute", "0:75", 60, 91, "wind", "melody"),
    "shakuhachi": _held("flute", "0:77", 57, 86, "wind", "melody"),
    "ocarina": _held("ocarina", "0:79", 65, 93, "wind", "melody"),
    "whistling": _held("whistling", "0:78", 69, 93, "wind", "melody"),
    "clarinet": _held("clarinet", "0:71", 50, 89, "wind"),
    "oboe": _held("oboe", "0:68", 58, 88, "wind"),
    "english horn": _held("english horn", "0:69", 52, 79, "wind"),
    "bassoon": _held("bassoon", "0:70", 34, 67, "wind", "melody counter bass/fifths"),
    "bagpipes": _held("bagpipes", "0:109", 57, 81, "acoustic", "drone"),
    "shehnai": _held("shehnai", "0:111", 58, 82, "wind", "solo melody"),
    "soprano sax": _held("saxophone", "0:64", 56, 87, "wind", "melody solo"),
    "alto sax": _held("saxophone", "0:65", 49, 80, "wind", "melody solo counter"),
    "tenor sax": _held("saxophone", "0:66", 44, 75, "wind", "melody solo counter"),
    "baritone sax": _held("saxophone", "0:67", 36, 68, "wind", "melody bass/walking"),
    "trumpet": _held("trumpet", "0:56 0:56 0:59", 54, 84, "brass", "melody stabs solo"),
    "trombone": _held("trombone", "0:57", 40, 70, "brass", "melody counter"),
    "tuba": _held("tuba", "0:58", 28, 56, "brass", "bass/fifths melody"),
    "french horn": _held("french horn", "0:60", 41, 76, "brass"),
    "brass section": _held("brass section", "0:61 8:61", 43, 79, "brass", "stabs melody pad"),
    # synthesizers
    "synth lead": _held(
        "synthesizer", "0:80 0:81 0:82 0:84 0:87 8:80 0:83", 52, 91, "synth", "melody arp riff_line"
    ),
    "synth pad": _held(
        "synthesizer", "0:88 0:89 0:90 0:92 0:93 0:94 0:95 0:50 0:51 8:50", 43, 84, "synth", "pad counter"
    ),
    "synth pluck": _struck(
        "synthesizer", "0:90 0:98 0:99 0:100 0:81 0:103", 48, 93, "synth", "arp comp riff_line"
    ),
    "synth bass": _struck(
        "synthesizer",
        "0:38 0:39 8:38 8:39",
        28,
        52,
        "synth bass",
        "bass/eighths bass/funk bass/offbeat riff_line",
    ),
    "synth brass": _held("synthesizer", "0:62 0:63 8:62 8:63", 43, 84, "synth", "stabs pad"),
}

# Keys of the General MIDI drum map, and the label of each sound when it is heard alone.
KICK, RIM, SNARE, CLAP, CLOSED_HAT, PEDAL_HAT, OPEN_HAT, CRASH, RIDE = 36, 37, 38, 39, 42, 44, 46, 49, 51
TOMS = (50, 48, 47, 45, 43, 41)
DRUM_SOUNDS: dict[str, tuple[int, ...]] = {
    "kick drum": (36, 35),
    "snare drum": (38, 40),
    "hi-hat": (42, 46, 44),
    "cymbal": (49, 51, 57, 55, 52, 59),
    "tom drum": TOMS,
    "hand drum": (60, 61, 62, 63, 64),
    "tambourine": (54,),
    "shaker": (70, 69),
    "cowbell": (56,),
    "woodblock": (76, 77),
    "clapping": (39,),
    "triangle": (81, 80),
    "claves": (75,),
    "guiro": (73, 74),
    "agogo bells": (67, 68),
    "timbales": (65, 66),
}
KIT_SOUNDS = frozenset({"kick drum", "snare drum", "hi-hat", "cymbal", "tom drum"})
ACOUSTIC_KITS = (0, 1, 2, 3, 4, 8, 9, 10, 16, 17)
KITS: dict[str, tuple[int, ...]] = {
    "acoustic": ACOUSTIC_KITS,
    "power": (16, 17, 18, 19, 8, 0),
    "electronic": (24, 25, 25, 24, 0),
    "jazz": (32, 33, 34, 40, 41, 0),
    "percussion": (0, 8, 16),
    "any": (*ACOUSTIC_KITS, 24, 25, 32, 40),
}

# Sixteenths of one bar (12 in three-four): X accent, x normal, o soft. The first row named is the key struck.
GROOVES: dict[str, tuple[dict[int, str], ...]] = {
    "rock": (
        {KICK: "X.......X.x.....", SNARE: "....X.......X...", CLOSED_HAT: "x.o.x.o.x.o.x.o."},
        {KICK: "X.....x.X.......", SNARE: "....X.......X..o", RIDE: "x.x.x.x.x.x.x.x."},
        {KICK: "X..x....X.x.....", SNARE: "....X.......X...", OPEN_HAT: "x...x...x...x..."},
        {KICK: "X...X...X...X...", SNARE: "....X.......X...", CLOSED_HAT: "x.x.x.x.x.x.x.x."},
    ),
    "metal": (
        {KICK: "XxXxXxXxXxXxXxXx", SNARE: "....X.......X...", CRASH: "x...x...x...x..."},
        {KICK: "X.XX..X.X.XX..X.", SNARE: "....X.......X...", OPEN_HAT: "x.x.x.x.x.x.x.x."},
        {KICK: "X.x.X.x.X.x.X.x.", SNARE: "..X...X...X...X.", RIDE: "x.x.x.x.x.x.x.x."},
        {KICK: "X..XX..XX..XX.X.", SNARE: "........X.......", CRASH: "x...x...x...x..."},
    ),
    "pop": (
        {KICK: "X...X...X...X...", SNARE: "....X.......X...", CLOSED_HAT: "..x...x...x...x."},
        {KICK: "X......xX.......", CLAP: "....X.......X...", CLOSED_HAT: "x.x.x.x.x.x.x.xx"},
        {KICK: "X.....x...x.....", SNARE: "....X.......X...", CLOSED_HAT: "xoxoxoxoxoxoxoxo"},
    ),
    "jazz": (
        {
            RIDE: "X...x.x.X...x.x.",
            PEDAL_HAT: "....x.......x...",
            KICK: "o.......o.......",
            SNARE: "......o.......o.",
        },
        {RIDE: "X...x.x.X...x...", PEDAL_HAT: "....x.......x...", SNARE: "..........o...o."},
        {SNARE: "o...x.o.o...x.o.", PEDAL_HAT: "....x.......x...", KICK: "o...o...o...o..."},
    ),
    "blues": (
        {KICK: "X.......X.......", SNARE: "....X.......X...", CLOSED_HAT: "x.x.x.x.x.x.x.x."},
        {KICK: "X.....x.X.......", SNARE: "....X.......X...", RIDE: "x.x.x.x.x.x.x.x."},
    ),
    "folk": (
        {KICK: "X.......X.......", RIM: "....x.......x...", CLOSED_HAT: "x...x...x...x..."},
        {KICK: "X...x...X...x...", SNARE: "..x...x...x...x."},
    ),
    "country": (
        {KICK: "X.......X.......", SNARE: "o.x.X.x.o.x.X.x."},
        {KICK: "X.......X.x.....", RIM: "....X.......X...", CLOSED_HAT: "x.x.x.x.x.x.x.x."},
    ),
    "electronic": (
        {KICK: "X...X...X...X...", CLAP: "....X.......X...", OPEN_HAT: "..x...x...x...x."},
        {KICK: "X..X..X...X.....", SNARE: "....X.......X...", CLOSED_HAT: "xoxoxoxoxoxoxoxo"},
        {KICK: "X.........X.....", SNARE: "....X..o.o..X...", CLOSED_HAT: "x.x.x.xxx.x.x.x."},
        {KICK: "X.....X.........", CLAP: "........X.......", CLOSED_HAT: "x.xxx.x.x.x.xxxx"},
    ),
    "funk": (
        {KICK: "X..x..x...x..x..", SNARE: "....X..o.o..X..o", CLOSED_HAT: "x.xxx.x.x.x.x.x."},
        {KICK: "X.x.......xx....", SNARE: "....X..o.o.oX...", CLOSED_HAT: "xxxxxxxxxxxxxxxx"},
    ),
    "latin": (
        {KICK: "X..x..x.X..x..x.", RIM: "X..x..x...x..x..", CLOSED_HAT: "x.xxx.xxx.xxx.xx"},
        {KICK: "X.....x.X.....x.", RIM: "...x..x....x..x.", RIDE: "x.x.x.x.x.x.x.x."},
    ),
    "reggae": (
        {KICK: "........X.......", RIM: "........X.......", CLOSED_HAT: "x.x.x.x.x.x.x.xo"},
        {KICK: "X...X...X...X...", RIM: "........X.......", CLOSED_HAT: "..x...x...x...x."},
    ),
    "waltz": (
        {KICK: "X...........", RIM: "....x...x...", CLOSED_HAT: "x...x.x.x..."},
        {KICK: "X.........x.", SNARE: "....o...o...", RIDE: "x...x...x..."},
    ),
}
PERCUSSION: dict[str, tuple[str, ...]] = {
    "shaker": ("xoxoxoxoxoxoxoxo", "x.o.x.o.x.o.x.o.", "xooXxooXxooXxooX"),
    "tambourine": ("....X.......X...", "x.x.X.x.x.x.X.x.", "xooxXooxxooxXoox"),
    "hand drum": ("X..x..xxX..x.xx.", "X.xx.xxxX.xx.xxx", "x.x.X.xxx.x.X.xx"),
    "cowbell": ("X...X...X...X...", "X.x.X..xX.x.X..x"),
    "claves": ("X..X..X...X.X...", "..X.X...X..X..X."),
    "guiro": ("X...x.x.X...x.x.",),
    "agogo bells": ("X.x..xx.X.x..x..",),
    "timbales": ("X.x.xx.xx.xx.xx.",),
    "clapping": ("....X.......X...",),
    "triangle": ("x.......x.......", "x.o.x.o.x.o.x.o."),
    "woodblock": ("X..x..x...x.x...",),
}

# Onsets and lengths in beats of one bar of a tune; a negative length is a rest.
TUNE_RHYTHMS: dict[int, tuple[tuple[float, ...], ...]] = {
    4: (
        (1, 1, 1, 1),
        (2, 1, 1),
        (1.5, 0.5, 1, 1),
        (0.5, 0.5, 1, 0.5, 0.5, 1),
        (1, 0.5, 0.5, 2),
        (3, 1),
        (-0.5, 0.5, 0.5, 0.5, 1, 1),
        (0.5, 0.5, 0.5, 0.5, 1, -1),
        (1.5, 1.5, 1),
        (-1, 1, 0.5, 0.5, 1),
        (0.75, 0.25, 1, 0.75, 0.25, 1),
        (0.5, 1, 0.5, 1.5, 0.5),
    ),
    3: (
        (1, 1, 1),
        (2, 1),
        (1.5, 0.5, 1),
        (0.5, 0.5, 1, 1),
        (1, 0.5, 0.5, 1),
        (3,),
        (-1, 1, 1),
        (1, 1, 0.5, 0.5),
    ),
}
FAST_RHYTHMS: dict[int, tuple[tuple[float, ...], ...]] = {
    4: (
        (0.5,) * 8,
        (0.25,) * 8 + (0.5,) * 4,
        (0.5, 0.25, 0.25) * 4,
        (1.5, 0.5, 0.5, 0.5, 1),
        (0.25,) * 12 + (1,),
        (0.75, 0.25, 0.5, 0.5, 1, -1),
        (2, 0.5, 0.5, 0.5, 0.5),
    ),
    3: ((0.5,) * 6, (0.25,) * 8 + (1,), (1, 0.5, 0.5, 0.5, 0.5)),
}

MODES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "blues": (0, 3, 5, 6, 7, 10),
}
CHORD_QUALITIES: dict[str, tuple[int, ...]] = {
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "7": (0, 4, 7, 10),
    "m7": (0, 3, 7, 10),
    "maj7": (0, 4, 7, 11),
    "dim": (0, 3, 6),
    "m7b5": (0, 3, 6, 10),
    "sus4": (0, 5, 7),
    "sus2": (0, 2, 7),
    "5": (0, 7),
    "6": (0, 4, 7, 9),
    "9": (0, 4, 7, 10, 2),
}
# By mode; degrees are counted on the major scale, capitals are major: "bVII" in C is B flat major.
POP_CHANGES = {
    "major": (
        "I V vi IV",
        "vi IV I V",
        "I vi IV V",
        "I IV V IV",
        "I iii IV V",
        "IV I V vi",
        "I ii IV V",
        "I IV vi V",
    ),
    "minor": (
        "i bVI bIII bVII",
        "i iv bVI V",
        "i bVII bVI bVII",
        "i bVI iv V",
        "i v bVI bVII",
        "i bIII bVII iv",
    ),
}
ROCK_CHANGES = {
    "major": ("I IV V IV", "I V IV I", "I vi IV V", "I I IV V"),
    "mixolydian": ("I bVII IV I", "I IV bVII IV", "I I bVII IV"),
    "minor": ("i bVII bVI bVII", "i bVI bVII i", "i i bIII bVII", "i iv bVII i"),
}
METAL_CHANGES = {
    "minor": ("i5 i5 bVI5 bVII5", "i5 bVI5 iv5 v5", "i5 i5 i5 bIII5", "i5 bIII5 bVII5 iv5"),
    "phrygian": ("i5 bII5 i5 bIII5", "i5 i5 bII5 bVII5", "i5 bII5 bVI5 bVII5"),
}
JAZZ_CHANGES = {
    "major": (
        "ii7 V7 Imaj7 vi7",
        "Imaj7 vi7 ii7 V7",
        "iii7 vi7 ii7 V7",
        "Imaj7 IVmaj7 iii7 vi7 ii7 V7 Imaj7 V7",
    ),
    "minor": ("iim7b5 V7 i7 i7", "i7 iv7 iim7b5 V7", "i7 bVImaj7 iim7b5 V7"),
    "dorian": ("i7 i7 i7 IV7", "i7 IV7 i7 IV7"),
}
BLUES_CHANGES = {
    "blues": (
        "I7 I7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7",
        "I7 IV7 I7 I7 IV7 IV7 I7 V7",
        "i7 i7 iv7 i7 V7 iv7 i7 V7",
    )
}
CLASSICAL_CHANGES = {
    "major": ("I IV V I", "I vi ii V", "I V vi iii IV I ii V", "I ii V I", "I V7 I IV I V7 I I"),
    "minor": ("i iv V i", "i bVI iv V", "i V i iv i V7 i i", "i bVII bIII bVI iidim V i i"),
}
DRIFTING_CHANGES = {
    "major": ("Imaj7 IVmaj7", "I Isus2 IV vi", "Imaj7 iii7 IVmaj7 I"),
    "minor": ("i bVI", "i7 bVImaj7 bIII bVII", "i iv bVI i"),
    "dorian": ("i7 IV", "i IV i bVII"),
}
FUNK_CHANGES = {
    "dorian": ("i7 i7 IV7 IV7", "i7 IV7", "i7 i7 i7 bVII"),
    "mixolydian": ("I7 I7 IV7 I7", "I9 I9 I9 IV9"),
}

# (role, instruments to choose from, probability, level in dB against the drums or the loudest part)
Slot = tuple[str, tuple[str, ...], float, float]


@dataclass(frozen=True)
class Genre:
    """A kind of band: its tempos, harmony and who plays what."""

    tempo: tuple[int, int]
    changes: Mapping[str, tuple[str, ...]]
    slots: tuple[Slot, ...]
    groove: str = ""
    kit: str = "acoustic"
    swing: tuple[float, ...] = (0.5,)  # where the second eighth of a beat falls
    beats_per_bar: tuple[int, ...] = (4,)
    percussion: tuple[str, ...] = ()
    chord_bars: tuple[float, ...] = (1.0,)  # bars to a chord


_SAXES = ("soprano sax", "alto sax", "tenor sax", "baritone sax")
_WOODWINDS = ("flute", "oboe", "clarinet", "english horn", "recorder")
_ANY_TUNE = (
    "flute",
    "violin",
    "trumpet",
    "alto sax",
    "clarinet",
    "oboe",
    "harmonica",
    "accordion",
    "cello",
    "viola",
    "trombone",
    "recorder",
    "pan flute",
    "ocarina",
    "whistling",
    "koto",
    "sitar",
    "mandolin",
    "banjo",
    "kalimba",
    "steel drum",
    "vibraphone",
    "marimba",
    "xylophone",
    "music box",
    "bassoon",
    "french horn",
    "tuba",
    "shehnai",
    "soprano sax",
    "tenor sax",
    "shakuhachi",
    "piccolo",
    "english horn",
    "fiddle",
    "bagpipes",
    "dulcimer",
    "shamisen",
    "celesta",
    "glockenspiel",
    "harp",
    "ukulele",
    "fretless bass",
    "synth lead",
    "lead guitar",
)

GENRES: dict[str, Genre] = {
    "rock": Genre(
        (95, 165),
        ROCK_CHANGES,
        (
            ("drums", (), 1.0, 0),
            ("bass/rock", ("finger bass",), 1.0, -3),
            ("riff", ("drive guitar", "metal guitar"), 0.7, -2),
            ("strum", ("drive guitar", "clean guitar"), 0.5, -3),
            ("solo", ("lead guitar",), 0.55, -1),
            ("comp", ("piano", "electric organ"), 0.3, -6),
            ("pad", ("electric organ", "string ensemble"), 0.2, -9),
        ),
        "rock",
        "power",
        percussion=("tambourine", "cowbell", "shaker"),
    ),
    "metal": Genre(
        (95, 210),
        METAL_CHANGES,
        (
            ("drums", (), 1.0, 0),
            ("bass/chug", ("finger bass",), 0.9, -4),
            ("riff/double", ("metal guitar",), 1.0, -1),
            ("solo", ("lead guitar",), 0.5, -1),
            ("pad", ("choir", "string ensemble", "synth pad"), 0.25, -9),
        ),
        "metal",
        "power",
    ),
    "pop": Genre(
        (85, 130),
        POP_CHANGES,
        (
            ("drums", (), 0.95, 0),
            ("bass/eighths", ("finger bass", "synth bass"), 0.95, -3),
            ("comp", ("piano", "electric piano", "synth pluck"), 0.6, -5),
            ("strum", ("steel guitar", "clean guitar", "nylon guitar"), 0.55, -5),
            ("pad", ("synth pad", "string ensemble", "choir"), 0.4, -9),
            (
                "melody",
                ("synth lead", "clean guitar", "alto sax", "flute", "whistling", "violin", "trumpet"),
                0.55,
                -2,
            ),
            ("arp", ("synth pluck", "clean guitar", "kalimba", "music box", "marimba"), 0.3, -8),
        ),
        "pop",
        "any",
        percussion=("shaker", "tambourine", "clapping", "hand drum"),
    ),
    "jazz": Genre(
        (90, 210),
        JAZZ_CHANGES,
        (
            ("drums", (), 0.85, -4),
            ("bass/walking", ("double bass",), 1.0, -2),
            ("comp", ("piano", "jazz guitar", "vibraphone", "electric piano"), 0.9, -4),
            ("melody", (*_SAXES, "trumpet", "clarinet", "trombone", "flute"), 0.9, 0),
            ("solo", ("jazz guitar", "vibraphone", "tenor sax", "trombone"), 0.25, -2),
            ("stabs", ("brass section",), 0.2, -4),
        ),
        "jazz",
        "jazz",
        swing=(0.6, 0.64, 0.667),
        chord_bars=(1.0, 0.5),
    ),
    "blues": Genre(
        (70, 130),
        BLUES_CHANGES,
        (
            ("drums", (), 0.85, -2),
            ("bass/fifths", ("finger bass", "double bass"), 0.9, -3),
            ("strum", ("clean guitar", "drive guitar", "steel guitar"), 0.6, -4),
            ("solo", ("harmonica", "lead guitar", "tenor sax", "jazz guitar"), 0.85, 0),
            ("comp", ("piano", "electric organ"), 0.55, -5),
        ),
        "blues",
        "acoustic",
        swing=(0.64, 0.667, 0.5),
    ),
    "folk": Genre(
        (80, 150),
        POP_CHANGES,
        (
            ("finger", ("nylon guitar", "steel guitar", "banjo"), 0.75, -2),
            ("strum", ("steel guitar", "ukulele", "mandolin", "nylon guitar"), 0.6, -3),
            (
                "melody",
                ("fiddle", "flute", "harmonica", "accordion", "recorder", "mandolin", "whistling"),
                0.9,
                0,
            ),
            ("bass/fifths", ("double bass",), 0.55, -4),
            ("drums", (), 0.2, -5),
            ("counter", ("cello", "clarinet", "violin", "dulcimer"), 0.25, -5),
        ),
        "folk",
        "acoustic",
        beats_per_bar=(4, 4, 3),
        percussion=("tambourine", "hand drum", "shaker", "clapping"),
    ),
    "celtic": Genre(
        (95, 140),
        {
            "dorian": ("i bVII i bVII", "i bIII bVII i"),
            "mixolydian": ("I bVII I IV",),
            "major": ("I IV I V", "I V IV V"),
        },
        (
            ("drone", ("bagpipes", "fiddle"), 0.6, 0),
            ("melody", ("flute", "fiddle", "recorder", "accordion"), 0.9, -1),
            ("strum", ("steel guitar", "mandolin"), 0.6, -4),
            ("arp", ("harp",), 0.35, -4),
            ("bass/pedal", ("bowed bass",), 0.25, -5),
        ),
        beats_per_bar=(4, 3),
        percussion=("hand drum", "tambourine"),
    ),
    "chamber": Genre(
        (60, 130),
        CLASSICAL_CHANGES,
        (
            ("melody", ("violin", *_WOODWINDS), 1.0, 0),
            ("counter", ("violin", "viola", "clarinet", "oboe"), 0.7, -3),
            ("counter", ("viola", "french horn", "bassoon"), 0.5, -4),
            ("bass/pedal", ("cello", "bassoon"), 0.8, -2),
            ("arp", ("piano", "harpsichord", "harp"), 0.4, -4),
            ("bass/walking", ("double bass",), 0.2, -4),
        ),
        beats_per_bar=(4, 3),
        chord_bars=(1.0, 0.5),
    ),
    "orchestral": Genre(
        (65, 140),
        CLASSICAL_CHANGES,
        (
            ("pad", ("string ensemble",), 0.9, -3),
            ("melody", ("violin", "trumpet", "french horn", *_WOODWINDS), 0.9, 0),
            ("stabs", ("brass section", "trumpet"), 0.45, -2),
            ("counter", ("french horn", "trombone", "cello"), 0.5, -3),
            ("timpani", ("timpani", "taiko"), 0.5, -3),
            ("bass/pedal", ("tuba", "bowed bass"), 0.4, -4),
            ("arp", ("harp", "pizzicato", "celesta", "xylophone", "glockenspiel"), 0.5, -6),
            ("pad", ("choir",), 0.25, -4),
            ("slow", ("tubular bells", "church bells"), 0.12, -7),
        ),
        beats_per_bar=(4, 3),
        percussion=("triangle", "tambourine"),
    ),
    "electronic": Genre(
        (100, 174),
        POP_CHANGES | {"dorian": ("i7 IV", "i bVII IV i")},
        (
            ("drums", (), 0.95, 0),
            ("bass/offbeat", ("synth bass",), 0.9, -2),
            ("arp", ("synth pluck",), 0.6, -5),
            ("pad", ("synth pad", "choir"), 0.6, -7),
            ("melody", ("synth lead", "synth lead", "electric piano"), 0.6, -2),
            ("stabs", ("synth brass", "synth pluck"), 0.3, -5),
            ("comp", ("piano",), 0.2, -4),
        ),
        "electronic",
        "electronic",
        percussion=("clapping", "shaker"),
    ),
    "funk": Genre(
        (90, 120),
        FUNK_CHANGES,
        (
            ("drums", (), 1.0, 0),
            ("bass/funk", ("slap bass", "finger bass"), 1.0, -2),
            ("scratch", ("clean guitar",), 0.75, -5),
            ("stabs", ("brass section", "trumpet", "alto sax"), 0.6, -3),
            ("comp", ("electric piano", "electric organ"), 0.5, -5),
            ("riff_line", ("clavinet", "synth pluck"), 0.35, -5),
            ("melody", ("tenor sax", "alto sax"), 0.3, -1),
        ),
        "funk",
        "acoustic",
        swing=(0.5, 0.54),
        percussion=("hand drum", "cowbell", "tambourine"),
    ),
    "latin": Genre(
        (90, 190),
        {"minor": ("i iv V i", "i i V V", "i7 iv7 V7 i7"), "major": ("I IV V IV", "I vi ii V")},
        (
            ("montuno", ("piano", "vibraphone", "marimba"), 0.75, -3),
            ("bass/tumbao", ("double bass", "finger bass"), 1, -2),
            ("melody", ("trumpet", "flute", "trombone", "steel drum", "accordion", "alto sax"), 0.7, 0),
            ("stabs", ("brass section",), 0.4, -3),
            ("drums", (), 0.5, -3),
            ("strum", ("nylon guitar",), 0.4, -4),
        ),
        "latin",
        "acoustic",
        percussion=("hand drum", "timbales", "cowbell", "guiro", "claves", "shaker", "agogo bells"),
    ),
    "reggae": Genre(
        (65, 92),
        POP_CHANGES,
        (
            ("drums", (), 1.0, 0),
            ("bass/tumbao", ("finger bass",), 1.0, 0),
            ("skank", ("clean guitar", "piano"), 1.0, -5),
            ("skank", ("electric organ",), 0.5, -7),
            ("melody", ("trombone", "harmonica", "synth lead", "trumpet"), 0.5, -2),
            ("stabs", ("brass section",), 0.3, -4),
        ),
        "reggae",
        "acoustic",
        swing=(0.5, 0.58),
        percussion=("shaker", "hand drum", "cowbell"),
    ),
    "ambient": Genre(
        (55, 90),
        DRIFTING_CHANGES,
        (
            ("pad", ("synth pad",), 1.0, -2),
            ("pad", ("choir", "string ensemble", "pipe organ"), 0.5, -5),
            ("slow", ("piano", "bell", "vibraphone", "tubular bells", "music box", "celesta"), 0.7, -2),
            ("arp", ("harp", "synth pluck", "electric piano", "kalimba", "glockenspiel"), 0.5, -5),
            ("melody", ("pan flute", "shakuhachi", "cello", "ocarina", "synth lead"), 0.4, -1),
            ("bass/pedal", ("synth bass", "fretless bass"), 0.4, -4),
        ),
        chord_bars=(1.0, 2.0),
    ),
    "country": Genre(
        (85, 150),
        {"major": ("I IV V I", "I I IV V", "I V I IV", "I IV I V")},
        (
            ("drums", (), 0.8, -1),
            ("bass/fifths", ("finger bass", "double bass"), 1.0, -3),
            ("strum", ("steel guitar",), 0.8, -3),
            ("finger", ("banjo", "clean guitar"), 0.5, -4),
            ("melody", ("lap steel", "fiddle", "harmonica", "clean guitar", "mandolin"), 0.9, 0),
            ("comp", ("piano",), 0.3, -6),
        ),
        "country",
        "acoustic",
        percussion=("tambourine", "shaker"),
    ),
    "raga": Genre(
        (70, 120),
        {"dorian": ("i",), "phrygian": ("i",), "mixolydian": ("I",)},
        (
            ("drone", ("harmonium", "sitar"), 0.8, -4),
            ("solo", ("sitar", "shehnai", "fiddle", "flute"), 1.0, 0),
        ),
        percussion=("hand drum", "hand drum", "shaker"),
    ),
    "marching": Genre(
        (100, 130),
        CLASSICAL_CHANGES,
        (
            ("melody", ("trumpet", "piccolo", "clarinet"), 1.0, 0),
            ("bass/fifths", ("tuba",), 1.0, -2),
            ("counter", ("trombone", "french horn", "baritone sax"), 0.8, -3),
            ("stabs", ("brass section",), 0.5, -4),
            ("melody", ("glockenspiel", "flute"), 0.3, -6),
            ("drums", (), 0.7, -2),
        ),
        "folk",
        "acoustic",
    ),
    "church": Genre(
        (55, 95),
        CLASSICAL_CHANGES,
        (
            ("two_hands", ("pipe organ",), 0.9, -2),
            ("pad", ("choir",), 0.8, 0),
            ("slow", ("church bells",), 0.3, -6),
            ("melody", ("trumpet", "violin", "oboe"), 0.35, 0),
            ("counter", ("cello", "trombone"), 0.3, -3),
        ),
        beats_per_bar=(4, 3),
    ),
    "duo": Genre(
        (60, 140),
        POP_CHANGES | {"dorian": ("i7 IV", "i IV i bVII")},
        (
            ("melody", _ANY_TUNE, 1.0, 0),
            ("two_hands", ("piano", "harpsichord", "accordion", "pipe organ", "electric piano"), 0.4, -3),
            ("finger", ("nylon guitar", "steel guitar", "banjo", "ukulele", "clean guitar"), 0.4, -3),
            ("arp", ("harp", "piano", "marimba", "koto", "vibraphone", "celesta"), 0.35, -4),
        ),
        beats_per_bar=(4, 3),
    ),
}
# Dense mixtures with guitars are the hardest to separate: they come more often.
GENRE_WEIGHTS: dict[str, float] = {
    "metal": 2.5,
    "rock": 2.0,
    "pop": 1.6,
    "duo": 1.6,
    "orchestral": 1.3,
    "jazz": 1.2,
}
# Bands of recorded instruments: distorted guitars, and the basses and cymbals that mask them, first of all.
BAND_GENRES: dict[str, float] = {
    "metal": 5.0,
    "rock": 5.0,
    "blues": 1.5,
    "pop": 1.5,
    "funk": 1.2,
    "country": 0.8,
    "jazz": 1.2,
    "reggae": 0.5,
    "latin": 0.5,
    "folk": 0.8,
    "duo": 1.5,
}
# Bands with synthesizers and drum machines.
SYNTH_GENRES: dict[str, float] = {"electronic": 5.0, "pop": 4.0, "ambient": 1.0, "funk": 1.0, "reggae": 0.5}
# What instruments and labels are called as groups of a song.
SONG_GROUPS: dict[str, str] = {
    "synth lead": "synthesizer",
    "synth pad": "synth pad",
    "synth pluck": "plucked synth",
    "synth brass": "synth stabs",
    "synth bass": "bass",
    "electric piano": "keyboard",
    "drum kit": "drums",
    "cymbal": "cymbals",
    "tom drum": "tom drums",
    "clapping": "hand clap",
    "shaker": "percussion",
    "man singing": "singing voice",
    "woman singing": "singing voice",
    "person singing": "singing voice",
    "choir singing": "backing vocals",
}
LABELS: frozenset[str] = frozenset(i.label for i in INSTRUMENTS.values()) | set(DRUM_SOUNDS) | {"drum kit"}
