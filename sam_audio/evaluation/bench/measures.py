"""The measures that benchmarks define, each as its authors compute it; dB, higher is better.

They differ in what they forgive (a gain, an offset, a filter) and in what they do about silence, so that figures of
two of them are not to be compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np

from sam_audio.errors import MissingExtraError
from sam_audio.types import Samples

_CLIP = 1e-10  # least mean power of AudioSep's SDR
_INAUDIBLE = 1e-10
_EPS = float(np.finfo(np.float32).eps)  # torchmetrics' for float32

Labelled = tuple[str, Samples]  # a label and its sound (T,)


def sdr(estimate: Samples, reference: Samples) -> float:
    """Signal-to-distortion ratio of AudioSep's benchmarks: nothing is forgiven, not even a gain; (T,), (T,).

    Liu et al.: Separate anything you describe, 2023.

    >>> round(sdr(np.array([1.1, -1.1]), np.array([1.0, -1.0])), 4)
    20.0
    """
    reference = np.asarray(reference, np.float64)
    noise = np.asarray(estimate, np.float64) - reference
    signal, distortion = (max(float(np.mean(np.square(x))), _CLIP) for x in (reference, noise))
    return 10 * float(np.log10(signal / distortion))


def si_sdr(estimate: Samples, reference: Samples) -> float:
    """Scale-invariant SDR with means left in, as AudioSep and DnR compute it; (..., T), all axes are one signal.

    >>> round(si_sdr(np.array([2.0, -2.0, 0.2, 0.2]), np.array([1.0, -1.0, 0.0, 0.0])), 4)
    20.0
    """
    true, made = (np.asarray(sound, np.float64).ravel() for sound in (reference, estimate))
    scale = (np.dot(true, made) + _EPS) / (np.dot(true, true) + _EPS)
    target = scale * true
    rest = made - target
    return 10 * float(np.log10((np.dot(target, target) + _EPS) / (np.dot(rest, rest) + _EPS)))


def snr(estimate: Samples, reference: Samples) -> float:
    """Signal-to-noise ratio as torchmetrics has it, which DCASE calls SDR; (..., T), all axes are one signal."""
    reference = np.asarray(reference, np.float64)
    noise = reference - np.asarray(estimate, np.float64)
    return 10 * float(np.log10((np.square(reference).sum() + _EPS) / (np.square(noise).sum() + _EPS)))


def ca_sdri(estimates: Sequence[Labelled], references: Sequence[Labelled], mixture: Samples) -> float:
    """DCASE 2025 task 4: the mean improvement over all labels that are there or were said to be, 0 for each label
    that was missed or made up; NaN for a scene without any. Of several sounds of one label the last counts.

    Nguyen et al.: Baseline systems and evaluation metrics for spatial semantic segmentation of sound scenes, 2025.
    """
    said, there = dict(estimates), dict(references)
    found = [
        snr(said[label], there[label]) - snr(mixture, there[label]) for label in said.keys() & there.keys()
    ]
    n = len(said.keys() | there.keys())
    return sum(found) / n if n else float("nan")


def capi_sdri(estimates: Sequence[Labelled], references: Sequence[Labelled], mixture: Samples) -> float:
    """DCASE 2026 task 4: as :func:`ca_sdri`, but sounds of one label are paired with the estimates of that label in
    the order that suits them best; each estimate or source that is left over counts 0. NaN for a scene in which
    nothing is and nothing was said to be: it is left out of the mean.

    Nguyen et al.: Class-aware permutation-invariant signal-to-distortion ratio, 2026.
    """
    gains: list[float] = []
    for label in dict.fromkeys(name for name, _ in [*references, *estimates]):
        said = [sound for name, sound in estimates if name == label]
        there = [sound for name, sound in references if name == label]
        gains += _paired(said, there, mixture) + [0.0] * abs(len(said) - len(there))
    return float(np.mean(gains)) if gains else float("nan")


def _paired(said: Sequence[Samples], there: Sequence[Samples], mixture: Samples) -> list[float]:
    """Improvements of the pairs whose mean ratio is highest."""
    n = min(len(said), len(there))
    if not n:
        return []
    ratios = np.array([[snr(estimate, reference) for estimate in said] for reference in there])
    pairings = [
        list(zip(kept, order, strict=True))
        for kept in combinations(range(len(there)), n)
        for order in permutations(range(len(said)), n)
    ]
    best = max(pairings, key=lambda pairs: sum(ratios[pair] for pair in pairs))
    return [float(ratios[row, column]) - snr(mixture, there[row]) for row, column in best]


class LabelCounts(NamedTuple):
    """How many labels of a scene were found, made up and missed; several of one kind count as often as they are."""

    found: int
    made_up: int
    missed: int

    @property
    def right(self) -> bool:
        return not (self.made_up or self.missed)


def count_labels(said: Sequence[str], there: Sequence[str]) -> LabelCounts:
    """What DCASE's accuracies of labels are made of.

    >>> count_labels(["dog"], ["dog", "dog"])
    LabelCounts(found=1, made_up=0, missed=1)
    """
    found = (Counter(said) & Counter(there)).total()
    return LabelCounts(found, len(said) - found, len(there) - found)


def best_order(estimates: Samples, references: Samples) -> tuple[int, ...]:
    """Which estimate belongs to which reference, by the highest mean SI-SDR; (N, T), (N, T) -> N indices."""
    ratios = np.array([[si_sdr(estimate, reference) for estimate in estimates] for reference in references])
    rows = range(len(references))
    return max(
        permutations(range(len(estimates)), len(references)),
        key=lambda order: sum(ratios[row, column] for row, column in zip(rows, order, strict=True)),
    )


class BssEval(NamedTuple):
    """Frames of BSS Eval, (N, F) each, dB; NaN where a source is silent."""

    sdr: Samples
    isr: Samples
    sir: Samples
    sar: Samples


def bss_eval(estimates: Samples, references: Samples, sample_rate: int, window_s: float = 1.0) -> BssEval:
    """BSS Eval version 4 by museval, in windows without overlap; a time-invariant filter is forgiven.

    Stöter, Liutkus, Ito: The 2018 signal separation evaluation campaign.

    An estimate that is silent throughout counts as one that cannot be heard: its SDR is 0 dB.

    Shapes: (N, T, C), (N, T, C); no reference may be silent throughout.

    Raises:
        MissingExtraError: museval is not installed.
    """
    try:
        import museval
    except ImportError:
        raise MissingExtraError("BSS Eval needs museval, which is not installed", "eval") from None
    window = round(window_s * sample_rate)
    silent = ~np.any(estimates, axis=(1, 2), keepdims=True)
    estimates = np.where(silent, np.float32(_INAUDIBLE), estimates)  # museval refuses silence
    found = museval.evaluate(references, estimates, win=window, hop=window, mode="v4", padding=True)
    # in museval's own order: sdr, isr, sir, sar
    return BssEval(*(np.asarray(measure) for measure in found))
