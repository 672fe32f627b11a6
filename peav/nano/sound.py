"""What surrounds the audio tower, in numpy: its geometry, its features, and how what it found becomes one vector."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from peav.fourier import rfft

Array = NDArray[np.float32]

SAMPLE_RATE = 48_000
FRAME = 1920  # samples of one output frame, 40 ms
MEL_HOP = 480  # 10 ms
N_MELS = 64
MEL_WINDOW, MEL_N_FFT = (
    1200,
    1536,
)  # 25 ms; the bins of a 16 kHz signal with n_fft 512: no resampling is needed
_N_BINS = 257  # up to 8 kHz
LOG_OFFSET = 1e-3  # as YAMNet was trained
LEVEL = 0.1  # RMS of the loud part that every clip is brought to
MAX_GAIN = 30.0
LOUD = 0.03  # of the power of the loudest frame
# the trunk hears 0.96 s at a time, as YAMNet did: its padding is part of what it has learned
WINDOW_MELS = 96
WINDOW = WINDOW_MELS * MEL_HOP  # samples
STEP_FRAMES = 8  # output frames that one step of the trunk's last layer covers

# What a dot product with a text vector is compared for: a whole clip, a frame, or (in training) YAMNet's opinion.
CLIP, FRAME_LEVEL, TEACHER = range(3)


def mel_position(hertz: np.ndarray) -> np.ndarray:
    """Where frequencies lie among the mel bands: 0 at the lower edge of the first, 1 at the upper edge of the last."""
    low, high = np.log1p(np.array([125, 7500]) / 700)
    return (np.log1p(hertz / 700) - low) / (high - low)


@lru_cache(1)
def mel_filters() -> Array:
    """Triangular filters over 125 to 7500 Hz on the HTK mel scale, (N_BINS, N_MELS)."""
    band = mel_position(np.arange(_N_BINS) * SAMPLE_RATE / MEL_N_FFT)[:, None] * (N_MELS + 1)
    centres = np.arange(1, N_MELS + 1)  # each triangle reaches from one neighbour's centre to the other's
    return (1 - np.abs(band - centres)).clip(0).astype(np.float32)


def mel_window() -> Array:
    """Hann, periodic, (MEL_WINDOW,)."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(MEL_WINDOW) / MEL_WINDOW)).astype(np.float32)


def log_mel(waveform: Array) -> Array:
    """YAMNet's features of a 48 kHz waveform; `peav.nano.audio.log_mel` is the same in torch.

    Shapes: waveform (B, n), n a multiple of MEL_HOP -> (B, n // MEL_HOP, N_MELS). Frame k starts at k * 10 ms.
    """
    padded = np.pad(waveform, ((0, 0), (0, MEL_WINDOW - MEL_HOP)))
    frames = sliding_window_view(padded, MEL_WINDOW, axis=-1)[:, ::MEL_HOP] * mel_window()
    # a third: a frame holds three times the samples it would have at 16 kHz
    magnitude = np.abs(rfft(frames, MEL_N_FFT)[..., :_N_BINS]) / 3
    return np.log(magnitude @ mel_filters() + np.float32(LOG_OFFSET))


def levelled(waveform: Array) -> Array:
    """Brings the loud part of each waveform (B, n) to one level, so that a quiet recording is heard as well."""
    return waveform * level_gain(np.square(waveform))


def level_gain(power: Array, at_most: float = MAX_GAIN) -> Array:
    """What `levelled` multiplies sounds of these powers (B, n) with, (B, 1)."""
    padded = np.pad(power, ((0, 0), (0, -power.shape[-1] % FRAME)))
    frames = padded.reshape(len(power), -1, FRAME).mean(-1)
    loud = frames >= frames.max(-1, keepdims=True) * LOUD
    level = np.sqrt((frames * loud).sum(-1, keepdims=True) / loud.sum(-1, keepdims=True))
    return (LEVEL / level.clip(1e-9)).clip(max=at_most).astype(np.float32)


def pooled(vectors: Array, scores: Array) -> Array:
    """One unit vector of many, (..., S, D) -> (..., D); scores (..., S) say how much each counts."""
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return unit((vectors * (weights / weights.sum(-1, keepdims=True))[..., None]).sum(-2))


def unit(vectors: Any) -> Array:
    """Vectors (..., D) brought to length 1; of length 0 they stay."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)


def sigmoid(logits: Array) -> Array:
    """Logits as probabilities; far below 0 they are 0."""
    return 1 / (1 + np.exp(-logits.clip(-80)))
