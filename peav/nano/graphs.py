"""The embedded towers as graphs, in arrays: what encodes where torch is not needed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from peav import checkpoints
from peav.checkpoints import WEIGHTS, Checkpoint
from peav.graphs import Graph, named
from peav.nano.pictures import Pictures, fitted
from peav.nano.sound import (
    FRAME,
    FRAME_LEVEL,
    STEP_FRAMES,
    WINDOW,
    Array,
    levelled,
    log_mel,
    pooled,
)
from peav.nano.words import Words

DIM = 384  # of the joint space
_BATCH = 16  # frames a pass; memory does not grow with the length of the video
N_MAPS = 4  # of the audio tower's trunk
AUDIO, TEXT, VIDEO = (WEIGHTS / f"nano-{tower}.onnx" for tower in ("audio", "text", "video"))


class AudioGraph:
    """The audio tower.

    Args:
        checkpoint: of the tower.
        path: the graph of it.

    Raises:
        CheckpointError: the graph is missing, or is of other sizes than the weights.
    """

    LOGIT = ("logit_scale", "logit_bias")

    def __init__(self, checkpoint: Checkpoint, path: Path = AUDIO) -> None:
        arrays = dict(checkpoint.arrays)
        self.logit = {name: arrays.pop(name) for name in self.LOGIT}
        self._graph = Graph(path, named("tower", arrays))

    @classmethod
    def shipped(cls) -> AudioGraph:
        """The tower that comes with the package; raises CheckpointError if it is damaged."""
        return cls(checkpoints.load("nano", "audio"))

    def sense(self, mel: Array, maps: bool = False) -> list[Any]:
        """What the tower makes of log-mel features (T, N_MELS), T a multiple of WINDOW_MELS: see
        `peav.nano.audio.Sensed`, without the batch; and the maps of its trunk, with it, if they are wanted."""
        more = [f"map{level}" for level in range(N_MAPS)] if maps else []
        frames, steps, scores, *rest = self._graph("frames", "steps", "scores", *more, mel=mel[None])
        return [frames[0], steps[0], scores[0], *rest]

    def embed(self, sound: Array) -> tuple[Array, Array]:
        """Frame vectors (ceil(n / FRAME), 384) and the clip vector (384,) of a sound (n,) at 48 kHz, at any level."""
        n_frames = -(-len(sound) // FRAME)
        padded = np.pad(levelled(sound[None]), ((0, 0), (0, -len(sound) % WINDOW)))
        frames, steps, scores = self.sense(log_mel(padded)[0])
        covered = (n_frames - STEP_FRAMES * np.arange(len(scores))).clip(0, STEP_FRAMES) / STEP_FRAMES
        return frames[:n_frames], pooled(steps, scores + np.log(covered.clip(1e-9)).astype(np.float32))

    def logits(self, dots: Array, kind: int = FRAME_LEVEL) -> Array:
        """Turns dot products with text vectors into logits; ``kind`` is CLIP or FRAME_LEVEL."""
        scale, bias = (self.logit[name][kind] for name in self.LOGIT)
        return dots * scale + bias


class TextGraph:
    """The text tower that comes with the package.

    >>> tower = TextGraph()
    >>> dog, hound, piano = tower.embed(["a dog barking", "barking dogs", "piano"])
    >>> bool(dog @ hound > dog @ piano)
    True

    Raises:
        CheckpointError: it is damaged.
    """

    def __init__(self) -> None:
        checkpoint = checkpoints.load("nano", "text")
        self.words = Words.beside(checkpoint)
        self._graph = Graph(TEXT, named("tower", checkpoint.arrays))

    def encode(self, tokens: np.ndarray, valid_mask: np.ndarray) -> Array:
        """Unit vectors (N, 384) of token ids (N, L), with True on those that count."""
        return self._graph("vectors", tokens=tokens, valid_mask=valid_mask)[0]

    def embed(self, texts: Sequence[str]) -> Array:
        """Unit vectors (N, 384); a text's vector does not depend on its neighbours.

        Raises:
            ValueError: when a text is empty.
        """
        vectors = [self.encode(*some) for some in self.words.batches(texts)]
        return np.concatenate(vectors) if vectors else np.zeros((0, DIM), np.float32)


class VideoGraph:
    """The video tower that comes with the package; raises CheckpointError if it is damaged."""

    def __init__(self) -> None:
        arrays = checkpoints.load("nano", "video").arrays
        unused = ("joint.logit_scale", "joint.logit_bias")
        weights = {name: array for name, array in arrays.items() if name not in unused}
        self._graph = Graph(VIDEO, named("tower", weights))

    def embed(self, frames: Pictures) -> Array:
        """The vector (384,) of all uint8 frames (N, 3, H, W)."""
        parts = [
            self._graph("vectors", "scores", frames=fitted(frames[start : start + _BATCH]))
            for start in range(0, len(frames), _BATCH)
        ]
        vectors, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
        return pooled(vectors, scores)


def version(name: str | os.PathLike[str] = "nano") -> str:
    """A digest of the weights of all towers: vectors of two versions cannot be compared."""
    digest = hashlib.sha256()
    for tower in ("text", "audio", "video"):
        digest.update(checkpoints.resolve(name, tower).read_bytes())
    return digest.hexdigest()[:16]
