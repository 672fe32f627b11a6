"""DCASE task 4 of 2025 and 2026: which of 18 kinds of sound are in a scene, and what does each sound like?

A scene is listened to for all kinds at once, as `sam-audio locate` does it; those whose highest probability is at least
0.8, and of these the three surest, are then asked for together. The threshold was chosen on made scenes of the bank's
valid split. Labels and stems are then measured as one: CA-SDRi in 2025, CAPI-SDRi in 2026, where several sources may be
of one kind and a scene may hold none. A prompt makes one stem, so that of two sources of a kind one is always missed.
In a second row the labels are given, as an upper bound of what naming them better would bring. The first of the four
channels is used, at the scene's own 32 kHz, and the dry sources are compared with as they are.

Nguyen et al.: Description and discussion on DCASE 2026 challenge task 4, 2026.
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from sam_audio.evaluation.bench.base import Bench, Scored, Tools, by_kind, summary
from sam_audio.evaluation.bench.measures import Labelled, ca_sdri, capi_sdri, count_labels
from sam_audio.evaluation.protocols import Row
from sam_audio.io import read_audio
from sam_audio.types import Samples

MOST_SOURCES = 3  # of a scene
SAID = 0.8  # highest probability from which on a kind is said to be there
# class of the challenge -> what is asked for
WORDS = {
    "AlarmClock": "alarm clock ringing",
    "BicycleBell": "bicycle bell",
    "Blender": "blender",
    "Buzzer": "buzzer",
    "Clapping": "clapping",
    "Cough": "coughing",
    "CupboardOpenClose": "cupboard opening and closing",
    "Dishes": "dishes clattering",
    "Doorbell": "doorbell",
    "FootSteps": "footsteps",
    "HairDryer": "hair dryer",
    "MechanicalFans": "fan running",
    "MusicalKeyboard": "musical keyboard",
    "Percussion": "percussion",
    "Pour": "pouring water",
    "Speech": "speech",
    "Typing": "keyboard typing",
    "VacuumCleaner": "vacuum cleaner",
}
_PLACES = (
    "",
    "synthesized/test",
    "dev_set/synthesized/test",
    "data/dev_set/synthesized/test",
    "dev_set/test",
    "test",
)


@dataclass(frozen=True)
class Scene:
    """A mixture, and the label and file of each source in it."""

    mixture: Path
    sources: tuple[tuple[str, Path], ...]


class Dcase(Bench):
    """One year's challenge.

    Args:
        year: of the challenge.
        measure: what it calls its measure.
        measured: that measure of (estimates, references, mixture).
    """

    layout = "soundscape/NAME.wav and oracle_target/NAME_LABEL.wav or NAME_NUMBER_LABEL.wav, as the test set has it"

    def __init__(
        self,
        year: int,
        measure: str,
        measured: Callable[[Sequence[Labelled], Sequence[Labelled], Samples], float],
    ) -> None:
        self.name = f"dcase{year}"
        self._measure, self._measured = measure, measured

    def items(self, root: Path) -> list[Scene]:
        place = next((root / p for p in _PLACES if (root / p / "soundscape").is_dir()), None)
        if place is None or not (place / "oracle_target").is_dir():
            raise self.refusal(root)
        sources: dict[str, list[tuple[str, Path]]] = defaultdict(list)
        names = {path.stem: path for path in sorted((place / "soundscape").glob("*.wav"))}
        for path in sorted((place / "oracle_target").glob("*.wav")):
            match = re.fullmatch(r"(.+?)(?:_(\d+))?_([A-Za-z]+)", path.stem)
            if match is None or match[3] not in WORDS:
                raise self.refusal(
                    root, f" (oracle_target/{path.name} names none of the {len(WORDS)} classes)"
                )
            # a scene's own name may end in a number
            scene = match[1] if match[1] in names or match[2] is None else f"{match[1]}_{match[2]}"
            sources[scene].append((match[3], path))
        strays = sources.keys() - names.keys()
        if strays or not names:
            raise self.refusal(root, f" (no soundscape/{min(strays)}.wav)" if strays else "")
        return [Scene(path, tuple(sources[name])) for name, path in names.items()]

    def measure(self, item: Scene, tools: Tools) -> list[Scored]:
        mixture, rate = _first_channel(item.mixture)
        references = [
            (label, _as_long(_first_channel(path)[0], len(mixture))) for label, path in item.sources
        ]
        true = list(dict.fromkeys(label for label, _ in references))
        return [
            self._scored("labels predicted", heard(mixture, rate, tools), references, mixture, rate, tools),
            self._scored("labels given", true, references, mixture, rate, tools),
        ]

    def _scored(
        self,
        what: str,
        labels: Sequence[str],
        references: Sequence[Labelled],
        mixture: Samples,
        rate: int,
        tools: Tools,
    ) -> Scored:
        stems = tools.stems(mixture, rate, [WORDS[label] for label in labels]) if labels else ()
        estimates = list(zip(labels, stems, strict=False))  # what is left of the mixture has no label
        counts = count_labels(labels, [label for label, _ in references])
        return Scored(
            what,
            {
                self._measure: self._measured(estimates, references, mixture),
                "right": float(counts.right),
                "found": counts.found,
                "made up": counts.made_up,
                "missed": counts.missed,
            },
        )

    def rows(self, scored: Sequence[Scored]) -> list[Row]:
        rows: list[Row] = []
        for what, measured in by_kind(scored).items():
            total = {name: sum(one[name] for one in measured) for name in ("found", "made up", "missed")}
            of_sources = total["found"] / sum(total.values()) if sum(total.values()) else float("nan")
            kept = [
                {self._measure: one[self._measure], "accuracy (scenes)": one["right"]} for one in measured
            ]
            row = summary(what, kept, np.mean)
            rows.append({**row, "accuracy (sources)": of_sources})
        return rows


def heard(mixture: Samples, rate: int, tools: Tools) -> list[str]:
    """The classes that are heard, of all that the challenge knows; the surest first."""
    with tempfile.TemporaryDirectory(prefix="sam-audio-bench-") as folder:
        path = Path(folder, "scene.wav")
        soundfile.write(path, mixture, rate, subtype="FLOAT")
        peaks = tools.locator.activity(path, list(WORDS.values())).max(axis=1)
    sure = dict(zip(WORDS, peaks.tolist(), strict=True))
    said = sorted((label for label in sure if sure[label] >= SAID), key=lambda label: -sure[label])
    return said[:MOST_SOURCES]


def _first_channel(path: Path) -> tuple[Samples, int]:
    samples, rate = read_audio(path)
    return samples[0], rate


def _as_long(samples: Samples, n: int) -> Samples:
    return np.pad(samples[:n], (0, max(0, n - len(samples))))


BENCHES = [Dcase(2025, "CA-SDRi", ca_sdri), Dcase(2026, "CAPI-SDRi", capi_sdri)]
