"""Which label fits best? Zero-shot classification of audio or video by the words of the labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sam_audio.errors import UserError
from sam_audio.evaluation.items import Item
from sam_audio.evaluation.metrics import average_precision, ranks
from sam_audio.evaluation.protocols import Evaluation, JointEncoder, Row, attempt, ensure_some
from sam_audio.evaluation.retrieval import embed_clip, embed_texts

__all__ = ["TEMPLATES", "embed_labels", "evaluate"]

# modality -> what stands around a label; the vectors are averaged
TEMPLATES = {"audio": ("{}", "the sound of {}"), "video": ("{}", "a video of {}")}


def evaluate(
    embedder: JointEncoder,
    items: Iterable[Item],
    labels: Sequence[str],
    modality: str = "audio",
    templates: Sequence[str] | None = None,
    per_class: bool = False,
) -> Evaluation:
    """Top-1 accuracy and mAP over all clips, and one more row a class if asked for.

    Args:
        items: clips with a label, which is among `labels`.
        labels: what can be answered.
        modality: "audio" or "video".
        templates: texts with {} where the label goes; None is `TEMPLATES` of the modality.

    Raises:
        UserError: nothing can be read, or a template has no {}.
        MissingExtraError: scikit-learn is not installed.
    """
    words = embed_labels(embedder, labels, TEMPLATES[modality] if templates is None else templates, modality)
    index = {label: i for i, label in enumerate(labels)}
    vectors, truth = [], []
    unreadable: list[str] = []
    for item in items:
        vector = attempt(embed_clip(embedder, item, modality), unreadable)
        if vector is not None:
            vectors.append(vector)
            truth.append(index[item.label])
    ensure_some(len(vectors), unreadable)
    right = np.array(truth)
    scores = np.stack(vectors) @ words.T
    hits = ranks(scores, right[:, None].tolist()) == 1
    precision = average_precision(scores, right[:, None] == np.arange(len(labels)))
    rows: list[Row] = [
        {
            "what": f"all {len(labels)} labels",
            "clips": len(right),
            "top-1": float(hits.mean()),
            "mAP": float(np.nanmean(precision)),
        }
    ]
    for i, label in enumerate(labels if per_class else ()):
        mine = right == i
        if mine.any():
            rows.append(
                {
                    "what": label,
                    "clips": int(mine.sum()),
                    "top-1": float(hits[mine].mean()),
                    "mAP": float(precision[i]),
                }
            )
    return Evaluation(rows, unreadable)


def embed_labels(
    embedder: JointEncoder, labels: Sequence[str], templates: Sequence[str], modality: str = "audio"
) -> np.ndarray:
    """(N, D) unit vectors to compare with the modality, each the mean over the templates.

    Raises:
        UserError: a template has no {}.
    """
    if not templates:
        raise UserError('no template is given: "{}" is the label itself')
    for template in templates:
        if "{}" not in template:
            raise UserError(f'the template "{template}" has no {{}}: it marks where the label goes')
    texts = [template.replace("{}", label) for template in templates for label in labels]
    vectors = embed_texts(embedder, texts, modality).reshape(len(templates), len(labels), -1).mean(axis=0)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
