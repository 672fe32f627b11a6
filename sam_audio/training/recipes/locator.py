"""Weighs what the nano separator and PE-A-Frame nano say of when sounds happen: ``sam-audio train locator``.

A logistic regression of frames of made scenes and of single sounds, all of training recordings, asked for what sounds
in them and for as many things that do not, or a few more. Whoever asks mostly knows that the sound is there: the
latter count less.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from sam_audio.evaluation.scenes import SECONDS, Scene, active_spans, scenes
from sam_audio.finding.locate import CHUNK_SAMPLES, FRAME, SAMPLE_RATE, NanoLocator
from sam_audio.separator.nano.timekeeping import Calibration, facts
from sam_audio.training.data.bank import Bank
from sam_audio.training.data.labels import absent_ok, load_labels
from sam_audio.training.data.mixing import Mixer

ABSENT_WEIGHT = 0.5
LEAST_ABSENT = 3  # things asked for that are not there
EVERY = 5  # of the frames, which are much alike


def fit(locator: NanoLocator, bank_dir: Path, n: int, seed: int = 0) -> Calibration:
    """The calibration that fits ``n`` scenes best; the locator's own is not used."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    rows, truths, weights = [], [], []
    for scene in chain(scenes(bank_dir, n, "train", seed), _solos(bank_dir, n // 2, seed)):
        present = sorted({label for _, _, label in scene.events})
        others = [name for name in sorted(load_labels()) if absent_ok(name, [*present, scene.background])]
        asked = [
            *present,
            *(str(name) for name in rng.choice(others, max(len(present), LEAST_ABSENT), replace=False)),
        ]
        windows = (
            scene.samples[start : start + CHUNK_SAMPLES]
            for start in range(0, len(scene.samples), CHUNK_SAMPLES)
        )
        found = facts(locator.evidence(windows, asked))[..., ::EVERY]
        rows.append(np.swapaxes(found, 1, 2).reshape(-1, found.shape[1]))
        truths.append(sounding(scene, asked)[:, ::EVERY].ravel())
        weight = np.where(np.arange(len(asked)) < len(present), 1.0, ABSENT_WEIGHT)
        weights.append(np.repeat(weight, found.shape[-1]))
    model = LogisticRegression(max_iter=1000)
    model.fit(np.concatenate(rows), np.concatenate(truths), sample_weight=np.concatenate(weights))
    return Calibration(
        tuple(np.round(model.coef_[0].astype(float), 4).tolist()), round(float(model.intercept_[0]), 4)
    )


def _solos(bank_dir: Path, n: int, seed: int) -> Iterator[Scene]:
    """One sound after another, each alone."""
    mixer = Mixer(Bank(bank_dir), "train", SECONDS, seed)
    for index in range(n):
        source = mixer.solo()
        spans = active_spans(source.samples, np.zeros_like(source.samples))
        events = [(start, stop, source.label) for start, stop in spans]
        yield Scene(f"solo-{index:04d}", source.label, source.samples, events)


def sounding(scene: Scene, labels: list[str]) -> np.ndarray:
    """Which labels sound in which 40 ms frames, (N, T) bool."""
    truth = np.zeros((len(labels), -(-len(scene.samples) // FRAME)), bool)
    for start, stop, label in scene.events:
        first, last = round(start * SAMPLE_RATE / FRAME), round(stop * SAMPLE_RATE / FRAME)
        truth[labels.index(label), first:last] = True
    return truth


def export(calibration: Calibration, path: Path) -> None:
    """Writes what is shipped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"weights": list(calibration.weights), "bias": calibration.bias}
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
