"""What the audio tower learns from: scenes whose onsets and offsets are known because we made them.

Every term of the label table (a label, or a hypernym such as "vehicle") is a question asked of every frame of
every scene. What cannot be told from a recording's label (it may well contain it, or the two are hard to tell
apart) is left out of the loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import IterableDataset

from sam_audio.training.data import labels as label_table
from sam_audio.training.data.bank import Bank
from sam_audio.training.data.mixing import Mixer, Source

FRAME = 1920  # samples, 40 ms
SCENES = {"solo": 0.25, "phrase": 0.2, "mixture": 0.25, "events": 0.3}
AUDIBLE_DB = -35.0  # a source this far below its own peak is off
BURIED_DB = -25.0  # a source this far below the scene cannot be asked for


@dataclass(frozen=True)
class Terms:
    """What is asked: names, their phrasings, and what each label says of each term.

    ``relation`` (labels, terms) int8: 1 the term holds, 0 it does not, -1 nobody can tell.
    """

    names: list[str]
    phrases: list[list[str]]
    label_index: dict[str, int]
    relation: np.ndarray


def build_terms() -> Terms:
    """All labels, then all hypernyms that stand for at least two of them."""
    table = label_table.load_labels()
    labels = sorted(table)
    parents = sorted({parent for label in table.values() for parent in label.parents} - set(table))
    parents = [parent for parent in parents if len(label_table.members(parent)) >= 2]
    names = labels + parents
    phrases = [label_table.natural_phrases(name) for name in labels]
    phrases += [[parent, f"the {parent}", f"sound of {parent}"] for parent in parents]
    relation = np.zeros((len(labels), len(names)), np.int8)
    for row, label in enumerate(labels):
        for column, name in enumerate(names):
            members = label_table.members(name)
            if label in members:
                relation[row, column] = 1
            elif not all(label_table.absent_ok(member, [label]) for member in members):
                relation[row, column] = -1
    return Terms(names, phrases, {label: i for i, label in enumerate(labels)}, relation)


class SceneStream(IterableDataset):
    """Endless batches of scenes: see :func:`collate`."""

    def __init__(self, bank_dir: Path, split: str, seconds: float, batch: int, seed: int):
        self.bank_dir, self.split, self.seconds, self.batch, self.seed = bank_dir, split, seconds, batch, seed

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        mixer = Mixer(Bank(self.bank_dir), self.split, self.seconds, self.seed)
        terms = build_terms()
        while True:
            yield collate([scene(mixer) for _ in range(self.batch)], terms, mixer.rng)


def scene(mixer: Mixer) -> list[Source]:
    """One source, an instrument playing, a mixture as the separator hears it, or single events over a background."""
    kind = str(mixer.rng.choice(list(SCENES), p=list(SCENES.values())))
    if kind == "mixture":
        return mixer.mixture().sources
    if kind == "events":
        return mixer.events()
    return [mixer.phrase([], 0.0) if kind == "phrase" and mixer.pools.phrases else mixer.solo()]


def collate(scenes: list[list[Source]], terms: Terms, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Packs B scenes.

    Returns:
        ``waveform`` (B, samples) float32; ``frames`` (B, terms, T) int8 and ``clip`` (B, terms) int8: 1 there,
        0 not there, -1 unknown.
    """
    n_samples = len(scenes[0][0].samples)
    n_frames = n_samples // FRAME
    waveform = np.zeros((len(scenes), n_samples), np.float32)
    frames = np.zeros((len(scenes), len(terms.names), n_frames), np.int8)
    clip = np.zeros((len(scenes), len(terms.names)), np.int8)
    for b, sources in enumerate(scenes):
        mixture = np.sum([s.samples for s in sources], axis=0)
        mixture_level = activity_level(mixture)
        unknown = np.zeros(len(terms.names), bool)
        buried = np.zeros((len(terms.names), n_frames), bool)
        for source in sources:
            relation = terms.relation[terms.label_index[source.label]]
            level = activity_level(source.samples)
            active = level > max(level.max() * 10 ** (AUDIBLE_DB / 10), 1e-7)
            if not active.any():
                continue
            heard = active & (level > mixture_level * 10 ** (BURIED_DB / 10))
            frames[b, relation == 1] |= heard.astype(np.int8)
            buried[relation == 1] |= active & ~heard
            unknown |= relation == -1
            if heard.any():
                clip[b, relation == 1] = 1
        frames[b][buried & (frames[b] == 0)] = -1
        frames[b][unknown[:, None] & (frames[b] == 0)] = -1
        clip[b, unknown & (clip[b] == 0)] = -1
        # microphones, codecs and listeners differ: any level
        waveform[b] = mixture * np.float32(10 ** (rng.uniform(-12, 12) / 20))
    return {"waveform": waveform, "frames": frames, "clip": clip}


def activity_level(samples: np.ndarray) -> np.ndarray:
    """Mean power of each 40 ms frame; (n,) -> (n // FRAME,)."""
    return np.square(samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)).mean(axis=1)
