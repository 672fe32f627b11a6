"""Makes batches for `SAMAudio`: upstream's processor, with its call shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from peav.hub import HubOptions
from peav.official.codec import CodecConfig
from sam_audio.errors import AudioReadError, PromptError
from sam_audio.separator.official.anchors import AnchorLike, check_anchors, lay_out, read_anchor
from sam_audio.separator.official.config import read_config
from sam_audio.separator.official.reading import read_at_rate
from sam_audio.separator.official.source import config_path
from sam_audio.separator.official.video import check_frames, mask_videos, on_latent_frames, read_at


class _Frames:
    """Between samples and latent frames, by upstream's names."""

    @property
    def hop_length(self) -> int:
        """Samples in a latent frame."""
        raise NotImplementedError

    def feature_to_wav_idx(self, feature_idx: Any) -> Any:
        """The first sample of latent frames: numbers, tensors or arrays.

        >>> SAMAudioProcessor().feature_to_wav_idx(2)
        3840
        """
        return feature_idx * self.hop_length

    def wav_to_feature_idx(self, wav_idx: Any) -> Any:
        """How many latent frames hold so many samples, the last one perhaps not whole.

        >>> SAMAudioProcessor().wav_to_feature_idx(3841)
        3
        """
        return -(-wav_idx // self.hop_length)


@dataclass(frozen=True)
class SAMAudioBatch(_Frames):
    """B recordings with what is asked of them. Axes: n samples, T latent frames, A anchor tokens.

    Args:
        audios: mono sound, padded with zeros at the end, (B, 1, n).
        descriptions: B texts.
        wav_sizes: samples of each, (B,) int64.
        sizes: latent frames of each, (B,) int64.
        audio_pad_mask: True where a frame is sound, (B, T) bool.
        anchor_ids, anchor_alignment: see `anchors.lay_out`; (B, A) and (B, T) int64.
        anchors: what the caller gave, or None.
        masked_video: pictures of each on its latent frames, (sizes[b], 3, H, W) uint8, or None.
        sample_rate, hop: of the codec.
    """

    audios: Tensor
    descriptions: list[str]
    wav_sizes: Tensor
    sizes: Tensor
    audio_pad_mask: Tensor
    anchor_ids: Tensor
    anchor_alignment: Tensor
    anchors: list[list[AnchorLike]] | None
    masked_video: list[Tensor] | None
    sample_rate: int
    hop: int

    def __len__(self) -> int:
        return len(self.descriptions)

    def to(self, device: str | torch.device) -> SAMAudioBatch:
        """The same on another device; the pictures stay where they are until they are needed."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        tensors: dict[str, Any] = {name: v.to(device) for name, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **tensors)

    @property
    def hop_length(self) -> int:
        return self.hop

    @property
    def audio_sampling_rate(self) -> int:
        """Of the sound, in Hz."""
        return self.sample_rate

    def process_anchors(self, anchors: Sequence[Sequence[AnchorLike] | None] | None) -> None:
        """Gives this batch other anchors, as published: in place, one list for each recording, or None for none.

        Raises:
            PromptError: they cannot be read, or there is not one list for each recording.
        """
        if anchors is not None and len(anchors) != len(self):
            raise PromptError(
                f"there are anchors for {len(anchors)} recordings, not {len(self)}: give one list for each"
            )
        read = _read_anchors(anchors)
        changed = self.with_anchors(read or [])
        for name, value in (
            ("anchors", read),
            ("anchor_ids", changed.anchor_ids),
            ("anchor_alignment", changed.anchor_alignment),
        ):
            object.__setattr__(self, name, value)

    def with_anchors(self, anchors: Sequence[Sequence[AnchorLike]]) -> SAMAudioBatch:
        """The same with other anchors, which are not checked."""
        own = [list(item) for item in anchors]
        ids, alignment = lay_out(own, self.audio_pad_mask, (self.sample_rate, self.hop))
        return replace(self, anchors=own, anchor_ids=ids, anchor_alignment=alignment)


class SAMAudioProcessor(_Frames):
    """Turns recordings, texts, anchors and videos into a batch.

    >>> processor = SAMAudioProcessor()
    >>> batch = processor(audios=[torch.zeros(2, 48000)], descriptions=["dog barking"])
    >>> batch.audios.shape, batch.sizes.tolist()
    (torch.Size([1, 1, 48000]), [25])
    """

    def __init__(self, audio_sampling_rate: int = 48000, audio_hop_length: int = 1920):
        self.audio_sampling_rate = audio_sampling_rate
        self.audio_hop_length = audio_hop_length

    @property
    def hop_length(self) -> int:
        return self.audio_hop_length

    @classmethod
    def from_pretrained(
        cls, name: str | Path, revision: str | None = None, **options: Unpack[HubOptions]
    ) -> SAMAudioProcessor:
        """For the model of a folder or hub name.

        Args:
            options: of the hub's client: ``token``, ``cache_dir``, ``local_files_only``.

        Raises:
            ModelError: there is no such model.
        """
        return cls.of(read_config(config_path(name, revision, **options)).audio_codec)

    @classmethod
    def of(cls, config: CodecConfig) -> SAMAudioProcessor:
        """For a codec."""
        return cls(config.sample_rate, config.hop)

    def __call__(
        self,
        descriptions: Sequence[str],
        audios: Sequence[Tensor | np.ndarray | str | Path],
        anchors: Sequence[Sequence[AnchorLike]] | None = None,
        masked_videos: Sequence[Tensor | str | Path] | None = None,
        strict_anchors: bool = False,
    ) -> SAMAudioBatch:
        """Makes a batch.

        Args:
            descriptions: what to pull out of each recording, best as a lower-case noun or verb phrase.
            audios: files, or samples (channels, n) or (n,) at the codec's rate. Channels are averaged.
            anchors: for each recording, ``("+", start, end)`` where the sound is and ``("-", start, end)`` where it is
                not, in seconds. As published, later ones overwrite earlier ones where they overlap, and what lies
                beyond the end is cut off.
            masked_videos: for each recording its pictures, (frames, 3, H, W) uint8 over its whole length, or a video
                file; see `mask_videos`.
            strict_anchors: refuse anchors that overlap, lie outside the recording or end before they start.

        Raises:
            PromptError: anchors, videos or descriptions do not fit the recordings.
            AudioReadError: a recording cannot be used.
        """
        if isinstance(descriptions, str) or isinstance(audios, str | Path | Tensor | np.ndarray):
            raise PromptError(
                "audios and descriptions are lists, one entry for each recording: put them in [ ]"
            )
        if not audios:
            raise PromptError("there is nothing to separate: give at least one recording")
        for what, given in (
            ("descriptions", descriptions),
            ("anchors", anchors),
            ("masked_videos", masked_videos),
        ):
            if given is not None and len(given) != len(audios):
                raise PromptError(
                    f"there are {len(audios)} audios but {len(given)} {what}: give one for each"
                )
        if not all(isinstance(text, str) for text in descriptions):
            raise PromptError("every description has to be a text")
        waves = [self._mono(audio) for audio in audios]
        wav_sizes = torch.tensor([len(wave) for wave in waves])
        sizes = self.wav_to_feature_idx(wav_sizes)
        valid = torch.arange(int(sizes.max())) < sizes[:, None]
        own = (
            None if anchors is None else [[read_anchor(anchor) for anchor in item or ()] for item in anchors]
        )
        if own is not None and strict_anchors:
            # a time is taken up to the end of the last frame, since times are often rounded
            frame_s = self.audio_hop_length / self.audio_sampling_rate
            check_anchors(own, [n * frame_s for n in sizes.tolist()])
        ids, alignment = lay_out(own or [], valid, (self.audio_sampling_rate, self.audio_hop_length))
        return SAMAudioBatch(
            audios=torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)[:, None],
            descriptions=list(descriptions),
            wav_sizes=wav_sizes,
            sizes=sizes,
            audio_pad_mask=valid,
            anchor_ids=ids,
            anchor_alignment=alignment,
            anchors=own,
            masked_video=self._pictures(masked_videos, sizes.tolist()),
            sample_rate=self.audio_sampling_rate,
            hop=self.audio_hop_length,
        )

    def mask_videos(
        self, videos: Sequence[Tensor | str | Path], masks: Sequence[Tensor | str | Path], keep: bool = False
    ) -> list[Tensor]:
        """Blacks out what masks mark, or all else; see `video.mask_videos`."""
        return mask_videos(videos, masks, keep)

    def _mono(self, audio: Tensor | np.ndarray | str | Path) -> Tensor:
        """Shape: (n,) float32."""
        if isinstance(audio, str | Path):
            audio = read_at_rate(audio, self.audio_sampling_rate)
        samples = torch.as_tensor(audio)
        if samples.ndim == 1:
            samples = samples[None]
        if samples.ndim != 2 or not samples.numel() or not samples.is_floating_point():
            shape = tuple(samples.shape)
            raise AudioReadError(
                f"a recording is floating-point samples (channels, n), not {samples.dtype} of {shape}"
            )
        return samples.float().mean(dim=0)

    def _pictures(self, videos: Sequence[Any] | None, sizes: list[int]) -> list[Tensor] | None:
        if videos is None:
            return None
        frame_s = self.audio_hop_length / self.audio_sampling_rate
        return [
            read_at(video, [k * frame_s for k in range(n)])
            if isinstance(video, str | Path)
            else on_latent_frames(check_frames(video), n)
            for video, n in zip(videos, sizes, strict=True)
        ]


def _read_anchors(given: Sequence[Sequence[Any] | None] | None) -> list[list[AnchorLike]] | None:
    return None if given is None else [[read_anchor(anchor) for anchor in item or ()] for item in given]
