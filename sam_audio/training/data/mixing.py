"""Mixtures that could happen, made on the fly from the bank.

A mixture is a few sources, the prompts that may be asked of it, and which sources each prompt means. Seven scenes are
drawn: everyday sounds together, single events over a background, bands (aligned stems of one rendered song), produced
bands (of one with synthesizers and drum machines, as groups of a song), real bands (groups of a recorded song), speech
over a scene or over music, and single instruments playing together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import soxr
from scipy import fft
from scipy.signal import oaconvolve

from sam_audio.training.data import labels as label_table
from sam_audio.training.data.bank import SAMPLE_RATE, Bank, add_at, split_of
from sam_audio.training.data.collect import HELD_OUT, TRAIN_ONLY
from sam_audio.training.data.songs import (
    ACCOMPANIMENT,
    DRUM_CATEGORY,
    KIND,
    PRODUCED,
    TOGETHER,
    VOICES,
    group_of,
)
from sam_audio.training.music.amps import through
from sam_audio.vocabulary import Label

HOP = SAMPLE_RATE // 50  # activity and spans are drawn on the network's 20 ms frames
REFERENCE_DB = -26.0  # active level of a source before its own offset

SCENES = {
    "everyday": 0.28,
    "events": 0.09,
    "band": 0.22,
    "produced band": 0.1,
    "real band": 0.07,  # of five songs, which more of would be learned by heart
    "speech over": 0.12,
    "instruments": 0.12,
}
SAMPLED_SHARE = 0.7  # of bands and of single instruments: recorded notes; the others are from soundfonts
SUNG_SHARE = 0.2  # of bands in which nobody sings: a recording of somebody who does
ACCOMPANIED_SHARE = 0.4  # of bands to which somebody sings: everything else is asked for, too
# Asked of music that has none of it as often as anything else: the usual members of bands.
USUAL = (
    "piano",
    "synthesizer",
    "violin",
    "guitar",
    "electric guitar",
    "acoustic guitar",
    "bass guitar",
    "drums",
    "drum kit",
    "cymbals",
    "saxophone",
    "trumpet",
    "flute",
    "electric organ",
    "electric piano",
    "strings",
    "brass",
)
VOCAL = ("vocals", "singing", "voice", "person singing", "man singing", "woman singing", "choir singing")
# What a solo is mostly: guitars are what songs are full of.
PHRASE_WEIGHTS = {"electric guitar": 4.0, "acoustic guitar": 2.0, "saxophone": 1.5, "bass guitar": 1.5}
# What an everyday source is drawn from; the label then by the square root of its recordings.
GROUP_WEIGHTS = {
    "event": 0.5,
    "ambience": 0.2,
    "speech": 0.12,
    "instrument": 0.1,
    "singing": 0.03,
    "music": 0.05,
}
# Of everyday scenes: what the data know many recordings of is what people ask for, and can be learned best. Nano was
# no better on ESC-10's classes of training recordings than on held-out ones: it had seen too little of them.
EVERYDAY_WEIGHTS = {
    "event": 0.2,
    "ambience": 0.08,
    "common": 0.15,
    "ESC-10": 0.43,
    "speech": 0.06,
    "instrument": 0.05,
    "singing": 0.01,
    "music": 0.02,
}
# the classes of ESC-10 (Piczak 2015), which others report on
ESC_10 = (
    "dog barking",
    "rain falling",
    "ocean waves",
    "baby crying",
    "clock ticking",
    "person sneezing",
    "helicopter",
    "chainsaw",
    "rooster crowing",
    "fire crackling",
)
DULL_SHARE, DULL_SLOPE_DB = 0.2, 60.0  # of mixtures; an octave above the edge
COMMON_RECORDINGS = 12  # everyday labels with as many are drawn from by themselves, too: all alike


@dataclass
class Source:
    """One thing that sounds: its label and its samples (frames,) as they are in the mixture."""

    label: str
    samples: np.ndarray


@dataclass
class Query:
    """A question that may be asked of a mixture; ``members`` are indices of sources, none when absent."""

    label: str
    members: list[int]
    phrases: list[str]


@dataclass
class Mixture:
    scene: str
    sources: list[Source]
    prompts: list[Query] = field(default_factory=list)


class Pools:
    """Clips of one split, by label and by song."""

    def __init__(self, bank: Bank, split: str):
        self.labels: dict[str, Label] = label_table.load_labels()
        clips: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        songs: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        phrases: dict[str, list[int]] = defaultdict(list)
        self.canonical: dict[int, str] = {}
        for index, clip in enumerate(bank.clips):
            if split_of(clip.song or clip.key) != split:
                continue
            kind = clip.song.removeprefix(TRAIN_ONLY).removeprefix(HELD_OUT)
            name: str | None
            if kind.startswith((KIND, PRODUCED)):
                name = group_of(clip.label).label
                name = name if name in self.labels else None
            elif kind:  # rendered: the label is canonical already
                name = clip.label if clip.label in self.labels else None
            else:
                name = label_table.canonical(clip.label, clip.category, clip.package, clip.path)
            if name is None:
                continue
            self.canonical[index] = name
            if kind.startswith(("song", "band", KIND, PRODUCED)):
                songs[kind.partition("-")[0]][clip.song].append(index)
            elif kind.startswith("phrase"):
                phrases[name].append(index)
            else:
                clips[name][clip.package].append(index)
        self.clips = {label: dict(packages) for label, packages in clips.items()}
        self.phrases = dict(phrases)  # of recorded notes
        self.songs, self.bands, self.real_songs, self.produced = (
            [stems for stems in songs[kind].values() if len(stems) >= 2]
            for kind in ("song", "band", KIND.rstrip("-"), PRODUCED)
        )
        self.by_group: dict[str, list[str]] = defaultdict(list)
        for label in sorted(self.clips):
            self.by_group[self.labels[label].group].append(label)
        everyday = self.by_group["event"] + self.by_group["ambience"]
        common = [label for label in everyday if self.count(label) >= COMMON_RECORDINGS]
        self.by_group["common"] = common or everyday
        self.by_group["ESC-10"] = [label for label in ESC_10 if label in self.clips]

    def count(self, label: str) -> int:
        return sum(len(indices) for indices in self.clips[label].values())


class Mixer:
    """Draws mixtures of one split. The same seed gives the same mixtures."""

    def __init__(self, bank: Bank, split: str, seconds: float, seed: int):
        self.bank = bank
        self.pools = Pools(bank, split)
        self.frames = round(seconds * SAMPLE_RATE / HOP) * HOP
        self.rng = np.random.default_rng(seed)
        self._weights = {
            group: _normalised([self.pools.count(label) ** 0.5 for label in names])
            for group, names in self.pools.by_group.items()
            if names
        }
        common = self.pools.by_group["common"]
        self._weights["common"] = np.full(len(common), 1 / max(len(common), 1))

    # ---- what is asked -------------------------------------------------------------------------------

    def mixture(self) -> Mixture:
        """One training mixture with its prompts."""
        scene = _choose(self.rng, SCENES)
        if scene == "band" and not (self.pools.songs or self.pools.bands):
            scene = "everyday"
        groups_of = {"real band": self.pools.real_songs, "produced band": self.pools.produced}
        if scene in groups_of and not groups_of[scene]:
            scene = "everyday"
        if scene in groups_of:
            mixture = self._group_band(scene, groups_of[scene], at_most=4)
        else:
            sources = {
                "everyday": self._everyday,
                "events": self._sparse,
                "band": self._band,
                "speech over": self._speech_over,
                "instruments": self._instruments,
            }[scene]()
            accompaniment = self._accompaniment(sources) if scene == "band" else []
            prompts = self.prompts(sources, at_most=4 - len(accompaniment))
            mixture = Mixture(scene, sources, accompaniment + prompts)
        for source in mixture.sources:
            source.samples = self._coloured(source.samples)
        if self.rng.random() < DULL_SHARE:
            self._dull(mixture.sources)
        return mixture

    def pair(self, groups: Sequence[str], level_db: Sequence[float]) -> Mixture:
        """An evaluation mixture: one source of each group, at exactly these levels, one prompt each."""
        sources: list[Source] = []
        for group, level in zip(groups, level_db, strict=True):
            label = self._label([group], [s.label for s in sources])
            sources.append(Source(label, self._level(self.source(label), level)))
        prompts = [
            Query(s.label, [i], list(self.pools.labels[s.label].phrases)) for i, s in enumerate(sources)
        ]
        return Mixture("+".join(groups), sources, prompts)

    def solo(self) -> Source:
        """One source alone, of any group."""
        label = self._label(GROUP_WEIGHTS, [])
        return Source(label, self._level(self.source(label), 0.0))

    def phrase(self, taken: Sequence[str], level_db: float) -> Source:
        """A recorded instrument playing, none that could be taken for what is ``taken``."""
        free = [
            label
            for label in sorted(self.pools.phrases)
            if not any(label_table.conflicts(label, other) for other in taken)
        ] or sorted(self.pools.phrases)
        label = free[_draw(self.rng, [PHRASE_WEIGHTS.get(name, 1.0) for name in free])]
        clips = self.pools.phrases[label]
        samples = self._crop(int(clips[self.rng.integers(len(clips))]))
        samples = self._augmented(np.pad(samples, (0, self.frames - len(samples))))
        return Source(label, self._level(samples, level_db))

    def events(self) -> list[Source]:
        """A few single recordings, each somewhere in the excerpt, mostly over a background."""
        sources: list[Source] = []
        if self.rng.random() < 0.8:
            label = self._label(["ambience"], [])
            sources.append(Source(label, self._level(self.source(label), self.rng.uniform(-18, -4))))
        for _ in range(self.rng.integers(1, 5)):
            label = self._label(GROUP_WEIGHTS, [s.label for s in sources])
            packages = self.pools.clips[label]
            members = [i for package in sorted(packages) for i in packages[package]]
            clip = self.bank.read(int(members[self.rng.integers(len(members))]), 0, self.frames)
            clip = self._augmented(np.pad(_fade_out(clip), (0, self.frames - len(clip))))
            shift = int(self.rng.integers(-self.frames // 8, self.frames))
            placed = np.zeros(self.frames, np.float32)
            add_at(placed, clip, shift if self.rng.random() < 0.8 else 0)
            if _rms(placed) > 1e-4:
                sources.append(Source(label, self._level(placed, self.rng.uniform(-10, 6))))
        return sources or [self.solo()]

    def band(self) -> Mixture:
        """An evaluation mixture: stems of one rendered song, one prompt each."""
        sources = self._band()
        return Mixture("band", sources, self.prompts(sources, at_most=len(sources)))

    def guitar_band(self) -> Mixture:
        """An evaluation mixture: stems of a band of recorded instruments that has an electric guitar."""
        with_guitar = [
            stems
            for stems in self.pools.bands
            if any(self.pools.canonical[index] == "electric guitar" for index in stems)
        ]
        sources = self._stems(with_guitar[self.rng.integers(len(with_guitar))], at_most=5)
        return Mixture("guitar band", sources, self.prompts(sources, at_most=len(sources)))

    def phrase_pair(self) -> Mixture:
        """An evaluation mixture: two recorded instruments, each playing a phrase of its own."""
        sources: list[Source] = []
        for level_db in (0.0, self.rng.uniform(-5, 5)):
            sources.append(self.phrase([s.label for s in sources], level_db))
        return Mixture("real instruments", sources, self.prompts(sources))

    def real_band(self, at_most: int = 4) -> Mixture:
        """Groups of a recorded song; ``at_most`` is how many prompts are for what is there."""
        return self._group_band("real band", self.pools.real_songs, at_most)

    def absent_label(self, present: Sequence[str]) -> str | None:
        """A label that none of the present ones could be taken for; None if the bank has none."""
        if not any(self.pools.by_group.get(group) for group in GROUP_WEIGHTS):
            return None
        for _ in range(20):
            label = self._label(GROUP_WEIGHTS, [])
            if label_table.absent_ok(label, list(present)):
                return label
        return None

    def prompts(self, sources: list[Source], at_most: int = 4) -> list[Query]:
        """What may be asked of these sources: labels, now and then a whole group; and what is not there.

        ``at_most`` is of what is there.
        """
        table = self.pools.labels
        names = [s.label for s in sources]
        prompts = []
        for name in dict.fromkeys(names):
            members = [i for i, other in enumerate(names) if other == name]
            rivals = [n for n in names if n != name and label_table.conflicts(n, name)]
            if not rivals:  # a prompt that could mean two of the sources teaches nothing
                prompts.append(Query(name, members, label_table.natural_phrases(name)))
        if self.rng.random() < 0.25:
            parents = sorted({parent for name in names for parent in table[name].parents})
            if parents:
                parent = parents[self.rng.integers(len(parents))]
                members = [i for i, name in enumerate(names) if parent in (name, *table[name].parents)]
                prompts.append(Query(parent, members, [parent]))
        return self._some(prompts, at_most) + self._absent(names)

    def _accompaniment(self, sources: list[Source]) -> list[Query]:
        """Now and then, of a band to which somebody sings: everything but the voice."""
        sung = [self.pools.labels[source.label].group == "singing" for source in sources]
        if not any(sung) or all(sung) or self.rng.random() > ACCOMPANIED_SHARE:
            return []
        members = [i for i, is_sung in enumerate(sung) if not is_sung]
        return [Query(ACCOMPANIMENT[0], members, list(ACCOMPANIMENT))]

    def _some(self, prompts: list[Query], at_most: int) -> list[Query]:
        if len(prompts) <= at_most:
            return prompts
        return [prompts[i] for i in sorted(self.rng.permutation(len(prompts))[:at_most])]

    def _absent(self, names: Sequence[str]) -> list[Query]:
        """Something that is not there; of music also something that could well be."""
        absent = [self.absent_label(names)]
        if any(self.pools.labels[name].group in ("instrument", "singing", "music") for name in names):
            absent.append(self._usual_absent(names))
        return [
            Query(term, [], label_table.natural_phrases(term) if term in self.pools.labels else [term])
            for term in dict.fromkeys(absent)
            if term is not None
        ]

    def _usual_absent(self, present: Sequence[str]) -> str | None:
        """A voice, a usual member of bands, or a relative of what sounds."""
        table = self.pools.labels
        families = {parent for name in present for parent in table[name].parents} - {
            "musical instrument",
            "instrument",
            "music",
        }
        relatives = [name for name, label in table.items() if families.intersection(label.parents)]
        for _ in range(20):
            terms = (VOCAL, USUAL, relatives or USUAL)[_draw(self.rng, [0.35, 0.4, 0.25])]
            term = str(terms[self.rng.integers(len(terms))])
            if all(label_table.absent_ok(member, list(present)) for member in label_table.members(term)):
                return term
        return None

    def _group_band(self, scene: str, songs: list[list[int]], at_most: int) -> Mixture:
        """Groups of a song in their own balance, with what may be asked of them."""
        for _ in range(8):
            stems = songs[self.rng.integers(len(songs))]
            names, sources = self._groups(stems)
            if len(sources) >= 2:
                break
        if len(sources) < 2:  # only where a song is almost silent
            return Mixture(scene, sources, [])
        chosen = list(self.rng.permutation(len(sources)))
        count = int(self.rng.integers(2, 6))
        rest = chosen[count:] if self.rng.random() < 0.4 else []
        chosen = chosen[: min(count, 4) if rest else count]
        picked = [sources[i] for i in chosen]
        if rest:
            picked.append(Source("background music", np.sum([sources[i].samples for i in rest], axis=0)))
        overall = np.float32(
            _gain(REFERENCE_DB + 6) / max(_rms(np.sum([s.samples for s in picked], axis=0)), 1e-5)
        )
        for source in picked:
            source.samples = source.samples * overall
        prompts = self._group_prompts([names[i] for i in chosen], [names[i] for i in rest], at_most)
        return Mixture(scene, picked, prompts)

    def _group_prompts(self, names: list[str], rest: list[str], at_most: int) -> list[Query]:
        """What may be asked of groups of a recorded song; ``rest`` plays too, as one more source."""
        everything = range(len(names) + bool(rest))
        found = []
        taken: set[str] = set()  # words that mean several of the groups, or one that is in the rest
        for kinds, phrases in TOGETHER:
            if kinds:
                members = [i for i, name in enumerate(names) if name in kinds]
                asked = bool(members) and not kinds.intersection(rest)
            else:
                voices = [i for i, name in enumerate(names) if name in VOICES]
                members = [i for i in everything if i not in voices]
                asked = bool(voices and members) and not VOICES.intersection(rest)
            if asked:
                found.append(Query(phrases[0], members, list(phrases)))
            if len(members) != 1 or kinds.intersection(rest):
                taken.update(phrases)
        for i, name in enumerate(names):
            own = [phrase for phrase in group_of(name).phrases if phrase not in taken]
            if own and names.count(name) == 1 and name not in rest:
                found.append(Query(own[0], [i], own))
        return self._some(found, at_most) + self._absent([group_of(name).label for name in [*names, *rest]])

    # ---- what sounds ---------------------------------------------------------------------------------

    def _everyday(self) -> list[Source]:
        count = self.rng.choice([2, 3, 4], p=[0.5, 0.35, 0.15])
        sources: list[Source] = []
        for _ in range(count):
            label = self._label(EVERYDAY_WEIGHTS, [s.label for s in sources])
            sources.append(self._placed(label))
        return sources

    def _sparse(self) -> list[Source]:
        sources = self.events()
        return sources if len(sources) > 1 else self._everyday()

    def _speech_over(self) -> list[Source]:
        voices = ["speech"] if self.rng.random() < 0.85 else ["singing"]
        sources = [self._placed(self._label(voices, []))]
        if self.rng.random() < 0.12:  # a second speaker of another kind
            sources.append(self._placed(self._label(["speech"], [sources[0].label])))
        scenery = ["event", "ambience", "event", "ambience", "instrument", "music"]
        if (self.pools.songs or self.pools.bands) and self.rng.random() < 0.2:
            return sources[:1] + self._band(at_most=3)
        for _ in range(self.rng.choice([1, 2], p=[0.65, 0.35])):
            group = scenery[self.rng.integers(len(scenery))]
            sources.append(self._placed(self._label([group], [s.label for s in sources])))
        return sources

    def _instruments(self) -> list[Source]:
        count = self.rng.choice([2, 3], p=[0.7, 0.3])
        sources: list[Source] = []
        for _ in range(count):
            taken = [s.label for s in sources]
            if self.pools.phrases and self.rng.random() < SAMPLED_SHARE:
                sources.append(self.phrase(taken, self.rng.uniform(-5, 5)))
            else:
                sources.append(self._placed(self._label(["instrument"], taken)))
        return sources

    def _groups(self, stems: list[int]) -> tuple[list[str], list[Source]]:
        """What sounds in a stretch of a recorded song, a little faster or slower: names of groups, and sources."""
        clips = self.bank.clips
        apart = self.rng.random() < 0.35 and any(clips[i].category == DRUM_CATEGORY for i in stems)
        chosen = [
            i
            for i in stems
            if clips[i].category != DRUM_CATEGORY and not (apart and clips[i].label == "drums")
        ]
        if apart:
            chosen += [i for i in stems if clips[i].category == DRUM_CATEGORY]
        ratio = float(np.exp(self.rng.uniform(-0.05, 0.05)))
        length = int(self.frames * ratio) + HOP
        start = int(self.rng.integers(max(1, clips[stems[0]].frames - length)))
        names, sources = [], []
        for index in chosen:
            samples = self.bank.read(index, start, length) * clips[index].gain
            if _rms(samples) > 1e-3:
                samples = soxr.resample(samples, SAMPLE_RATE * ratio, SAMPLE_RATE, "MQ")
                samples = np.pad(samples, (0, max(0, self.frames - len(samples))))[: self.frames]
                names.append(clips[index].label)
                sources.append(
                    Source(self.pools.canonical[index], samples * np.float32(_gain(self.rng.normal(0, 3))))
                )
        return names, sources

    def _band(self, at_most: int = 5) -> list[Source]:
        sampled = self.pools.bands and (not self.pools.songs or self.rng.random() < SAMPLED_SHARE)
        songs = self.pools.bands if sampled else self.pools.songs
        sources = self._stems(songs[self.rng.integers(len(songs))], at_most)
        if len(sources) < 2:
            return self._everyday()
        names = [s.label for s in sources]
        if len(sources) < 5 and self.pools.by_group.get("singing") and self.rng.random() < SUNG_SHARE:
            label = self._label(["singing"], names)
            if not any(label_table.conflicts(label, name) for name in names):
                sung = through("voice", self.source(label), SAMPLE_RATE, self.rng)
                sources.append(Source(label, self._level(sung, self.rng.uniform(-1, 8))))
        return sources

    def _stems(self, stems: list[int], at_most: int) -> list[Source]:
        """Some stems of a rendered song, at the song's own balance but for a few dB; none where it is silent."""
        chosen = self.rng.permutation(stems)[:at_most]
        length = self.bank.clips[int(chosen[0])].frames
        start = int(self.rng.integers(max(1, length - self.frames)))
        sources = []
        for index in map(int, chosen):
            samples = self.bank.read(index, start, self.frames) * self.bank.clips[index].gain
            samples = np.pad(samples, (0, self.frames - len(samples)))
            if _rms(samples) > 1e-4:
                sources.append(Source(self.pools.canonical[index], samples * _gain(self.rng.normal(0, 3))))
        if not sources:
            return []
        # the song's own balance stays, apart from the offsets above; only its overall level is set
        overall = _gain(REFERENCE_DB + 6) / max(_rms(np.sum([s.samples for s in sources], axis=0)), 1e-5)
        return [Source(s.label, (s.samples * overall).astype(np.float32)) for s in sources]

    def _placed(self, label: str) -> Source:
        wide = self.rng.random() < 0.2
        offset = self.rng.uniform(-12, 12) if wide else self.rng.uniform(-5, 5)
        return Source(label, self._level(self.source(label), offset))

    def _level(self, samples: np.ndarray, offset_db: float) -> np.ndarray:
        """Brings the sounding part to REFERENCE_DB + offset, so that a short event is not buried by its pauses."""
        frames = np.square(samples[: len(samples) // HOP * HOP].reshape(-1, HOP)).mean(axis=1)
        loud = frames[frames > frames.max() * 1e-3]
        active = float(np.sqrt(loud.mean())) if len(loud) else 0.0
        return samples * np.float32(_gain(REFERENCE_DB + offset_db) / max(active, 1e-5))

    def _label(self, groups: Mapping[str, float] | Sequence[str], taken: Sequence[str]) -> str:
        shares = groups if isinstance(groups, Mapping) else dict.fromkeys(groups, 1.0)
        weights = {group: share for group, share in shares.items() if self.pools.by_group.get(group)}
        label = ""
        for _ in range(50):
            group = _choose(self.rng, weights)
            label = str(self.rng.choice(self.pools.by_group[group], p=self._weights[group]))
            if not any(label_table.conflicts(label, other) for other in taken):
                break
        return label

    def source(self, label: str) -> np.ndarray:
        """Fills the excerpt with recordings of one label, the way such a sound occurs."""
        packages = self.pools.clips[label]
        names = sorted(packages)
        package = names[_draw(self.rng, [len(packages[n]) ** 0.5 for n in names])]
        siblings = packages[package]
        first = int(siblings[self.rng.integers(len(siblings))])
        group = self.pools.labels[label].group
        for _ in range(4):
            if group == "ambience" or group == "music":
                samples = self._continuous(first)
            elif group in ("speech", "singing"):
                samples = self._utterances(first, siblings)
            elif group == "instrument":
                samples = self._notes(first, siblings)
            else:
                samples = self._events(first, siblings)
            if _rms(samples) > 1e-4:
                break
        samples = self._augmented(samples)
        return samples

    def _crop(self, index: int) -> np.ndarray:
        """A stretch of a long clip; of three random places the first that is not near silence."""
        clip = self.bank.clips[index]
        best = np.zeros(0, np.float32)
        for _ in range(3):
            start = int(self.rng.integers(max(1, clip.frames - self.frames + 1)))
            samples = self.bank.read(index, start, self.frames)
            if _rms(samples) > _rms(best):
                best = samples
            if _rms(samples) > 0.01:
                return samples
        return best

    def _continuous(self, index: int) -> np.ndarray:
        if self.bank.clips[index].frames >= self.frames:
            return self._crop(index)
        clip = self.bank.read(index)
        fade = min(len(clip) // 4, SAMPLE_RATE // 5)
        ramp = np.sqrt(
            np.linspace(0, 1, fade, dtype=np.float32)
        )  # equal power: the loop's ends are unrelated
        out = np.zeros(self.frames + len(clip), np.float32)
        faded = clip.copy()
        faded[:fade] *= ramp
        faded[len(clip) - fade :] *= ramp[::-1]
        position = -int(self.rng.integers(len(clip)))
        while position < self.frames:
            add_at(out, faded, position)
            position += max(len(clip) - fade, 1)
        return out[: self.frames]

    def _utterances(self, first: int, siblings: list[int]) -> np.ndarray:
        out = np.zeros(self.frames, np.float32)
        clip = self.bank.clips[first]
        if clip.frames >= self.frames and self.rng.random() < 0.9:
            return self._crop(first)
        position = -int(self.rng.integers(clip.frames // 2 + 1)) + int(self.rng.integers(self.frames // 3))
        index = first
        while position < self.frames:
            samples = self.bank.read(index)
            add_at(out, samples, position)
            position += len(samples) + int(self.rng.uniform(0.05, 0.6) * SAMPLE_RATE)
            index = int(siblings[self.rng.integers(len(siblings))])
        return out

    def _notes(self, first: int, siblings: list[int]) -> np.ndarray:
        clip = self.bank.clips[first]
        if clip.song or (clip.frames > 2.5 * SAMPLE_RATE and self.rng.random() < 0.6):  # a phrase, not a note
            samples = self._crop(first)
            return np.pad(samples, (0, self.frames - len(samples)))
        out = np.zeros(self.frames, np.float32)
        scale = [first, *(int(siblings[i]) for i in self.rng.integers(len(siblings), size=5))]
        beat = self.rng.uniform(0.15, 0.7) * SAMPLE_RATE
        position = int(self.rng.uniform(0, 1) * SAMPLE_RATE)
        index = first
        while position < self.frames:
            hold = int(beat * self.rng.choice([1, 1, 2, 4]))
            samples = self.bank.read(index, 0, int(hold * self.rng.uniform(1.0, 1.8)) + 480)
            add_at(out, _fade_out(samples) * _gain(self.rng.uniform(-6, 0)), position)
            position += hold
            index = scale[self.rng.integers(len(scale))]
        return out

    def _events(self, first: int, siblings: list[int]) -> np.ndarray:
        clip = self.bank.clips[first]
        if clip.frames >= 0.8 * self.frames:
            samples = self._crop(first)
            return np.pad(samples, (0, self.frames - len(samples)))
        out = np.zeros(self.frames, np.float32)
        position = int(self.rng.integers(max(1, self.frames - clip.frames)))
        repeats = self.rng.random() < 0.7
        if repeats:
            position = int(position * self.rng.random() * 0.6)
        index = first
        pause = self.rng.uniform(0.02, 1.2)
        while position < self.frames - SAMPLE_RATE // 20:
            samples = self.bank.read(index, 0, self.frames)
            add_at(out, samples * _gain(self.rng.uniform(-4, 0)), position)
            if not repeats:
                break
            position += len(samples) + int(pause * self.rng.uniform(0.6, 1.4) * SAMPLE_RATE)
            if self.rng.random() < 0.4:
                index = int(siblings[self.rng.integers(len(siblings))])
        return out

    def _augmented(self, samples: np.ndarray) -> np.ndarray:
        """Another speed (and pitch), now and then a room."""
        if self.rng.random() < 0.35:
            ratio = float(np.exp(self.rng.uniform(-0.2, 0.2)))
            moved = soxr.resample(samples, SAMPLE_RATE, SAMPLE_RATE * ratio, "LQ")
            samples = np.pad(moved, (0, max(0, self.frames - len(moved))))[: self.frames]
        if self.rng.random() < 0.15:
            samples = self._room(samples)
        return samples.astype(np.float32)

    def _coloured(self, samples: np.ndarray) -> np.ndarray:
        """Half of the time through a random smooth equaliser: another microphone, another distance."""
        if self.rng.random() < 0.5:
            return samples
        spectrum = fft.rfft(samples)
        octave = np.log1p(np.arange(len(spectrum)) * SAMPLE_RATE / len(samples) / 50)
        knots = np.linspace(0, octave[-1], 7)
        gains = 10 ** (np.interp(octave, knots, self.rng.normal(0, 5, 7)) / 20)
        return fft.irfft(spectrum * gains.astype(np.float32), len(samples))

    def _dull(self, sources: list[Source]) -> None:
        """The whole mixture through a telephone, a small microphone or a lossy codec: its highest sounds are gone."""
        edge_hz = float(np.exp(self.rng.uniform(np.log(3_400), np.log(16_000))))
        for source in sources:
            spectrum = fft.rfft(source.samples)
            octaves = np.log2(np.maximum(fft.rfftfreq(len(source.samples), 1 / SAMPLE_RATE) / edge_hz, 1))
            gains = 10 ** (-DULL_SLOPE_DB * octaves / 20)
            source.samples = fft.irfft(spectrum * gains.astype(np.float32), len(source.samples))

    def _room(self, samples: np.ndarray) -> np.ndarray:
        """Direct sound and an exponentially decaying noise tail (a crude but cheap diffuse room)."""
        rt60 = self.rng.uniform(0.15, 0.9)
        n = int(rt60 * SAMPLE_RATE)
        decay = np.exp(-6.9 * np.arange(n) / n)
        tail = self.rng.standard_normal(n) * decay
        tail /= np.sqrt(np.square(tail).sum())
        response = np.concatenate([[1.0], np.zeros(int(self.rng.uniform(0.002, 0.02) * SAMPLE_RATE))])
        response = np.concatenate([response, tail * self.rng.uniform(0.2, 0.9)]).astype(np.float32)
        return oaconvolve(samples, response)[: len(samples)]


def _choose(rng: np.random.Generator, weights: dict[str, float]) -> str:
    names = list(weights)
    return names[_draw(rng, [weights[n] for n in names])]


def _draw(rng: np.random.Generator, weights: Sequence[float]) -> int:
    return int(rng.choice(len(weights), p=_normalised(weights)))


def _normalised(weights: Sequence[float]) -> np.ndarray:
    array = np.asarray(weights, float)
    return array / array.sum()


def _gain(db: float) -> float:
    return float(10 ** (db / 20))


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.square(samples).mean())) if len(samples) else 0.0


def _fade_out(samples: np.ndarray) -> np.ndarray:
    n = min(len(samples), SAMPLE_RATE // 50)
    samples[len(samples) - n :] *= np.linspace(1, 0, n, dtype=np.float32)
    return samples
