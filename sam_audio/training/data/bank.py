"""The data bank: every recording decoded once to 48 kHz mono int16, memory-mapped.

One shard per package: ``NAME.i16`` (samples of all its clips, one after the other) and ``NAME.json`` (the
clips). A shard is written whole or not at all, so an interrupted build goes on where it stopped. Labels are
kept as the manifest spells them; cleaning happens when the bank is opened, so that it can be improved
without decoding again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from sam_audio.errors import MissingExtraError, UserError
from sam_audio.io import read_audio
from sam_audio.io.ffmpeg import find_ffmpeg
from sam_audio.io.target import whole_file
from sam_audio.training.data.collect import HELD_OUT, TRAIN_ONLY, Listed, by_package, locate, read_manifest

log = logging.getLogger(__name__)

SAMPLE_RATE = 48_000
PEAK = 0.9  # clips are stored with this peak: int16 then costs no audible resolution; levels are drawn when mixing
MIN_SECONDS = 0.04
MAX_SECONDS = {"music (mixed)": 45.0, "ambience/place": 60.0, "nature": 60.0, "speech": 15.0}
DEFAULT_MAX_SECONDS = 20.0
MAX_FILES_PER_LABEL = 400  # of one package: spoken prompts come by the thousand and sound alike
RAW_FORMATS = {".g722": ["-f", "g722"], ".gsm": ["-f", "gsm"]}  # headerless telephony files of asterisk
SILENCE_DB = -60.0


@dataclass(frozen=True)
class Clip:
    """One recording (or one stem of a rendered song) in a shard; offsets and lengths in samples."""

    key: str
    label: str
    category: str
    package: str
    path: str
    offset: int
    frames: int
    song: str = ""  # stems of one song are aligned and share this name
    gain: float = 1.0  # what brings the stored samples to their level in the song


def split_of(key: str) -> str:
    """``train``, ``valid`` (watched while training) or ``test`` (reported), by a hash of the recording.

    What was added later to train on only is never held out, so that held-out mixtures stay what they were.
    """
    if key.startswith(TRAIN_ONLY):
        return "train"
    if key.startswith(HELD_OUT):
        return "test"
    bucket = int(hashlib.sha1(key.encode()).hexdigest()[:8], 16) % 100
    return "test" if bucket < 7 else "valid" if bucket < 12 else "train"


def build_manifest_shards(data_dir: Path, bank_dir: Path, workers: int = 2) -> None:
    """Decodes every recording of the manifest into the bank, package by package; skips finished shards."""
    build_shards(read_manifest(data_dir / "manifest.tsv.gz"), data_dir, bank_dir, workers)


def build_shards(recordings: Iterable[Listed], data_dir: Path, bank_dir: Path, workers: int = 2) -> None:
    """Decodes recordings into the bank, package by package; skips finished shards.

    Recordings to train on only go into shards of their own, ``more-...``: a package may have both kinds.
    """
    jobs = [
        (name, recordings, data_dir, bank_dir)
        for (source, package), recordings in by_package(recordings).items()
        if not _shard_paths(bank_dir, name := _shard_name(source, package, recordings))[1].exists()
    ]
    jobs.sort(key=lambda job: -sum(r.seconds for r in job[1]))  # long ones first: the workers end together
    bank_dir.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        for name, n_clips in pool.map(_build_package, jobs):
            log.info("%s: %d clips", name, n_clips)


def _shard_name(source: str, package: str, recordings: list[Listed]) -> str:
    return f"{'more-' if recordings[0].train_only else ''}{source}-{package}"


def _build_package(job: tuple[str, list[Listed], Path, Path]) -> tuple[str, int]:
    name, recordings, data_dir, bank_dir = job
    source, package, version = recordings[0].source, recordings[0].package, recordings[0].version
    recordings = _limit_per_label(recordings)
    scratch = Path(tempfile.mkdtemp(prefix=".unpack-", dir=bank_dir))
    try:
        files = locate(source, package, [r.path for r in recordings], data_dir, scratch, version)
        with ShardWriter(bank_dir, name) as shard:
            for recording in recordings:
                limit = MAX_SECONDS.get(recording.category, DEFAULT_MAX_SECONDS)
                samples = decode(files[recording.path], limit) if recording.path in files else None
                if samples is not None:
                    shard.add(
                        samples, recording.key, recording.label, recording.category, package, recording.path
                    )
            return name, len(shard.clips)
    except Exception as error:  # one package that cannot be had must not end the build
        log.warning("%s left out: %s", name, error)
        return name, 0
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _limit_per_label(recordings: list[Listed]) -> list[Listed]:
    """Keeps at most MAX_FILES_PER_LABEL files of each label, chosen by hash so that it never changes."""
    ordered = sorted(recordings, key=lambda r: hashlib.sha1(r.key.encode()).digest())
    counts: dict[str, int] = {}
    kept = []
    for recording in ordered:
        counts[recording.label] = counts.get(recording.label, 0) + 1
        if counts[recording.label] <= MAX_FILES_PER_LABEL:
            kept.append(recording)
    return kept


def decode(path: Path, max_seconds: float) -> np.ndarray | None:
    """Reads a file as 48 kHz mono, trimmed of silence at both ends; None when nothing audible is in it."""
    try:
        samples, rate = _read(path)
    except (UserError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        log.debug("%s: %s", path, error)
        return None
    if samples.shape[1] > 1:
        mono = samples.mean(axis=1)
        # channels that cancel each other (wide stereo effects) would vanish: take one of them then
        left = samples[:, 0]
        samples = mono if np.square(mono).sum() > 0.25 * np.square(left).sum() else left
    else:
        samples = samples[:, 0]
    if len(samples) < rate * MIN_SECONDS or not np.isfinite(samples).all():
        return None
    samples = samples[: int(rate * max_seconds * 2)] - samples.mean()
    samples = soxr.resample(samples, rate, SAMPLE_RATE, "HQ")
    samples = _trim(samples)[: int(SAMPLE_RATE * max_seconds)]
    if len(samples) < SAMPLE_RATE * MIN_SECONDS:
        return None
    return samples.astype(np.float32)


def _read(path: Path) -> tuple[np.ndarray, int]:
    raw = RAW_FORMATS.get(path.suffix.lower())
    if raw is None:
        samples, rate = read_audio(path)
        return samples.T, rate
    program = find_ffmpeg()
    if program is None:
        raise MissingExtraError("telephony recordings need ffmpeg", "video", "install ffmpeg")
    command = [program, "-v", "error", *raw, "-i", str(path), "-f", "f32le", "-ac", "1", "-ar", "16000", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32)[:, None], 16_000


def _trim(samples: np.ndarray) -> np.ndarray:
    hop = SAMPLE_RATE // 100
    n_hops = len(samples) // hop
    if n_hops == 0:
        return samples
    level = np.square(samples[: n_hops * hop].reshape(n_hops, hop)).mean(axis=1)
    loud = np.flatnonzero(level > max(level.max() * 10 ** (SILENCE_DB / 10), 1e-10))
    if len(loud) == 0:
        return samples[:0]
    return samples[loud[0] * hop : (loud[-1] + 2) * hop]


def _shard_paths(bank_dir: Path, name: str) -> tuple[Path, Path]:
    return bank_dir / f"{shard_stem(name)}.i16", bank_dir / f"{shard_stem(name)}.json"


def shard_stem(name: str) -> str:
    """How files of a shard are named."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", name)


