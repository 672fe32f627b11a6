"""The two steps of the data engine: captions of clips, and shards of those worth learning from.

    clips -> weak captions, with confidences -> a writer -> three captions -> captions.jsonl
    captions.jsonl -> no near-duplicates, nothing that disagrees with its sound, domains balanced -> shards, parquet

A line of captions.jsonl is written when its clip is finished, and a clip that has a line is not looked at again: the
engine can be killed at any time.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from sam_audio.errors import UserError
from sam_audio.extending.hookspecs import Captioner
from sam_audio.io.target import whole_file
from sam_audio.training.captions.clips import SAMPLE_RATE, Clip
from sam_audio.training.captions.writers import Writer
from sam_audio.training.data.samples import KINDS, About, Said
from sam_audio.training.data.shards import flac, write_shard

log = logging.getLogger(__name__)

CAPTIONS, TABLE, INDEX = "captions.jsonl", "captions.parquet", "shards.json"
PICTURE_SIDE, PICTURE_QUALITY = 256, 90
VALID_SHARE = 10  # of a hundred
STAGE_1 = "stage 1"  # by which refined captions keep those they were made from


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What captions.jsonl holds of a clip: where it is, what is said of it, and its vector; or what was wrong."""

    key: str
    path: str
    picture: str = ""
    about: About = About()
    vector: str = ""  # of the sound, float16 in base64
    problem: str = ""

    @property
    def direction(self) -> np.ndarray:
        return np.frombuffer(base64.b64decode(self.vector), np.float16).astype(np.float32)


# ---- captions ------------------------------------------------------------------------------------------


def caption(
    clips: Sequence[Clip], captioners: Sequence[Captioner], writer: Writer, out: Path
) -> Iterator[Line]:
    """Captions those clips that have no line yet; gives their lines as they are written."""
    from sam_audio.conditioning.embedding import load_embedder

    embedder = load_embedder()
    yield from _written(clips, lambda clip: describe(clip, captioners, writer, embedder), out)


def _written(clips: Sequence[Clip], describe: Callable[[Clip], Line], out: Path) -> Iterator[Line]:
    out.mkdir(parents=True, exist_ok=True)
    done = {line.key for line in read_lines(out)}
    with (out / CAPTIONS).open("ab") as file:
        for clip in clips:
            if clip.key in done:
                continue
            line = describe(clip)
            file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
            yield line


def describe(clip: Clip, captioners: Sequence[Captioner], writer: Writer, embedder: Any) -> Line:
    """One clip; what cannot be read has a line that says so, and is not tried again."""
    of = partial(Line, key=clip.key, path=clip.path, picture=clip.picture)
    try:
        sound, pictures = clip.sound(), clip.pictures()
    except UserError as error:
        return of(problem=str(error))
    if not sound.any():
        return of(problem="it is silent")
    weak: dict[str, list[Said]] = {}
    for one in captioners:
        sees = getattr(one, "pictures", False)
        given: Any = pictures if sees else sound
        if given is None:
            continue
        told = one.caption(given, 1 if sees else SAMPLE_RATE)
        said = [Said(c.text, one.name, round(c.confidence, 4)) for c in told]
        weak.setdefault("visual" if sees else "audio", []).extend(said)
    captions = writer.write(clip.label, weak)
    vector = embedder.embed_audio(sound[0]).astype(np.float16)  # as it is kept: stage 2 agrees with that
    agreement = None
    if "audio" in captions:
        agreement = _agreement(embedder, captions["audio"].text, vector)
    about = About(
        label=clip.label,
        category=clip.category,
        source=clip.source,
        licence=clip.licence,
        picture=clip.picture,
        captions=captions,
        weak=weak,
        agreement=agreement,
    )
    return of(about=about, vector=base64.b64encode(vector.tobytes()).decode())


class Refiner(Protocol):
    """Writes captions again; see `sam_audio.training.tasks.refine`."""

    def captions(self, sample: dict[str, Any]) -> dict[str, Said]: ...


def refine(clips: Sequence[Clip], folder: Path, refiner: Refiner, out: Path) -> Iterator[Line]:
    """Stage 2: captions of ``folder`` written again; those clips that have no line in ``out`` yet.

    What stage 1 said is kept among the weak captions.
    """
    from sam_audio.conditioning.embedding import load_embedder

    embedder = load_embedder()
    before = {line.key: line for line in read_lines(folder)}

    def again(clip: Clip) -> Line:
        line = before[clip.key]
        if line.problem or not line.about.captions:
            return line
        try:
            captions = refiner.captions(sample(line, clip))
        except UserError as error:
            return msgspec.structs.replace(line, problem=str(error))
        agreement = line.about.agreement
        if "audio" in captions:
            agreement = _agreement(embedder, captions["audio"].text, line.direction)
        weak = line.about.weak | {STAGE_1: list(line.about.captions.values())}
        about = msgspec.structs.replace(line.about, captions=captions, weak=weak, agreement=agreement)
        return msgspec.structs.replace(line, about=about)

    yield from _written([clip for clip in clips if clip.key in before], again, out)


