"""The data card of the nano models: what was trained on, where it came from, under which licences.

    python -m sam_audio.training.data.datacard --data DIR > docs/data.md

reads the bank (what was really decoded and rendered) and the manifest (licences) and prints Markdown.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sam_audio.training.data import labels as label_table
from sam_audio.training.data.bank import (
    DEFAULT_MAX_SECONDS,
    MAX_FILES_PER_LABEL,
    MAX_SECONDS,
    SAMPLE_RATE,
    Bank,
    Clip,
    split_of,
)
from sam_audio.training.data.collect import HELD_OUT, TRAIN_ONLY, Listed, read_manifest, rows_beside
from sam_audio.training.data.mixing import (
    ACCOMPANIED_SHARE,
    COMMON_RECORDINGS,
    DULL_SHARE,
    EVERYDAY_WEIGHTS,
    REFERENCE_DB,
    SAMPLED_SHARE,
    SCENES,
    SUNG_SHARE,
)
from sam_audio.training.data.more_sounds import beside_manifest, more_sounds
from sam_audio.training.data.prepare import MUSIC, bank_dir, seed_of
from sam_audio.training.data.songs import DRUM_CATEGORY, KIND, group_of
from sam_audio.training.music.sampler import HELD_OUT_KIT, SAMPLED
from sam_audio.training.music.soundfonts import FIRST, MORE

SOURCES = {"debian": "Debian", "npm": "npm", "pypi": "PyPI", "shared": "collection"}
SPLITS = ("train", "valid", "test")
THIN = 5  # recordings; fewer is a class that is known by little more than its name
LICENCE_NOTES = {  # where the manifest's column quotes the package's text badly
    "gnome-audio": "per sound: CC-BY-SA-2.0, CC-BY-3.0",
    "warzone2100-music": "GPL-2+",
}


@dataclass(frozen=True)
class Entry:
    """One clip that training or measuring draws from, with its canonical label and its group."""

    clip: Clip
    label: str
    group: str
    split: str

    @property
    def hours(self) -> float:
        return self.clip.frames / SAMPLE_RATE / 3600

    @property
    def is_real_song(self) -> bool:
        """A group of a recorded song."""
        return self.clip.song.removeprefix(TRAIN_ONLY).removeprefix(HELD_OUT).startswith(KIND)


def entries(clips: Iterable[Clip]) -> list[Entry]:
    """The clips whose label is in the table; the rest is in the bank but never drawn."""
    table = label_table.load_labels()
    kept = []
    for clip in clips:
        name: str | None = group_of(clip.label).label if clip.song else clip.label
        if not clip.song:
            name = label_table.canonical(clip.label, clip.category, clip.package, clip.path)
        if name in table:
            kept.append(Entry(clip, name, table[name].group, split_of(clip.song or clip.key)))
    return kept


def data_card(
    clips: Sequence[Clip], manifest: Iterable[Listed], events: Iterable[Mapping[str, str]] = ()
) -> str:
    """The whole page; ``events`` are rows of ``events.tsv``, whose authors ask for credit."""
    used = entries(clips)
    recorded = [entry for entry in used if not entry.clip.song]
    rendered = [entry for entry in used if entry.clip.song and not entry.is_real_song]
    songs = [entry for entry in used if entry.is_real_song]
    n_stored = sum(1 for clip in clips if not clip.song)
    parts = [
        "# Training data of the nano models",
        "",
        "Written by `python -m sam_audio.training.data.datacard`: change the program, not this page.",
        "",
        f"The separator was trained on mixtures made on the fly from {len(recorded):,} recordings"
        f" ({_hours(recorded)} hours) out of public packages, from {_hours(rendered)} hours of stems"
        " rendered from soundfonts and from single recorded notes, and from recorded songs."
        " Nothing of it is in this repository: `sam-audio train data --data DIR`"
        " fetches, decodes and renders it again from a manifest.",
        "",
        "## Recordings",
        "",
        *_table(["group", "labels", "recordings", "hours"], _rows(recorded, lambda e: e.group, True)),
        "",
        *_table(["category", "recordings", "hours"], _rows(recorded, lambda e: e.clip.category)),
        "",
        "Hours are what is kept: silence at both ends is cut, and a recording is cut off after"
        f" {DEFAULT_MAX_SECONDS:g} s ({_limits()}). Of one label in one package at most {MAX_FILES_PER_LABEL}"
        f" recordings are kept. Another {n_stored - len(recorded):,} recordings were decoded and never used,"
        " because their names do not say what is heard.",
        "",
        "## Rendered music",
        "",
        *_rendered(rendered),
        "",
        *_real_songs(songs),
        "## Mixtures",
        "",
        *_mixtures(),
        "",
        "## Splits",
        "",
        "A recording belongs to a split by the SHA-1 of its key `source/package/path` (of a rendered piece:"
        " of its name, `song-` or `solo-` and the seed; what is called train-only is never held out):"
        " the first eight hex digits modulo 100; below 7 is"
        " test (7 %), below 12 valid (5 %), the rest train. All stems of a song are in one split. Test"
        " recordings are only ever measured on. The shares below differ a little from that, being drawn."
        f"{_train_only(recorded)}",
        "",
        *_split_table(recorded, rendered),
        "",
        "The split is by recording, not by package: a test recording may come from the same series, studio or"
        " speaker as a training one. Not so the real music: whole songs and whole instruments are held out."
        f" {_held_out()}",
        "",
        "## Packages",
        "",
        "Licences as each package states them; `a ; sounds: b` is the package's licence and what its"
        " copyright file says of single audio files. `collection` is a public repository, named owner/name."
        " Where a package has a licence per sound, its own list holds.",
        "",
        *_package_table(recorded, manifest),
        "",
        *_credits(events),
        _CLOSING.format(thin=_thin(used)),
    ]
    return "\n".join(parts)


_CLOSING = """## Text