class ShardWriter:
    """Writes one shard; it appears when the block ends without an error."""

    def __init__(self, bank_dir: Path, name: str):
        bank_dir.mkdir(parents=True, exist_ok=True)
        self.samples_path, self.index_path = _shard_paths(bank_dir, name)
        self.clips: list[Clip] = []
        self._whole = ExitStack()
        self._offset = 0

    def __enter__(self) -> ShardWriter:
        self._samples = self._whole.enter_context(whole_file(self.samples_path))
        return self

    def add(
        self,
        samples: np.ndarray,
        key: str,
        label: str,
        category: str,
        package: str,
        path: str,
        song: str = "",
    ) -> None:
        """Appends float32 samples (frames,), scaled to full range."""
        peak = float(np.abs(samples).max())
        if not peak > 0:
            return
        (samples * (PEAK / peak * 32767)).round().astype(np.int16).tofile(self._samples)
        clip = Clip(key, label, category, package, path, self._offset, len(samples), song, peak / PEAK)
        self.clips.append(clip)
        self._offset += len(samples)

    def __exit__(self, *raised: Any) -> None:
        self._whole.__exit__(*raised)
        if raised[0] is None:  # last: a shard counts only once its index is there
            with whole_file(self.index_path) as index:
                index.write(json.dumps([asdict(clip) for clip in self.clips]).encode())


class Bank:
    """All shards of a folder, opened for reading.

    ``bank.clips`` lists the clips; ``bank.read(i, start, frames)`` gives float32 samples of clip ``i``.
    """

    def __init__(self, bank_dir: Path):
        self.clips: list[Clip] = []
        self._shard_of: list[int] = []
        self._shards: list[np.ndarray] = []
        for index_path in sorted(bank_dir.glob("*.json")):
            entries = json.loads(index_path.read_text(encoding="utf-8"))
            if not entries:
                continue
            self._shards.append(np.memmap(index_path.with_suffix(".i16"), np.int16, "r"))
            self.clips += [Clip(**entry) for entry in entries]
            self._shard_of += [len(self._shards) - 1] * len(entries)
        if not self.clips:
            raise UserError(f"{bank_dir} holds no recordings: fetch them with sam-audio train data")

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, clip_index: int, start: int = 0, frames: int | None = None) -> np.ndarray:
        """float32 samples (n,), n <= frames, at the stored (full) level."""
        clip = self.clips[clip_index]
        stop = clip.frames if frames is None else min(start + frames, clip.frames)
        shard = self._shards[self._shard_of[clip_index]]
        return shard[clip.offset + start : clip.offset + stop].astype(np.float32) * (1 / 32767)


@lru_cache(maxsize=1)
def opened(bank_dir: Path) -> Bank:
    """The bank as it was when this process first asked for it."""
    return Bank(bank_dir)


def add_at(out: np.ndarray, samples: np.ndarray, position: int) -> None:
    """Adds ``samples`` into ``out`` at ``position``; what lies outside is cut."""
    start, stop = max(position, 0), min(position + len(samples), len(out))
    if stop > start:
        out[start:stop] += samples[start - position : stop - position]


def build_song_shards(
    songs: Iterator[tuple[int, Sequence[tuple[str, np.ndarray]]]],
    bank_dir: Path,
    kind: str,
    per_shard: int = 40,
    package: str = "soundfonts",
) -> None:
    """Stores rendered songs: each an aligned list of (label, samples at their level in the song).

    ``package`` says what they were rendered from.
    """
    done = False
    while not done:
        batch = []
        for seed, stems in songs:
            batch.append((seed, stems))
            if len(batch) == per_shard:
                break
        else:
            done = True
        if not batch:
            return
        with ShardWriter(bank_dir, f"{kind}-{batch[0][0]:06d}") as shard:
            for seed, stems in batch:
                for label, samples in stems:
                    name = f"{kind}-{seed:06d}"
                    shard.add(samples, f"{kind}/{name}", label, "rendered music", package, name, name)
        log.info("%s up to seed %d", kind, batch[-1][0])
