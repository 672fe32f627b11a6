"""Separates one recording as it comes: window after window, cross-faded, in constant memory."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sam_audio.io.buffer import SampleQueue
from sam_audio.separator.nano.bands import HOP, N_BANDS, N_BINS, N_FFT, SAMPLE_RATE
from sam_audio.separator.nano.engine import STEP, Engine, Heard, Question, Vectors
from sam_audio.separator.nano.synthesis import (
    OverlapAdd,
    band_energies,
    faded,
    hedged,
    share_out,
    spectra,
    to_bins,
)
from sam_audio.types import Condition, Grid, Samples

# The network sees windows of 15.4 s that overlap by 2.6 s. The grid is fixed to the recording's start, masks of
# neighbouring windows are cross-faded, and synthesis is one overlap-add over the whole recording: no seams.
WINDOW_FRAMES = 768
OVERLAP_FRAMES = 128
SYNTHESIS_FRAMES = 64  # frames turned into sound at once; bounds memory with many stems and channels


class NanoStream:
    """Separates one recording (see :class:`sam_audio.types.SeparationStream`).

    Args:
        engine: what listens.
        conditions: N prompts.
        channels: C.
        strength: how boldly to cut.
        predict_spans: whether the audio tower says when the prompts sound.
    """

    def __init__(
        self,
        engine: Engine,
        conditions: list[Condition],
        channels: int,
        strength: float = 1.0,
        predict_spans: bool = True,
    ) -> None:
        self.engine = engine
        self.conditions = conditions
        self.strength = strength
        self.channels = channels
        self._masker = Masker(conditions, predict_spans)
        self._has_priors = any(condition.masks for condition in conditions)
        # frame t is centred on sample t * HOP, so the first one starts half a window before the recording
        self._samples = np.zeros((channels, N_FFT // 2), np.float32)
        self._spectrum = np.zeros((channels, 0, N_BINS), np.complex64)
        self._sound = np.zeros((channels, 0), np.float32)  # of self._spectrum, for the audio tower
        self._first_frame = 0  # of self._spectrum, counted from the recording's start
        self._fading: Samples | None = None  # masks of the window before, where it overlaps with the next
        self._synthesis = OverlapAdd()
        self._overheard: Overheard | None = None
        self._pushed = 0
        self._emitted = 0

    def overhear(self, engine: Engine, vectors: Samples) -> Overheard | None:
        """Lets somebody listen along from the start; see :class:`sam_audio.separator.base.Overhearing`."""
        # of several channels more is heard than of their sum, which is what judges judge
        if engine is self.engine and self.channels == 1:
            self._overheard = Overheard(vectors)
        return self._overheard

    def push(self, samples: Samples) -> Samples:
        self._pushed += samples.shape[-1]
        out = []
        step = WINDOW_FRAMES * HOP  # however much is pushed at once, the spectrogram of one window is held
        for start in range(0, samples.shape[-1], step):
            self._analyse(np.ascontiguousarray(samples[:, start : start + step], np.float32))
            while self._spectrum.shape[1] >= WINDOW_FRAMES:
                out.append(self._separate_window(WINDOW_FRAMES, last=False))
        return self._joined(out)

    def finish(self) -> Samples:
        if self._pushed == 0:
            return self._joined([])
        # zeros after the end, until every sample has all the frames that touch it
        self._analyse(np.zeros((self.channels, N_FFT + HOP), np.float32))
        out = []
        while self._spectrum.shape[1] > WINDOW_FRAMES:
            out.append(self._separate_window(WINDOW_FRAMES, last=False))
        out.append(self._separate_window(self._spectrum.shape[1], last=True))
        owed = self._pushed - self._emitted
        return self._joined(out)[..., :owed]

    def _joined(self, blocks: list[Samples]) -> Samples:
        if not blocks:
            return np.zeros((len(self.conditions), self.channels, 0), np.float32)
        joined = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=-1)
        self._emitted += joined.shape[-1]
        return joined

    def _analyse(self, samples: Samples) -> None:
        """Appends all frames that the new samples complete."""
        self._sound = np.concatenate([self._sound, samples], axis=-1)
        self._samples = np.concatenate([self._samples, samples], axis=-1)
        if self._samples.shape[-1] < N_FFT:
            return
        more = spectra(self._samples)
        self._spectrum = np.concatenate([self._spectrum, more], axis=1)
        self._samples = self._samples[:, more.shape[1] * HOP :].copy()

    def _separate_window(self, n_frames: int, last: bool) -> Samples:
        """Runs the network on the next window; returns the sound of the frames that are now settled."""
        masks = faded(self._fading, self._masks(n_frames))
        settled = n_frames if last else n_frames - OVERLAP_FRAMES
        self._fading = None if last else masks[..., settled:].copy()
        if self._overheard is not None:
            self._overheard.settle(settled, last)
        blocks = []
        for start in range(0, settled, SYNTHESIS_FRAMES):
            stop = min(start + SYNTHESIS_FRAMES, settled)
            blocks.append(self._synthesise(masks[..., start:stop], start))
        self._forget(settled)
        return np.concatenate(blocks, axis=-1)

    def _masks(self, n_frames: int) -> Samples:
        """Masks of all prompts in the next frames, (N, N_BANDS, T)."""
        energies = band_energies(self._spectrum[:, :n_frames])
        heard = self.engine.listen(self._sound, energies)
        if self._overheard is not None:
            self._overheard.hear(heard)
        return self._masker.masks(heard, energies, self._first_frame)

    def _synthesise(self, masks: Samples, start: int) -> Samples:
        """The sound that masks (N, N_BANDS, t) leave of the frames from ``start`` on, (N, C, t * HOP)."""
        spectrum = self._spectrum[:, start : start + masks.shape[-1]]
        return self._synthesis.push(self._gains(masks, spectrum, self._first_frame + start) * spectrum)

    def _gains(self, masks: Samples, spectrum: np.ndarray, first_frame: int) -> Samples:
        """Shapes: masks (N, N_BANDS, t), spectrum (C, t, N_BINS) -> (N, C or 1, t, N_BINS)."""
        if not self._has_priors:
            return to_bins(share_out(masks, self.strength))[:, None]
        grid = Grid(SAMPLE_RATE, HOP, N_BINS, first_frame, masks.shape[-1])
        gains = to_bins(masks)[:, None].repeat(self.channels, axis=1)
        for gain, condition in zip(gains, self.conditions, strict=True):
            for prior in condition.masks:
                gain *= np.swapaxes(prior.gains(np.swapaxes(spectrum, 1, 2), grid), 1, 2).clip(0, 1)
        return share_out(gains, self.strength)

    def _forget(self, n_frames: int) -> None:
        """Lets go of the first frames that are held."""
        self._spectrum = self._spectrum[:, n_frames:].copy()
        self._sound = self._sound[:, n_frames * HOP :].copy()
        self._first_frame += n_frames


class Masker:
    """Turns what was heard into the masks of N prompts."""

    def __init__(self, conditions: list[Condition], listen: bool) -> None:
        self._conditions = conditions
        # what is not wanted is asked for too, after the N prompts, and taken out of their masks
        unwanted = [Condition(c.name, vector) for c in conditions for vector in c.against]
        self._asked = [*conditions, *unwanted]
        self._unknown = [  # the network can know nothing of them
            n
            for n, c in enumerate(conditions)
            if c.vector is None and not c.anchors and (c.masks or c.against)
        ]
        nothing = np.zeros(384, np.float32)
        vectors = [nothing if c.vector is None else c.vector for c in self._asked]
        known = [c.vector is not None for c in self._asked]
        self.question = Question(np.array(vectors, np.float32), np.array(known), listen=listen)

    def masks(self, heard: Heard, energies: Samples, first_frame: int) -> Samples:
        """Masks in a window that begins at a frame of the recording, (N, N_BANDS, T): hedged, and without what is not
        wanted."""
        question = replace(self.question, spans=self._spans(first_frame, energies.shape[-1]))
        masks = heard.masks(question)
        masks[self._unknown] = 0
        n = len(self._conditions)
        wanted, unwanted = (hedged(part, energies) for part in (masks[:n], masks[n:]))
        wanted[self._unknown] = 1  # the priors decide
        row = 0
        for mask, condition in zip(wanted, self._conditions, strict=True):
            for _ in condition.against:
                mask *= 1 - unwanted[row]
                row += 1
        return wanted

    def _spans(self, first_frame: int, n_frames: int) -> Samples | None:
        """Where the prompts are marked to sound and not to sound in a window, (N, 2, T)."""
        if not any(condition.anchors for condition in self._conditions):
            return None
        spans = np.zeros((len(self._asked), 2, n_frames), np.float32)
        for n, condition in enumerate(self._asked):
            for anchor in condition.anchors:
                start = round(anchor.span.start_s * SAMPLE_RATE / HOP) - first_frame
                stop = round(anchor.span.end_s * SAMPLE_RATE / HOP) - first_frame
                spans[n, 0 if anchor.present else 1, max(start, 0) : max(stop, 0)] = 1
        return spans


# ---- listening along -------------------------------------------------------------------------------------


class Opinion(NamedTuple):
    """What was made of T frames: masks (P, N_BANDS, T) of prompts that do not compete with each other, and vectors."""

    masks: Samples
    vectors: Vectors


class Overheard:
    """What a separation heard on its way, frame after frame, for whoever judges it.

    Args:
        vectors: of the prompts that are judged, (P, 384).
    """

    def __init__(self, vectors: Samples) -> None:
        self._question = alone(vectors)
        self._window: Opinion | None = None  # the newest, not settled
        self._masks = SampleQueue((len(vectors), N_BANDS))
        self._frames, self._steps, self._scores = (SampleQueue(shape) for shape in ((384,), (384,), ()))

    def hear(self, heard: Heard) -> None:
        """The next window."""
        before = None if self._window is None else self._window.masks
        self._window = opinion(heard, self._question)
        faded(before, self._window.masks)

    def settle(self, n_frames: int, last: bool) -> None:
        """The first frames of the window will not change; the others overlap with the next window."""
        assert self._window is not None
        masks, (frames, steps, scores) = self._window
        self._masks.put(masks[..., :n_frames])
        self._frames.put(frames[: len(frames) if last else n_frames // 2].T)
        self._steps.put(steps[: len(steps) if last else n_frames // STEP].T)
        self._scores.put(scores[: len(scores) if last else n_frames // STEP])
        self._window = Opinion(masks[..., n_frames:], self._window.vectors)

    def take(self, n_frames: int) -> Opinion:
        """Of the next T frames; if they are no whole steps of the tower, they are the last."""
        n_steps = -(-n_frames // STEP)
        vectors = (
            self._frames.take(n_frames // 2).T,
            self._steps.take(n_steps).T,
            self._scores.take(n_steps),
        )
        return Opinion(self._masks.take(n_frames), Vectors(*vectors))


def alone(vectors: Samples) -> Question:
    """Asks for sounds with these vectors (P, 384) as if each were asked for by itself."""
    return Question(np.asarray(vectors, np.float32), np.ones(len(vectors), bool), together=False)


def opinion(heard: Heard, question: Question) -> Opinion:
    """Of a whole window."""
    return Opinion(heard.masks(question), heard.vectors)
