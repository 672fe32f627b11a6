"""Where the masks of a window come from: from what is heard in it, or from a file in which they were kept."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sam_audio.separator.nano.bands import HOP, N_BANDS, SAMPLE_RATE
from sam_audio.separator.nano.engine import Answer, Engine, Heard, Question, Vectors
from sam_audio.separator.nano.overhearing import Overheard
from sam_audio.separator.nano.synthesis import Spectrum, band_energies, faded, hedged
from sam_audio.types import Condition, Samples


class Window:
    """Makes the masks of one recording, window after window in order."""

    def masks(self, sound: Samples, spectrum: Spectrum, first_frame: int) -> Samples:
        """Masks of all N prompts in a window of T frames, (N, N_BANDS, T) in 0..1.

        Args:
            sound: (C, n) at 48 kHz.
            spectrum: of it, (C, T, N_BINS).
            first_frame: counted from the start of the recording.
        """
        raise NotImplementedError

    def evidence(self) -> Samples | None:
        """Of when the N prompts sound in the last window, (2, N, T / 2): see :class:`timekeeping.Evidence`. NaN for
        prompts that are no point of the joint space; None where nothing can tell."""
        return None

    def overhear(self, engine: Any, vectors: Samples) -> Overheard | None:
        """See :meth:`sam_audio.separator.base.SeparationStream.overhear`."""
        return None

    def settle(self, n_frames: int, last: bool) -> None:
        """The first frames of the window will not change; the others overlap with the next window."""

    def finish(self) -> None:
        """After the last window."""


class Listening(Window):
    """Listens to each window once, and asks for the prompts.

    Args:
        engine: what listens.
        conditions: N prompts.
        predict_spans: whether the audio tower says when the prompts sound.
        tells_when: whether `evidence` will be asked for.
    """

    def __init__(
        self, engine: Engine, conditions: list[Condition], predict_spans: bool, tells_when: bool = False
    ) -> None:
        self._engine, self._tells_when = engine, tells_when
        self._masker = Masker(conditions, predict_spans)
        self._overheard: Overheard | None = None

    def masks(self, sound: Samples, spectrum: Spectrum, first_frame: int) -> Samples:
        energies = band_energies(spectrum)
        heard = AskedOnce(self._engine.listen(sound, energies))
        self._heard, self._question = heard, self._masker.question_at(first_frame, energies.shape[-1])
        if self._tells_when:
            heard.answer(self._question)  # masks and evidence are parts of this one answer
        if self._overheard is not None:
            self._overheard.hear(heard)
        return self._masker.masks(heard, energies, self._question)

    def evidence(self) -> Samples | None:
        separated = self._heard.answer(self._question).when
        if separated is None:
            return None
        vectors, known = self._question.vectors, self._question.known
        resembles = self._engine.resemblance(self._heard.vectors.frames, vectors)
        n_frames = min(separated.shape[1], resembles.shape[1])
        both = np.stack([separated[:, :n_frames], resembles[:, :n_frames]])
        both[:, ~known] = np.nan
        return both[:, : self._masker.n_prompts]

    def overhear(self, engine: Any, vectors: Samples) -> Overheard | None:
        if _hear_alike(engine, self._engine):
            self._overheard = Overheard(vectors)
        return self._overheard

    def settle(self, n_frames: int, last: bool) -> None:
        if self._overheard is not None:
            self._overheard.settle(n_frames, last)


class Written(Window):
    """Another's masks, kept in a file, which appears under its name when it is complete; beside it in another file,
    of which `evidence_of` is the name, what tells when the prompts sound."""

    def __init__(self, inner: Window, file: Path) -> None:
        self._inner, self._path = inner, file
        self._part: BinaryIO | None = None
        self._times: BinaryIO | None = None
        self._evidence: Samples | None = None  # of the newest window, not settled

    def masks(self, sound: Samples, spectrum: Spectrum, first_frame: int) -> Samples:
        masks = self._inner.masks(sound, spectrum, first_frame)
        if self._part is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._part = self._path.with_suffix(".part").open("wb")
            self._times = evidence_of(self._path).open("wb")
        self._part.write(masks.tobytes())
        more = self._inner.evidence()
        self._evidence = None if more is None else faded(self._evidence, more)
        return masks

    def overhear(self, engine: Any, vectors: Samples) -> Overheard | None:
        return self._inner.overhear(engine, vectors)

    def settle(self, n_frames: int, last: bool) -> None:
        self._inner.settle(n_frames, last)
        if self._evidence is not None and self._times is not None:
            n = self._evidence.shape[-1] if last else n_frames // 2
            self._times.write(np.moveaxis(self._evidence[..., :n], -1, 0).astype(np.float32).tobytes())
            self._evidence = self._evidence[..., n:]

    def finish(self) -> None:
        if self._part is not None and self._times is not None:
            self._times.close()
            self._part.close()
            os.replace(self._part.name, self._path)


def evidence_of(file: Path) -> Path:
    """Where `Written` keeps what tells when the prompts sound, (T, 2, N) float32, beside a file of masks."""
    return file.with_suffix(".when")


class Replayed(Window):
    """Masks of N prompts from such a file: no network runs."""

    def __init__(self, file: Path, n_prompts: int) -> None:
        self._path, self._n_prompts = file, n_prompts
        self._file: BinaryIO | None = None

    def masks(self, sound: Samples, spectrum: Spectrum, first_frame: int) -> Samples:
        self._file = self._file or self._path.open("rb")
        shape = self._n_prompts, N_BANDS, spectrum.shape[1]
        values = np.frombuffer(self._file.read(4 * int(np.prod(shape))), np.float32)
        return values.reshape(shape).copy()

    def finish(self) -> None:
        if self._file is not None:
            self._file.close()


def _hear_alike(one: Engine, other: Engine) -> bool:
    """Engines of one checkpoint do, whatever computes them and how precisely."""
    return one is other or (one.weights is not None and one.weights == other.weights)


class AskedOnce(Heard):
    """What was heard, that remembers its first whole answer: a prompt and whoever judges its stem ask the same."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._first: tuple[Question, Answer] | None = None

    @property
    def vectors(self) -> Vectors:
        return self._heard.vectors

    def masks(self, question: Question) -> Samples:
        if self._first is not None and question.same_as(self._first[0]):
            return self._first[1].masks.copy()
        return self._heard.masks(question)

    def answer(self, question: Question) -> Answer:
        if self._first is None:
            self._first = question, self._heard.answer(question)
        asked, answer = self._first
        if not question.same_as(asked):
            return self._heard.answer(question)
        return answer._replace(masks=answer.masks.copy())


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

    @property
    def n_prompts(self) -> int:
        """N: the first rows of the question are theirs, the others are not wanted."""
        return len(self._conditions)

    def question_at(self, first_frame: int, n_frames: int) -> Question:
        """What is asked of a window of T frames that begins at a frame of the recording."""
        return replace(self.question, spans=self._spans(first_frame, n_frames))

    def masks(self, heard: Heard, energies: Samples, question: Question) -> Samples:
        """Masks in a window, (N, N_BANDS, T), of `question_at`: hedged, and without what is not wanted."""
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
