"""The label table and the mapping of the manifest's labels onto it."""

from __future__ import annotations

from collections import defaultdict
from importlib import resources

import pytest

from sam_audio.training.data.labels import _BY_PATH as BY_PATH
from sam_audio.training.data.labels import _MAY_CONTAIN as MAY_CONTAIN
from sam_audio.training.data.labels import _SYNONYMS as SYNONYMS
from sam_audio.training.data.labels import (
    GROUPS,
    absent_ok,
    canonical,
    conflicts,
    load_labels,
    members,
    natural_phrases,
)

RENDERED = """acoustic guitar, electric guitar, bass guitar, double bass, drum kit, kick drum, snare drum,
hi-hat, cymbal, tom drum, hand drum, piano, electric piano, harpsichord, pipe organ, electric organ,
accordion, harmonica, violin, viola, cello, string ensemble, harp, banjo, ukulele, mandolin, sitar,
koto, flute, piccolo, recorder, pan flute, ocarina, clarinet, oboe, english horn, bassoon,
saxophone, trumpet, trombone, tuba, french horn, brass section, choir singing, synthesizer,
vibraphone, marimba, xylophone, glockenspiel, celesta, music box, steel drum, kalimba, bagpipes,
tambourine, shaker, cowbell, timpani, tubular bells, bell, whistling, dulcimer, shamisen, fiddle,
woodblock, bongos, congas, maracas, claves, triangle, castanets"""

# label, category, package, path -> canonical
MANIFEST = [
    (
        "person speaking French",
        "speech",
        "ktuberling-data",
        "usr/share/ktuberling/sounds/fr/eye.wav",
        "person speaking",
    ),
    (
        "cartoon voice speaking English",
        "speech",
        "hedgewars-data",
        "x/voices/Pirate/Hello.ogg",
        "person speaking",
    ),
    (
        "person speaking Russian",
        "speech",
        "a",
        "usr/share/asterisk/sounds/ru_RU_f_IvrvoiceRU/1.g722",
        "woman speaking",
    ),
    (
        "man speaking Czech",
        "speech",
        "fillets-ng-data-cs",
        "usr/share/games/fillets-ng/x.ogg",
        "man speaking",
    ),
    ("person speaking Italian", "speech", "a", "usr/share/asterisk/sounds/it_IT_f_Menardi/beep.wav", None),
    ("person speaking", "speech", "0ad-data", "_audio/audio/voice/global/civ_dog_bark_1.ogg", "dog barking"),
    ("dog barking", "animal", "karolpiczak/ESC-10", "audio/dog-barking/00524.opus", "dog barking"),
    ("wild animal call", "animal", "qabcs-data", "usr/share/qabcs/abcs/all/noises/koala.ogg", None),
    ("fire burning", "nature", "qabcs-data", "usr/share/qabcs/abcs/all/noises/fire.ogg", "fire crackling"),
    ("fire burning", "nature", "openarena-data", "_audio/sound/weapons/bfg/bfg_fire.ogg", None),
    ("forest soundscape with birds", "nature", "scikit-maad", "audio/f/00001.opus", "forest ambience"),
    ("birdsinapark", "objects (foley)", "Tonejs/audio", "audio/birdsinapark/00001.opus", "bird singing"),
    ("windup toy", "objects (foley)", "Tonejs/audio", "audio/windup-toy/00001.opus", "wind-up toy"),
    ("clang 1a", "objects (foley)", "Tonejs/audio", "audio/clang-1a/00001.opus", "metal clang"),
    ("kaos", "objects (foley)", "Tonejs/audio", "audio/kaos/00001.opus", None),
    ("truvan", "objects (foley)", "Tonejs/audio", "audio/truvan/00001.opus", None),
    ("thud", "impact/explosion/gun", "Tonejs/audio", "audio/thud/00123.opus", "thud"),
    (
        "thud",
        "impact/explosion/gun",
        "wesnoth",
        "usr/share/games/wesnoth/1.16/data/core/sounds/elf-hit.wav",
        None,
    ),
    (
        "drum kit",
        "musical instrument",
        "h",
        "usr/share/hydrogen/data/drumkits/GMRockKit/Splash-Med.wav",
        "cymbal",
    ),
    ("cymbal", "musical instrument", "h", "usr/x/Sounds/ride_of_the_valkyries.ogg", "background music"),
    (
        "gunshot",
        "impact/explosion/gun",
        "ufoai-sound",
        "_audio/sound/weapons/reload-rifle.ogg",
        "gun reloading",
    ),
    (
        "background music",
        "music (mixed)",
        "f",
        "usr/share/games/fillets-ng/sound/music/kufrik.ogg",
        "background music",
    ),
]


