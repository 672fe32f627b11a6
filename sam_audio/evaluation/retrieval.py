"""Does the right clip come first? Zero-shot retrieval in any direction between text, audio and video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from sam_audio.errors import UserError
from sam_audio.evaluation.items import Item
from sam_audio.evaluation.metrics import ranks, recall_at
from sam_audio.evaluation.protocols import Evaluation, JointEncoder, Row, attempt, ensure_some

__all__ = ["DIRECTIONS", "directions_of", "embed_clip", "embed_texts", "evaluate"]

DIRECTIONS = {
    f"{query}-to-{candidate}": (query, candidate)
    for query, candidate in (
        ("text", "audio"),
        ("audio", "text"),
        ("text", "video"),
        ("video", "text"),
        ("audio", "video"),
        ("video", "audio"),
    )
}
AT = (1, 5, 10)
_BATCH = 256


def directions_of(items: Sequence[Item]) -> list[str]:
    """The directions that the data allow."""
    pictures = any(item.has_video for item in items)
    return [name for name, pair in DIRECTIONS.items() if pictures or "video" not in pair]


def evaluate(embedder: JointEncoder, items: Iterable[Item], directions: Sequence[str]) -> Evaluation:
    """One row a direction: R@1, R@5, R@10 and the median rank.

    A clip may have several captions, and several clips one caption: then any of them is right. Clips which
    lack a modality, or cannot be read, are in none of its directions; a direction without clips has no row.

    Args:
        items: clips with captions, or with labels, which then serve as captions.
        directions: of `DIRECTIONS`.

    Raises:
        UserError: nothing can be read, or video is asked for and there is none.
    """
    wanted = {modality for direction in directions for modality in DIRECTIONS[direction]} - {"text"}
    texts: dict[str, list[int]] = {}  # caption -> clips
    captions: list[list[str]] = []  # clip -> captions
    vectors: dict[str, dict[int, np.ndarray]] = {modality: {} for modality in wanted}  # clip -> (D,)
    unreadable: list[str] = []
    pictures = False
    for clip, item in enumerate(items):
        captions.append(list(dict.fromkeys(item.captions or filter(None, [item.label]))))
        for caption in captions[clip]:
            texts.setdefault(caption, []).append(clip)
        pictures |= item.has_video
        for modality in sorted(wanted):
            if modality == "video" and not item.has_video:
                continue
            vector = attempt(embed_clip(embedder, item, modality), unreadable)
            if vector is not None:
                vectors[modality][clip] = vector
    if "video" in wanted and not pictures:
        raise UserError(
            "there is no video among the clips: only text-to-audio and audio-to-text can be measured"
        )
    words = {
        kind: dict(zip(texts, embed_texts(embedder, list(texts), kind), strict=True))
        for kind in sorted(wanted)
        if texts and any({"text", kind} == set(DIRECTIONS[direction]) for direction in directions)
    }
    rows = []
    for direction in directions:
        query, candidate = DIRECTIONS[direction]
        clips = [
            clip
            for clip in range(len(captions))
            if all(captions[clip] if m == "text" else clip in vectors[m] for m in (query, candidate))
        ]
        if clips:
            kind = query if candidate == "text" else candidate
            rows.append(_row(direction, clips, captions, texts, words.get(kind, {}), vectors))
    ensure_some(len(rows), unreadable)
    return Evaluation(rows, unreadable)


def embed_clip(embedder: JointEncoder, item: Item, modality: str) -> Callable[[], np.ndarray]:
    """A call that gives the (D,) vector of the clip's audio or video."""
    embed = embedder.embed_video_file if modality == "video" else embedder.embed_audio_file
    return lambda: embed(item.path, start_s=item.start_s, duration_s=item.duration_s)


def embed_texts(embedder: JointEncoder, texts: list[str], kind: str) -> np.ndarray:
    """(N, D) vectors to compare with `kind`, in batches so that the encoder's memory does not grow with N."""
    return np.concatenate(
        [embedder.embed_text(texts[start : start + _BATCH], kind) for start in range(0, len(texts), _BATCH)]
    )


def _row(
    direction: str,
    clips: list[int],
    captions: list[list[str]],
    texts: dict[str, list[int]],
    words: dict[str, np.ndarray],
    vectors: dict[str, dict[int, np.ndarray]],
) -> Row:
    """Queries and candidates are texts or clips; which are right follows from who shares a clip."""
    there = set(clips)
    said = [text for text, owners in texts.items() if there.intersection(owners)]
    position = {clip: i for i, clip in enumerate(clips)}
    place = {text: i for i, text in enumerate(said)}
    query, candidate = DIRECTIONS[direction]
    if query == "text":
        positives = [[position[clip] for clip in texts[text] if clip in there] for text in said]
    elif candidate == "text":
        positives = [[place[text] for text in captions[clip]] for clip in clips]
    else:
        positives = [[i] for i in range(len(clips))]
    queries, candidates = (
        np.stack([words[text] for text in said] if m == "text" else [vectors[m][clip] for clip in clips])
        for m in (query, candidate)
    )
    found = np.concatenate(
        [
            ranks(queries[start : start + _BATCH] @ candidates.T, positives[start : start + _BATCH])
            for start in range(0, len(queries), _BATCH)
        ]
    )
    return {
        "direction": direction,
        "queries": len(queries),
        "candidates": len(candidates),
        **{f"R@{k}": recall_at(k, found) for k in AT},
        "median rank": float(np.median(found)),
    }
