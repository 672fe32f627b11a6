"""Does it know what is not there? ``sam-audio eval presence``.

Every mixture is asked for what it has, and for what it has not: of music, half of the time for something that bands
usually have, or for a relative of what plays. The Judge's ``present`` is compared with the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from judge.report import ABSENT_BELOW, PRESENT_FROM
from judge.types import Judge
from sam_audio.evaluation.protocols import Evaluation, Row, ensure_some
from sam_audio.evaluation.separation import (
    BAND,
    GUITAR_BAND,
    REAL_BAND,
    REAL_INSTRUMENTS,
    mixtures,
    separate_prompts,
)
from sam_audio.separator.base import SeparationModel

MUSIC = (BAND, REAL_BAND, GUITAR_BAND, REAL_INSTRUMENTS)
SCENES = ("events in pairs", "event, instrument, speech", *MUSIC)
BINS = 10  # of the expected calibration error
_AUDIBLE = 1e-4  # of the mixture's energy: less cannot be heard


@dataclass(frozen=True)
class Told:
    """What a judge told about one prompt, and whether it is there."""

    scene: str
    prompt: str
    present: bool
    probability: float


def told(
    separator: SeparationModel, judge: Judge, bank_dir: Path, per_scene: int, seed: int = 0
) -> Iterator[Told]:
    """Asks held-out mixtures for all that their prompts name, in one call each; mixtures as in `separation`."""
    for scene, mixture, absent in mixtures(bank_dir, per_scene, seed=seed, scenarios=SCENES):
        sources = np.stack([s.samples for s in mixture.sources])
        mixed = sources.sum(axis=0)
        asked = {p.label: sources[p.members].sum(axis=0) for p in mixture.prompts}
        if absent is not None:
            asked.setdefault(absent, np.zeros_like(mixed))
        stems = separate_prompts(separator, mixed, list(asked))
        judgements = judge.judge(mixed, list(stems), list(asked))
        for (prompt, target), judgement in zip(asked.items(), judgements, strict=True):
            if judgement.present is not None:
                there = bool(np.square(target).sum() > _AUDIBLE * np.square(mixed).sum())
                yield Told(scene, prompt, there, judgement.present)


def evaluate(answers: Iterable[Told]) -> Evaluation:
    """A row a scene, one for music, one for all.

    Raises:
        UserError: there are no answers.
        MissingExtraError: scikit-learn is not installed.
    """
    given = list(answers)
    ensure_some(len(given), [])
    rows = [_row(scene, [t for t in given if t.scene == scene]) for scene in SCENES]
    rows += [_row("music", [t for t in given if t.scene in MUSIC]), _row("all", given)]
    return Evaluation([row for row in rows if row["n"]], [])


def _row(scene: str, given: Sequence[Told]) -> Row:
    from sam_audio.evaluation.judging import auroc

    told = np.array([t.probability for t in given])
    there = [t.probability for t in given if t.present]
    absent = [t.probability for t in given if not t.present]
    return {
        "scene": scene,
        "n": len(given),
        "AUROC": auroc([(t.present, t.probability) for t in given]),
        "absent said to be there": _share(np.array(absent) >= PRESENT_FROM),
        "there said to be absent": _share(np.array(there) < ABSENT_BELOW),
        "in doubt": 1 - _share((told < ABSENT_BELOW) | (told >= PRESENT_FROM)),
        "calibration error": calibration_error(told, np.array([t.present for t in given])),
    }


def calibration_error(probabilities: np.ndarray, truths: np.ndarray) -> float:
    """How far probabilities are from how often they come true: the mean over BINS equal bins, weighted by their size.

    >>> calibration_error(np.array([0.9, 0.9, 0.1, 0.1]), np.array([True, True, False, False]))
    0.1
    """
    if not len(probabilities):
        return float("nan")
    places = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    error = 0.0
    for place in range(BINS):
        here = places == place
        if here.any():
            error += here.mean() * abs(float(probabilities[here].mean()) - float(truths[here].mean()))
    return round(float(error), 4)


def _share(hits: np.ndarray) -> float:
    return float(hits.mean()) if len(hits) else float("nan")
