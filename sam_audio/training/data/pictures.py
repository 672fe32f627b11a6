"""Pictures of things that sound: the list of them, their views, and what the backbone makes of them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import logging
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from peav.nano.pictures import IMAGE_SIZE
from peav.nano.video import Backbone, BackboneFeatures, prepare_frames
from sam_audio.errors import UserError
from sam_audio.io.target import whole_file
from sam_audio.paths import cache_dir
from sam_audio.training.data import labels as label_table
from sam_audio.training.data.collect import locate

log = logging.getLogger(__name__)

HELD_OUT = ("@lobehub/fluent-emoji-3d", "qabcs-data")  # packages whose pictures are never trained on
N_VIEWS = 5


@dataclass(frozen=True)
class Picture:
    """One row of the list of pictures; ``label`` is canonical, ``name`` what the file is called."""

    source: str
    package: str
    path: str
    name: str
    label: str

    @property
    def key(self) -> str:
        return f"{self.package}/{self.path}"


def read_pictures(path: Path) -> list[Picture]:
    """Pictures that can be decoded and whose label is known; raises UserError when the list is missing."""
    if not path.is_file():
        raise UserError(f"{path} is missing: point --data at the folder that holds it")
    table = label_table.load_labels()
    pictures = []
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            package = row["package"].removesuffix(" (npm)")
            label = label_table.canonical(row["label"], row["category"], package, row["path"])
            if label in table and not row["path"].endswith(".svg"):
                pictures.append(Picture(row["source"], package, row["path"], row["name"], label))
    return pictures


def view(raw: bytes, rng: np.random.Generator | None) -> Tensor:
    """One picture as the network sees it, uint8 (3, 224, 224); with ``rng`` from another side each time."""
    from PIL import Image, ImageEnhance

    with Image.open(io.BytesIO(raw)) as opened:
        opened.thumbnail((2 * IMAGE_SIZE, 2 * IMAGE_SIZE))
        picture = opened.convert("RGBA")
    ground: tuple[int, ...] = (255, 255, 255, 255)
    scale = 1.0
    if rng is not None:
        if rng.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if rng.random() < 0.5:
            ground = (*(int(c) for c in rng.integers(0, 256, 3)), 255)
        picture = picture.rotate(rng.uniform(-15, 15), expand=True, resample=Image.Resampling.BILINEAR)
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Color, ImageEnhance.Contrast):
            alpha = picture.getchannel("A")
            picture = enhance(picture).enhance(rng.uniform(0.6, 1.4))
            picture.putalpha(alpha)
        scale = rng.uniform(1.0, 1.8)
    side_x, side_y = (round(side * scale) for side in picture.size)
    canvas = Image.new("RGBA", (side_x, side_y), ground)
    spare = side_x - picture.width, side_y - picture.height
    at = tuple(int(s * (0.5 if rng is None else rng.random())) for s in spare)
    canvas.alpha_composite(picture, at)
    array = np.asarray(canvas.convert("RGB")).transpose(2, 0, 1).copy()
    return prepare_frames(torch.from_numpy(array)[None])[0]


def picture_features(
    pictures: list[Picture], data_dir: Path, backbone: Backbone, n_views: int = N_VIEWS
) -> dict[str, BackboneFeatures]:
    """Backbone features of every picture: (1 + n_views, 1280) and logits, the plain view first; cached."""
    digest = hashlib.sha1("\n".join(p.key for p in pictures).encode()).hexdigest()[:12]
    store = cache_dir() / "training" / f"pictures-{digest}-{n_views}.pt"
    if store.exists():
        saved = torch.load(store, weights_only=True)
        return {key: BackboneFeatures(*parts) for key, parts in saved.items()}
    by_package: dict[tuple[str, str], list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_package[picture.source, picture.package].append(picture)
    found: dict[str, BackboneFeatures] = {}
    rng = np.random.default_rng(0)
    for (source, package), members in by_package.items():
        with tempfile.TemporaryDirectory() as scratch:
            files = locate(source, package, [p.path for p in members], data_dir, Path(scratch))
            for picture in members:
                if picture.path not in files:
                    continue
                raw = files[picture.path].read_bytes()
                try:
                    views = torch.stack([view(raw, rng if i else None) for i in range(1 + n_views)])
                except (OSError, ValueError, SyntaxError):
                    log.warning("%s cannot be decoded", picture.key)
                    continue
                with torch.inference_mode():
                    found[picture.key] = BackboneFeatures(*(x.clone() for x in backbone(views)))
        log.info("%s: %d of %d pictures", package, len(found), len(pictures))
    with whole_file(store) as file:
        torch.save({key: tuple(value) for key, value in found.items()}, file)
    return found
