"""PE-AV nano and PE-A-Frame nano: the embedded towers behind the same methods as the official classes.

All of them live in one space, so the official models' several text spaces are one here, and what belongs to two
modalities is the direction between their vectors. Towers are loaded when a call first needs them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from peav import checkpoints
from peav.checkpoints import NANO
from peav.devices import Device, DeviceMap, choose_device, choose_dtype
from peav.hub import HubOptions
from peav.nano.audio import AudioTower
from peav.nano.graphs import version
from peav.nano.pictures import IMAGE_SIZE
from peav.nano.sharing import NanoShared, copied, fetched, metadata
from peav.nano.sound import CLIP, FRAME, FRAME_LEVEL, SAMPLE_RATE
from peav.nano.text import TextTower
from peav.nano.tower import Tower
from peav.nano.video import VideoTower, prepare_frames
from peav.nano.words import Words
from peav.sharing import Shared, write_json

AnyTower = TypeVar("AnyTower", bound=Tower)


@dataclass(frozen=True)
class NanoConfig:
    """What callers of either family ask of a config."""

    output_dim: int = 384


class _Towers:
    """Loads each tower once, when it is first asked for; safe to share between threads."""

    def __init__(
        self,
        name: str | os.PathLike[str],
        towers: Sequence[str],
        device: Device,
        dtype: str | torch.dtype | None,
    ) -> None:
        self.name, self.device = name, torch.device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.paths = {tower: checkpoints.resolve(name, tower) for tower in towers}
        self._lock = threading.Lock()
        self._loaded: dict[str, Any] = {}

    def _get(self, kind: type[AnyTower]) -> AnyTower:
        with self._lock:
            if kind.tower not in self._loaded:
                loaded = kind.from_pretrained(self.paths[kind.tower], device=self.device, dtype=self.dtype)
                self._loaded[kind.tower] = loaded
            return self._loaded[kind.tower]  # type: ignore[no-any-return]

    @property
    def text(self) -> TextTower:
        return self._get(TextTower)

    @property
    def audio(self) -> AudioTower:
        return self._get(AudioTower)

    @property
    def video(self) -> VideoTower:
        return self._get(VideoTower)

    @property
    def as_they_came(self) -> bool:
        return all(tower.as_it_came for tower in self._loaded.values())

    def write(self, folder: Path) -> list[Path]:
        """Those that are loaded as they are now, the others as they are stored."""
        written = []
        for name, path in self.paths.items():
            tower: Tower | None = self._loaded.get(name)
            written += tower.write_towers(folder) if tower else copied(path, name, folder)
        return written

    def read(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Unit vectors of texts; without a mask every token counts."""
        valid = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return self.text(input_ids.to(self.device), valid.bool().to(self.device))


@dataclass
class NanoOutput:
    """What was given decides what is there; each (B, 384), unit length."""

    audio_embeds: Tensor | None = None
    visual_embeds: Tensor | None = None
    audio_visual_embeds: Tensor | None = None
    audio_text_embeds: Tensor | None = None
    visual_text_embeds: Tensor | None = None
    audio_visual_text_embeds: Tensor | None = None
    audio_plus_text_embeds: Tensor | None = None
    visual_plus_text_embeds: Tensor | None = None


class _OfTowers(NanoShared):
    """What is made of towers, each of which is read when a method first needs it.

    Args:
        name: "nano", which comes with the package, or a folder with one ``NAME-TOWER.safetensors`` of each.
        device: where to compute.
        dtype: see `peav.nano.tower.Tower.from_pretrained`.

    Raises:
        CheckpointError: there is none of that name, or it lacks a tower.
    """

    needs: ClassVar[tuple[str, ...]]
    told_in = "nano-encoders.md"
    config = NanoConfig()

    def __init__(
        self,
        name: str | os.PathLike[str] = NANO,
        device: Device = "cpu",
        dtype: str | torch.dtype | None = None,
    ) -> None:
        self.towers = _Towers(name, self.needs, device, dtype)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str] = NANO,
        *,
        revision: str | None = None,
        device: Device | None = None,
        dtype: str | torch.dtype | None = None,
        device_map: DeviceMap = None,
        **options: Unpack[HubOptions],
    ) -> Self:
        """The same, of the Hugging Face hub too; arguments and errors as of `peav.nano.tower.Tower.from_pretrained`."""
        found = fetched(name_or_folder, cls.needs, revision, **options)
        return cls(found, choose_device(device, device_map), dtype)

    def sources(self) -> Mapping[str, Path]:
        return self.towers.paths

    @property
    def as_it_came(self) -> bool:
        return self.towers.as_they_came

    def write_towers(self, folder: Path) -> list[Path]:
        return self.towers.write(folder)


