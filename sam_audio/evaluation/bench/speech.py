"""WHAM! and LibriMix: two people talk at once, read by asteroid's data classes.

The benchmarks are blind: whoever talks, both voices are wanted. Words can only tell them apart by what they say about a
voice, so the two stems are "man speaking" and "woman speaking", asked in one call and put to the speakers in the order
that suits them best, as the benchmarks allow. Two men, or two women, cannot be told apart by words at all: about half
of the mixtures are of that kind, and there the figure can hardly be above 0 dB. That is what prompts can do honestly;
blind separators are far above it.

Cosentino et al.: LibriMix, 2020. Wichern et al.: WHAM!, 2019.
"""

from __future__ import annotations

import csv
import json
import tempfile
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from sam_audio.errors import AudioReadError, MissingExtraError
from sam_audio.evaluation.bench.base import Bench, Scored, Tools
from sam_audio.evaluation.bench.measures import best_order, si_sdr
from sam_audio.types import Samples

ASKED = ["man speaking", "woman speaking"]


class Voices(Bench):
    """Mixtures of two voices; items are (data set of asteroid, index, rate in Hz)."""

    def measure(self, item: tuple[Any, int, int], tools: Tools) -> list[Scored]:
        data, index, rate = item
        try:
            mixture, sources = (np.asarray(sound, np.float32) for sound in data[index])
        except (soundfile.SoundFileError, OSError, ValueError) as error:
            raise AudioReadError(f"mixture {index} of {self.name} cannot be read: {error}") from None
        estimates = tools.stems(mixture, rate, ASKED)[:-1]
        return [Scored("two voices", {"SI-SDRi": gained(estimates, sources, mixture)})]


def gained(estimates: Samples, sources: Samples, mixture: Samples) -> float:
    """Mean improvement of SI-SDR over the voices, means removed, in the best order; (N, T), (N, T), (T,)."""
    estimates, sources, mixture = (x - x.mean(axis=-1, keepdims=True) for x in (estimates, sources, mixture))
    order = best_order(estimates, sources)
    return float(
        np.mean(
            [
                si_sdr(estimates[chosen], source) - si_sdr(mixture, source)
                for chosen, source in zip(order, sources, strict=True)
            ]
        )
    )


class Wham(Voices):
    """WHAM! without its noise (WSJ0-2mix): task sep_clean, 8 kHz, the shorter length."""

    name = "wham"
    layout = "wav8k/min/tt/{mix_clean,s1,s2}, as WHAM! has it"

    def items(self, root: Path) -> list[tuple[Any, int, int]]:
        places = [root / "wav8k/min/tt", root / "min/tt", root / "tt", root]
        test = next((place for place in places if (place / "mix_clean").is_dir()), None)
        if test is None:
            raise self.refusal(root)
        lists: dict[str, list[tuple[str, int]]] = {}
        for kind in ("mix_clean", "s1", "s2"):
            sounds = sorted((test / kind).glob("*.wav"))
            lists[kind] = [(str(path), soundfile.info(path).frames) for path in sounds]
        names = {kind: [Path(path).name for path, _ in files] for kind, files in lists.items()}
        if not names["mix_clean"] or not names["mix_clean"] == names["s1"] == names["s2"]:
            raise self.refusal(root, " (mix_clean, s1 and s2 hold different files)")
        rate = soundfile.info(lists["mix_clean"][0][0]).samplerate
        with tempfile.TemporaryDirectory(prefix="sam-audio-bench-") as folder, redirect_stdout(StringIO()):
            for kind, files in lists.items():
                Path(folder, f"{kind}.json").write_text(json.dumps(files), encoding="utf-8")
            data = _asteroid().WhamDataset(folder, "sep_clean", sample_rate=rate, segment=None)
        return [(data, index, rate) for index in range(len(data))]


class LibriMix(Voices):
    """Libri2Mix's test part: task sep_clean."""

    name = "librimix"
    layout = (
        "metadata/mixture_test_mix_clean.csv beside test/{mix_clean,s1,s2}, as Libri2Mix/wav8k/min has it"
    )

    def items(self, root: Path) -> list[tuple[Any, int, int]]:
        lists = sorted(root.glob("**/metadata/mixture_test_mix_clean.csv"))
        if not lists:
            raise self.refusal(root)
        place = lists[0].parent.parent
        with lists[0].open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        columns = ("mixture_path", "source_1_path", "source_2_path")
        if not rows or any(column not in rows[0] for column in columns):
            raise self.refusal(root, f" ({lists[0].name} has no columns {', '.join(columns)})")
        for row in rows:
            for column in columns:  # they hold paths of the machine on which the mixtures were made
                row[column] = str(place.joinpath(*Path(row[column]).parts[-3:]))
        missing = next((row[c] for row in rows for c in columns if not Path(row[c]).is_file()), None)
        if missing is not None:
            raise self.refusal(root, f" (no {Path(missing).relative_to(root)})")
        rate = soundfile.info(rows[0]["mixture_path"]).samplerate
        with tempfile.TemporaryDirectory(prefix="sam-audio-bench-") as folder:
            with Path(folder, lists[0].name).open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            data = _asteroid().LibriMix(folder, "sep_clean", sample_rate=rate, n_src=2, segment=None)
        return [(data, index, rate) for index in range(len(data))]


@cache
def _asteroid() -> Any:
    try:
        from asteroid import data
    except ImportError:
        raise MissingExtraError(
            "WHAM! and LibriMix are read by asteroid, which is not installed", "train"
        ) from None
    return data


BENCHES = [Wham(), LibriMix()]
