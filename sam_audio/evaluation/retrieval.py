"""Does the right clip come first? Zero-shot retrieval in any direction between text, audio, video and two of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from sam_audio.errors import UserError
from sam_audio.evaluation.items import Item
from sam_audio.evaluation.metrics import ranks, recall_at
from sam_audio.evaluation.protocols import Evaluation, JointEncoder, Row, attempt, ensure_some

__all__ = ["DIRECTIONS", "directions_of", "embed_clip", "embed_texts", "evaluate"]

# "audio-video" is a video with its sound; "audio+text" a sound and a caption of it as one query
DIRECTIONS = {
    f"{query}-to-{candidate}": (query, candidate)
    for query, candidate in (
        ("text", "audio"),
        ("audio", "text"),
        ("text", "video"),
        ("video", "text"),
        ("audio", "video"),
        ("video", "audio"),
        ("text", "audio-video"),
        ("audio-video", "text"),
        ("audio+text", "video"),
        ("video+text", "audio"),
    )
}
AT = (1, 5, 10)
_BATCH = 256

# clip -> its vectors (n, D): one, or one for each of its captions where these are part of the query
Vectors = Mapping[int, np.ndarray]


def directions_of(items: Sequence[Item]) -> list[str]:
    """The directions that the data allow."""
    pictures = any(item.has_video for item in items)
    return [
        name for name, pair in DIRECTIONS.items() if pictures or not any("video" in side for side in pair)
    ]


def evaluate(embedder: JointEncoder, items: Iterable[Item], directions: Sequence[str]) -> Evaluation:
    """One row a direction: R@1, R@5, R@10 and the median rank.

    A clip may have several captions, and several clips one caption: then any of them is right. A caption together
    with a sound or a video is of that clip alone. Clips which lack a modality, or cannot be read, are in none of its
    directions; a direction without clips has no row.

    Args:
        items: clips with captions, or with labels, which then serve as captions.
        directions: of `DIRECTIONS`.

    Raises:
        UserError: nothing can be read, or video is asked for and there is none.
    """
    wanted = {modality for direction in directions for modality in DIRECTIONS[direction]} - {"text"}
    captions: list[list[str]] = []  # of each clip
    vectors: dict[str, dict[int, np.ndarray]] = {modality: {} for modality in wanted}
    unreadable: list[str] = []
    pictures = False
    for clip, item in enumerate(items):
        captions.append(list(dict.fromkeys(item.captions or filter(None, [item.label]))))
        pictures |= item.has_video
        for modality in sorted(wanted):
            if not item.has_video and _seen(modality) or not captions[clip] and "text" in modality:
                continue
            made = attempt(_embed(embedder, item, modality, captions[clip]), unreadable)
            if made is not None:
                vectors[modality][clip] = made
    if not pictures and any(_seen(modality) for modality in wanted):
        raise UserError(
            "there is no video among the clips: only text-to-audio and audio-to-text can be measured"
        )
    owners: dict[str, list[int]] = {}  # caption -> clips
    for clip, texts in enumerate(captions):
        for text in texts:
            owners.setdefault(text, []).append(clip)
    words: dict[str, np.ndarray] = {}  # what texts are compared with -> (captions, D)
    rows: list[Row] = []
    for direction in directions:
        query, candidate = DIRECTIONS[direction]
        clips = [
            clip
            for clip in range(len(captions))
            if all(captions[clip] if m == "text" else clip in vectors[m] for m in (query, candidate))
        ]
        if not clips:
            continue
        sides = []
        for modality, other in ((query, candidate), (candidate, query)):
            if modality == "text":
                if other not in words:
                    words[other] = embed_texts(embedder, list(owners), other.replace("-", "_"))
                sides.append(_texts(owners, words[other], set(clips)))
            else:
                sides.append(_clips(vectors[modality], clips))
        rows.append({"direction": direction, **_measured(*sides)})
    ensure_some(len(rows), unreadable)
    return Evaluation(rows, list(dict.fromkeys(unreadable)))  # a file is tried once a modality


def embed_clip(embedder: JointEncoder, item: Item, modality: str) -> Callable[[], np.ndarray]:
    """A call that gives the (D,) vector of the clip's audio, its video, or both together ("audio-video")."""
    embed = getattr(embedder, f"embed_{modality.replace('-', '_')}_file")
    return lambda: embed(item.path, start_s=item.start_s, duration_s=item.duration_s)


def embed_texts(embedder: JointEncoder, texts: list[str], kind: str) -> np.ndarray:
    """(N, D) vectors to compare with `kind`, in batches so that the encoder's memory does not grow with N."""
    return np.concatenate(
        [embedder.embed_text(texts[start : start + _BATCH], kind) for start in range(0, len(texts), _BATCH)]
    )


def _seen(modality: str) -> bool:
    return "video" in modality


def _embed(
    embedder: JointEncoder, item: Item, modality: str, captions: list[str]
) -> Callable[[], np.ndarray]:
    """A call that gives vectors (n, D) of a clip."""
    alone, plus, _ = modality.partition("+")
    if plus:
        return lambda: embedder.embed_with_text(item.path, captions, alone, item.start_s, item.duration_s)
    embed = embed_clip(embedder, item, modality)
    return lambda: embed()[None]


# One side of a direction: vectors (N, D), and of each the clips that it is about.
_Side = tuple[np.ndarray, list[list[int]]]


def _texts(owners: Mapping[str, list[int]], words: np.ndarray, there: set[int]) -> _Side:
    kept = [i for i, clips in enumerate(owners.values()) if there.intersection(clips)]
    about = [[clip for clip in clips if clip in there] for clips in owners.values()]
    return words[kept], [about[i] for i in kept]


def _clips(vectors: Vectors, clips: Sequence[int]) -> _Side:
    return np.concatenate([vectors[clip] for clip in clips]), [
        [clip] for clip in clips for _ in vectors[clip]
    ]


def _measured(queries: _Side, candidates: _Side) -> Row:
    """Which candidates are right follows from who shares a clip."""
    of_clip: dict[int, list[int]] = {}
    for place, clips in enumerate(candidates[1]):
        for clip in clips:
            of_clip.setdefault(clip, []).append(place)
    positives = [[place for clip in clips for place in of_clip[clip]] for clips in queries[1]]
    found = np.concatenate(
        [
            ranks(queries[0][start : start + _BATCH] @ candidates[0].T, positives[start : start + _BATCH])
            for start in range(0, len(positives), _BATCH)
        ]
    )
    return {
        "queries": len(positives),
        "candidates": len(candidates[1]),
        **{f"R@{k}": recall_at(k, found) for k in AT},
        "median rank": float(np.median(found)),
    }
