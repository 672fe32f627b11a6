"""Inputs of PE-AV and PE-A-Frame by upstream's calls: `peav.official.processing`, and files beside arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from peav.official.processing import PEAudioFrameProcessor, PEAudioVideoProcessor, Processor
from peav.official.video import spread
from peav.official.vision import FRAMES_AT_ONCE, to_pixels
from sam_audio.errors import as_model_error
from sam_audio.io.pictures import read_frames
from sam_audio.separator.official.reading import listed, mono


class _Reading(Processor):
    """Reads sounds from files; without ``sampling_rate`` samples are taken to be at the model's own rate."""

    @classmethod
    def from_config(cls, name: str | Path, **how: Any) -> Self:
        """For the model of a folder or hub name; arguments as of `Processor.from_pretrained`.

        Raises:
            ModelError: there is no such model.
        """
        with as_model_error():
            return cls.from_pretrained(name, **how)

    def hear(self, waveforms: Any, sampling_rate: int | None) -> dict[str, Tensor]:
        return super().hear(listed(waveforms), self.sample_rate if sampling_rate is None else sampling_rate)

    def read(self, texts: Any) -> dict[str, Tensor]:
        return super().read(listed(texts))

    def samples(self, sound: Any) -> Tensor:
        return super().samples(mono(sound, self.sample_rate))


class PEAudioFrameTransform(_Reading, PEAudioFrameProcessor):
    """As `peav.PEAudioFrameProcessor`; sounds may be files, too, and a single text or sound needs no list.

    >>> transform = PEAudioFrameTransform.from_config("pe-a-frame-large")  # doctest: +SKIP
    >>> inputs = transform(audio=["office.wav"], text=["keyboard typing"]).to("cuda")  # doctest: +SKIP
    """


class PEAudioVisualTransform(_Reading, PEAudioVideoProcessor):
    """As `peav.PEAudioVideoProcessor`; sounds and videos may be files, too, and a single one needs no list."""

    def watch(self, videos: Any) -> dict[str, Tensor]:
        return super().watch(listed(videos))

    def pixels(self, video: Any) -> Tensor:
        """All frames of a file, or as many as a model of a fixed length looks at; a short file repeats some."""
        if not isinstance(video, str | Path):
            return super().pixels(video)
        frames: Iterator[np.ndarray] = (picture for _, picture in read_frames(video))
        if self.config.fixed_len_video:
            times = Counter(spread(sum(1 for _ in frames)))
            again = enumerate(picture for _, picture in read_frames(video))
            frames = chain.from_iterable(repeat(picture, times[i]) for i, picture in again)
        side = self.config.vision.image_size
        # resized a few at a time: a film as it is would not fit into memory
        pixels = []
        while some := list(islice(frames, FRAMES_AT_ONCE)):
            pixels.append(to_pixels(torch.from_numpy(np.stack(some)), side))
        return torch.cat(pixels)
