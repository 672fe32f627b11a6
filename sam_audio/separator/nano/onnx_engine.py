"""The networks of nano as graphs, on the CPU, and numpy around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from peav.checkpoints import Checkpoint
from peav.graphs import Graph, named
from peav.nano.graphs import AudioGraph
from peav.nano.sound import FRAME, FRAME_LEVEL, STEP_FRAMES, WINDOW, level_gain, log_mel
from sam_audio.separator.nano.bands import HOP, MOST_GAIN, newest, padded_frames
from sam_audio.separator.nano.engine import WEIGHTS, Question, Vectors
from sam_audio.separator.nano.synthesis import features
from sam_audio.types import Samples

TRUNK, ANSWER = WEIGHTS.with_name("nano-trunk.onnx"), WEIGHTS.with_name("nano-answer.onnx")


class OnnxEngine:
    """Network and audio tower as graphs; serves any number of threads.

    Args:
        network: the separator's checkpoint.
        tower: PE-A-Frame nano's audio tower.
        trunk, answer: the graphs.

    Raises:
        CheckpointError: a graph is missing, or is of other sizes than its weights.
    """

    def __init__(
        self, network: Checkpoint, tower: AudioGraph, trunk: Path = TRUNK, answer: Path = ANSWER
    ) -> None:
        self._tower = tower
        of_trunk = {name: array for name, array in network.arrays.items() if name.startswith("trunk.")}
        others = {name: array for name, array in network.arrays.items() if name not in of_trunk}
        self._trunk = Graph(trunk, named("network", of_trunk))
        self.answer = Graph(answer, named("network", others) | named("tower", tower.logit))

    def listen(self, sound: Samples, energies: Samples) -> OnnxHeard:
        n_frames = energies.shape[-1]
        n_padded = padded_frames(n_frames)
        frames, steps, scores, *maps = self._tower.sense(_mel(sound, n_frames), maps=True)
        first = maps[0].shape[2] - n_padded * HOP // FRAME  # silence was put before the sound
        seen = np.pad(features(energies), ((0, 0), (0, 0), (0, n_padded - n_frames)), mode="edge")
        heard = {f"map{level}": x for level, x in enumerate(newest(maps, n_padded))}
        analysis = self._trunk("bases", "tokens", "columns", features=seen[None], **heard)
        frames = frames[first : first - (-n_frames * HOP // FRAME)]
        vectors = Vectors(frames, steps[first // STEP_FRAMES :], scores[first // STEP_FRAMES :])
        return OnnxHeard(self.answer, analysis, energies, vectors)

    def resemblance(self, sounds: Samples, words: Samples, kind: int = FRAME_LEVEL) -> Samples:
        return np.moveaxis(self._tower.logits(sounds @ words.T, kind), -1, 0)


class OnnxHeard:
    """See :class:`sam_audio.separator.nano.engine.Heard`."""

    def __init__(
        self, answer: Graph, analysis: list[np.ndarray], energies: Samples, vectors: Vectors
    ) -> None:
        self._answer, self._energies, self.vectors = answer, energies, vectors
        self._analysis = dict(zip(("bases", "tokens", "columns"), analysis, strict=True))

    def masks(self, question: Question) -> Samples:
        return self._ask("masks", question)

    def when(self, question: Question) -> Samples | None:
        return self._ask("sounding", question)

    def _ask(self, output: str, question: Question) -> Samples:
        n_prompts, n_frames = len(question.vectors), self._energies.shape[-1]
        spans = question.spans
        if spans is None:
            spans = np.zeros((n_prompts, 2, n_frames), np.float32)
        [found] = self._answer(
            output,
            **self._analysis,
            energies=self._energies[None],
            frames=self.vectors.frames[None],
            vectors=question.vectors[None],
            known=question.known[None],
            together=np.full((1, n_prompts), question.together),
            spans=spans[None],
            listen=np.full((1, 1, 1), question.listen, np.float32),
        )
        return found[0]


def _mel(sound: Samples, n_frames: int) -> Samples:
    """Log-mel features of the first frames of a sound (C, n), (T, N_MELS): `listening.hear` does the same in torch."""
    length = padded_frames(n_frames) * HOP
    sound = sound[:, : n_frames * HOP]
    sound = np.pad(sound, ((0, 0), (-length % WINDOW, length - sound.shape[-1])))
    level = level_gain(np.square(sound).mean(axis=0, keepdims=True), at_most=MOST_GAIN)
    mel = log_mel(sound * level)
    return ((np.logaddexp.reduce(2 * mel, axis=0) - np.log(len(sound))) / 2).astype(np.float32, copy=False)