def _agreement(embedder: Any, text: str, vector: np.ndarray) -> float:
    return round(float(embedder.embed_text([text])[0] @ vector.astype(np.float32)), 4)


def read_lines(folder: Path) -> list[Line]:
    """The lines of captions.jsonl. One that was cut off by a kill is cut out of the file.

    Raises:
        UserError: something else than the last line is no line of ours.
    """
    path = folder / CAPTIONS
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    try:
        return [msgspec.json.decode(line, type=Line) for line in whole.splitlines()]
    except msgspec.DecodeError as error:
        raise UserError(f"{path} is damaged ({error}): remove it and caption again") from None


# ---- what is worth learning from -----------------------------------------------------------------------


@dataclass(frozen=True)
class Filters:
    """What stays.

    Args:
        duplicate: two sounds whose vectors have at least this cosine are one, if their labels do not differ.
        agreement: the least cosine of an audio caption and its sound.
        most: clips of one category, in multiples of the mean over categories; 0 for no limit.
    """

    duplicate: float = 0.995
    agreement: float = 0.15
    most: float = 2.0


def chosen(lines: Sequence[Line], filters: Filters) -> tuple[list[Line], Counter[str]]:
    """Those that stay, by key, and how many were left out for what."""
    left: Counter[str] = Counter()
    kept: list[Line] = []
    vectors = np.zeros((len(lines), 0), np.float32)
    for line in sorted(lines, key=lambda line: line.key):
        about = line.about
        if line.problem:
            left["unreadable"] += 1
        elif not about.captions:
            left["nothing to say"] += 1
        elif about.agreement is not None and about.agreement < filters.agreement:
            left["caption disagrees with sound"] += 1
        else:
            vector = line.direction
            if vectors.shape[1] != len(vector):
                vectors = np.zeros((len(lines), len(vector)), np.float32)
            near = np.flatnonzero(vectors[: len(kept)] @ vector >= filters.duplicate)
            if any(kept[i].about.label == about.label for i in near):
                left["near-duplicate"] += 1
            else:
                vectors[len(kept)] = vector
                kept.append(line)
    groups: dict[str, list[Line]] = defaultdict(list)
    for line in kept:
        groups[line.about.category].append(line)
    if filters.most and groups:
        limit = max(1, round(filters.most * len(kept) / len(groups)))
        for name, members in groups.items():
            left["too many of a category"] += max(0, len(members) - limit)
            groups[name] = members[:limit]  # keys are hashes: their order is as good as drawing
    return sorted((line for members in groups.values() for line in members), key=lambda line: line.key), left


def split_of(line: Line, hold_out: Collection[str] = ()) -> str:
    """``valid`` or ``train``: by the recording, or by its source where sources are held out."""
    if hold_out:
        return "valid" if line.about.source in hold_out else "train"
    digest = hashlib.sha1(line.path.encode()).hexdigest()
    return "valid" if int(digest[:8], 16) % 100 < VALID_SHARE else "train"


# ---- shards --------------------------------------------------------------------------------------------


def shard(
    folder: Path,
    clips: Sequence[Clip],
    out: Path,
    filters: Filters,
    per_shard: int,
    hold_out: Collection[str] = (),
) -> dict[str, Any]:
    """Writes shards and a parquet table of what was captioned in ``folder``; returns the figures.

    A shard's name holds a digest of what is in it: one that is there already is right, and is not written again.

    Args:
        hold_out: sources whose clips are for validation, and all others to learn from; by the recording if there are
            none.

    Raises:
        UserError: nothing is left to write, or a source that is held out has no clips.
    """
    if unknown := sorted(set(hold_out) - {clip.source for clip in clips}):
        raise UserError(f"no clip is from {unknown[0]}: hold out a source that the table names")
    by_key = {clip.key: clip for clip in clips}
    lines = [line for line in read_lines(folder) if line.key in by_key]
    kept, left = chosen(lines, filters)
    if not kept:
        raise UserError(
            f"{folder} holds no captions of these clips that are worth keeping: see sam-audio data stats"
        )
    names: dict[str, list[str]] = {}
    for split in ("train", "valid"):
        members = [line for line in kept if split_of(line, hold_out) == split]
        place = out / split
        place.mkdir(parents=True, exist_ok=True)
        names[split] = []
        for start in range(0, len(members), per_shard):
            part = members[start : start + per_shard]
            digest = hashlib.sha1(msgspec.json.encode(part)).hexdigest()[:12]
            name = f"{start // per_shard:06d}-{digest}.tar"
            if not (place / name).exists():
                write_shard(place / name, (sample(line, by_key[line.key]) for line in part))
            names[split].append(name)
        for other in place.glob("*.tar"):
            if other.name not in names[split]:
                other.unlink()
    _write_table(out / TABLE, kept, hold_out)
    figures = {"clips": len(lines), "kept": len(kept), "left_out": dict(left), "shards": names}
    with whole_file(out / INDEX) as file:
        file.write(json.dumps(figures, indent=1).encode())
    return figures


