"""The networks of nano in torch: on GPUs, for networks of other sizes than the shipped, and in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from peav import checkpoints, threads
from peav.checkpoints import Checkpoint
from peav.nano.audio import AudioTower
from peav.nano.precision import Network, autocast, cast_once
from peav.nano.sound import FRAME, FRAME_LEVEL, STEP_FRAMES
from sam_audio.errors import as_model_error
from sam_audio.separator.nano.bands import HOP, padded_frames
from sam_audio.separator.nano.engine import Answer, Question, Vectors
from sam_audio.separator.nano.listening import Asked, answer, hear
from sam_audio.separator.nano.network import Analysis, MaskNetwork, NetworkConfig, channels_last
from sam_audio.separator.nano.spectra import features
from sam_audio.types import Samples


class TorchEngine:
    """Network and audio tower in torch; serves any number of threads.

    Args:
        network: the separator's.
        tower: PE-A-Frame nano's audio tower.
        device: where both are.
        weights: the separator's checkpoint, if it has one.
    """

    def __init__(
        self,
        network: MaskNetwork,
        tower: AudioTower,
        device: torch.device | str = "cpu",
        weights: Path | None = None,
    ) -> None:
        self.weights = weights
        self.network, self.tower, self.device = network, tower, torch.device(device)

    def listen(self, sound: Samples, energies: Samples) -> TorchHeard:
        with torch.inference_mode(), autocast(self.device.type):
            heard, cells = (
                torch.from_numpy(np.ascontiguousarray(x))[None].to(self.device) for x in (sound, energies)
            )
            n_frames = cells.shape[-1]
            maps = hear(self.tower, heard, n_frames)
            n_heard = maps[0].shape[2]
            sensed = self.tower.sensed(maps, n_heard)
            first = n_heard - padded_frames(n_frames) * HOP // FRAME  # silence was put before the sound
            analysis = self.network.analyse(features(cells), maps)
            frames = sensed.frames[:, first : first - (-n_frames * HOP // FRAME)].float()
        steps = sensed.steps[0, first // STEP_FRAMES :], sensed.scores[0, first // STEP_FRAMES :]
        return TorchHeard(self, cells, analysis, frames, *steps)

    def resemblance(self, sounds: Samples, words: Samples, kind: int = FRAME_LEVEL) -> Samples:
        scale, bias = (float(x[kind]) for x in (self.tower.logit_scale, self.tower.logit_bias))
        return np.moveaxis(sounds @ words.T * np.float32(scale) + np.float32(bias), -1, 0)


class TorchHeard:
    """See :class:`Heard`."""

    def __init__(
        self,
        engine: TorchEngine,
        energies: Tensor,
        analysis: Analysis,
        frames: Tensor,
        steps: Tensor,
        scores: Tensor,
    ) -> None:
        self._engine, self._energies, self._analysis, self._frames = engine, energies, analysis, frames
        self.vectors = Vectors(*(x.float().cpu().numpy() for x in (frames[0], steps, scores)))

    def masks(self, question: Question) -> Samples:
        return self._ask(question, tell_when=False).masks

    def answer(self, question: Question) -> Answer:
        return self._ask(question, tell_when=True)

    def _ask(self, question: Question, tell_when: bool) -> Answer:
        engine = self._engine
        with torch.inference_mode(), autocast(engine.device.type):
            vectors, known = (
                torch.from_numpy(x)[None].to(engine.device) for x in (question.vectors, question.known)
            )
            spans = None if question.spans is None else torch.from_numpy(question.spans)[None].to(vectors)
            together = torch.full_like(known, question.together)
            asked = Asked(vectors, known, together, spans, question.listen)
            masks, sounding = answer(
                engine.network, engine.tower, self._analysis, self._energies, self._frames, asked, tell_when
            )
            told = None if sounding is None else sounding[0].cpu().numpy()
            return Answer(masks[0].sigmoid().cpu().numpy(), told)


def load_network(weights: Path, device: torch.device | str = "cpu") -> MaskNetwork:
    """The network of a checkpoint, ready for inference under :func:`autocast`.

    Raises:
        ModelError: the file or its config is missing, damaged, or of another kind.
    """
    with as_model_error():
        return ready(network_of(checkpoints.load(weights, "separator")), device)


def load_tower(device: torch.device | str = "cpu") -> AudioTower:
    """The shipped audio tower, ready for inference under :func:`autocast`.

    Raises:
        ModelError: its file is missing or damaged.
    """
    with as_model_error():
        return ready(AudioTower.from_pretrained("nano"), device)


def ready(network: Network, device: torch.device | str) -> Network:
    """A network on its device, ready for inference under :func:`autocast`."""
    threads.tell_torch()
    return cast_once(network.to(device))


def network_of(checkpoint: Checkpoint) -> MaskNetwork:
    """The same of a checkpoint that was read; raises CheckpointError."""
    network = checkpoints.build(checkpoint, lambda **sizes: MaskNetwork(NetworkConfig.of(sizes)))
    return channels_last(network.eval().requires_grad_(False))
