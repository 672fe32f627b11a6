"""The phrases that the text tower is distilled on: what people type for a sound, and plain English.

Sound phrases are drawn from word lists (sources, what they do, how, where) and templates; WordNet adds
lemmas, short glosses and example sentences, so that a word nobody thought of is not a blank.
"""

from __future__ import annotations

import hashlib
import random
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sam_audio.training.text import tables


@dataclass(frozen=True)
class Sounder:
    """One thing that makes a sound, and the verbs for what it does."""

    noun: str
    verbs: tuple[str, ...]


@dataclass
class Corpus:
    """Unique phrases; `sound[i]`: phrase i is about a sound; `typos` are (index, misspelt text)."""

    phrases: list[str]
    sound: list[bool]
    typos: list[tuple[int, str]]


@cache
def sources() -> tuple[Sounder, ...]:
    """The sound sources of the word lists, in order, each once."""
    found: dict[str, Sounder] = {}
    for line in tables.SOURCES.strip().splitlines():
        nouns, verbs = (tuple(word.strip() for word in part.split(",")) for part in line.split(":"))
        for noun in nouns:
            found.setdefault(noun, Sounder(noun, verbs))
    return tuple(found.values())


def sound_phrases(count: int, seed: int = 0) -> list[str]:
    """Draws `count` distinct phrases of the kind people type for a sound."""
    rng = random.Random(seed)
    pools = [
        ([t for t, _ in pool], [w for _, w in pool]) for pool in (tables.BARE, tables.ACTING, tables.MUSIC)
    ]
    known = sources()
    phrases: dict[str, None] = {}
    while len(phrases) < count:
        source, other = rng.choice(known), rng.choice(known)
        musical = bool(tables.MUSIC_KEYS & set(source.verbs)) and "laugh" not in source.verbs
        templates, weights = pools[rng.choices((0, 1, 2), (3, 5, 2 if musical else 0))[0]]
        template = rng.choices(templates, weights)[0]
        phrases[_fill(template, source, other, rng)] = None
    return list(phrases)


def _fill(template: str, source: Sounder, other: Sounder, rng: random.Random) -> str:
    verb, verb2 = rng.choice(source.verbs), rng.choice(source.verbs)
    other_verb = rng.choice(other.verbs)
    text = template.format(
        n=source.noun,
        a=with_article(source.noun),
        p=plural(source.noun),
        m=other.noun,
        b=with_article(other.noun),
        g=ing(verb),
        h=ing(other_verb),
        s=third_person(verb),
        r=third_person(verb2),
        t=third_person(other_verb),
        j=rng.choice(tables.ADJECTIVES),
        v=rng.choice(tables.ADVERBS),
        k=rng.choice(tables.GENRES),
        x=rng.choice(tables.MUSICAL),
    )
    return re.sub(r"\ba ((?:a|e|i|o|u(?!ni|ku))\w)", r"an \1", text)


def with_article(noun: str) -> str:
    """The noun with its indefinite article; plurals and masses keep none."""
    if noun.endswith("s") and not noun.endswith(("ss", "bus", "bass", "glass")):
        return noun
    return f"{'an' if noun[0] in 'aeio' or noun.startswith('umbr') else 'a'} {noun}"


def plural(noun: str) -> str:
    """The plural of a noun, by the common rules."""
    irregular = {
        "man": "men",
        "woman": "women",
        "mouse": "mice",
        "goose": "geese",
        "wolf": "wolves",
        "calf": "calves",
        "ox": "oxen",
        "sheep": "sheep",
        "deer": "deer",
        "child": "children",
        "knife": "knives",
        "person": "people",
        "hoof": "hooves",
        "moose": "moose",
        "leaf": "leaves",
    }
    head, _, last = noun.rpartition(" ")
    if last in irregular:
        last = irregular[last]
    elif last.endswith("s") and not last.endswith(("ss", "bus")):
        pass
    elif last.endswith(("ss", "x", "ch", "sh", "bus")):
        last += "es"
    elif last.endswith("y") and last[-2] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{head} {last}".strip()


_DOUBLED = {
    "hum",
    "clap",
    "flap",
    "yap",
    "drip",
    "tap",
    "strum",
    "chug",
    "pop",
    "drop",
    "snap",
    "zip",
    "cut",
    "chop",
    "hit",
    "run",
    "trot",
    "scrub",
    "sob",
    "rap",
    "stop",
    "skid",
    "lap",
    "rev",
    "dig",
    "spin",
    "strut",
    "zap",
    "rim",
}


def ing(verb: str) -> str:
    """The -ing form of a verb; what follows the first word ("pass by") stays."""
    first, _, rest = verb.partition(" ")
    if first in _DOUBLED:
        first += first[-1]
    elif first.endswith("e") and not first.endswith(("ee", "oe", "ye")):
        first = first[:-1]
    return f"{first}ing {rest}".strip()


