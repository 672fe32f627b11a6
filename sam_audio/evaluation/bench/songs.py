"""MUSDB18-HQ and MoisesDB: whole songs into stems, BSS Eval version 4 in windows of a second.

SDR of a song is the median over its windows, of the set the median over its songs, as the field reports it since the
2018 evaluation campaign; uSDR beside it is the SDR of whole songs with nothing forgiven, averaged over songs, as the
Music Demixing Challenge has it. Songs stream through the separator, stereo and at their own rate; all stems are asked
in one call, and "other" is what they leave of the mixture, since it is no sound that could be asked for.
"""

from __future__ import annotations

import json
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from sam_audio.errors import AudioReadError
from sam_audio.evaluation.bench.base import Bench, Scored, Tools, by_kind, summary
from sam_audio.evaluation.bench.measures import bss_eval, snr
from sam_audio.evaluation.protocols import Row
from sam_audio.io import open_audio
from sam_audio.types import Samples

OTHER = "other"


class Song(NamedTuple):
    """The file of a mixture, its stems by name, (T, C) each, "other" last, and their rate in Hz."""

    mixture: Path
    references: dict[str, Samples]
    sample_rate: int


class Songs(Bench):
    """Songs whose stems sum to them."""

    @abstractmethod
    def opened(self, item: Any) -> AbstractContextManager[Song]:
        """A song, whose files may go away afterwards."""

    def measure(self, item: Any, tools: Tools) -> list[Scored]:
        with self.opened(item) as (mixture, references, rate):
            asked = [name for name in references if name != OTHER]
            with tools.streamed(mixture, asked) as parts:
                # a stem that is digital silence throughout has no ratio, and museval takes none
                kept = [name for name, reference in references.items() if reference.any()]
                true = np.stack([references[name] for name in kept])
                rows = [len(asked) if name == OTHER else asked.index(name) for name in kept]
                estimates = parts[rows, : true.shape[1]]
                frames = bss_eval(estimates, true, rate)
                return [
                    Scored(name, {"SDR": _median(values), "uSDR": snr(estimate, reference)})
                    for name, values, estimate, reference in zip(
                        kept, frames.sdr, estimates, true, strict=True
                    )
                ]

    def rows(self, scored: Sequence[Scored]) -> list[Row]:
        rows: list[Row] = []
        for what, measured in by_kind(scored).items():
            medians, means = (summary(what, measured, average) for average in (np.median, np.mean))
            rows.append({**medians, "uSDR": means["uSDR"]})
        defined = [{k: v for k, v in row.items() if isinstance(v, float)} for row in rows]
        return [*rows, summary("average", defined, np.mean)]


def _median(values: Samples) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else float("nan")


class Musdb(Songs):
    """MUSDB18-HQ's test songs."""

    name = "musdb18hq"
    layout = "test/SONG/{mixture,drums,bass,other,vocals}.wav, as MUSDB18-HQ has it"
    STEMS = ("drums", "bass", "vocals", OTHER)

    def items(self, root: Path) -> list[Path]:
        test = root / "test" if (root / "test").is_dir() else root
        songs = sorted(path.parent for path in test.glob("*/mixture.wav"))
        missing = [song / f"{stem}.wav" for song in songs for stem in self.STEMS]
        missing = [path for path in missing if not path.is_file()]
        if not songs or missing:
            found = f" (no {missing[0].relative_to(root)})" if missing else ""
            raise self.refusal(root, found)
        return songs

    @contextmanager
    def opened(self, item: Path) -> Iterator[Song]:
        mixture = item / "mixture.wav"
        with open_audio(mixture) as reader:
            rate = reader.sample_rate
        yield Song(mixture, {name: _stem([item / f"{name}.wav"], rate) for name in self.STEMS}, rate)


@dataclass(frozen=True)
class Multitrack:
    """A song of MoisesDB: the files of each stem that is measured."""

    stems: dict[str, list[Path]]


class Moises(Songs):
    """MoisesDB in six stems; a song is measured in those of them that it has."""

    name = "moisesdb"
    layout = "moisesdb_v0.1/SONG/data.json beside a folder for each stem, as MoisesDB has it"
    STEMS = ("vocals", "bass", "drums", "guitar", "piano")

    def items(self, root: Path) -> list[Multitrack]:
        descriptions = sorted(root.glob("moisesdb_v0.1/*/data.json")) or sorted(root.glob("*/data.json"))
        if not descriptions:
            raise self.refusal(root)
        return [self._song(root, path) for path in descriptions]

    def _song(self, root: Path, path: Path) -> Multitrack:
        stems: dict[str, list[Path]] = {}
        try:
            for stem in json.loads(path.read_text(encoding="utf-8"))["stems"]:
                kind = str(stem["stemName"])
                name = kind if kind in self.STEMS else OTHER
                for track in stem["tracks"]:
                    stems.setdefault(name, []).append(
                        path.parent / _plain(kind) / f"{_plain(track['id'])}.{_plain(track['extension'])}"
                    )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise self.refusal(root, f" ({path.relative_to(root)} lists no stems with tracks)") from None
        ordered = [name for name in (*self.STEMS, OTHER) if name in stems]
        return Multitrack({name: stems[name] for name in ordered})

    @contextmanager
    def opened(self, item: Multitrack) -> Iterator[Song]:
        files = [path for paths in item.stems.values() for path in paths]
        with open_audio(files[0]) as reader:
            rate = reader.sample_rate
        references = {name: _stem(paths, rate) for name, paths in item.stems.items()}
        longest = max(len(samples) for samples in references.values())
        for name, samples in references.items():
            references[name] = np.pad(samples, ((0, longest - len(samples)), (0, 0)))
        with tempfile.TemporaryDirectory(prefix="sam-audio-bench-") as folder:
            mixture = Path(folder, "mixture.wav")
            soundfile.write(mixture, sum(references.values()), rate, subtype="FLOAT")
            yield Song(mixture, references, rate)


def _plain(name: object) -> str:
    """A part of a path that stays where it is put.

    Raises:
        ValueError: it leads elsewhere.
    """
    if not isinstance(name, str) or not name or name in (".", "..") or "/" in name or "\\" in name:
        raise ValueError("not the name of a file")
    return name


def _stem(paths: Sequence[Path], sample_rate: int) -> Samples:
    """The sum of some files, (T, C), as long as the longest; mono ones sound on both sides.

    Raises:
        AudioReadError: one cannot be read, or is at another rate.
    """
    total = np.zeros((0, 2), np.float32)
    for path in paths:
        with open_audio(path) as reader:
            if reader.sample_rate != sample_rate:
                raise AudioReadError(
                    f"{path.name} is at {reader.sample_rate} Hz and the rest of its song at {sample_rate} Hz: "
                    "convert it"
                )
            samples = np.concatenate(list(reader.blocks(1 << 18)), axis=1)[:2].T
        n = max(len(total), len(samples))
        total = np.pad(total, ((0, n - len(total)), (0, 0)))
        total[: len(samples)] += samples
    return total


BENCHES = [Musdb(), Moises()]
