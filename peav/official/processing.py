"""Turns texts, waveforms and frames into the inputs of PE-AV and PE-A-Frame."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, Unpack

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from peav import hub
from peav.checkpoints import CheckpointError
from peav.official.codec import reflect_pad
from peav.official.config import PEAudioFrameConfig, PEAudioVideoConfig
from peav.official.video import FIXED_FRAMES, sample_frames
from peav.official.vision import to_pixels
from peav.sharing import Shared, write_json

LONGEST_TEXT = 512  # tokens; what follows is cut off


class Inputs(dict[str, Tensor]):
    """Inputs of a model by name, for ``model(**inputs)``; each is an attribute, too."""

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Inputs:
        """The same on another device; floating-point tensors in other numbers if ``dtype`` says so."""
        return Inputs({n: t.to(device, dtype if t.is_floating_point() else None) for n, t in self.items()})

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no input {name!r}: there are {', '.join(self)}") from None


class Processor(Shared):
    """Base of the processors.

    Args:
        tokenizer: of the checkpoint; its settings of padding and truncation are changed.
        config: sizes of the model.
    """

    revision = hub.PE_REVISION  # of the published models
    values: Mapping[str, Any] | None = None  # the config.json that it came with

    def __init__(self, tokenizer: Tokenizer, config: Any) -> None:
        tokenizer.enable_truncation(LONGEST_TEXT)
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.config = config
        self.sample_rate: int = config.codec.sample_rate
        self.hop: int = config.codec.hop

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str],
        *,
        revision: str | None = None,
        **options: Unpack[hub.HubOptions],
    ) -> Self:
        """Reads config.json and tokenizer.json; arguments and errors as of `PEAudioVideo.from_pretrained`."""
        revision = hub.published_revision(name_or_folder, revision, cls.revision)
        values = hub.read_json(hub.find(name_or_folder, "config.json", revision, **options))
        tokenizer = hub.find(name_or_folder, "tokenizer.json", revision, **options)
        made = cls(load_tokenizer(tokenizer), cls.read_config(values))
        made.values = values
        return made

    @classmethod
    def read_config(cls, values: Mapping[str, Any]) -> Any:
        """Sizes from a config.json."""
        raise NotImplementedError

    def write(self, folder: Path) -> list[Path]:
        write_json(folder / "config.json", self.values or self.config.values())
        self.tokenizer.save(str(folder / "tokenizer.json"))
        return [folder / "tokenizer.json", folder / "config.json"]

    def read(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask``, (B, L) int64, padded to the longest text."""
        if isinstance(texts, str):
            raise TypeError("texts must be a list: put the single text in brackets")
        ids = [
            torch.tensor(encoding.ids, dtype=torch.long)
            for encoding in self.tokenizer.encode_batch(list(texts))
        ]
        if not ids:
            raise ValueError("there are no texts")
        return {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.config.text.pad_token_id),
            "attention_mask": pad_sequence([torch.ones_like(i) for i in ids], batch_first=True),
        }

    def hear(self, waveforms: Sequence[Any], sampling_rate: int | None) -> dict[str, Tensor]:
        """``input_values`` (B, 1, n) and ``padding_mask`` (B, n): each reflected to whole frames, then padded."""
        if hasattr(waveforms, "ndim"):
            raise TypeError("waveforms must be a list: put the single waveform in brackets")
        if sampling_rate is None:
            warnings.warn(
                f"no sampling_rate is given, so it is taken for {self.sample_rate} Hz", stacklevel=3
            )
        elif sampling_rate != self.sample_rate:
            raise ValueError(
                f"waveforms must be at {self.sample_rate} Hz, not {sampling_rate}: resample them first"
            )
        mono = [to_mono(self.samples(waveform)) for waveform in waveforms]
        values, valid_mask = padded([reflect_pad(waveform[None], self.hop)[0] for waveform in mono])
        return {"input_values": values[:, None], "padding_mask": valid_mask}

    def samples(self, sound: Any) -> Tensor:
        """What was given as one sound, as a tensor."""
        return torch.as_tensor(sound)

    def _shared(
        self,
        text: Sequence[str] | None,
        audio: Sequence[Any] | None,
        sampling_rate: int | None,
        input_features: Sequence[Any] | None,
    ) -> Inputs:
        inputs = Inputs()
        if text is not None:
            inputs.update(self.read(text))
        if audio is not None:
            inputs.update(self.hear(audio, sampling_rate))
        if input_features is not None:
            inputs["input_features"], inputs["padding_mask"] = padded(
                [torch.as_tensor(f) for f in input_features]
            )
        return inputs