The text tower learned phrases, not recordings: see the [model card](../peav/weights/nano-text.md).

## Left out, and why

- Debian's `gcompris-qt-data`: kept out of training on purpose.
- Recordings whose terms forbid commercial use, and packages whose terms could not be found. Many of those
  used ask for credit, which this page is to give, and many are copyleft.
- Recordings that repeat another one byte for byte.

## Limits

- Labels come from file and folder names and were spot-checked, not listened to one by one. Some are wrong.
- {thin}
- Not every licence could be checked down to the single file: `gnome-audio` names none for `card_shuffle.wav` and
  `phone.wav`, and the per-sound terms of `runsy/petz`, `sfence/mobs_animal_pack` and `minetest-mirrors/mobs_animal`
  are taken on the word of the manifest, which leaves out non-commercial and unclear ones.
- Most sounds come from games and desktops: short, dry, clean, often synthetic or heavily processed. Field
  recordings of real scenes are few, and so is singing other than isolated syllables.
- Speech is mostly prompts read by few speakers; some of it is synthetic. No labels of who speaks.
- Music with aligned stems is mostly rendered, and most of its voices are speakers made to sing; the recorded songs are
  seven, electronic, all by one artist.
- Many recordings have a sample rate of 22.05 kHz or less and hold nothing above 11 kHz."""


_SCENES = {  # what each of the mixer's scenes is
    "everyday": "two, three or four sounds (50, 35, 15 %), none of which could be taken for another:"
    f" {100 * EVERYDAY_WEIGHTS['ESC-10']:.0f} % of ESC-10's ten classes, {100 * EVERYDAY_WEIGHTS['common']:.0f} % of"
    f" the labels with {COMMON_RECORDINGS} recordings or more, all labels alike; the rest of any kind",
    "events": "up to four single events, -10..6 dB, at random times over an ambience at -18..-4 dB (in 80 %)",
    "band": "two to five stems of one rendered song, in its own balance with 3 dB of scatter (normal) a stem;"
    f" {100 * SAMPLED_SHARE:.0f} % played by recorded instruments; to {100 * SUNG_SHARE:.0f} % of those without a voice"
    " somebody sings",
    "produced band": "the same of songs rendered with synthesizers and drum machines, sung to, as groups of a song",
    "real band": "two to five groups of a recorded song, now and then with all others as one more; 3 dB of scatter,"
    " up to 5 % faster or slower",
    "speech over": "one voice, now and then a second one, over events, ambience, an instrument, music or a band",
    "instruments": "two or three instruments, each playing phrases or sequences of notes;"
    f" {100 * SAMPLED_SHARE:.0f} % of them phrases of recorded instruments",
}

_LEVELS = f"""Levels are those of the sounding part of a source, so that a short event is not buried by its pauses:
{REFERENCE_DB:g} dBFS, and -5..5 dB around it in 80 % (uniform), -12..12 dB in the rest. Distance and place: 15 % of the
sources stand in a room (reverberation time 0.15 to 0.9 s, tail 14 to 1 dB below the direct sound), 35 % are up to 20 %
faster or slower, half go through a random smooth equaliser of 5 dB (normal), {100 * DULL_SHARE:g} % of the mixtures
through a low-pass between 3.4 and 16 kHz. Short events repeat with pauses of 0.02 to 1.2 s, utterances follow one
another, ambiences and music are cut out at random or looped.

