"""The published SAM-Audio Judge: how good a separation is, without the true sources.

    mixture, stem -> codec -> PE tower --+
    text -> ModernBERT ------------------+-> small tower -> four scores a frame -> mean over time

Own implementation, which loads the official checkpoints; modules carry their names. Both towers hear padding, as the
published model lets them, so the scores of an item depend on what it is batched with. `OfficialJudge` scores items
singly.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from judge.types import AXES, Judge, Judgement, StemPrompt
from peav import hub
from peav.checkpoints import CheckpointError
from peav.devices import Device, DeviceMap, choose_device, choose_dtype
from peav.official.audio import frame_mask
from peav.official.codec import (
    CodecConfig,
    CodecEncoder,
    fold_weight_norm,
    unfold_weight_norm,
    unfolded_shapes,
)
from peav.official.parts import check, check_mask, unset
from peav.official.processing import Inputs, Processor
from peav.official.text import TextConfig, TextTower
from peav.official.transformer import Tower, TowerConfig
from peav.sharing import SharedModel
from sam_audio.errors import AudioReadError, ModelError, PromptError, as_model_error
from sam_audio.types import Samples

NAME = "facebook/sam-audio-judge"
REVISION = "sam_audio"  # the default one holds another layout
WINDOW_S = 60.0
_CODEC = "audio_codec."
_WEIGHTS = ("checkpoint.pt", "model.safetensors", "model.safetensors.index.json")
_NTH_TEXT_LAYER = 22


@dataclass(frozen=True)
class JudgeConfig:
    """Sizes of a Judge; the defaults are the official ones."""

    transformer: TowerConfig = TowerConfig(1792, 4800, 28, 14, 128)
    finetune_transformer: TowerConfig = TowerConfig(192, 512, 6, 3, 64)
    codec: CodecConfig = CodecConfig()
    text: TextConfig = TextConfig()
    bottleneck_dim: int = 256

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> JudgeConfig:
        """From a config.json; missing fields take their defaults, fields that change nothing are passed over.

        Raises:
            CheckpointError: it is not the config of a Judge, or a size is impossible.
        """
        for name in ("transformer", "finetune_transformer"):
            if not isinstance(values.get(name), Mapping):
                raise CheckpointError(
                    f"The config lacks {name}: it is not that of a Judge, which on the hub is of revision {REVISION!r}."
                )
        nth_layer = values.get("nth_text_layer", _NTH_TEXT_LAYER)
        if nth_layer is not None:
            nth_layer = _whole("nth_text_layer", nth_layer)
        return cls(
            TowerConfig.of(values["transformer"], "transformer"),
            TowerConfig.of(values["finetune_transformer"], "finetune_transformer"),
            CodecConfig.of(values.get("audio_codec") or {}),
            TextConfig.of(values.get("text_model") or {}, nth_layer),
            _whole("bottleneck_dim", values.get("bottleneck_dim", cls.bottleneck_dim)),
        )

    def values(self) -> dict[str, Any]:
        """The content of a config.json."""
        text = asdict(self.text)
        return {
            "nth_text_layer": text.pop("nth_layer"),
            "text_model": text,
            "audio_codec": asdict(self.codec),
            "transformer": asdict(self.transformer),
            "finetune_transformer": asdict(self.finetune_transformer),
            "bottleneck_dim": self.bottleneck_dim,
        }


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"The config needs a positive whole number as {name}, not {value!r}.")
    return value


@dataclass
class JudgeOutput:
    """Scores on the 1-5 scale, (B, 1) each, and what they are means of, (B, T, 4) in the order of `AXES`.

    Nothing cuts scores off at 1 and 5: the scale is what the checkpoint's ``mean`` and ``std`` make of it.
    """

    overall: Tensor
    recall: Tensor
    precision: Tensor
    faithfulness: Tensor
    frame_scores: Tensor


class SAMAudioJudgeModel(SharedModel, nn.Module):
    """Scores separations.

    >>> model = SAMAudioJudgeModel.from_pretrained("facebook/sam-audio-judge")  # doctest: +SKIP
    >>> processor = SAMAudioJudgeProcessor.from_pretrained("facebook/sam-audio-judge")  # doctest: +SKIP
    >>> inputs = processor(["a dog barks"], [mixture], [stem], sampling_rate=48000)  # doctest: +SKIP
    >>> model(**inputs).overall  # doctest: +SKIP
    tensor([[4.2]])
    """

    problem = ModelError
    card = {
        "library_name": "separate-by-prompt",
        "pipeline_tag": "audio-classification",
        "tags": ["audio", "source-separation", "evaluation"],
    }
    purpose = "SAM-Audio Judge: how good a separation is, by what was asked for, without the true sources."
    mean: Tensor
    std: Tensor

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        self.file: hub.TensorFile | None = None
        width, narrow = config.transformer.hidden_size, config.bottleneck_dim
        inner = config.finetune_transformer.hidden_size
        self.audio_codec = CodecEncoder(config.codec)
        self.data_proj = nn.Linear(config.codec.codebook_dim, width)
        self.transformer = Tower(config.transformer)
        self.text_model = TextTower(config.text)
        self.text_proj1 = nn.Linear(config.text.hidden_size, width, bias=False)
        self.cat_audio_proj = nn.Linear(2 * width, narrow)
        self.text_proj2 = nn.Linear(width, narrow)
        self.layer_norm = nn.LayerNorm(narrow)
        self.proj_audio_and_text = nn.Linear(2 * narrow, narrow)
        self.finetune_data_proj = nn.Linear(narrow, inner)
        self.finetune_transformer = Tower(config.finetune_transformer)
        self.head = nn.Linear(inner, len(AXES), bias=False)
        self.register_buffer("mean", torch.zeros(len(AXES)))
        self.register_buffer("std", torch.ones(len(AXES)))

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str] = NAME,
        *,
        revision: str | None = None,
        device: Device | None = None,
        dtype: str | torch.dtype | None = None,
        device_map: DeviceMap = None,
        **options: Unpack[hub.HubOptions],
    ) -> Self:
        """Loads a published Judge, ready to score.

        Args:
            name_or_folder: a folder with config.json and checkpoint.pt or model.safetensors, or a model on the
                Hugging Face hub.
            revision: branch, tag or commit on the hub.
            device, device_map: where to compute, see `peav.devices.choose_device`; by default on the CPU.
            dtype: what to compute in, float32 by default; "auto" is what the device is fast in. The codec stays in
                float32, and so do the scores.
            options: of the hub's client: ``token``, ``cache_dir``, ``local_files_only``.

        Raises:
            ModelError: it is not there, cannot be fetched, is damaged, or is a model of another kind.
            ValueError: no model can be on such a device, or compute in such numbers.
        """
        place = choose_device(device, device_map)
        numbers = choose_dtype(dtype, place)
        revision = hub.published_revision(name_or_folder, revision, REVISION)
        with as_model_error():
            values = hub.read_json(hub.find(name_or_folder, "config.json", revision, **options))
            config = JudgeConfig.of(values)
            file = hub.TensorFile.open(hub.find(name_or_folder, _WEIGHTS, revision, **options))
            check(file, published_shapes(config, file.shapes))
            with unset():
                model = cls(config)
            model._fill(file)
            model.file, model.values = file, values
        for name, part in model.named_children():
            if name != "audio_codec":
                part.to(dtype=numbers)
        return model.to(place).eval().requires_grad_(False)

    def config_values(self) -> Mapping[str, Any]:
        return self.config.values()

    def published_tensors(self) -> dict[str, Tensor]:
        now = {n: t for n, t in self.state_dict().items() if not n.startswith(_CODEC)}
        now |= {_CODEC + n: t for n, t in unfold_weight_norm(self.audio_codec).items()}
        # what is never used comes from the file, or is nothing
        dead = {n: s for n, s in published_shapes(self.config).items() if n not in now}
        stored = self.file.read(n for n in self.file.shapes if n in dead) if self.file else {}
        return {**now, **{n: stored.get(n, torch.zeros(s)) for n, s in dead.items()}}

    def _fill(self, file: hub.TensorFile) -> None:
        # what is stored but never used, the last text layers and the codec's out_proj, stays on disk
        own = self.state_dict()
        stored = file.read(n for n in file.shapes if n in own or n.startswith(_CODEC))
        tensors = fold_weight_norm(stored)
        self.load_state_dict({name: tensors[name].float() for name in own}, assign=True)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        input_values: Tensor,
        separated_values: Tensor,
        padding_mask: Tensor | None = None,
    ) -> JudgeOutput:
        """Scores a batch, as `SAMAudioJudgeProcessor` makes it.

        Args:
            input_ids, attention_mask: what was asked for, (B, L).
            input_values: mixtures, (B, 1, n).
            separated_values: what was separated from each, (B, 1, n).
            padding_mask: True where samples are sound, (B, n). Padding is left out of the mean over time, but heard.

        Raises:
            ValueError: shapes do not fit.
        """
        rows = len(input_values)
        if (
            input_values.ndim != 3
            or input_values.shape[1] != 1
            or input_values.shape != separated_values.shape
        ):
            raise ValueError(
                "mixtures and separated sounds must both have shape (B, 1, n), "
                f"not {tuple(input_values.shape)} and {tuple(separated_values.shape)}"
            )
        if input_ids.ndim != 2 or len(input_ids) != rows:
            raise ValueError(f"input_ids must have shape ({rows}, tokens), not {tuple(input_ids.shape)}")
        check_mask(attention_mask, (rows, input_ids.shape[1]), "attention_mask", "tokens")
        check_mask(padding_mask, (rows, input_values.shape[2]), "padding_mask", "samples")
        mixture, separated = self.hear(torch.cat([input_values, separated_values])).chunk(2)
        mask = None if padding_mask is None else frame_mask(padding_mask, self.config.codec.hop)
        return self.compare(mixture, separated, self.read(input_ids, attention_mask), mask)

    def hear(self, waveforms: Tensor) -> Tensor:
        """Sound as the Judge hears it. Shape: (B, 1, n) -> (B, T, D)."""
        with torch.no_grad():
            latents = self.audio_codec(waveforms.float()).transpose(1, 2)
        return self.transformer(self.data_proj(latents.to(self.data_proj.weight.dtype))).last_hidden_state

    def read(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Texts as the Judge reads them. Shapes: (B, L), (B, L) -> (B, D)."""
        return self.text_proj1(self.text_model(input_ids, attention_mask)[:, 0])

    def compare(
        self, mixture: Tensor, separated: Tensor, text: Tensor, valid_mask: Tensor | None = None
    ) -> JudgeOutput:
        """Scores what `hear` and `read` gave. Shapes: (B, T, D), (B, T, D), (B, D) and a mask of frames (B, T)."""
        audio = self.cat_audio_proj(torch.cat([separated, mixture], dim=-1))
        asked = self.layer_norm(self.text_proj2(text))[:, None].expand_as(audio)
        both = self.proj_audio_and_text(torch.cat([audio, asked], dim=-1))
        hidden = self.finetune_transformer(self.finetune_data_proj(both)).last_hidden_state
        raw = self.head(hidden).float()
        if valid_mask is None:
            mean = raw.mean(1)
        else:
            mean = (raw * valid_mask[..., None]).sum(1) / valid_mask.sum(1, keepdim=True)
        overall, recall, precision, faithfulness = (mean * self.std + self.mean).split(1, dim=1)
        return JudgeOutput(overall, recall, precision, faithfulness, raw * self.std + self.mean)