def sample(line: Line, clip: Clip) -> dict[str, Any]:
    """A clip as `sam_audio.training.data.samples` reads it."""
    from PIL import Image

    made: dict[str, Any] = {
        "__key__": line.key,
        "flac": flac(clip.sound().clip(-1, 1), SAMPLE_RATE),
        "json": msgspec.json.encode(line.about, order="sorted"),
    }
    pictures = clip.pictures()
    for n, picture in enumerate(() if pictures is None else pictures):
        image = Image.fromarray(picture.transpose(1, 2, 0))
        image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
        held = io.BytesIO()
        image.save(held, "JPEG", quality=PICTURE_QUALITY)
        made[f"{n}.jpg"] = held.getvalue()
    return made


def _write_table(path: Path, lines: Sequence[Line], hold_out: Collection[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for line in lines:
        about = line.about
        row: dict[str, Any] = {
            "key": line.key,
            "path": line.path,
            "split": split_of(line, hold_out),
            **{name: getattr(about, name) for name in ("label", "category", "source", "licence", "picture")},
            "agreement": about.agreement,
        }
        for kind in KINDS:
            said = about.captions.get(kind)
            row |= {kind: said and said.text, f"{kind}_by": said and said.by}
        row["weak"] = msgspec.json.encode(about.weak).decode()
        rows.append(row)
    with whole_file(path) as file:
        pq.write_table(pa.Table.from_pylist(rows), file)


# ---- figures -------------------------------------------------------------------------------------------


def stats(folder: Path, filters: Filters) -> dict[str, Any]:
    """Figures of what was captioned: counts, what the filters leave out, and whether captions find their sounds."""
    lines = read_lines(folder)
    if not lines:
        raise UserError(f"{folder} holds no captions: make some with sam-audio data caption")
    kept, left = chosen(lines, filters)
    readable = [line for line in lines if not line.problem and "audio" in line.about.captions]
    agreeing = [line for line in readable if (line.about.agreement or 0) >= filters.agreement]
    return {
        "clips": len(lines),
        "kept": len(kept),
        "left_out": dict(left),
        "categories": dict(Counter(line.about.category or "none" for line in kept).most_common()),
        "captions": {kind: sum(kind in line.about.captions for line in kept) for kind in KINDS},
        "agreement": _quartiles([line.about.agreement or 0.0 for line in readable]),
        "retrieval_of_all": found_again(readable),
        "retrieval_after_the_agreement_filter": found_again(agreeing),
        "retrieval_of_as_many_at_random": found_again(
            sorted(readable, key=lambda line: line.key)[: len(agreeing)]
        ),
    }


def found_again(lines: Sequence[Line]) -> dict[str, float]:
    """Recall of sounds by their captions among these: a clip with the same caption is right too."""
    from sam_audio.conditioning.embedding import load_embedder
    from sam_audio.evaluation.metrics import ranks, recall_at

    if not lines:
        return {}
    texts = list(dict.fromkeys(line.about.captions["audio"].text for line in lines))
    right = [
        [i for i, line in enumerate(lines) if line.about.captions["audio"].text == text] for text in texts
    ]
    scores = load_embedder().embed_text(texts) @ np.stack([line.direction for line in lines]).T
    found = ranks(scores, right)
    return {
        "captions": len(texts),
        "clips": len(lines),
        **{f"R@{k}": recall_at(k, found) for k in (1, 5, 10)},
    }


def _quartiles(values: Sequence[float]) -> list[float]:
    return [round(float(v), 3) for v in np.quantile(values, (0, 0.25, 0.5, 0.75, 1))] if values else []


def per_minute(begun: float, n: int) -> float:
    return 60 * n / max(time.monotonic() - begun, 1e-9)
