"""What a benchmark is, what it may use, and the loop that runs one."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from judge.rank import Ranker
from judge.types import Judge
from sam_audio.api import Separator
from sam_audio.conditioning.embedding import Embedder
from sam_audio.conditioning.encode import encode
from sam_audio.conditioning.source import Recording
from sam_audio.errors import UserError
from sam_audio.evaluation.protocols import Evaluation, Row, Value, attempt, ensure_some
from sam_audio.finding.locate import Locator
from sam_audio.io import open_audio, read_audio
from sam_audio.prompts import resolve
from sam_audio.separation import Sink, run
from sam_audio.types import Block, Samples


@dataclass(frozen=True)
class Scored:
    """One thing that was measured: what it counts for, and its measures; NaN where one is not defined."""

    what: str
    measures: Mapping[str, float]


class Tools:
    """The models of a run, each loaded when it is first needed.

    Args:
        separator: what is measured.
        judge: name or path of what scores stems without a reference.
        encoder: name or path of the PE-AV that compares stems with texts.
        locator: name or path of what says which sounds are in a mixture.
        scorers: names of rankers that plugins bring: each gives one figure a stem, an aesthetics predictor for one.
    """

    def __init__(
        self,
        separator: Separator,
        judge: str = "nano",
        encoder: str = "nano",
        locator: str = "nano",
        scorers: Sequence[str] = (),
    ) -> None:
        self.separator = separator
        self._judge, self._encoder, self._locator = judge, encoder, locator
        self._scorers = tuple(scorers)

    @cached_property
    def judge(self) -> Judge:
        from sam_audio.selection.judging import load_judge

        return load_judge(self._judge, self.separator.device)

    @cached_property
    def embedder(self) -> Embedder:
        from sam_audio.conditioning.embedding import load_embedder

        return load_embedder(self._encoder, self.separator.device)

    @cached_property
    def locator(self) -> Locator:
        from sam_audio.finding.locate import load_locator

        return load_locator(self._locator, self.separator.device)

    @cached_property
    def scorers(self) -> dict[str, Ranker]:
        from sam_audio.extending.registry import registry

        named = {name: registry().get("rankers", name) for name in self._scorers}
        return {name: kind.load(self.separator.device) for name, kind in named.items()}

    def stems(self, samples: Samples, sample_rate: int, prompts: Sequence[str]) -> Samples:
        """All prompts in one call; (T,) -> (N + 1, T), what is left of the mixture last."""
        result = self.separator.separate(samples, list(prompts), sample_rate=sample_rate, judge=False)
        parts = [*result.stems.values(), result.residual]
        return np.stack([part.samples[0] for part in parts])

    @contextmanager
    def streamed(self, path: Path, prompts: Sequence[str]) -> Iterator[Samples]:
        """All prompts in one call, in constant memory: (N + 1, T, C), on disk as long as the block lasts."""
        model = self.separator.model
        with tempfile.TemporaryDirectory(prefix="sam-audio-bench-") as folder, open_audio(path) as reader:
            conditions = encode(resolve(list(prompts), None), Recording(path, model))
            kept = _OnDisk(Path(folder, "parts.f32"), len(conditions) + 1, reader.channels)
            run(model, conditions, reader, [kept])
            yield kept.parts()


class _OnDisk(Sink):
    """Parts in a file, sample after sample, so that they can be looked at without reading them."""

    def __init__(self, path: Path, n_parts: int, channels: int) -> None:
        self._path, self._shape = path, (n_parts, channels)
        self._file = path.open("wb")

    def write(self, block: Block) -> None:
        self._file.write(np.ascontiguousarray(np.moveaxis(block.parts, -1, 0), np.float32).tobytes())

    def parts(self) -> Samples:
        self._file.close()
        flat = np.memmap(self._path, np.float32, "r").reshape(-1, *self._shape)
        return np.moveaxis(flat, 0, 1)


class Bench(ABC):
    """A protocol: where its data lie, what is asked, and what is measured.

    Attributes:
        name: on the command line.
        layout: what its folder holds, as its authors distribute it.
    """

    name: str
    layout: str

    @abstractmethod
    def items(self, root: Path) -> list[Any]:
        """What there is to measure, from annotations and names alone; files that are missing are told of later.

        Raises:
            UserError: the folder is of another layout.
        """

    @abstractmethod
    def measure(self, item: Any, tools: Tools) -> list[Scored]:
        """Separates one item and measures it.

        Raises:
            UserError: a file of it cannot be read.
        """

    def rows(self, scored: Sequence[Scored]) -> list[Row]:
        """The table: means by default, one row each kind."""
        return [summary(what, those, np.mean) for what, those in by_kind(scored).items()]

    def refusal(self, root: Path, found: str = "") -> UserError:
        """For a folder of another layout."""
        return UserError(f"{root} is not {self.name}{found}: give the folder that holds {self.layout}")


def by_kind(scored: Iterable[Scored]) -> dict[str, list[Mapping[str, float]]]:
    """Measures by what they count for, in the order of their coming."""
    kinds: dict[str, list[Mapping[str, float]]] = {}
    for one in scored:
        kinds.setdefault(one.what, []).append(one.measures)
    return kinds


def summary(
    what: str, measured: Sequence[Mapping[str, float]], average: Callable[[np.ndarray], Any]
) -> dict[str, Value]:
    """A row: how many there are, and the average of each measure over those for which it is defined."""
    row: dict[str, Value] = {"what": what, "n": len(measured)}
    for name in dict.fromkeys(name for one in measured for name in one):
        values = np.array([one.get(name, np.nan) for one in measured])
        values = values[~np.isnan(values)]
        row[name] = float(average(values)) if len(values) else None
    return row


def evaluate(
    bench: Bench,
    root: Path,
    tools: Tools,
    limit: int | None = None,
    shown: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> Evaluation:
    """Runs a benchmark.

    Args:
        limit: at most so many items, evenly spread.
        shown: passes on the items, with a progress bar say.

    Raises:
        UserError: the folder is of another layout, or nothing in it can be read.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: give the one that holds {bench.layout}")
    items = bench.items(root)
    if limit is not None and limit < len(items):
        items = [items[i * len(items) // limit] for i in range(limit)]
    scored: list[Scored] = []
    unreadable: list[str] = []
    for item in shown(items):
        scored += attempt(partial(bench.measure, item, tools), unreadable) or []
    ensure_some(len(scored), unreadable)
    return Evaluation(bench.rows(scored), unreadable)


def read_mono(path: Path, sample_rate: int) -> Samples:
    """(T,) at a rate: channels are averaged first, as librosa does it."""
    samples, rate = read_audio(path)
    mono = samples.mean(axis=0, dtype=np.float32)
    return mono if rate == sample_rate else soxr.resample(mono, rate, sample_rate)


def cut_alike(*sounds: Samples) -> list[Samples]:
    """Sounds (..., T) cut to the shortest: files of one mixture may differ by a sample."""
    shortest = min(sound.shape[-1] for sound in sounds)
    return [sound[..., :shortest] for sound in sounds]
