"""How well does a separator separate recordings it has never seen? ``sam-audio eval separation``.

Held-out recordings (the ``test`` split, by a hash of the source file) are mixed at -5..5 dB. Every source is
asked for by its label, and something that is not there is asked for too. Beside the model stand two
baselines: the mixture itself (0 dB improvement by definition) and the ideal mask at the model's own
resolution, its ceiling.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from judge.metrics import level_db, si_sdr
from judge.rank import FRAME_S, sounding
from sam_audio.errors import UserError
from sam_audio.separator.base import SeparationModel, SeparationStream
from sam_audio.separator.nano.spectra import istft, power, stft, to_bands, to_bins
from sam_audio.training.data.bank import SAMPLE_RATE, Bank
from sam_audio.training.data.mixing import Mixer, Mixture, Query
from sam_audio.types import Anchor, Condition, Span

BAND = "stems of a rendered band"
ESC_10 = "ESC-10 classes in pairs at 0 dB"
# Real music: recorded songs, and instruments recorded note by note, none of which is heard in training.
REAL_BAND, GUITAR_BAND, REAL_INSTRUMENTS = "real band", "guitar band", "real instruments"
# name -> groups of the sources; the figure is about the first one unless "all"
SCENARIOS: dict[str, tuple[tuple[str, ...], str]] = {
    "events in pairs": (("event", "event"), "all"),
    "event in ambience": (("event", "ambience"), "all"),
    "instruments in pairs": (("instrument", "instrument"), "all"),
    "three instruments": (("instrument", "instrument", "instrument"), "all"),
    "speech against events": (("speech", "event"), "first"),
    "events against speech": (("event", "speech"), "first"),
    "speech over ambience": (("speech", "ambience"), "first"),
    "speech over music": (("speech", "music"), "first"),
    "event, instrument, speech": (("event", "instrument", "speech"), "all"),
    "three events": (("event", "event", "event"), "all"),
    BAND: ((), "all"),
    ESC_10: (("ESC-10", "ESC-10"), "all"),
    REAL_BAND: ((), "all"),
    GUITAR_BAND: ((), "all"),
    REAL_INSTRUMENTS: ((), "all"),
}
SECONDS = 6.0


@dataclass
class Score:
    """One prompt of one mixture; dB."""

    scenario: str
    label: str
    group: str
    n_sources: int
    improvement: float
    ceiling: float
    mixture: float


@dataclass
class Evaluation:
    scores: list[Score]
    absent_db: list[float]

    def summary(self) -> list[dict[str, float | str | int]]:
        """One row a scenario and one a group: n, median, mean, share improved, ceiling."""
        rows = []
        for scenario in SCENARIOS:
            rows.append(_row(scenario, [s for s in self.scores if s.scenario == scenario]))
        for group in sorted({s.group for s in self.scores}):
            rows.append(_row(f"group: {group}", [s for s in self.scores if s.group == group]))
        made = [s for s in self.scores if s.scenario not in (BAND, REAL_BAND, GUITAR_BAND, REAL_INSTRUMENTS)]
        core = [s for s in made if s.group in ("event", "instrument", "speech")]
        rows.append(_row("events + instruments + speech", core))
        rows.append(_row("all", made + [s for s in self.scores if s.scenario == BAND]))
        return [row for row in rows if row["n"]]

    def by_label(self) -> list[dict[str, float | str | int]]:
        labels: dict[str, list[Score]] = defaultdict(list)
        for score in self.scores:
            labels[score.label].append(score)
        return [_row(label, scores) for label, scores in sorted(labels.items())]

    def absent_median_db(self) -> float:
        """Level of the output against the mixture when the prompt is not in it; median, dB."""
        return float(np.median(self.absent_db)) if self.absent_db else float("nan")


def _row(name: str, scores: Sequence[Score]) -> dict[str, float | str | int]:
    gains = np.array([s.improvement for s in scores]) if scores else np.zeros(1)
    ceiling = np.array([s.ceiling for s in scores]) if scores else np.zeros(1)
    mixture = np.array([s.mixture for s in scores]) if scores else np.zeros(1)
    return {
        "what": name,
        "n": len(scores),
        "median": round(float(np.median(gains)), 2),
        "mean": round(float(gains.mean()), 2),
        "improved": round(float((gains > 0).mean()), 3),
        "ceiling": round(float(np.median(ceiling)), 2),
        "mixture": round(float(np.median(mixture)), 2),
    }


def scenarios_of(names: Sequence[str] | None) -> Sequence[str]:
    """All kinds of mixtures, or these.

    Raises:
        UserError: there is no such kind.
    """
    if unknown := set(names or ()) - set(SCENARIOS):
        raise UserError(f"there is no scene called {', '.join(sorted(unknown))}: use {', '.join(SCENARIOS)}.")
    return names or tuple(SCENARIOS)


def mixtures(
    bank_dir: Path,
    per_scenario: int,
    split: str = "test",
    seed: int = 0,
    scenarios: Sequence[str] = tuple(SCENARIOS),
) -> Iterator[tuple[str, Mixture, str | None]]:
    """(scenario, mixture, phrase of something absent); the same for everyone who asks with the same seed."""
    bank = Bank(bank_dir)
    for offset, (name, (groups, _)) in enumerate(SCENARIOS.items()):
        if name not in scenarios:
            continue
        mixer = Mixer(bank, split, SECONDS, seed=seed * 1000 + offset)
        made: dict[str, tuple[Sized, Callable[[], Mixture]]] = {
            BAND: (mixer.pools.songs, mixer.band),
            REAL_BAND: (mixer.pools.real_songs, partial(mixer.real_band, at_most=9)),
            GUITAR_BAND: (mixer.pools.bands, mixer.guitar_band),
            REAL_INSTRUMENTS: (mixer.pools.phrases, mixer.phrase_pair),
        }
        if not (made[name][0] if name in made else all(mixer.pools.by_group[g] for g in groups)):
            continue
        for _ in range(per_scenario):
            if name in made:
                mixture = made[name][1]()
            else:
                spread = 0.0 if name == ESC_10 else 5.0
                others = mixer.rng.uniform(-spread, spread, len(groups) - 1)
                mixture = mixer.pair(groups, [0.0, *others])
            absent = [p.label for p in mixture.prompts if not p.members]
            yield (
                name,
                mixture,
                absent[-1] if absent else mixer.absent_label([s.label for s in mixture.sources]),
            )


def evaluate(
    model: SeparationModel,
    items: Iterable[tuple[str, Mixture, str | None]],
    ask: str = "label",
    alone: bool = False,
) -> Evaluation:
    """Separates every mixture and measures every prompt.

    Args:
        ask: how to: by the ``label``, by a ``phrase`` of other words, or by ``spans`` alone.
        alone: each prompt in a call of its own, as by somebody who wants one sound and names no other; otherwise
            all prompts of a mixture go into one call.
    """
    result = Evaluation([], [])
    rng = np.random.default_rng(0)
    for scenario, mixture, absent in items:
        sources = np.stack([s.samples for s in mixture.sources])
        mixed = sources.sum(axis=0)
        asked = [
            p
            for p in mixture.prompts
            if p.members
            and (scenario == REAL_BAND or {mixture.sources[i].label for i in p.members} == {p.label})
        ]
        asked = asked if SCENARIOS[scenario][1] == "all" else asked[:1]
        if not asked:  # every prompt could mean two of the sources
            continue
        targets = np.stack([sources[p.members].sum(axis=0) for p in asked])
        conditions = [
            condition
            for p, target in zip(asked, targets, strict=True)
            for condition in _asked(model, p, target, ask, rng)
        ]
        calls = [[condition] for condition in conditions] if alone else [conditions]
        estimates = np.concatenate([separate_conditions(model, mixed, call) for call in calls])
        ideal = ideal_band_mask(targets, mixed)
        before, after, best = (si_sdr(x, targets) for x in (mixed[None], estimates, ideal))
        for p, improvement, ceiling, start in zip(asked, after - before, best - before, before, strict=True):
            group = _group(p.label)
            result.scores.append(Score(scenario, p.label, group, len(sources), improvement, ceiling, start))
        if absent is not None:
            result.absent_db.append(level_db(separate_prompts(model, mixed, [absent])[0], mixed))
    return result


def _asked(
    model: SeparationModel, prompt: Query, target: np.ndarray, ask: str, rng: np.random.Generator
) -> list[Condition]:
    if ask == "label":
        return model.encode([prompt.label])
    if ask == "phrase":
        others = [phrase for phrase in prompt.phrases if phrase != prompt.label] or [prompt.label]
        return model.encode([others[rng.integers(len(others))]])
    return [Condition(prompt.label, None, tuple(Anchor(span) for span in _sounding(target)))]


def _sounding(target: np.ndarray) -> list[Span]:
    """Where a source sounds, as somebody would mark it."""
    heard = np.pad(sounding(target, SAMPLE_RATE, -35.0).astype(int), 1)
    edges = np.flatnonzero(np.diff(heard)).reshape(-1, 2) * FRAME_S
    return [Span(float(start), float(end)) for start, end in edges]


def separate_prompts(model: SeparationModel, mixed: np.ndarray, prompts: list[str]) -> np.ndarray:
    """All prompts at once; mono (T,) at 48 kHz -> (N, T)."""
    return _through(model.open(model.encode(prompts), channels=1), mixed)


def separate_conditions(model: SeparationModel, mixed: np.ndarray, conditions: list[Condition]) -> np.ndarray:
    """All conditions at once; mono (T,) at 48 kHz -> (N, T)."""
    assert model.sample_rate == SAMPLE_RATE
    return _through(model.open(conditions, channels=1), mixed)


def _through(stream: SeparationStream, mixed: np.ndarray) -> np.ndarray:
    samples = mixed[None].astype(np.float32)
    return np.concatenate([stream.push(samples), stream.finish()], axis=-1)[:, 0]


def _group(label: str) -> str:
    from sam_audio.training.data.labels import load_labels

    entry = load_labels().get(label)
    return entry.group if entry else "groups of songs"


def ideal_band_mask(targets: np.ndarray, mixed: np.ndarray) -> np.ndarray:
    """The best that any real mask of one value per band and frame can do; (N, T), (T,) -> (N, T)."""
    spec, mixture = (stft(torch.from_numpy(x.astype(np.float32))) for x in (targets, mixed))
    energy = to_bands(power(mixture))
    cross = to_bands(spec.real * mixture.real + spec.imag * mixture.imag)
    masks = (cross / (energy + 1e-10)).clamp(0, 1)
    return istft(to_bins(masks) * mixture, targets.shape[-1]).numpy()


def markdown(rows: Sequence[dict[str, float | str | int]]) -> str:
    """Rows as a table for docs."""
    head = (
        "| | n | median SI-SDRi (dB) | mean | improved | ideal mask | mixture SI-SDR |\n" + "|---" * 7 + "|\n"
    )
    return head + "".join(
        f"| {r['what']} | {r['n']} | {r['median']:.2f} | {r['mean']:.2f} | {100 * float(r['improved']):.0f} % "
        f"| {r['ceiling']:.2f} | {r['mixture']:.2f} |\n"
        for r in rows
    )


def to_csv(rows: Sequence[dict[str, float | str | int]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
