"""AudioSep's evaluation sets: mixtures of two recordings, the first asked for in words.

Its repository has the lists (``evaluation/metadata/NAME_eval.csv``), its download the sounds
(``evaluation/data/NAME``). Everything is measured at 32 kHz, mono: SDRi (the SDR of the stem less that of the mixture)
and SI-SDR, not its improvement. ESC-50, AudioCaps, Clotho and VGGSound are averaged over mixtures, MUSIC over the
means of its classes, AudioSet over the medians of its classes.

Liu et al.: Separate anything you describe, 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam_audio.evaluation.bench.base import (
    Bench,
    Scored,
    Tools,
    by_kind,
    cut_alike,
    read_mono,
    summary,
)
from sam_audio.evaluation.bench.measures import sdr, si_sdr
from sam_audio.evaluation.folders import Folder, Line, table
from sam_audio.evaluation.protocols import Row

SAMPLE_RATE = 32_000

_Average = Callable[[np.ndarray], object]


@dataclass(frozen=True)
class Pair:
    """A mixture, what is asked of it, and the source that answers."""

    mixture: Path
    source: Path
    caption: str


class AudioSep(Bench):
    """One of the sets.

    Args:
        name: as AudioSep spells it.
        within: how the mixtures of one caption are averaged before the captions are; None averages over mixtures.
    """

    def __init__(self, name: str, within: _Average | None = None) -> None:
        self.name, self._set, self._within = f"audiosep-{name}", name, within
        files = _FILES.get(name, "segment-0.wav and mixture-0.wav")
        self.layout = f"{name}_eval.csv and {files}, as in AudioSep's evaluation folder"

    def items(self, root: Path) -> list[Pair]:
        folder = Folder(root, self._set)
        name = f"{self._set}_eval.csv"
        if name not in folder.files:
            raise self.refusal(root, f" (no {name})")
        places = [root / "data" / self._set, root / "evaluation/data" / self._set, root / self._set, root]
        sounds = next(place for place in places if place.is_dir())
        read = {"vggsound": _vggsound, "audioset": _audioset}.get(self._set, _numbered)
        columns = ["mix_wav", "s0_wav", "s0_text"] if self._set == "vggsound" else ["idx", "caption"]
        pairs = [read(line, sounds) for line in table(folder.annotation(name), columns)]
        if not any(pair.mixture.is_file() for pair in pairs):
            first = f", the first being {pairs[0].mixture.relative_to(root)}" if pairs else ""
            raise self.refusal(root, f" (none of its {len(pairs)} mixtures is there{first})")
        return pairs

    def measure(self, item: Pair, tools: Tools) -> list[Scored]:
        mixture, source = cut_alike(*(read_mono(path, SAMPLE_RATE) for path in (item.mixture, item.source)))
        stem = tools.stems(mixture, SAMPLE_RATE, [item.caption])[0]
        gain = sdr(stem, source) - sdr(mixture, source)
        return [Scored(item.caption, {"SDRi": gain, "SI-SDR": si_sdr(stem, source)})]

    def rows(self, scored: Sequence[Scored]) -> list[Row]:
        measured = [one.measures for one in scored]
        if self._within is None:
            return [summary("all", measured, np.mean)]
        classes = by_kind(scored)
        averages = [summary(what, those, self._within) for what, those in classes.items()]
        row = summary("all", [{k: _number(a[k]) for k in ("SDRi", "SI-SDR")} for a in averages], np.mean)
        return [{**row, "n": len(measured)}]


_FILES = {
    "vggsound": "data/mix_wav and data/s0_wav",
    "audioset": "class_id=0/class_id=0,index=000,mixture.wav",
}


def _number(value: object) -> float:
    return float("nan") if value is None else float(value)  # type: ignore[arg-type]


def _numbered(line: Line, sounds: Path) -> Pair:
    number = line["idx"]
    return Pair(sounds / f"mixture-{number}.wav", sounds / f"segment-{number}.wav", line["caption"])


def _vggsound(line: Line, sounds: Path) -> Pair:
    return Pair(sounds / line["mix_wav"], sounds / line["s0_wav"], line["s0_text"])


def _audioset(line: Line, sounds: Path) -> Pair:
    # the columns of both files hold a path from the repository's root, of which the last two parts are ours
    source, mixture = ("/".join(line[column].split("/")[-2:]) for column in ("src_wav", "noise_wav"))
    return Pair(sounds / mixture, sounds / source, line["caption"])


BENCHES = [
    AudioSep("esc50"),
    AudioSep("audiocaps"),
    AudioSep("vggsound"),
    AudioSep("music", np.mean),
    AudioSep("audioset", np.median),
    AudioSep("clotho"),
]
