"""How well do the nano encoders know sounds they have never heard? ``sam-audio eval encoders``.

Zero-shot classification of held-out recordings over all labels that have at least three of them, beside YAMNet
with every label mapped to the class whose name is nearest in the text space; and detection in scenes made of held-out
recordings. Two vocabularies are asked of each: every label of the test, and (harder for nobody, fairer to words that
mean nearly the same) only labels that the label table does not call confusable with the right one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from peav.nano.audio import AudioTower
from peav.nano.sound import WINDOW_MELS
from peav.nano.text import TextTower
from sam_audio.evaluation import localization
from sam_audio.evaluation.items import Item, LabelledEvent
from sam_audio.evaluation.metrics import average_precision, ranks, recall_at
from sam_audio.evaluation.protocols import Row
from sam_audio.evaluation.scenes import scenes
from sam_audio.finding.locate import Locator
from sam_audio.training.data.bank import SAMPLE_RATE, Bank, opened
from sam_audio.training.data.labels import absent_ok, conflicts, load_labels
from sam_audio.training.data.mixing import Pools
from sam_audio.training.yamnet import Yamnet, load_yamnet

MAX_SECONDS = 10.0
MIN_CLIPS, MAX_CLIPS = 3, 40  # of one label


@dataclass(frozen=True)
class HeldOut:
    """Recordings (n,) at 48 kHz and the index of each one's label in ``labels``."""

    labels: list[str]
    recordings: list[np.ndarray]
    truth: np.ndarray
    packages: list[str]


def held_out(bank_dir: Path, split: str = "test", playing: bool = False) -> HeldOut:
    """Real (not rendered) recordings of every label that has enough of them; or recorded instruments ``playing``."""
    bank = opened(bank_dir)
    pools = Pools(bank, split)
    by_label = pools.phrases if playing else _recordings(bank, pools)
    by_label = {
        label: sorted(found)[:MAX_CLIPS] for label, found in by_label.items() if len(found) >= MIN_CLIPS
    }
    labels = sorted(by_label)
    chosen = [(row, index) for row, label in enumerate(labels) for index in by_label[label]]
    return HeldOut(
        labels,
        [bank.read(index, 0, round(MAX_SECONDS * SAMPLE_RATE)) for _, index in chosen],
        np.array([row for row, _ in chosen]),
        [bank.clips[index].package for _, index in chosen],
    )


def _recordings(bank: Bank, pools: Pools) -> dict[str, list[int]]:
    return {
        label: [i for members in packages.values() for i in members if not bank.clips[i].song]
        for label, packages in pools.clips.items()
    }


def nano_scores(audio: AudioTower, text: TextTower) -> Callable[[HeldOut], np.ndarray]:
    """Dot products of clip vectors and label vectors, (recordings, labels)."""

    @torch.inference_mode()
    def scores(data: HeldOut) -> np.ndarray:
        wanted = text.embed(data.labels)
        clips = [audio(torch.from_numpy(recording)[None]).clip[0] for recording in data.recordings]
        return (torch.stack(clips) @ wanted.T).numpy()

    return scores


