"""Judge nano: how good is a stem, judged by ear and without the true sources?

It sees mixture, stem and what the stem left, as band energies; it hears the mixture through PE-AV nano: how much it
sounds like the prompt, as a whole and frame by frame; and it knows how the nano separator would share out the mixture,
which is an opinion of every cell, with its doubts, and when the prompt sounds to that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, Unpack

import numpy as np

from judge import WEIGHTS
from judge.scales import scores_of_absent
from judge.types import Judge, Judgement, JudgeWindow, StemPrompt
from judge.windows import LEAST_S, RunningJudgement, is_silent, judgement
from peav import checkpoints
from peav.checkpoints import NANO, CheckpointError
from peav.devices import Device, DeviceMap
from peav.graphs import Graph, named
from peav.hub import HubOptions
from peav.nano.graphs import TextGraph
from peav.nano.sharing import NanoShared, fetched, metadata
from peav.nano.sound import CLIP, FRAME, SAMPLE_RATE, pooled
from sam_audio.devices import one_device
from sam_audio.errors import (
    AudioReadError,
    ModelError,
    PromptError,
    UserError,
    as_model_error,
    needing_extras,
)
from sam_audio.separator.base import SeparationStream
from sam_audio.separator.nano.bands import HOP
from sam_audio.separator.nano.engine import Engine
from sam_audio.separator.nano.loading import check_dtype, load_engine
from sam_audio.separator.nano.overhearing import Opinion, Overheard, alone, opinion
from sam_audio.separator.nano.synthesis import Spectrum, band_energies, centred_spectra, energies_of_each
from sam_audio.types import Samples

if TYPE_CHECKING:
    import torch

SHIPPED, GRAPH = WEIGHTS / "nano-judge.safetensors", WEIGHTS / "nano-judge.onnx"
WINDOW = 16 * 46_080  # samples judged at once, 15.36 s: whole windows of the audio tower
SURELY_NOT = 0.1  # probability of being there below which scores turn into those of something that is not
_SILENT_SHARE = 1e-7  # of the mixture's energy: a stem with less is silent
_PERFECT, _WRONG = (5.0,) * 4, (1.0, 5.0, 1.0, 1.0)  # stems of a silent mixture
AT_ONCE = 8  # stems looked at together; bounds memory


# ---- what is measured ----------------------------------------------------------------------------------


@dataclass
class MixtureWindow:
    """One window of a mixture, before any stem is known.

    ``samples`` (n,), n a multiple of FRAME; its ``spectrum`` (T, N_BINS); energies of its bands (N_BANDS, T); and what
    was ``heard`` in it for P prompts.
    """

    samples: Samples
    spectrum: Spectrum
    energies: Samples
    heard: Opinion

    @classmethod
    def of(cls, samples: Samples, heard: Callable[[Samples], Opinion]) -> MixtureWindow:
        """``heard`` tells what is heard in a mixture with these energies."""
        spectrum = centred_spectra(samples[None])
        energies = band_energies(spectrum)
        return cls(samples, spectrum[0], energies, heard(energies))


class Compared(NamedTuple):
    """What is measured of N stems of one mixture, from which the network is given what it sees.

    energies (N, 3, N_BANDS, T) of mixture, stem and rest; masks (N, N_BANDS, T) of the separator, and when (N, T / 2),
    its logits of when the prompt sounds; clip (N,), how much the mixture sounds like the prompt, and frames (N, T / 2),
    when; weights (T / 2,), the share of each frame in the mixture's energy; loudness (N, 2) of stem and rest against
    the mixture's.

    How stem and rest sound to the audio tower is not asked: it told nothing more, and took a quarter of the time.
    """

    energies: Samples
    masks: Samples
    when: Samples
    clip: Samples
    frames: Samples
    weights: Samples
    loudness: Samples


# N stems -> their scores (N, 4), as they are if the sound is there and not bounded to 1..5, and how likely it is (N,)
JudgeNetwork = Callable[[Compared], Sequence[Samples]]


def listen(engine: Engine, samples: Samples, vectors: Samples) -> MixtureWindow:
    """Listens to one window of a mixture, (n,), for prompts with these vectors (P, 384)."""
    return MixtureWindow.of(
        samples, lambda energies: opinion(engine.listen(samples[None], energies), alone(vectors))
    )


def compare(
    engine: Engine, mixed: MixtureWindow, stems: Samples, rows: Sequence[int], vectors: Samples
) -> Compared:
    """All that is measured of N stems of one mixture.

    Args:
        engine: turns similarities into logits.
        mixed: the mixture, of n samples.
        stems: (N, n).
        rows: of each stem's prompt in what was heard; with its vector in ``vectors`` (N, 384).
    """
    samples, (masks, when, (frames, steps, scores)) = mixed.samples, mixed.heard
    energy = np.square(samples).reshape(-1, FRAME).mean(-1)
    loudness = [np.square(part).mean(-1) for part in (stems, samples - stems)]
    spectra = centred_spectra(stems)
    of_each = [energies_of_each(part) for part in (spectra, mixed.spectrum - spectra)]
    mixture = np.broadcast_to(mixed.energies, of_each[0].shape)
    return Compared(
        np.stack([mixture, *of_each], axis=1),
        masks[list(rows)],
        when[list(rows)],
        engine.resemblance(pooled(steps, scores), vectors, CLIP),
        engine.resemblance(frames, vectors),
        energy / max(float(energy.sum()), 1e-12),
        np.stack(loudness, axis=1, dtype=np.float32)
        / np.float32(max(float(np.square(samples).mean()), 1e-12)),
    )


# ---- the judge -----------------------------------------------------------------------------------------


class NanoJudge(NanoShared, Judge):
    """Judge nano, ready to judge; implements `judge.types.Judge`.

    Silence has defined scores. Of a silent mixture, a silent stem is perfect (5 throughout) and any other is wrong
    (1, but nothing was lost: recall 5); nothing is present. A silent stem of a mixture gets what `judge.scales` says
    of it: 1 throughout if the sound is there, 5 if it is not.
    """

    problem = ModelError
    told_in = "nano-judge.md"
    card = metadata("audio-classification", "source-separation", "quality")
    purpose = "Judge nano: how good a separated sound is, without a reference."

    sample_rate = SAMPLE_RATE
    window_s = WINDOW / SAMPLE_RATE
    vector_dim = 384  # of prompts that are no text: vectors of the joint space

    def __init__(self, name: str | os.PathLike[str] = "nano", engine: Engine | None = None) -> None:
        """``engine`` is what it listens with, by default the shipped one.

        Raises:
            CheckpointError: the weights are missing or damaged.
            MissingExtraError: they need torch, and it is not installed.
        """
        self._weights = checkpoints.resolve(name, "judge", WEIGHTS)
        self._network = load_network(self._weights)
        self.name = str(name)
        self.engine = engine or listener()
        self._text: TextGraph | None = None
        # windows of a recording ask for the same again
        self._embed = lru_cache(maxsize=256)(self._embed_text)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str] = NANO,
        *,
        revision: str | None = None,
        device: Device | None = None,
        dtype: str | torch.dtype | None = None,
        device_map: DeviceMap = None,
        engine: Engine | None = None,
        **hub: Unpack[HubOptions],
    ) -> Self:
        """Loads a judge, which listens and reads with the networks that come with the package.

        Args:
            name_or_folder, revision, hub: as of `sam_audio.separator.nano.model.NanoSeparator.from_pretrained`.
            device, device_map: "cpu" or "auto": it computes there only.
            dtype: "auto" or float32.
            engine: what it listens with, by default the shipped one.

        Raises:
            ModelError: there is none, it cannot be fetched, or it is damaged.
            UserError: it is to compute elsewhere, or in other numbers.
        """
        if "auto" not in (device, device_map) and one_device(device, device_map) != "cpu":
            raise UserError("Judge nano computes on the CPU: use device='cpu'")
        check_dtype(dtype, "cpu")
        with as_model_error():
            return cls(fetched(name_or_folder, ["judge"], revision, **hub), engine)

    def sources(self) -> Mapping[str, Path]:
        return {"judge": self._weights}

    def judge(
        self, mixture: Samples, stems: Sequence[Samples], prompts: Sequence[StemPrompt]
    ) -> list[Judgement]:
        """Judges each stem by its prompt; a prompt is text or a vector of the joint space.

        Shapes: mixture (n,) and each stem (n,), float32, mono, at 48 kHz. Long sound is judged in windows (see
        `RunningJudgement`).

        Raises:
            AudioReadError: lengths differ, or samples are not finite.
            PromptError: there is not one prompt for each stem, or a vector is of another space.
        """
        if len(stems) != len(prompts):
            raise PromptError(f"there are {len(stems)} stems and {len(prompts)} prompts: give one for each")
        for sound in (mixture, *stems):
            if np.ndim(sound) != 1 or np.shape(sound) != np.shape(mixture):
                raise AudioReadError(
                    f"the stem has {np.shape(sound)[-1]} samples and the mixture {np.shape(mixture)[-1]}: "
                    "align them first, both mono"
                )
            if not np.isfinite(sound).all():
                raise AudioReadError("the sounds hold NaN or infinite values: replace them first")
        vectors = self._vectors(prompts)
        running = RunningJudgement(
            lambda mixed, parts: self._judge_window(mixed, parts, vectors),
            len(stems),
            WINDOW,
            round(LEAST_S * SAMPLE_RATE),
        )
        running.push(np.stack([mixture, *stems]).astype(np.float32, copy=False))
        return running.finish()

    def along(self, stream: SeparationStream, prompts: Sequence[StemPrompt]) -> JudgeWindow | None:
        """Judges window after window by what a separation hears on its way, where that listens with the same engine:
        nothing is then listened to twice."""
        vectors = self._vectors(prompts)
        overheard: Overheard | None = stream.overhear(self.engine, vectors)
        if overheard is None:
            return None
        return lambda mixture, stems: self._judge_window(mixture, stems, vectors, overheard)

    def _vectors(self, prompts: Sequence[StemPrompt]) -> Samples:
        """(N, 384)."""
        return np.array([self._vector(prompt) for prompt in prompts], np.float32).reshape(-1, self.vector_dim)

    def _vector(self, prompt: StemPrompt) -> Samples:
        if isinstance(prompt, str):
            return self._embed(prompt)
        if np.shape(prompt) != (self.vector_dim,):
            raise PromptError(
                f"a prompt vector of shape {np.shape(prompt)} is of no use to Judge nano: "
                f"use one of {self.vector_dim} dimensions, or words"
            )
        return np.asarray(prompt, np.float32)

    def _embed_text(self, prompt: str) -> Samples:
        if self._text is None:
            self._text = TextGraph()
        return self._text.embed([prompt])[0]

    def _judge_window(
        self, mixture: Samples, stems: Samples, vectors: Samples, overheard: Overheard | None = None
    ) -> list[Judgement]:
        """Shapes: mixture (n,), stems (N, n); vectors of their prompts (N, 384)."""
        if not len(vectors):
            return []
        padding = -len(mixture) % FRAME
        told = None if overheard is None else overheard.take((len(mixture) + padding) // HOP)
        if is_silent(mixture):
            return [judgement(_PERFECT if is_silent(stem) else _WRONG, 0.0) for stem in stems]
        samples = np.pad(mixture, (0, padding))
        # once, however many stems there are
        mixed = (
            listen(self.engine, samples, vectors)
            if told is None
            else MixtureWindow.of(samples, lambda _: told)
        )
        parts = np.pad(stems, ((0, 0), (0, padding)))
        judgements = []
        for start in range(0, len(parts), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            rows = range(len(parts))[some]
            found = compare(self.engine, mixed, parts[some], rows, vectors[some])
            for row, scores, present in zip(rows, *self._network(found), strict=True):
                judgements.append(_weighed(scores, float(present), stems[row], mixture))
        return judgements


def _weighed(scores: Samples, present: float, stem: Samples, mixture: Samples) -> Judgement:
    """The scores (4,) as if the sound is there, unless it surely is not."""
    there = scores.clip(1, 5)
    if float(np.square(stem).sum()) <= _SILENT_SHARE * float(np.square(mixture).sum()):
        there = np.ones_like(there)
    share = min(present / SURELY_NOT, 1.0)
    weighed = share * there + (1 - share) * scores_of_absent(stem, mixture)
    return judgement(weighed.tolist(), present)


def load_network(name: str | os.PathLike[str]) -> JudgeNetwork:
    """The network of a checkpoint: a graph if it has the sizes of the shipped one, else in torch.

    Raises:
        CheckpointError: the weights are missing, damaged or of another kind.
        MissingExtraError: torch is needed, and not installed.
    """
    checkpoint = checkpoints.load(name, "judge", WEIGHTS)
    if checkpoint.fits(SHIPPED):
        graph = Graph(GRAPH, named("network", checkpoint.arrays))
        return lambda found: graph("scores", "present", **found._asdict())
    with needing_extras(f"the judge {name}"):
        from judge.network import in_torch
    return in_torch(checkpoint)


def listener() -> Engine:
    """The shipped networks, which a judge listens with.

    Raises:
        CheckpointError: weights are missing or damaged.
    """
    try:
        return load_engine()
    except ModelError as error:
        raise CheckpointError(str(error)) from None
