"""Divide and Remaster (DnR) version 2: soundtracks into speech, music and effects.

Speech and music are asked for by these words in one call; effects are what they leave of the mixture, since anything
else may be one. SI-SDR is averaged over the soundtracks of the test part, as the cocktail-fork paper does; SDR has
nothing forgiven, as Bandit reports it.

Petermann et al.: The cocktail fork problem, 2022. Watcharasupat et al.: A generalized bandsplit neural network for
cinematic audio source separation, 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sam_audio.evaluation.bench.base import Bench, Scored, Tools, cut_alike, summary
from sam_audio.evaluation.bench.measures import si_sdr, snr
from sam_audio.evaluation.protocols import Row
from sam_audio.io import read_audio

STEMS = ("speech", "music", "sfx")
_MIX = "mix"


class Dnr(Bench):
    """The test part."""

    name = "dnr"
    layout = "tt/NUMBER/{mix,speech,music,sfx}.wav, as DnR version 2 has it"

    def items(self, root: Path) -> list[Path]:
        test = next((place for place in (root / "tt", root / "dnr_v2/tt") if place.is_dir()), root)
        tracks = sorted(path.parent for path in test.glob(f"*/{_MIX}.wav"))
        missing = [track / f"{stem}.wav" for track in tracks for stem in STEMS]
        missing = [path for path in missing if not path.is_file()]
        if not tracks or missing:
            raise self.refusal(root, f" (no {missing[0].relative_to(root)})" if missing else "")
        return tracks

    def measure(self, item: Path, tools: Tools) -> list[Scored]:
        mixture, rate = read_audio(item / f"{_MIX}.wav")
        references = [read_audio(item / f"{stem}.wav")[0] for stem in STEMS]
        mixture, *references = (sound.mean(axis=0) for sound in cut_alike(mixture, *references))
        estimates = tools.stems(mixture, rate, ["speech", "music"])
        return [
            Scored(
                stem,
                {
                    "SI-SDR": si_sdr(estimate, reference),
                    "SI-SDRi": si_sdr(estimate, reference) - si_sdr(mixture, reference),
                    "SDR": snr(estimate, reference),
                },
            )
            for stem, estimate, reference in zip(STEMS, estimates, references, strict=True)
            if reference.any()  # a soundtrack without one of the three has no ratio for it
        ]

    def rows(self, scored: Sequence[Scored]) -> list[Row]:
        return [*super().rows(scored), summary("average", [one.measures for one in scored], np.mean)]


BENCHES = [Dnr()]