Asked for are the sources by any phrasing of their label, in a quarter of the mixtures a whole group of them
("vehicle", "strings", "human sounds": the sum of the members), and something that is not there; of music also
something that could well be: a voice, a usual member of bands, a relative of what plays. Of recorded songs groups are
asked for, together too ("vocals", "drums", "everything but the voice"), the last also of
{100 * ACCOMPANIED_SHARE:g} % of the bands to which somebody sings. A quarter of the
prompts are vectors of another recording or of a picture in place of words; for half of the mixtures stretches are
marked, and of the marked prompts 30 % have no words."""


def _mixtures() -> list[str]:
    total = sum(SCENES.values())
    rows = [[name, _SCENES[name], f"{100 * share / total:.0f} %"] for name, share in SCENES.items()]
    return [*_table(["scene", "what sounds", "share"], rows, text_columns=2), "", _LEVELS]


def _rows(found: Sequence[Entry], key: Callable[[Entry], str], with_labels: bool = False) -> list[list[str]]:
    grouped: dict[str, list[Entry]] = defaultdict(list)
    for entry in found:
        grouped[key(entry)].append(entry)
    rows = []
    for name, members in sorted(grouped.items(), key=lambda item: -sum(e.hours for e in item[1])):
        n_labels = [str(len({e.label for e in members}))] if with_labels else []
        rows.append([name, *n_labels, f"{len(members):,}", _hours(members)])
    n_labels = [str(len({e.label for e in found}))] if with_labels else []
    return [*rows, ["all", *n_labels, f"{len(found):,}", _hours(found)]]


def _rendered(found: Sequence[Entry]) -> list[str]:
    lines = [
        "Composed by seed; see `sam_audio/training/music/render.py`. A solo is one instrument, a song several aligned"
        " stems, each played by fluidsynth with a soundfont drawn for it. Phrases and bands are the same, played with"
        " single recorded notes (nearest pitch and velocity, see `sam_audio/training/music/sampler.py`) through random"
        " amplifiers, loudspeakers and rooms (`amps.py`); soundfonts play the instruments that nobody recorded. Sung"
        " are those with a voice: spoken sentences of the training split, their vowels held on the notes of a tune"
        " (`singing.py`); produced songs have synthesizers and drum machines of their own (`synths.py`).",
        "",
    ]
    rows = []
    for music in MUSIC:
        by_seed = [(seed_of(entry.clip.song, music), entry) for entry in found]
        seeds = [seed for seed, _ in by_seed if seed is not None]
        members = [entry for seed, entry in by_seed if seed is not None]
        if not members:
            continue
        longest: dict[str, int] = defaultdict(int)
        for entry in members:
            longest[entry.clip.song] = max(longest[entry.clip.song], entry.clip.frames)
        playing = sum(longest.values()) / SAMPLE_RATE / 3600
        n_labels = len({entry.label for entry in members})
        kind = ", ".join([music.kind, *["sung"] * music.is_sung, *["synthesizers"] * music.has_synths])
        row = [kind, f"{min(seeds)} to {max(seeds)}", f"{len(longest):,}", f"{playing:.1f}"]
        rows.append([*row, f"{len(members):,}", _hours(members), str(n_labels)])
    header = ["kind", "seeds", "pieces", "playing hours", "stems", "stem hours", "labels"]
    fonts = [
        [
            f"{font.name}{' (drums)' if font.is_kit else ''}",
            SOURCES[font.source],
            f"`{font.package}`",
            font.licence,
        ]
        for font in FIRST + MORE
    ]
    return [
        *lines,
        *_table(header, rows, text_columns=2),
        "",
        f"The first {len(FIRST)} soundfonts play everything, the others what is {TRAIN_ONLY.strip('/')}:",
        "",
        *_table(["soundfont", "source", "package", "licence"], fonts, text_columns=4),
    ]


def _real_songs(found: Sequence[Entry]) -> list[str]:
    if not found:
        return []
    rows = []
    for song in sorted({entry.clip.song for entry in found}):
        members = [entry for entry in found if entry.clip.song == song]
        whole = [e for e in members if e.clip.category != DRUM_CATEGORY]
        frames = max(entry.clip.frames for entry in members) / SAMPLE_RATE
        name = song.removeprefix(TRAIN_ONLY).removeprefix(HELD_OUT).removeprefix(KIND)
        groups = ", ".join(sorted({entry.clip.label for entry in whole}))
        rows.append([name, members[0].split, groups, f"{frames / 60:.1f}"])
    return [
        "## Recorded songs",
        "",
        'The album "Everything is Free" by Software-Entwicklungskit (CC0), its stems summed to groups.',
        "",
        *_table(["song", "split", "groups", "minutes"], rows, text_columns=3),
        "",
    ]


def _held_out() -> str:
    names = ", ".join(sampled.name for sampled in SAMPLED if sampled.held_out)
    return f"The instruments: {names} and the drum kit {HELD_OUT_KIT}."


_CREDITS = """## Credits

