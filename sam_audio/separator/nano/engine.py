"""The networks of nano behind one small boundary: arrays go in, arrays come out.

A window of sound is listened to once; from what was heard come masks for any prompts, when each sounds, and vectors
for whoever judges. Separator, Judge and locator know only :class:`Engine` and :class:`Heard`; what computes behind
them is its own affair.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from peav import checkpoints
from peav.checkpoints import Checkpoint
from peav.nano.audio import FRAME, FRAME_LEVEL, STEP_FRAMES, AudioTower
from peav.nano.precision import autocast, cast_once
from sam_audio.errors import as_model_error
from sam_audio.separator.nano.bands import HOP, features
from sam_audio.separator.nano.listening import Asked, conditions_of, frame_logits, hear
from sam_audio.separator.nano.network import (
    Analysis,
    MaskNetwork,
    NetworkConfig,
    channels_last,
    padded_frames,
)
from sam_audio.types import Samples

WEIGHTS = Path(__file__).parent.parent / "weights" / "nano-separator.safetensors"
STEP = STEP_FRAMES * FRAME // HOP  # frames of 20 ms that one step of the audio tower covers


@dataclass(frozen=True)
class Question:
    """N prompts, to be asked of one window of T frames.

    Args:
        vectors: in the joint space, (N, 384) float32; rows of prompts that have none are not looked at.
        known: which have one, (N,) bool.
        spans: where they are marked to sound and not to sound, (N, 2, T) of 0 and 1, if anything is marked.
        listen: whether the audio tower says when they sound.
        together: whether they compete with each other too, and not only with what else may sound.
    """

    vectors: Samples
    known: np.ndarray
    spans: Samples | None = None
    listen: bool = True
    together: bool = True


class Vectors(NamedTuple):
    """What a window of T frames sounds like, whatever is asked: frames (T / 2, 384), one each 40 ms; steps
    (T / 16, 384), one each 320 ms, and how much each of them counts in the vector of a clip, scores (T / 16,)."""

    frames: Samples
    steps: Samples
    scores: Samples


class Heard(Protocol):
    """A window that was listened to."""

    @property
    def vectors(self) -> Vectors:
        """What it sounds like, whatever is asked."""
        ...

    def masks(self, question: Question) -> Samples:
        """How much of every band and frame belongs to each prompt, (N, N_BANDS, T) in 0..1."""
        ...

    def when(self, question: Question) -> Samples | None:
        """Logits of each prompt's sounding in each frame of 40 ms, (N, T / 2); None where the network cannot tell."""
        ...


class Engine(Protocol):
    """The networks, loaded."""

    def listen(self, sound: Samples, energies: Samples) -> Heard:
        """Listens to one window.

        Args:
            sound: (C, n) at 48 kHz, at least T * HOP samples; what is missing is silence.
            energies: of its bands, (N_BANDS, T).
        """
        ...

    def resemblance(self, sounds: Samples, words: Samples, kind: int = FRAME_LEVEL) -> Samples:
        """Logits of how much sounds are what words say: (..., 384) and (N, 384) -> (N, ...); ``kind`` is CLIP or
        FRAME_LEVEL of `peav.nano.audio`."""
        ...


# ---- in torch --------------------------------------------------------------------------------------------


class TorchEngine:
    """Network and audio tower in torch; serves any number of threads.

    Args:
        network: the separator's.
        tower: PE-A-Frame nano's audio tower.
        device: where both are.
    """

    def __init__(self, network: MaskNetwork, tower: AudioTower, device: torch.device | str = "cpu") -> None:
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
        return self._ask(question, tell_when=False)[0]

    def when(self, question: Question) -> Samples | None:
        return self._ask(question, tell_when=True)[1]

    def _ask(self, question: Question, tell_when: bool) -> tuple[Samples, Samples | None]:
        engine = self._engine
        with torch.inference_mode(), autocast(engine.device.type):
            vectors, known = (
                torch.from_numpy(x)[None].to(engine.device) for x in (question.vectors, question.known)
            )
            spans = None if question.spans is None else torch.from_numpy(question.spans)[None].to(vectors)
            together = torch.full_like(known, question.together)
            n_frames = self._energies.shape[-1]

            def resembles(words: Tensor) -> Tensor:
                return frame_logits(engine.tower, self._frames, words)[..., :n_frames]

            asked = Asked(vectors, known, together, spans, question.listen)
            conditions, candidates = conditions_of(asked, resembles, engine.network.rivalry)
            masks, sounding = engine.network.respond(
                self._analysis, conditions, self._energies, candidates, tell_when
            )
            told = None if sounding is None else sounding[0].cpu().numpy()
            return masks[0].sigmoid().cpu().numpy(), told


# ---- loading ---------------------------------------------------------------------------------------------

_shipped: WeakValueDictionary[str, TorchEngine] = WeakValueDictionary()
_lock = threading.Lock()


def load_engine(weights: Path = WEIGHTS, device: torch.device | str = "cpu") -> TorchEngine:
    """The networks of a checkpoint and the shipped audio tower. Of what is shipped there is one copy in a process:
    separators, judges and locators share it.

    Raises:
        ModelError: a file is missing, damaged, or of another kind.
    """
    if weights != WEIGHTS:
        return TorchEngine(load_network(weights, device), load_tower(device), device)
    with _lock:
        engine = _shipped.get(str(device))
        if engine is None:
            engine = TorchEngine(load_network(weights, device), load_tower(device), device)
            _shipped[str(device)] = engine
        return engine


def load_network(weights: Path, device: torch.device | str = "cpu") -> MaskNetwork:
    """The network of a checkpoint, ready for inference under :func:`autocast`.

    Raises:
        ModelError: the file or its config is missing, damaged, or of another kind.
    """
    with as_model_error():
        return cast_once(network_of(checkpoints.load(weights, "separator")).to(device))


def load_tower(device: torch.device | str = "cpu") -> AudioTower:
    """The shipped audio tower, ready for inference under :func:`autocast`.

    Raises:
        ModelError: its file is missing or damaged.
    """
    with as_model_error():
        return cast_once(AudioTower.from_pretrained("nano").to(device))


def network_of(checkpoint: Checkpoint) -> MaskNetwork:
    """The same of a checkpoint that was read; raises CheckpointError."""
    network = checkpoints.build(checkpoint, lambda **sizes: MaskNetwork(NetworkConfig.of(sizes)))
    return channels_last(network.eval().requires_grad_(False))
