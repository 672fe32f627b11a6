"""WebDataset shards: tar files of samples, written whole, and streamed from a disk or by URL.

A sample is a few files with one name and an extension each: ``000042.flac``, ``000042.json``. The order of samples
depends on the seed alone; a position says how far one is, and reading goes on from there after a few shards at most,
however long the training has run.
"""

from __future__ import annotations

import io
import json
import logging
import random
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from zlib import crc32

import numpy as np

from sam_audio.errors import UserError
from sam_audio.io.target import whole_file

log = logging.getLogger(__name__)

Sample = dict[str, Any]  # "__key__", and bytes by extension
Position = dict[str, int]
T = TypeVar("T")

ATTEMPTS, WAIT_S, TIMEOUT_S = 4, 1.0, 60.0


def expand(names: str | Sequence[str]) -> list[str]:
    """The shards that are meant: folders (all .tar files in them), paths and URLs, with braces as in ``{000..041}``.

    Raises:
        UserError: there are none, or a URL is not one of http.
    """
    import braceexpand

    shards: list[str] = []
    for name in [names] if isinstance(names, str) else names:
        for one in braceexpand.braceexpand(name) if "{" in name else [name]:
            scheme = one.partition("://")[0] if "://" in one else ""
            if scheme in ("http", "https"):
                shards.append(one)
            elif scheme or one.startswith("pipe:"):
                raise UserError(f"{one} cannot be read: name files, folders, or http URLs")
            elif Path(one).is_dir():
                shards += sorted(str(path) for path in Path(one).glob("*.tar"))
            elif Path(one).is_file():
                shards.append(one)
            else:
                raise UserError(f"there is no shard {one}: make some with sam-audio data shard")
    if not shards:
        raise UserError(f"there are no .tar files in {names}: make some with sam-audio data shard")
    return shards


def read_shard(url: str) -> list[Sample]:
    """All samples of a shard, undecoded, in order.

    Raises:
        UserError: it cannot be read, by URL also after some attempts.
    """
    import webdataset as wds

    remote = "://" in url
    for attempt in range(ATTEMPTS if remote else 1):
        if attempt:
            time.sleep(WAIT_S * 2 ** (attempt - 1))
        try:
            # not webdataset's own opening, which hands URLs to a shell
            file: Any = urllib.request.urlopen(url, timeout=TIMEOUT_S) if remote else open(url, "rb")  # noqa: SIM115
            with closing(file):
                files = wds.tariterators.tar_file_iterator(file, handler=wds.handlers.reraise_exception)
                return [
                    {k: v for k, v in sample.items() if k != "__url__"}
                    for sample in wds.tariterators.group_by_keys(dict(f, __url__=url) for f in files)
                ]
        except (OSError, EOFError, ValueError, ImportError) as error:
            problem = error
        except Exception as error:  # tarfile.ReadError, and what webdataset makes of it
            problem = error  # type: ignore[assignment]
    raise UserError(f"{url} cannot be read ({problem}): check it, or leave it out")


class ShardStream:
    """Samples without end, shard after shard in a new order every time round.

    Args:
        shards: paths and URLs, see `expand`.
        rank, size: this reader's number among all readers. Each has its own shards; where there are fewer shards than
            readers, every reader goes through all of them and takes its own samples.
        mix: shards that are read together, and whose samples are shuffled together.
    """

    def __init__(self, shards: Sequence[str], seed: int, rank: int = 0, size: int = 1, mix: int = 4) -> None:
        self.shards, self.seed, self.rank, self.size, self.mix = list(shards), seed, rank, size, mix

    def samples(self, position: Mapping[str, int]) -> Iterator[tuple[Sample, Position]]:
        """Samples from a position on, each with the position after it and, as "__seed__", a number of its own."""
        epoch, group, start = (position.get(name, 0) for name in ("epoch", "group", "sample"))
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._group, epoch, group)
            empty = 0
            while True:
                samples = ahead.result()
                n_groups = len(self._plan(epoch))
                following = (epoch, group + 1) if group + 1 < n_groups else (epoch + 1, 0)
                ahead = reader.submit(self._group, *following)
                empty = 0 if samples else empty + 1
                if empty > n_groups:
                    raise UserError("the shards hold no samples: make them again with sam-audio data shard")
                for n in range(start, len(samples)):
                    key = f"{self.seed} {epoch} {samples[n]['__key__']}"
                    after = {"epoch": epoch, "group": group, "sample": n + 1}
                    yield {**samples[n], "__seed__": crc32(key.encode())}, after
                (epoch, group), start = following, 0

    def _plan(self, epoch: int) -> list[list[str]]:
        order = list(self.shards)
        random.Random(f"{self.seed} {epoch}").shuffle(order)
        if len(order) >= self.size:
            order = order[self.rank :: self.size]
        return [order[i : i + self.mix] for i in range(0, len(order), self.mix)]

    def _group(self, epoch: int, group: int) -> list[Sample]:
        samples = [sample for shard in self._plan(epoch)[group] for sample in read_shard(shard)]
        random.Random(f"{self.seed} {epoch} {group}").shuffle(samples)
        return samples if len(self.shards) >= self.size else samples[self.rank :: self.size]


def decoded(
    samples: Iterable[tuple[Sample, Position]],
    decode: Callable[[Sample, np.random.Generator], T | None],
    workers: int,
) -> Iterator[tuple[T, Position]]:
    """What ``decode`` makes of samples, in their order, some in advance in threads.

    Args:
        decode: gets random numbers that depend on the sample alone; None, or an error, leaves a sample out.
    """

    def work(sample: Sample) -> T | None:
        try:
            return decode(sample, np.random.default_rng(sample["__seed__"]))
        except (ValueError, OSError, RuntimeError, KeyError, UserError) as error:
            log.warning("sample %s left out: %s", sample["__key__"], error)
            return None

    waiting: deque[tuple[Future[T | None], Position]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for sample, position in samples:
            waiting.append((pool.submit(work, sample), position))
            if len(waiting) > 4 * workers:
                future, after = waiting.popleft()
                if (made := future.result()) is not None:
                    yield made, after
        for future, after in waiting:
            if (made := future.result()) is not None:
                yield made, after


def batched(items: Iterable[tuple[T, Position]], n: int) -> Iterator[tuple[list[T], Position]]:
    """Lists of ``n`` items, with the position after the last of them."""
    held: list[T] = []
    for item, position in items:
        held.append(item)
        if len(held) == n:
            yield held, position
            held = []


# ---- writing -------------------------------------------------------------------------------------------


def write_shard(path: Path, samples: Iterable[Mapping[str, Any]]) -> None:
    """Writes one shard; the same samples always give the same bytes.

    Args:
        samples: "__key__", and by extension bytes, or anything that JSON can hold.
    """
    with whole_file(path) as file:
        write_samples(file, samples)


def write_samples(file: BinaryIO, samples: Iterable[Mapping[str, Any]]) -> None:
    import webdataset as wds

    with wds.TarWriter(file, encoder=False, mtime=0, user="nobody", group="nobody") as tar:
        for sample in samples:
            tar.write({name: _bytes(name, value) for name, value in sample.items()})


def _bytes(name: str, value: Any) -> Any:
    if name.startswith("__") or isinstance(value, bytes):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True).encode()


def flac(samples: np.ndarray, sample_rate: int) -> bytes:
    """Sound (channels, T), float32, as FLAC of 16 bits."""
    import soundfile

    held = io.BytesIO()
    soundfile.write(held, samples.T, sample_rate, format="FLAC", subtype="PCM_16")
    return held.getvalue()