def yamnet_scores(yamnet: Yamnet, text: TextTower, filters: torch.Tensor) -> Callable[[HeldOut], np.ndarray]:
    """Mean probability over windows of the class nearest to each label, (recordings, labels)."""
    from peav.nano.audio import log_mel
    from peav.nano.sound import WINDOW

    synonyms = [(row, part) for row, name in enumerate(yamnet.classes) for part in name.split(", ")]
    names = text.embed([part for _, part in synonyms])

    @torch.inference_mode()
    def scores(data: HeldOut) -> np.ndarray:
        table = load_labels()
        nearest = []
        for label in data.labels:
            phrases = text.embed([label, *table[label].phrases])
            nearest.append(synonyms[int((names @ phrases.T).amax(1).argmax())][0])
        rows = []
        for recording in data.recordings:
            wave = torch.from_numpy(recording)[None]
            wave = torch.nn.functional.pad(wave, (0, -wave.shape[-1] % WINDOW))
            mel = log_mel(wave, filters)
            # half-overlapping windows, as YAMNet is meant to be run
            shifted = mel[:, WINDOW_MELS // 2 : mel.shape[1] - WINDOW_MELS // 2]
            parts = [yamnet.window_probabilities(part)[0] for part in (mel, shifted) if part.shape[1]]
            rows.append(torch.cat(parts).mean(0)[nearest])
        return torch.stack(rows).numpy()

    return scores


def classification_row(name: str, scores: np.ndarray, data: HeldOut) -> Row:
    """top-1, top-5, mean average precision over labels, and top-1 where labels that could mean the same do not
    compete ("man speaking" and "person speaking")."""
    n = len(data.labels)
    # labels that are mapped to one class of YAMNet tie; a coin decides, since counting ties as wrong would flatter us
    scores = scores + 1e-9 * np.random.default_rng(0).random(scores.shape)
    relevant = data.truth[:, None] == np.arange(n)
    alike = np.array([[a != b and conflicts(a, b) for b in data.labels] for a in data.labels])
    distinct = np.where(alike[data.truth], -np.inf, scores)
    place = ranks(scores, [[row] for row in data.truth])
    return {
        "what": name,
        "recordings": len(data.recordings),
        "labels": n,
        "top_1": round(recall_at(1, place), 3),
        "top_5": round(recall_at(5, place), 3),
        "mAP": round(float(np.nanmean(average_precision(scores, relevant))), 3),
        "top_1_distinct": round(recall_at(1, ranks(distinct, [[row] for row in data.truth])), 3),
    }


def classify(bank_dir: Path, split: str = "test", with_yamnet: bool = True) -> list[Row]:
    """Rows for nano and YAMNet: of recordings, and of recorded instruments that play, if the split has any."""
    text, audio = TextTower.from_pretrained("nano"), AudioTower.from_pretrained("nano")
    by = {"nano": nano_scores(audio, text)}
    if with_yamnet:
        by["YAMNet"] = yamnet_scores(load_yamnet(), text, audio.filters)
    rows = []
    for playing in (False, True):
        data = held_out(bank_dir, split, playing)
        for name, scores in by.items() if data.labels else ():
            what = f"{name}, instruments playing" if playing else name
            rows.append(classification_row(what, scores(data), data))
    return rows


def detect(
    locators: Sequence[Locator], bank_dir: Path, n: int, split: str = "test", seed: int = 0
) -> list[Row]:
    """Detection in made scenes of held-out recordings, by each locator.

    It is asked for what sounds, as somebody who knows what is in the recording and not when; and for what sounds and as
    many things that do not, as somebody who is not sure.
    """
    made = list(scenes(bank_dir, n, split, seed))
    labels = sorted({label for scene in made for _, _, label in scene.events})
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        items, there, not_there = [], {}, {}
        for scene in made:
            path = Path(folder) / f"{scene.name}.wav"
            soundfile.write(path, scene.samples, SAMPLE_RATE, subtype="FLOAT")
            there[path] = {label for _, _, label in scene.events}
            others = [label for label in labels if absent_ok(label, [*there[path], scene.background])]
            not_there[path] = set(rng.choice(others, min(len(there[path]), len(others)), replace=False))
            items.append(
                Item(path, events=tuple(LabelledEvent(name, on, off) for on, off, name in scene.events))
            )
        asked = {
            "what is there": there,
            "what is there and what is not": {path: there[path] | not_there[path] for path in there},
        }
        for locator in locators:
            for what, prompts in asked.items():
                found = localization.evaluate(_Asking(locator, prompts), items, labels).rows
                rows += [{"by": locator.name, **row, "what": f"{what}: {row['what']}"} for row in found]
    return rows


class _Asking:
    """Listens only for some labels in each file."""

    def __init__(self, locator: Locator, asked: Mapping[Path, set[str]]):
        self.locator, self.asked = locator, asked
        self.name, self.frame_rate = locator.name, locator.frame_rate

    def activity(self, path: str | Path, prompts: list[str]) -> np.ndarray:
        """Zero for what is not asked for."""
        rows = [row for row, prompt in enumerate(prompts) if prompt in self.asked[Path(path)]]
        found = self.locator.activity(path, [prompts[row] for row in rows])
        activity = np.zeros((len(prompts), found.shape[1]), found.dtype)
        activity[rows] = found
        return activity