@pytest.mark.parametrize(("label", "category", "package", "path", "expected"), MANIFEST)
def test_canonical(label: str, category: str, package: str, path: str, expected: str | None) -> None:
    assert canonical(label, category, package, path) == expected


def test_every_target_of_the_mapping_is_a_label() -> None:
    targets = set(SYNONYMS.values()) | {t for rules in BY_PATH.values() for _, t in rules if t is not None}
    assert targets <= set(load_labels())


def test_table_is_sorted_and_unique() -> None:
    text = resources.files("sam_audio").joinpath("labels.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines()]
    assert rows[0] == ["label", "group", "parents", "phrases", "confusable"]
    assert all(len(row) == 5 for row in rows)
    names = [row[0] for row in rows[1:]]
    assert names == sorted(set(names))


def test_entries_are_complete() -> None:
    for name, label in load_labels().items():
        assert label.group in GROUPS
        assert label.phrases[0] == name
        assert 3 <= len(label.phrases) <= 10
        assert len(set(label.phrases)) == len(label.phrases)
        assert all(p == p.lower().strip() for p in natural_phrases(name))
        assert name not in label.parents


def test_no_phrase_belongs_to_two_labels() -> None:
    owners = defaultdict(set)
    for name in load_labels():
        for phrase in natural_phrases(name):
            owners[phrase].add(name)
    assert {p: o for p, o in owners.items() if len(o) > 1} == {}


def test_a_phrase_that_is_a_hypernym_conflicts_with_what_is_under_it() -> None:
    for name, label in load_labels().items():
        for phrase in label.phrases:
            assert all(
                conflicts(name, other) for other, entry in load_labels().items() if phrase in entry.parents
            )


def test_every_term_exists() -> None:
    terms = {term for label in load_labels().values() for term in label.confusable}
    terms |= set(MAY_CONTAIN) | {term for inside in MAY_CONTAIN.values() for term in inside}
    assert [term for term in sorted(terms) if not members(term)] == []


def test_rendered_instruments_are_labels() -> None:
    assert set(RENDERED.replace("\n", " ").split(", ")) <= set(load_labels())


def test_conflicts_are_symmetric_and_reflexive() -> None:
    names = list(load_labels())
    for a in names:
        assert conflicts(a, a)
        assert all(conflicts(a, b) == conflicts(b, a) for b in names)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("person speaking", "man speaking", True),
        ("man speaking", "woman speaking", False),
        ("drum kit", "snare drum", True),
        ("kick drum", "snare drum", False),
        ("string ensemble", "cello", True),
        ("brass section", "tuba", True),
        ("thunderstorm", "rain falling", True),
        ("background music", "piano", True),
        ("background music", "woman singing", True),
        ("violin", "fiddle", True),
        ("footsteps", "horse galloping", False),
        ("acoustic guitar", "electric guitar", False),
        ("dog barking", "man speaking", False),
        ("crowd noise", "applause", True),
    ],
)
def test_conflicts(a: str, b: str, expected: bool) -> None:
    assert conflicts(a, b) is expected


def test_absent_prompts() -> None:
    assert absent_ok("dog barking", ["man speaking", "rain falling"])
    assert not absent_ok("man speaking", ["person speaking"])
    assert not absent_ok("flute", ["dog barking", "background music"])
    assert not absent_ok("cowbell", ["drum kit"])
    assert not absent_ok("owl hooting", ["forest ambience"])
    assert not absent_ok("glass clinking", ["cafe ambience"])
