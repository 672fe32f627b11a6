"""The networks of nano as graphs, on the CPU, and numpy around them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from peav.checkpoints import Checkpoint, read_json
from peav.graphs import Graph, Weights, named
from peav.nano.graphs import AudioGraph
from peav.nano.sound import FRAME, FRAME_LEVEL, STEP_FRAMES, WINDOW, level_gain, log_mel
from sam_audio.separator.nano.bands import HOP, MOST_GAIN, newest, padded_frames
from sam_audio.separator.nano.engine import WEIGHTS, Answer, Question, Vectors
from sam_audio.separator.nano.synthesis import features
from sam_audio.types import Samples

TRUNK, ANSWER = WEIGHTS.with_name("nano-trunk.onnx"), WEIGHTS.with_name("nano-answer.onnx")
INT8_TRUNK = WEIGHTS.with_name("nano-trunk-int8.onnx")
QUANTISED, SCALE = (
    "_quantized",
    "_scale",
)  # endings of the names of weights in it, and of what they are multiplied by


class OnnxEngine:
    """Network and audio tower as graphs; serves any number of threads.

    Args:
        network: the separator's checkpoint.
        tower: PE-A-Frame nano's audio tower.
        trunk, answer: the graphs.
        int8: whether the trunk computes in int8, for which ``trunk`` is made.

    Raises:
        CheckpointError: a graph is missing, or is of other sizes than its weights.
    """

    def __init__(
        self,
        network: Checkpoint,
        tower: AudioGraph,
        trunk: Path = TRUNK,
        answer: Path = ANSWER,
        int8: bool = False,
    ) -> None:
        self._tower = tower
        self.weights: Path | None = network.path
        of_trunk, of_answer = shares(network.arrays, tower.logit)
        self._trunk = Graph(trunk, quantised(of_trunk, trunk) if int8 else of_trunk)
        self.answer = Graph(answer, of_answer)

    def listen(self, sound: Samples, energies: Samples) -> OnnxHeard:
        seen, vectors = self._sensed(sound, energies)
        return OnnxHeard(self.answer, self._trunk("bases", "tokens", "columns", **seen), energies, vectors)

    def seen(self, sound: Samples, energies: Samples) -> dict[str, Samples]:
        """What the trunk is given, by the names of its inputs; as of :meth:`listen`."""
        return self._sensed(sound, energies)[0]

    def _sensed(self, sound: Samples, energies: Samples) -> tuple[dict[str, Samples], Vectors]:
        n_frames = energies.shape[-1]
        n_padded = padded_frames(n_frames)
        frames, steps, scores, *maps = self._tower.sense(_mel(sound, n_frames), maps=True)
        first = maps[0].shape[2] - n_padded * HOP // FRAME  # silence was put before the sound
        seen = np.pad(features(energies), ((0, 0), (0, 0), (0, n_padded - n_frames)), mode="edge")
        given = {f"map{level}": x for level, x in enumerate(newest(maps, n_padded))}
        frames = frames[first : first - (-n_frames * HOP // FRAME)]
        vectors = Vectors(frames, steps[first // STEP_FRAMES :], scores[first // STEP_FRAMES :])
        return {"features": seen[None], **given}, vectors

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
        [masks] = self._ask(question, "masks")
        return masks

    def answer(self, question: Question) -> Answer:
        return Answer(*self._ask(question, "masks", "sounding"))

    def _ask(self, question: Question, *outputs: str) -> list[Samples]:
        n_prompts, n_frames = len(question.vectors), self._energies.shape[-1]
        spans = question.spans
        if spans is None:
            spans = np.zeros((n_prompts, 2, n_frames), np.float32)
        found = self._answer(
            *outputs,
            **self._analysis,
            energies=self._energies[None],
            frames=self.vectors.frames[None],
            vectors=question.vectors[None],
            known=question.known[None],
            together=np.full((1, n_prompts), question.together),
            spans=spans[None],
            listen=np.full((1, 1, 1), question.listen, np.float32),
        )
        return [array[0] for array in found]


def shares(
    network: Mapping[str, Weights], logit: Mapping[str, Weights]
) -> tuple[dict[str, Weights], dict[str, Weights]]:
    """Which weights the graphs of trunk and answer take, under the names that they have there: of those of the
    separator's checkpoint, and of the tower's for its logits."""
    of_trunk = {name: one for name, one in network.items() if name.startswith("trunk.")}
    others = {name: one for name, one in network.items() if name not in of_trunk}
    return named("network", of_trunk), named("network", others) | named("tower", logit)


def quantised(weights: Mapping[str, np.ndarray], graph: Path) -> dict[str, np.ndarray]:
    """Weights as an int8 graph names them: those of the layers that the file beside it lists as int8, and a scale for
    each channel; their biases are in the graph."""
    layers = read_json(graph.with_suffix(".json"))["layers"]
    arrays = {name: array for name, array in weights.items() if name.rpartition(".")[0] not in layers}
    for layer in layers:
        array = weights[f"{layer}.weight"]
        scale = np.abs(array).reshape(len(array), -1).max(axis=1) / np.float32(127)
        rows = np.maximum(scale, np.float32(1e-30)).reshape(-1, *[1] * (array.ndim - 1))
        arrays[f"{layer}.weight{QUANTISED}"] = np.rint(array / rows).astype(np.int8)
        arrays[f"{layer}.weight{SCALE}"] = scale
    return arrays


def _mel(sound: Samples, n_frames: int) -> Samples:
    """Log-mel features of the first frames of a sound (C, n), (T, N_MELS): `listening.hear` does the same in torch."""
    length = padded_frames(n_frames) * HOP
    sound = sound[:, : n_frames * HOP]
    sound = np.pad(sound, ((0, 0), (-length % WINDOW, length - sound.shape[-1])))
    level = level_gain(np.square(sound).mean(axis=0, keepdims=True), at_most=MOST_GAIN)
    mel = log_mel(sound * level)
    return ((np.logaddexp.reduce(2 * mel, axis=0) - np.log(len(sound))) / 2).astype(np.float32, copy=False)
