"""Plain types that every part of the package shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.float32]
Progress: TypeAlias = Callable[[int, "int | None"], None]  # frames done, frames in all when known


@dataclass(frozen=True)
class Span:
    """A stretch of time, in seconds from the start of the recording."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Anchor:
    """A span with its polarity: the sound asked for is there (``present``), or is not."""

    span: Span
    present: bool = True


@dataclass(frozen=True)
class Grid:
    """Where the frames and bins of a stretch of spectrogram lie. Axes: F bins, T frames.

    Args:
        sample_rate: of the sound, in Hz.
        hop_length: samples from one frame to the next; frame t is centred on sample ``t * hop_length``.
        n_bins: F, from 0 Hz to half the sample rate.
        first_frame: of this stretch, counted from where the separation starts.
        n_frames: T.
        start_s: where in the recording the separation starts.
    """

    sample_rate: int
    hop_length: int
    n_bins: int
    first_frame: int
    n_frames: int
    start_s: float = 0.0

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Centre of every frame, (T,), in seconds from the recording's start."""
        frames = self.first_frame + np.arange(self.n_frames)
        return np.asarray(self.start_s + frames * (self.hop_length / self.sample_rate))

    @property
    def frequencies_hz(self) -> NDArray[np.float64]:
        """Centre of every bin, (F,)."""
        return np.linspace(0, self.sample_rate / 2, self.n_bins)


class MaskPrior(Protocol):
    """What a prompt knows by itself about where in time, frequency and stereo image a sound lies.

    It is multiplied with the mask of the network; a prompt that has nothing else is separated by it alone.
    """

    def gains(self, spectrum: NDArray[np.complex64], grid: Grid) -> Samples:
        """How much of every bin may belong to the sound, 0..1.

        A frame's gains depend on that frame (its time, its bins) and on no other: then there are no seams.

        Shape: spectrum (C, F, T) -> (C or 1, F, T) float32.
        """
        ...


@dataclass(frozen=True, eq=False)
class MaskedVideo:
    """Pictures in which the thing that is wanted is blacked out, as published SAM-Audio takes them.

    Args:
        times_s: N, ascending, from where the separation starts.
        frames: (N, 3, H, W) uint8.
    """

    times_s: tuple[float, ...]
    frames: NDArray[np.uint8]


@dataclass(frozen=True)
class Condition:
    """One prompt as a separator understands it.

    Args:
        name: what the stem will be called.
        vector: unit vector of the joint space, (384,) float32, or None when only spans or masks are given.
        text: what was asked for in words, for those who read words; None if nothing was.
        video: what is seen making it, for models that take that in place of a vector.
        anchors: spans where the sound is, or is not.
        masks: what is known beforehand of its time, frequency and place; all of them are multiplied.
        against: unit vectors (384,) of sounds that are not wanted in the stem.
    """

    name: str
    vector: Samples | None
    anchors: tuple[Anchor, ...] = ()
    masks: tuple[MaskPrior, ...] = ()
    against: tuple[Samples, ...] = ()
    text: str | None = None
    video: MaskedVideo | None = None

    def towards(self, vector: Samples) -> Condition:
        """The same with a vector; where there is one already, the direction between the two."""
        total = vector if self.vector is None else self.vector + vector
        return replace(self, vector=(total / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32))


@dataclass
class Stem:
    """A rendered sound: samples (channels, T) float32 at ``sample_rate`` Hz."""

    name: str
    samples: Samples
    sample_rate: int


class Block(NamedTuple):
    """A stretch of a separation: the mixture (C, n) and its parts (N + 1, C, n), the residual last, at a rate in Hz."""

    mixture: Samples
    parts: Samples
    sample_rate: int
