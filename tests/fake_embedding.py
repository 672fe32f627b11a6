"""Stands in for ``sam_audio.conditioning.embedding``: vectors that say how high a sound is, without a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sam_audio.errors import AudioReadError, ModelError
from sam_audio.io import open_audio

DIM = 16
FRAME_RATE = 25.0
HEIGHTS = {"rumble": 100.0, "hum": 300.0, "beep": 1000.0, "whistle": 3000.0, "hiss": 8000.0}  # Hz
_PLACES = np.geomspace(50, 16_000, DIM)


def place(hz: float) -> np.ndarray:
    """A unit vector (DIM,) whose neighbours are sounds of similar height."""
    bump = np.exp(-0.5 * (np.log(hz / _PLACES) / 0.5) ** 2).astype(np.float32)
    return bump / np.linalg.norm(bump)


def place_of(samples: np.ndarray, rate: int) -> np.ndarray:
    """The same for mono samples; zeros for silence."""
    power = np.square(np.abs(np.fft.rfft(samples - samples.mean())))
    if power.sum() < 1e-12:
        return np.zeros(DIM, np.float32)
    return place(
        float(np.clip((power * np.fft.rfftfreq(len(samples), 1 / rate)).sum() / power.sum(), 60, 15_000))
    )


class FakeEmbedder:
    """Sounds by their spectral centroid, pictures by their brightness, texts by the words of HEIGHTS."""

    dim, sample_rate, version = DIM, 48_000, "1"

    def __init__(self, name: str = "nano") -> None:
        self.name = name
        self.opened: list[str] = []

    def embed_text(self, texts: list[str], kind: str = "audio") -> np.ndarray:
        assert kind in ("audio", "video")
        return np.stack(
            [place(next((hz for word, hz in HEIGHTS.items() if word in text), 500.0)) for text in texts]
        )

    def embed_audio_segments(self, path, segment_s: float = 10.0):
        self.opened.append(Path(path).name)
        with open_audio(path) as reader:
            position = 0.0
            for block in reader.blocks(round(segment_s * reader.sample_rate)):
                end_s = position + block.shape[1] / reader.sample_rate
                yield position, end_s, place_of(block.mean(axis=0), reader.sample_rate)
                position = end_s

    def embed_audio_file(self, path) -> np.ndarray:
        total = np.sum(
            [vector * (end - start) for start, end, vector in self.embed_audio_segments(path)], axis=0
        )
        return (total / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32)

    def embed_audio_frames(self, path) -> np.ndarray:
        return np.stack([vector for _, _, vector in self.embed_audio_segments(path, 1 / FRAME_RATE)])

    def embed_picture_file(self, path) -> np.ndarray:
        self.opened.append(Path(path).name)
        data = Path(path).read_bytes()
        if data[:4] != b"\x89PNG":
            raise AudioReadError(f"{Path(path).name} is not a picture that can be read: convert it to png")
        return place(200.0 * (1 + data[-1]))

    def embed_video_file(self, path, start_s: float = 0.0, duration_s: float | None = None) -> np.ndarray:
        return place(8000.0 if start_s < 10 else 100.0)


class FakeLocator:
    """Probability of a text in a frame: the match of the two vectors."""

    frame_rate = FRAME_RATE

    def __init__(self, name: str = "nano") -> None:
        self.name = name

    def activity(self, path, prompts: list[str]) -> np.ndarray:
        embedder = FakeEmbedder()
        return np.clip(embedder.embed_text(prompts) @ embedder.embed_audio_frames(path).T, 0, 1)


def load_embedder(name: str = "nano", device: str = "cpu") -> FakeEmbedder:
    if name != "nano":
        raise ModelError(f"there is no model called {name}: use nano")
    return FakeEmbedder(name)


def load_locator(name: str = "nano", device: str = "cpu") -> FakeLocator:
    if name != "nano":
        raise ModelError(f"there is no model called {name}: use nano")
    return FakeLocator(name)


def tone(hz: float, seconds: float = 1.0, rate: int = 48_000, channels: int = 1) -> np.ndarray:
    """(channels, T) float32."""
    wave = 0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    return np.tile(wave.astype(np.float32), (channels, 1))