def published_shapes(config: JudgeConfig, stored: Collection[str] = ()) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in the file of a Judge of these sizes, those that are never used included.

    Args:
        stored: names in the file, which tell the kind of weight norm.
    """
    codec = config.codec
    with unset():
        whole = SAMAudioJudgeModel(replace(config, text=replace(config.text, nth_layer=None)))
        whole.audio_codec.quantizer["out_proj"] = nn.Conv1d(codec.codebook_dim, codec.latent_dim, 1)
    shapes: dict[str, tuple[int, ...]] = {
        n: tuple(t.shape) for n, t in whole.state_dict().items() if not n.startswith(_CODEC)
    }
    names = {n.removeprefix(_CODEC) for n in stored if n.startswith(_CODEC)}
    return shapes | {_CODEC + n: shape for n, shape in unfolded_shapes(whole.audio_codec, names).items()}


class SAMAudioJudgeProcessor(Processor):
    """Turns texts and waveforms into the inputs of `SAMAudioJudgeModel`.

    Args:
        tokenizer: of the checkpoint; its settings of padding and truncation are changed.
        config: sizes of the model.
    """

    config: JudgeConfig

    revision = REVISION
    problem = ModelError

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str] = NAME,
        *,
        revision: str | None = None,
        **options: Unpack[hub.HubOptions],
    ) -> Self:
        """Reads config.json and tokenizer.json; arguments and errors as of `SAMAudioJudgeModel.from_pretrained`."""
        with as_model_error():
            return super().from_pretrained(name_or_folder, revision=revision, **options)

    @classmethod
    def read_config(cls, values: Mapping[str, Any]) -> JudgeConfig:
        return JudgeConfig.of(values)

    def __call__(
        self,
        text: Sequence[str],
        input_audio: Sequence[Any],
        separated_audio: Sequence[Any],
        sampling_rate: int | None = None,
    ) -> Inputs:
        """Makes a batch: each sound is reflected to whole frames on its own, then padded to the longest with zeros.

        Args:
            text: what was asked for, B phrases.
            input_audio: B mixtures, float arrays (n,) or (channels, n); channels are averaged.
            separated_audio: what was separated from each; as long as its mixture, up to whole frames.
            sampling_rate: of the sounds, in Hz; has to be the model's.

        Returns:
            ``input_ids`` and ``attention_mask`` (B, L) int64, ``input_values`` and ``separated_values`` (B, 1, n),
            and ``padding_mask`` (B, n), True on sound.

        Raises:
            PromptError: texts are missing.
            AudioReadError: a sound is missing or too short, or has the wrong shape, rate or length.
        """
        input_audio = self.sounds("input_audio", input_audio)
        separated_audio = self.sounds("separated_audio", separated_audio)
        if isinstance(text, str):
            raise PromptError("text must be a list: put the single phrase in brackets")
        if not len(input_audio) == len(separated_audio) == len(text) > 0:
            raise PromptError(
                f"there are {len(text)} texts, {len(input_audio)} mixtures and {len(separated_audio)} separated "
                "sounds: give one of each for every item"
            )
        if not all(isinstance(phrase, str) for phrase in text):
            raise PromptError("every text has to be a phrase: the Judge does not read vectors")
        try:
            heard = self.hear([*input_audio, *separated_audio], sampling_rate)
        except (TypeError, ValueError) as error:
            raise AudioReadError(str(error)) from None
        for mixture, stem in zip(input_audio, separated_audio, strict=True):
            _check_length(np.shape(stem)[-1], np.shape(mixture)[-1], self.hop)
        mixtures, stems = heard["input_values"].chunk(2)
        mask = heard["padding_mask"][: len(text)]
        values = {"input_values": mixtures, "separated_values": stems, "padding_mask": mask}
        return Inputs(self.read(text) | values)

    def sounds(self, what: str, given: Sequence[Any]) -> Sequence[Any]:
        """The samples of what was given as ``what``.

        Raises:
            AudioReadError: it is not a list of samples.
        """
        if isinstance(given, str | os.PathLike) or hasattr(given, "ndim"):
            raise AudioReadError(f"{what} must be a list: put the single sound in brackets")
        for sound in given:
            if isinstance(sound, str | os.PathLike):
                raise AudioReadError(f"{what} must hold samples, not paths: read {sound} first")
        return given


class OfficialJudge(Judge):
    """The published Judge as a `judge.types.Judge`.

    Scores each stem singly, and hears the mixture only once however many there are. It cannot tell whether what was
    asked for is in the mixture.

    Args:
        model, processor: of one checkpoint.
        window_s: longer recordings are cut into equal windows of at most this length, whose scores are averaged.
    """

    name = "sam-audio-judge"

    def __init__(
        self, model: SAMAudioJudgeModel, processor: SAMAudioJudgeProcessor, window_s: float = WINDOW_S
    ) -> None:
        self.model = model
        self.processor = processor
        self.window_s = window_s
        self.sample_rate = processor.sample_rate

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str] = NAME,
        *,
        revision: str | None = None,
        **how: Any,
    ) -> OfficialJudge:
        """Arguments and errors as of `SAMAudioJudgeModel.from_pretrained`."""
        model = SAMAudioJudgeModel.from_pretrained(name_or_folder, revision=revision, **how)
        options = {name: how[name] for name in hub.HubOptions.__annotations__ if name in how}
        return cls(
            model, SAMAudioJudgeProcessor.from_pretrained(name_or_folder, revision=revision, **options)
        )

    def judge(
        self, mixture: Samples, stems: Sequence[Samples], prompts: Sequence[StemPrompt]
    ) -> list[Judgement]:
        """See `judge.types.Judge`; the prompts have to be texts."""
        if len(stems) != len(prompts):
            raise PromptError(f"there are {len(stems)} stems but {len(prompts)} prompts: give one for each")
        if not len(stems):
            return []
        for sound in (mixture, *stems):
            if np.ndim(sound) != 1 or not np.isfinite(sound).all():
                raise AudioReadError(
                    f"the Judge takes mono sounds (n,) of finite samples, not these of shape {np.shape(sound)}"
                )
            _check_length(len(sound), len(mixture), self.processor.hop)
        scores = [
            self._score(mixture[start:stop], [stem[start:stop] for stem in stems], prompts)
            for start, stop in self._windows(len(mixture))
        ]
        return [Judgement(*axes) for axes in np.mean(scores, axis=0).tolist()]

    def _windows(self, n: int) -> list[tuple[int, int | None]]:
        """Starts and ends of equal stretches of whole frames; the last one goes on to the end."""
        frames = -(-n // self.processor.hop)
        count = max(1, math.ceil(n / (self.window_s * self.sample_rate)))
        starts = [frames * i // count * self.processor.hop for i in range(count)]
        return list(zip(starts, [*starts[1:], None], strict=True))

    @torch.inference_mode()
    def _score(self, mixture: Samples, stems: Sequence[Samples], prompts: Sequence[Any]) -> np.ndarray:
        """(N, 4), in the order of `AXES`."""
        inputs = self.processor(prompts, [mixture] * len(stems), stems, self.sample_rate)
        inputs = inputs.to(self.model.mean.device)
        heard = self.model.hear(inputs["input_values"][:1])
        texts = self.model.read(inputs["input_ids"], inputs["attention_mask"])
        rows = []
        for stem, text in zip(inputs["separated_values"], texts, strict=True):
            out = self.model.compare(heard, self.model.hear(stem[None]), text[None])
            rows.append(torch.cat([getattr(out, axis) for axis in AXES], dim=1))
        return torch.cat(rows).cpu().numpy()


def _check_length(n_stem: int, n_mixture: int, hop: int) -> None:
    """Raises AudioReadError unless both have the same number of frames."""
    if -(-n_stem // hop) != -(-n_mixture // hop):
        raise AudioReadError(
            f"a separated sound of {n_stem} samples does not belong to a mixture of {n_mixture}: "
            "give both the same length"
        )
