"""Hear, then ask: how a sound and prompts become what the network is given, in training and when separating alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from peav.nano.audio import AudioTower, level_gain
from peav.nano.sound import FRAME, FRAME_LEVEL, WINDOW
from sam_audio.separator.nano.bands import HOP, MOST_GAIN, padded_frames
from sam_audio.separator.nano.network import Analysis, Conditions, MaskNetwork, Response
from sam_audio.separator.nano.rivals import Candidates, Rivalry


def hear(tower: AudioTower, sound: Tensor, n_frames: int) -> list[Tensor]:
    """Maps of the audio tower's trunk for the first frames of a sound; see :class:`network.Hearing`.

    Channels meet as energies: a sound that cancels in mono is heard too.

    Args:
        sound: (B, C, samples) at any level.
        n_frames: of the network's 20 ms; the maps end with the last of them, padded to TIME_MULTIPLE.
    """
    length = padded_frames(n_frames) * HOP
    sound = sound[..., : n_frames * HOP]
    # silence goes before the sound: the newest is then heard with all that led to it
    sound = F.pad(sound, (-length % WINDOW, length - sound.shape[-1]))
    level = level_gain(sound.square().mean(dim=1), at_most=MOST_GAIN)
    mel = tower.mel((sound * level[..., None]).flatten(0, 1)).unflatten(0, sound.shape[:2])
    return tower.trunk((torch.logsumexp(2 * mel, dim=1) - math.log(sound.shape[1])) / 2)


def frame_logits(tower: AudioTower, frames: Tensor, words: Tensor) -> Tensor:
    """How much each 20 ms frame sounds like words: frames (B, T / 2, 384) of the tower, words (B, N, 384) or (N, 384)
    -> (B, N, T)."""
    return tower.logits(frames @ words.mT, FRAME_LEVEL).mT.repeat_interleave(FRAME // HOP, dim=-1)


@dataclass
class Asked:
    """N prompts, asked of B excerpts of T frames.

    Args:
        vectors: in the joint space, (B, N, 384).
        valid: which prompts have one, (B, N) bool.
        together: which of them the others compete with, (B, N) bool.
        spans: where they are marked to sound and not to sound, (B, N, 2, T), if anything is marked.
        listen: whether the audio tower may say when they sound; also one for each frame, 0 or 1, (B, N, T).
    """

    vectors: Tensor
    valid: Tensor
    together: Tensor
    spans: Tensor | None = None
    listen: bool | Tensor = True


def conditions_of(
    asked: Asked, resembles: Callable[[Tensor], Tensor] | None, rivalry: Rivalry | None
) -> tuple[Conditions, Candidates | None]:
    """What the network is asked, and what the prompts compete with.

    Args:
        asked: the prompts.
        resembles: logits of how much each frame sounds like words, (B, N, 384) or (N, 384) -> (B, N, T); None where
            there is no audio tower.
        rivalry: with the vocabulary that rivals come from, if the network has one.
    """
    vectors, valid = asked.vectors, asked.valid
    if resembles is None:
        return Conditions(vectors, valid, _tracks(None, valid, asked)), None
    if rivalry is None:
        return Conditions(vectors, valid, _tracks(resembles(vectors), valid, asked)), None
    labels = resembles(rivalry.labels)
    if asked.spans is not None:
        vectors, valid = rivalry.guess(vectors, valid, labels, asked.spans)
    own = resembles(vectors)
    candidates = rivalry.candidates(vectors, valid, own, labels, asked.together)
    return Conditions(vectors, valid, _tracks(own, valid, asked)), candidates


def answer(
    network: MaskNetwork,
    tower: AudioTower,
    analysis: Analysis,
    energies: Tensor,
    frames: Tensor,
    asked: Asked,
    tell_when: bool,
) -> Response:
    """Asks of what was heard: analysis, energies (B, N_BANDS, T) and the tower's frames (B, T / 2, 384)."""

    def resembles(words: Tensor) -> Tensor:
        return frame_logits(tower, frames, words)[..., : energies.shape[-1]]

    conditions, candidates = conditions_of(asked, resembles, network.rivalry)
    return network.respond(analysis, conditions, energies, candidates, tell_when)


def _tracks(activity: Tensor | None, valid: Tensor, asked: Asked) -> Tensor | None:
    """What is known of when the prompts sound (see :class:`Conditions`); ``activity`` are logits."""
    listens = activity is not None and asked.listen is not False
    if not listens and asked.spans is None:
        return None
    n_frames = (asked.spans if activity is None else activity).shape[-1]  # type: ignore[union-attr]
    tracks = torch.zeros(*valid.shape, 4, n_frames, device=valid.device)
    if listens and activity is not None:
        known = valid[..., None] * asked.listen
        tracks[:, :, 0], tracks[:, :, 1] = activity.sigmoid() * known, known
    if asked.spans is not None:
        tracks[:, :, 2:] = asked.spans
    return tracks