class PEAudioFrameProcessor(Processor):
    """Inputs of `PEAudioFrame`; arguments as of `Processor`."""

    config: PEAudioFrameConfig

    @classmethod
    def read_config(cls, values: Mapping[str, Any]) -> PEAudioFrameConfig:
        return PEAudioFrameConfig.of(values)

    def __call__(
        self,
        text: Sequence[str] | None = None,
        audio: Sequence[Any] | None = None,
        sampling_rate: int | None = None,
        *,
        input_features: Sequence[Any] | None = None,
    ) -> Inputs:
        """Inputs by name, each given kind as one batch.

        Args:
            text: phrases.
            audio: waveforms, float arrays (n,) or (channels, n); channels are averaged.
            sampling_rate: of the waveforms, in Hz; has to be the model's.
            input_features: codec latents (T, C) of each sound, in place of waveforms or beside them.

        Raises:
            TypeError: a single text or waveform is given instead of a list.
            ValueError: something has the wrong shape, rate or length.
        """
        return self._shared(text, audio, sampling_rate, input_features)


class PEAudioVideoProcessor(Processor):
    """Inputs of `PEAudioVideo`; arguments as of `Processor`."""

    config: PEAudioVideoConfig

    @classmethod
    def read_config(cls, values: Mapping[str, Any]) -> PEAudioVideoConfig:
        return PEAudioVideoConfig.of(values)

    def __call__(
        self,
        text: Sequence[str] | None = None,
        audio: Sequence[Any] | None = None,
        videos: Sequence[Any] | None = None,
        sampling_rate: int | None = None,
        *,
        input_features: Sequence[Any] | None = None,
        pe_features: Sequence[Any] | None = None,
    ) -> Inputs:
        """Inputs by name, each given kind as one batch; see `PEAudioFrameProcessor.__call__`.

        Args:
            videos: frames, uint8 arrays (N, 3, H, W). Models of a fixed length pick 16 of at least as many.
            pe_features: vectors (N, F) of the frames of each video, in place of frames or beside them.
        """
        inputs = self._shared(text, audio, sampling_rate, input_features)
        if videos is not None:
            inputs.update(self.watch(videos))
        if pe_features is not None:
            picked = [self._picked(torch.as_tensor(features)) for features in pe_features]
            inputs["pe_features"], inputs["padding_mask_videos"] = padded(picked)
        return inputs

    def watch(self, videos: Sequence[Any]) -> dict[str, Tensor]:
        """``pixel_values_videos`` (B, N, 3, S, S) and ``padding_mask_videos`` (B, N)."""
        if hasattr(videos, "ndim"):
            raise TypeError("videos must be a list: put the single video in brackets")
        pixels, valid_mask = padded([self.pixels(video) for video in videos])
        return {"pixel_values_videos": pixels, "padding_mask_videos": valid_mask}

    def pixels(self, video: Any) -> Tensor:
        """What was given as one video, as the model sees it, (N, 3, S, S)."""
        return to_pixels(self._picked(torch.as_tensor(video)), self.config.vision.image_size)

    def _picked(self, video: Tensor) -> Tensor:
        return sample_frames(video, FIXED_FRAMES) if self.config.fixed_len_video else video


def to_mono(waveform: Tensor) -> Tensor:
    """Averages channels: (n,) or (channels, n) -> (n,) float32; more than one gives a warning."""
    if waveform.ndim not in (1, 2) or not waveform.is_floating_point():
        raise ValueError(
            f"a waveform must hold floating point samples of shape (n,) or (channels, n), "
            f"not {waveform.dtype} of {tuple(waveform.shape)}"
        )
    waveform = waveform.float()
    if waveform.ndim == 1:
        return waveform
    if len(waveform) > 1:
        warnings.warn(f"{len(waveform)} channels are averaged", stacklevel=4)
    return waveform.mean(0)


def padded(items: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Joins tensors (L, ...) of different lengths: (B, longest, ...) with zeros at the ends, and a mask (B, longest).

    Raises:
        ValueError: there are none, or one is empty.

    >>> padded([torch.ones(2), torch.ones(1)])[1].tolist()
    [[True, True], [True, False]]
    """
    lengths = torch.tensor([len(item) for item in items])
    if not items or not lengths.all():
        raise ValueError("there is nothing to encode" if not items else "one of the items is empty")
    batch = pad_sequence(list(items), batch_first=True)
    return batch, torch.arange(batch.shape[1]) < lengths[:, None]


def load_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer.json.

    Raises:
        CheckpointError: it is not one.
    """
    try:
        return Tokenizer.from_file(str(path))
    except Exception:  # noqa: BLE001  tokenizers raises bare Exception
        raise CheckpointError(f"{path} is not a readable tokenizer: fetch the model again.") from None