def third_person(verb: str) -> str:
    """The third person of a verb: bark, barks; cry, cries."""
    first, _, rest = verb.partition(" ")
    if first.endswith(("s", "x", "ch", "sh", "z")):
        first += "es"
    elif first.endswith("y") and first[-2] not in "aeiou":
        first = first[:-1] + "ies"
    else:
        first += "s"
    return f"{first} {rest}".strip()


def misspell(text: str, rng: random.Random) -> str:
    """Swaps, drops, doubles or replaces one letter inside a word of four letters or more."""
    places = [m.start() + i for m in re.finditer(r"[a-z]{4,}", text) for i in range(1, len(m.group()) - 1)]
    if not places:
        return text
    at = rng.choice(places)
    kind = rng.randrange(4)
    if kind == 0:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if kind == 1:
        return text[:at] + text[at + 1 :]
    if kind == 2:
        return text[:at] + text[at] + text[at:]
    return text[:at] + rng.choice("aeiounrstl") + text[at + 1 :]


def wordnet_phrases(package: Path, longest: int = 12) -> Iterator[str]:
    """Yields lemmas, and glosses and examples of up to `longest` words, from Debian's wordnet-base."""
    for line in _wordnet_lines(package):
        head, _, gloss = line.partition(" | ")
        fields = head.split()
        for lemma in fields[4 : 4 + 2 * int(fields[3], 16) : 2]:
            yield re.sub(r"\((a|p|ip)\)$", "", lemma).replace("_", " ").lower()
        for part in re.findall(r'"([^"]+)"|([^;"]+)', gloss):
            text = re.sub(r"\([^)]*\)", "", "".join(part)).strip(" ;,.:'`\n").lower()
            if 2 <= len(text.split()) <= longest:
                yield re.sub(r"\s+", " ", text)


def _wordnet_lines(package: Path) -> Iterator[str]:
    import subprocess

    stream = subprocess.Popen(["dpkg", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
    assert stream.stdout is not None
    with tarfile.open(fileobj=stream.stdout, mode="r|") as archive:
        for member in archive:
            if re.search(r"/data\.(noun|verb|adj|adv)$", member.name):
                file = archive.extractfile(member)
                assert file is not None
                for line in file.read().decode("utf-8", "replace").splitlines():
                    if not line.startswith("  "):  # the licence at the top
                        yield line
    stream.wait()


def build_corpus(
    fixed: Iterable[str], wordnet: Path | None, sound: int, general: int, seed: int = 0
) -> Corpus:
    """Joins the fixed phrases (class names, labels), drawn sound phrases and WordNet into one corpus.

    Args:
        fixed: phrases that must be in, all of them about sounds.
        wordnet: the wordnet-base package, or None to go without.
        sound, general: how many phrases to draw of each kind.
    """
    rng = random.Random(seed)
    kinds = {text.lower(): True for text in (*fixed, *sound_phrases(sound, seed)) if text.strip()}
    if wordnet is not None:
        lemmas: dict[str, None] = {}
        sentences: dict[str, None] = {}
        for text in wordnet_phrases(wordnet):
            # a lemma has at most three words; numbers and Latin species make up most of the longer ones
            (lemmas if len(text.split()) <= 3 else sentences)[text] = None
        short, long = list(lemmas), list(sentences)
        rng.shuffle(long)
        rng.shuffle(short)
        for text in (*short[: general * 6 // 10], *long[: general * 4 // 10]):
            kinds.setdefault(text, False)
    # a few thousand phrases with a held-out noun are enough to measure with
    phrases = [text for text in kinds if split_of(text) != "unseen" or _hash(text) % 4 == 0]
    about_sound = [kinds[text] for text in phrases]
    indices = rng.sample(
        [i for i, is_sound in enumerate(about_sound) if is_sound], k=min(15_000, sum(about_sound))
    )
    typos = [(i, misspell(phrases[i], rng)) for i in indices]
    return Corpus(phrases, about_sound, [(i, text) for i, text in typos if text not in kinds])


_HELD_OUT = re.compile(r"\b(" + "|".join(tables.HELD_OUT_NOUNS) + r")(s|es)?\b")


def split_of(phrase: str) -> str:
    """ "unseen" for a held-out noun, "val" for 2 % of the rest by hash, else "train"."""
    if _HELD_OUT.search(phrase.lower()):
        return "unseen"
    return "val" if _hash(phrase) % 50 == 0 else "train"


def _hash(phrase: str) -> int:
    return int(hashlib.sha256(phrase.encode()).hexdigest()[:8], 16)