class NanoAudioVideo(_OfTowers):
    """PE-AV nano; the interface of `peav.PEAudioVideo`. All vectors are unit vectors (B, 384)."""

    needs = ("text", "audio", "video")
    card = metadata("feature-extraction", "video", "text", "retrieval")
    purpose = "PE-AV nano: text, sound and video in one space of 384 dimensions."

    @property
    def version(self) -> str:
        """A digest of the weights: vectors of two versions cannot be compared."""
        return version(self.towers.name)

    @torch.inference_mode()
    def encode_audio(self, input_values: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Args: input_values (B, 1, n) at 48 kHz; padding_mask (B, n), True on samples that count."""
        return self.towers.audio(input_values[:, 0], _frames_of(padding_mask)).clip

    @torch.inference_mode()
    def encode_video(self, pixel_values_videos: Tensor, padding_mask_videos: Tensor | None = None) -> Tensor:
        """Args: uint8 pixel_values_videos (B, N, 3, H, W); padding_mask_videos (B, N), True on frames that count."""
        return self.towers.video(pixel_values_videos, padding_mask_videos)

    @torch.inference_mode()
    def encode_text(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Args: input_ids and attention_mask (B, L)."""
        return self.towers.read(input_ids, attention_mask)

    encode_audio_text = encode_video_text = encode_audio_video_text = encode_text

    def encode_audio_video(
        self,
        input_values: Tensor,
        pixel_values_videos: Tensor,
        padding_mask: Tensor | None = None,
        padding_mask_videos: Tensor | None = None,
    ) -> Tensor:
        audio = self.encode_audio(input_values, padding_mask)
        return _between(audio, self.encode_video(pixel_values_videos, padding_mask_videos))

    def encode_audio_plus_text(
        self,
        input_ids: Tensor,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        return _between(
            self.encode_audio(input_values, padding_mask), self.encode_text(input_ids, attention_mask)
        )

    def encode_video_plus_text(
        self,
        input_ids: Tensor,
        pixel_values_videos: Tensor,
        attention_mask: Tensor | None = None,
        padding_mask_videos: Tensor | None = None,
    ) -> Tensor:
        video = self.encode_video(pixel_values_videos, padding_mask_videos)
        return _between(video, self.encode_text(input_ids, attention_mask))

    def probability(self, audio_embeds: Tensor, text_embeds: Tensor) -> Tensor:
        """How likely each text describes each sound: (B, 384) and (N, 384) -> (B, N) in 0..1."""
        return self.towers.audio.logits(audio_embeds @ text_embeds.T, CLIP).sigmoid()

    def __call__(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        input_values: Tensor | None = None,
        padding_mask: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        padding_mask_videos: Tensor | None = None,
    ) -> NanoOutput:
        """Every embedding that what is given allows."""
        out = NanoOutput()
        text = None
        if input_ids is not None:
            text = self.encode_text(input_ids, attention_mask)
        if input_values is not None:
            out.audio_embeds = self.encode_audio(input_values, padding_mask)
        if pixel_values_videos is not None:
            out.visual_embeds = self.encode_video(pixel_values_videos, padding_mask_videos)
        if out.audio_embeds is not None and out.visual_embeds is not None:
            out.audio_visual_embeds = _between(out.audio_embeds, out.visual_embeds)
        if text is not None:
            if out.audio_embeds is not None:
                out.audio_text_embeds = text
                out.audio_plus_text_embeds = _between(out.audio_embeds, text)
            if out.visual_embeds is not None:
                out.visual_text_embeds = text
                out.visual_plus_text_embeds = _between(out.visual_embeds, text)
            if (out.audio_embeds is None) == (out.visual_embeds is None):
                out.audio_visual_text_embeds = text
        return out


@dataclass
class NanoFrameOutput:
    """audio_embeds (B, T, 384), one each 40 ms; text_embeds (B, 384); logits and probs (B, T)."""

    audio_embeds: Tensor
    text_embeds: Tensor
    logits: Tensor
    probs: Tensor


class NanoAudioFrame(_OfTowers):
    """PE-A-Frame nano; the interface of `peav.PEAudioFrame`: when does each described sound happen?"""

    needs = ("text", "audio")
    card = metadata("feature-extraction", "text", "sound-event-detection")
    purpose = "PE-A-Frame nano: when a sound has what a text describes, each 40 ms."

    @torch.inference_mode()
    def encode_audio(self, input_values: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Frame vectors (B, T, 384), T = ceil(n / 1920); their length says how sure the tower is."""
        return self.towers.audio(input_values[:, 0], _frames_of(padding_mask)).frames

    @torch.inference_mode()
    def encode_text(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Unit vectors (B, 384)."""
        return self.towers.read(input_ids, attention_mask)

    def pairwise_logits(self, audio_embeds: Tensor, text_embeds: Tensor) -> Tensor:
        """Logits of every text on every sound: (A, T, 384) and (B, 384) -> (A, B, T)."""
        return self.towers.audio.logits(audio_embeds @ text_embeds.T, FRAME_LEVEL).transpose(1, 2)

    def __call__(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
    ) -> NanoFrameOutput:
        """Text b is asked of sound b."""
        frames = self.encode_audio(input_values, padding_mask)
        text = self.encode_text(input_ids, attention_mask)
        dots = (frames * text[:, None]).sum(-1)
        logits = self.towers.audio.logits(dots, FRAME_LEVEL)
        return NanoFrameOutput(frames, text, logits, logits.sigmoid())


class NanoProcessor(Shared):
    """Makes the models' inputs of texts, sounds and pictures; the interface of `peav.PEAudioVideoProcessor`.

    Args:
        name: "nano", or a folder with settings and tokenizer of a text tower.

    Raises:
        CheckpointError: they are missing or damaged.
    """

    def __init__(self, name: str | os.PathLike[str] = NANO) -> None:
        self._settings = checkpoints.settings(name, "text")
        self.words = Words.beside(self._settings)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str] = NANO,
        *,
        revision: str | None = None,
        **options: Unpack[HubOptions],
    ) -> Self:
        """The same, of the Hugging Face hub too; arguments and errors as of `peav.nano.tower.Tower.from_pretrained`."""
        return cls(fetched(name_or_folder, ["text"], revision, weights=False, **options))

    def write(self, folder: Path) -> list[Path]:
        path = folder / f"{NANO}-text.json"
        write_json(path, self._settings.config)
        return [path, self.words.write_beside(path)]

    def __call__(
        self,
        text: Sequence[str] | None = None,
        audio: Sequence[Tensor] | None = None,
        videos: Sequence[Tensor] | None = None,
        sampling_rate: int | None = None,
    ) -> dict[str, Tensor]:
        """Args: audio: (1, n) or (n,) float at 48 kHz; videos: uint8 (N, 3, H, W).

        Raises:
            ValueError: another sampling rate, more than one channel, or an empty item.
        """
        inputs: dict[str, Tensor] = {}
        if text is not None:
            tokens = self.words.tokenize(list(text))
            inputs["input_ids"], inputs["attention_mask"] = map(torch.from_numpy, tokens)
        if audio is not None:
            if sampling_rate not in (None, SAMPLE_RATE):
                raise ValueError(
                    f"Sound at {sampling_rate} Hz was given: resample it to {SAMPLE_RATE} Hz first."
                )
            waves = [wave.reshape(1, -1) if wave.ndim == 1 else wave for wave in audio]
            for wave in waves:
                if wave.ndim != 2 or wave.shape[0] != 1 or not wave.shape[1]:
                    raise ValueError(
                        f"A sound of shape {tuple(wave.shape)} was given: mix it down to (1, n)."
                    )
            longest = max(wave.shape[1] for wave in waves)
            inputs["input_values"] = torch.stack([F.pad(w.float(), (0, longest - w.shape[1])) for w in waves])
            lengths = torch.tensor([wave.shape[1] for wave in waves])
            inputs["padding_mask"] = torch.arange(longest) < lengths[:, None]
        if videos is not None:
            for video in videos:
                if video.ndim != 4 or video.shape[1] != 3 or not len(video):
                    raise ValueError(
                        f"A video of shape {tuple(video.shape)} was given: pass (frames, 3, H, W)."
                    )
            longest = max(map(len, videos))
            frames = torch.zeros(len(videos), longest, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
            for row, video in zip(frames, videos, strict=True):
                row[: len(video)] = prepare_frames(video)
            inputs["pixel_values_videos"] = frames
            lengths = torch.tensor([len(video) for video in videos])
            inputs["padding_mask_videos"] = torch.arange(longest) < lengths[:, None]
        return inputs


def _frames_of(padding_mask: Tensor | None) -> Tensor | None:
    """A mask over samples (B, n) as one over frames (B, ceil(n / FRAME))."""
    return None if padding_mask is None else padding_mask[:, ::FRAME].bool()


def _between(one: Tensor, other: Tensor) -> Tensor:
    return F.normalize(one + other, dim=-1)
