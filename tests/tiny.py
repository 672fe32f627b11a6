"""Small things to test with: a random network of a few thousand weights, noise, a bank of synthetic clips."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from peav import checkpoints
from sam_audio.io.arrays import ArrayRecording
from sam_audio.separation import run
from sam_audio.separator.base import SeparationModel, Variant
from sam_audio.separator.nano.bands import N_BANDS
from sam_audio.separator.nano.network import MaskNetwork, NetworkConfig, Response
from sam_audio.sinks import Memory
from sam_audio.training.data.bank import SAMPLE_RATE, ShardWriter, build_song_shards, split_of

CONFIG = NetworkConfig(
    channels=(8, 16, 16, 16),
    blocks=(1, 1, 1, 1),
    attention_layers=1,
    n_bases=4,
    query_dim=16,
    frame_dim=8,
    hears=True,
    n_labels=40,
    n_hypernyms=3,
    tells_when=True,
)
SPLITS = ("train", "valid", "test")
# manifest label -> category, of every group that scenes draw from
LABELS = {
    "dog barking": "animals",
    "gunshot": "weapons",
    "telephone ringing": "household",
    "rain falling": "nature",
    "man speaking English": "speech",
    "piano": "instrument note",
    "violin": "instrument note",
    "trumpet": "instrument note",
    "choir singing": "singing",
    "background music": "music (mixed)",
}
SONG = ("piano", "violin", "drum kit")


def network(seed: int = 0) -> MaskNetwork:
    """Random everywhere: layers that start at zero would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    net = MaskNetwork(CONFIG)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            scale = 1.0 if name.endswith(".bias") or parameter.ndim < 2 else parameter[0].numel() ** -0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
            if ".hearing." in name and parameter.ndim > 1:
                parameter.mul_(0.03)  # what is heard colours what is seen, it does not drown it
            if "norm" in name and name.endswith("weight"):
                parameter.abs_()
        words = torch.randn(net.rivalry.vectors.shape, generator=generator)
        net.rivalry.vectors.copy_(torch.nn.functional.normalize(words, dim=-1))
    return net.eval().requires_grad_(False)


def save_network(path: Path, net: MaskNetwork) -> Path:
    checkpoints.save(path, "separator", {"model": asdict(net.config)}, net.state_dict())
    return path


def noise(
    channels: int = 2, seconds: float = 1.3, rate: int = 48_000, seed: int = 0, level: float = 0.1
) -> np.ndarray:
    """float32 (channels, T), T odd; loudness goes up and down so that no two frames are alike."""
    frames = round(seconds * rate) // 2 * 2 + 1
    rng = np.random.default_rng(seed)
    swell = 1 + 0.8 * np.sin(np.arange(frames) * 2 * np.pi * 1.7 / rate)
    return (rng.standard_normal((channels, frames)) * level * swell).astype(np.float32)


def make_bank(folder: Path, seconds: float = 0.6) -> Path:
    """One recording of each label in each split, and one song of three stems in the train split."""
    rng = np.random.default_rng(0)
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    with ShardWriter(folder, "debian-tiny") as shard:
        for pitch, (label, category) in enumerate(LABELS.items(), 2):
            for split in SPLITS:
                samples = np.sin(2 * np.pi * 110 * pitch * t) + 0.1 * rng.standard_normal(len(t))
                path = next(
                    p for i in range(999) if split_of(f"debian/tiny/{(p := f'{label}/{i}.wav')}") == split
                )
                shard.add(samples.astype(np.float32), f"debian/tiny/{path}", label, category, "tiny", path)
    seed = next(i for i in range(999) if split_of(f"song-{i:06d}") == "train")
    stems = [
        (
            label,
            (0.1 * (i + 1) * np.sin(2 * np.pi * 200 * (i + 1) * np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE)),
        )
        for i, label in enumerate(SONG)
    ]
    build_song_shards(iter([(seed, stems)]), folder, "song")
    return folder


@contextmanager
def constant_mask(model, logit):
    """As if the network gave every cell of every prompt this logit."""
    original = model.engine.network.respond

    def constant(analysis, conditions, *_):
        masks = torch.full((1, conditions.vectors.shape[1], N_BANDS, analysis.n_frames), float(logit))
        return Response(masks, None)

    model.engine.network.respond = constant
    try:
        yield
    finally:
        model.engine.network.respond = original


class Bent(SeparationModel):
    """A model at so many times the strength asked for."""

    def __init__(self, model: SeparationModel, factor: float) -> None:
        self.name, self.sample_rate, self.takes = model.name, model.sample_rate, model.takes
        self.model, self.factor = model, factor

    def encode(self, texts):
        return self.model.encode(texts)

    def open(self, conditions, channels, strength=1.0):
        return self.model.open(conditions, channels, strength * self.factor)


def strengths(model: SeparationModel, n: int) -> list[Variant]:
    """Variants of a model that differ by strength."""
    return [
        Variant(f"strength x{factor:g}", model if factor == 1 else Bent(model, factor))
        for factor in (1.0, 0.7, 1.4)[:n]
    ]


def separated(model, conditions, samples, rate=48_000, sinks=(), **more):
    """Parts (N + 1, C, T) of samples (C, T)."""
    memory = Memory(len(conditions) + 1, len(samples))
    run(model, conditions, ArrayRecording(samples, rate), [memory, *sinks], **more)
    return memory.parts
