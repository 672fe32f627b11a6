"""A shard of the data engine: three kinds of sounds, each with a colour; every fourth clip lacks its picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from sam_audio.training.data.samples import KINDS
from sam_audio.training.data.shards import flac, write_shard

CAPTIONS = ("a low tone", "rain falling", "a bell ringing")
COLOURS = ((200, 20, 20), (20, 200, 20), (20, 20, 200))


def make(folder: Path) -> Path:
    """Writes 24 clips of half a second; returns the folder."""
    rng = np.random.default_rng(0)
    t = np.arange(24_000) / 48_000
    samples = []
    for i in range(24):
        kind = i % 3
        hertz = (150, 0, 2000)[kind] * rng.uniform(0.9, 1.1)
        sound = 0.1 * rng.standard_normal(len(t)) if kind == 1 else 0.3 * np.sin(2 * np.pi * hertz * t)
        picture = io.BytesIO()
        Image.new("RGB", (32, 24), COLOURS[kind]).save(picture, "JPEG")
        said = {
            name: {"text": f"{CAPTIONS[kind]}{', seen' * n}", "by": "test"} for n, name in enumerate(KINDS)
        }
        about = {"label": CAPTIONS[kind], "source": CAPTIONS[kind], "captions": said}
        sample = {
            "__key__": f"{i:03d}",
            "flac": flac(sound[None].astype(np.float32), 48_000),
            "json": about,
        }
        if i % 4:
            sample["0.jpg"] = picture.getvalue()
        samples.append(sample)
    write_shard(folder / "000.tar", samples)
    return folder
