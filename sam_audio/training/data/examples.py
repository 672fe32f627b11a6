"""Prompts that are not words: vectors of sounds and pictures of every label, as ``--like`` and ``--region`` give.

They lie near the vectors of the label's words, and not in the same place; the separator has to see both.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from peav import checkpoints
from peav.nano.precision import autocast
from peav.nano.sound import FRAME
from peav.nano.video import BackboneFeatures, VideoTower
from sam_audio.io.target import whole_file
from sam_audio.separator.nano.torch_engine import load_tower
from sam_audio.training.data.bank import SAMPLE_RATE, Bank
from sam_audio.training.data.mixing import Pools
from sam_audio.training.data.pictures import HELD_OUT, picture_features, read_pictures

log = logging.getLogger(__name__)

MOST_OF_A_LABEL = 40  # recordings
MOST_SECONDS = 6
SHORTEST = FRAME * 5


@dataclass
class Examples:
    """Unit vectors (M, 384) float32, and for each label its rows."""

    vectors: np.ndarray
    rows: dict[str, np.ndarray]

    @classmethod
    def none(cls) -> Examples:
        """For training with words alone."""
        return cls(np.zeros((0, 384), np.float32), {})


def load_examples(bank_dir: Path) -> Examples:
    """What `build_examples` left there; none if it has not run."""
    path = _store(bank_dir)
    if not path.exists():
        return Examples.none()
    with np.load(path, allow_pickle=False) as saved:
        vectors, labels = saved["vectors"].astype(np.float32), saved["labels"]
    rows: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        rows[str(label)].append(row)
    return Examples(vectors, {label: np.array(those) for label, those in rows.items()})


def build_examples(data_dir: Path, bank_dir: Path) -> None:
    """Embeds recordings of the training split and the training pictures, once for each audio tower."""
    path = _store(bank_dir)
    if path.exists():
        return
    found = [*_sounds(bank_dir), *_pictures(data_dir)]
    vectors = np.stack([vector for _, vector in found]).astype(np.float16)
    with whole_file(path) as file:
        np.savez(file, vectors=vectors, labels=np.array([label for label, _ in found]))
    log.info("embedded %d sounds and pictures as prompts", len(found))


def _store(bank_dir: Path) -> Path:
    digest = hashlib.sha256()
    for tower in ("audio", "video"):
        digest.update(checkpoints.resolve("nano", tower).read_bytes())
    return bank_dir / f"examples-{digest.hexdigest()[:12]}.npz"


def _sounds(bank_dir: Path) -> Iterator[tuple[str, np.ndarray]]:
    bank, tower = Bank(bank_dir), load_tower()
    pools, rng = Pools(bank, "train"), np.random.default_rng(0)
    for label, packages in sorted(pools.clips.items()):
        members = np.array([index for package in sorted(packages) for index in packages[package]])
        for index in rng.permutation(members)[:MOST_OF_A_LABEL]:
            samples = bank.read(int(index), 0, MOST_SECONDS * SAMPLE_RATE)
            if len(samples) >= SHORTEST and samples.any():
                with torch.inference_mode(), autocast():
                    yield label, tower(torch.from_numpy(samples)[None]).clip[0].float().numpy()


def _pictures(data_dir: Path) -> Iterator[tuple[str, np.ndarray]]:
    tower = VideoTower.from_pretrained("nano")
    pictures = read_pictures(data_dir / "images.tsv.gz")
    stored = picture_features(pictures, data_dir, tower.backbone, n_views=0)
    for picture in pictures:
        if picture.key in stored and picture.package not in HELD_OUT:
            features = BackboneFeatures(*(part[:, None] for part in stored[picture.key]))
            with torch.inference_mode():
                yield picture.label, tower.joint(features)[1][0].float().numpy()