All recordings were cut, mixed to mono, resampled and changed in level.

- Headroom Piano by Bengt Nilsson, sfz mapping by kinwie (CC BY 4.0),
  github.com/sfzinstruments/BengtNilsson.HeadroomPiano
- Greg Sullivan's E-Pianos by Greg Sullivan, sfz mapping by kinwie (CC BY 3.0),
  github.com/sfzinstruments/GregSullivan.E-Pianos
- MTG Solo Saxophones by the Music Technology Group, Universitat Pompeu Fabra, edited by kinwie (CC BY 4.0),
  github.com/sfzinstruments/MTG.SoloSax
- Ixox Flute by Xavier Hosxe, sfz mapping by kinwie (CC BY 4.0), github.com/sfzinstruments/Ixox.Flute
- SamsSonor drum kit by Sam Greene, sfz mapping by kinwie (CC BY-SA 4.0; to measure on only),
  github.com/sfzinstruments/SamsSonor
- tonejs-instruments, samples assembled by Nicholaus P. Brosowsky (CC BY 3.0): the npm packages {packages}
- out of courtesy (CC0): the guitars, basses, drums, saxophones and tuba of Karoryfer (D. Smolken and others)
"""


def _credits(events: Iterable[Mapping[str, str]]) -> list[str]:
    names = (f"`tonejs-instrument-{s.package}-mp3`" for s in SAMPLED if s.package)
    lines = [_CREDITS.format(packages=", ".join(names))]
    by_author: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in events:
        by_author[row["author"], row["licence"]].add(row["link"])
    rows = [
        [author, licence, " ".join(sorted(links))]
        for (author, licence), links in sorted(by_author.items(), key=lambda item: item[0][0].lower())
    ]
    if rows:
        lines += [
            "Everyday events, cut by the contributors of the CC-Sounds soundpack (github.com/Fris0uman/CDDA-Soundpacks,"
            " CC BY-SA 4.0 as a whole) and of liblast:",
            "",
            *_table(["author", "licence", "recordings"], rows, text_columns=3),
            "",
        ]
    return lines


def _split_table(recorded: Sequence[Entry], rendered: Sequence[Entry]) -> list[str]:
    rows = []
    for split in SPLITS:
        real = [entry for entry in recorded if entry.split == split]
        made = [entry for entry in rendered if entry.split == split]
        n_pieces = len({entry.clip.song for entry in made})
        rows.append([split, f"{len(real):,}", _hours(real), f"{n_pieces:,}", _hours(made)])
    return _table(["split", "recordings", "hours", "rendered pieces", "stem hours"], rows)


def _train_only(recorded: Sequence[Entry]) -> str:
    more = [entry for entry in recorded if entry.clip.key.startswith(TRAIN_ONLY)]
    if not more:
        return ""
    return (
        f" {len(more):,} recordings ({_hours(more)} hours) were added later to train on only"
        " (`sam_audio/training/data/more_sounds.tsv`): they are in no other split, whatever their hash."
    )


def _package_table(recorded: Sequence[Entry], manifest: Iterable[Listed]) -> list[str]:
    licences: dict[tuple[str, str], set[str]] = defaultdict(set)
    for recording in manifest:
        licences[recording.source, recording.package].add(recording.licence)
    grouped: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in recorded:
        source = entry.clip.key.removeprefix(TRAIN_ONLY).split("/", 1)[0]
        grouped[source, entry.clip.package].append(entry)
    rows = []
    order = list(SOURCES)
    for source, package in sorted(grouped, key=lambda name: (order.index(name[0]), name)):
        members = grouped[source, package]
        licence = LICENCE_NOTES.get(package) or ", ".join(sorted(map(_licence, licences[source, package])))
        rows.append([SOURCES[source], f"`{package}`", licence, f"{len(members):,}", _hours(members, 2)])
    return _table(["source", "package", "licence", "recordings", "hours"], rows, text_columns=3)


def _licence(text: str) -> str:
    text = text.removeprefix("text: ").replace(" ; audio stanzas: ", " ; sounds: ")
    return text.removeprefix(" ; ").strip() or "package copyright file"


def _thin(used: Sequence[Entry]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for entry in used:
        if entry.split == "train":
            counts[entry.label] += 1
    table = label_table.load_labels()
    thin = sorted(name for name, n in counts.items() if n < THIN)
    missing = sorted(name for name in table if not counts.get(name))
    text = (
        f"{len(thin)} of {len(counts)} labels have fewer than {THIN} training recordings: {', '.join(thin)}."
    )
    if missing:
        text += f" {len(missing)} have none: {', '.join(missing)}."
    return text


def _limits() -> str:
    by_limit: dict[float, list[str]] = defaultdict(list)
    for category, seconds in MAX_SECONDS.items():
        by_limit[seconds].append(category)
    return "; ".join(f"{', '.join(names)}: {seconds:g} s" for seconds, names in by_limit.items())


def _hours(found: Iterable[Entry], digits: int = 1) -> str:
    return f"{sum(entry.hours for entry in found):.{digits}f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> list[str]:
    rules = ["---"] * text_columns + ["--:"] * (len(header) - text_columns)
    return [f"| {' | '.join(cells)} |" for cells in (header, rules, *rows)]


def main() -> None:
    """Prints the card."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of manifest.tsv.gz")
    parser.add_argument("--bank", type=Path, metavar="DIR", help="the bank (in the cache folder)")
    args = parser.parse_args()
    manifest = [
        *read_manifest(args.data / "manifest.tsv.gz"),
        *more_sounds(),
        *beside_manifest(args.data),
    ]
    events = rows_beside(args.data, "events")
    print(data_card(Bank(args.bank or bank_dir()).clips, manifest, events))


if __name__ == "__main__":
    main()
