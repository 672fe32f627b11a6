"""Scenes whose onsets and offsets are known because we made them: single events over a background."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam_audio.training.data import labels as label_table
from sam_audio.training.data.bank import SAMPLE_RATE, Bank
from sam_audio.training.data.mixing import Mixer
from sam_audio.training.data.tower_batches import AUDIBLE_DB, FRAME, activity_level

SECONDS = 10.0
MAX_EVENT_S = 4.0
MERGE_GAP_S = 0.2  # pauses shorter than this belong to the event
MASKED_DB = -15.0  # an event this far below everything else cannot be heard, and nobody would mark it


@dataclass(frozen=True)
class Scene:
    """samples (n,) at 48 kHz; events are (onset, offset, label), in seconds; background is a label too."""

    name: str
    background: str
    samples: np.ndarray
    events: list[tuple[float, float, str]]


def scenes(bank_dir: Path, n: int, split: str = "test", seed: int = 0) -> Iterator[Scene]:
    """3 to 6 events of held-out recordings, 0 to 12 dB above a background; the same for the same seed."""
    mixer = Mixer(Bank(bank_dir), split, SECONDS, seed)
    rng, pools = mixer.rng, mixer.pools
    ambience = pools.by_group["ambience"]
    sounding = [name for group in ("event", "speech", "instrument") for name in pools.by_group[group]]
    weights = np.sqrt([pools.count(name) for name in sounding])
    for index in range(n):
        samples = np.zeros(round(SECONDS * SAMPLE_RATE), np.float32)
        taken = [str(rng.choice(ambience))]
        background = mixer.source(taken[0])
        samples += background * _gain(-40 - _level_db(background))
        placed: dict[str, np.ndarray] = {}
        for _ in range(rng.integers(3, 7)):
            label = _unlike(rng, sounding, weights / weights.sum(), taken)
            if label is None:
                break
            taken.append(label)
            clip = _event(mixer, label)
            clip = clip * np.float32(_gain(-34 + rng.uniform(0, 12) - _level_db(clip)))
            start = int(rng.integers(len(samples) - len(clip) + 1)) // FRAME * FRAME
            placed[label] = np.zeros_like(samples)
            placed[label][start : start + len(clip)] = clip
            samples += placed[label]
        events = [
            (start, stop, label)
            for label, alone in placed.items()
            for start, stop in active_spans(alone, samples - alone)
        ]
        yield Scene(f"scene-{index:04d}", taken[0], samples, sorted(events))


def active_spans(samples: np.ndarray, rest: np.ndarray) -> list[tuple[float, float]]:
    """Where a recording can be heard, in seconds: within 35 dB of its loudest frame and not masked by the rest; short
    pauses are bridged."""
    level = activity_level(samples)
    active = level > max(float(level.max()) * 10 ** (AUDIBLE_DB / 10), 1e-12)
    active &= level > activity_level(rest) * 10 ** (MASKED_DB / 10)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active.view(np.int8), [0]]))).reshape(-1, 2)
    spans: list[tuple[float, float]] = []
    for start, stop in edges * FRAME / SAMPLE_RATE:
        if spans and start - spans[-1][1] < MERGE_GAP_S:
            spans[-1] = spans[-1][0], float(stop)
        else:
            spans.append((float(start), float(stop)))
    return spans


def _event(mixer: Mixer, label: str) -> np.ndarray:
    """One recording of the label, at most MAX_EVENT_S of it, faded out where it is cut."""
    indices = [i for members in mixer.pools.clips[label].values() for i in members]
    clip = mixer.bank.read(
        int(indices[mixer.rng.integers(len(indices))]), 0, round(MAX_EVENT_S * SAMPLE_RATE)
    )
    clip = clip[: len(clip) // FRAME * FRAME] if len(clip) > FRAME else np.pad(clip, (0, FRAME - len(clip)))
    fade = min(len(clip), SAMPLE_RATE // 50)
    clip[len(clip) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return clip


def _unlike(rng: np.random.Generator, names: list[str], weights: np.ndarray, taken: list[str]) -> str | None:
    """A label that nobody could take for those that sound already."""
    for _ in range(50):
        label = str(rng.choice(names, p=weights))
        if label_table.absent_ok(label, taken) and all(label_table.absent_ok(t, [label]) for t in taken):
            return label
    return None


def _level_db(samples: np.ndarray) -> float:
    level = activity_level(samples)
    loud = level[level > level.max() * 1e-3]
    return float(10 * np.log10(loud.mean() + 1e-12)) if len(loud) else -120.0


def _gain(db: float) -> float:
    return float(10 ** (db / 20))
