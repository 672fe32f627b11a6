"""Fine-tuning of published models with low-rank adapters (LoRA, by peft): SAM-Audio's flow, and the Judge.

The published weights stay as they are; what is learned is a few percent of them in a file of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from sam_audio.errors import ModelError, UserError
from sam_audio.training import recipe, trainer
from sam_audio.training.data.samples import sound_of
from sam_audio.training.data.shards import ShardStream, batched, decoded, expand
from sam_audio.training.trainer import Position, Share

ATTENTION = {
    "sam-audio": r".*\.(attention|cross_attention)\.w[qkvo]",
    "judge": r".*transformer\.layers\.\d+\.self_attn\.[qkvo]_proj",
}


class Settings(recipe.Settings, frozen=True, kw_only=True):
    """Keys of a recipe with ``task = "lora"``.

    Args:
        model: "sam-audio" or "judge".
        start: the published model, a hub id or a folder.
        data: shards; two recordings make a mixture, and the caption of the first is the prompt.
        rank, alpha: of the adapters.
        targets: a pattern of the layers that get one; those of attention by default.
    """

    model: Literal["sam-audio", "judge"]
    start: str
    data: str | list[str]
    seconds: float = 6.0
    rank: int = 8
    alpha: int = 16
    targets: str = ""


class FlowAdapters(nn.Module):
    """The flow-matching loss of a SAM-Audio whose flow network has adapters."""

    def __init__(self, model: Any, settings: Settings) -> None:
        super().__init__()
        self._model = (model,)  # codec and text encoder learn nothing
        self.adapted = adapted(model, settings)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Args: batch: target, residual (B, 1, n), noise (B, T, 2 C), time (B,), text (B, L, W), text_valid (B, L)."""
        model = self._model[0]
        with torch.no_grad():
            target, residual, mixture = (
                model.encode_audio(wave)
                for wave in (batch["target"], batch["residual"], batch["target"] + batch["residual"])
            )
        goal, noise, time = torch.cat([target, residual], -1), batch["noise"], batch["time"]
        rows, steps = goal.shape[:2]
        ids = torch.tensor([[0, 3]], device=goal.device).expand(rows, -1)
        velocity = self.adapted(
            torch.lerp(noise, goal, time[:, None, None]),
            torch.cat([mixture, mixture], -1),
            batch["text"],
            time,
            # without video the release adds what it makes of zeros
            goal.new_zeros(rows, model.config.vision_encoder.dim, steps),
            batch["text_valid"],
            ids,
            torch.zeros(rows, steps, dtype=torch.int64, device=goal.device),
        )
        return {"loss": (velocity.float() - (goal - noise)).square().mean()}


class JudgeAdapters(nn.Module):
    """The error of a Judge with adapters: its four scores against true ones."""

    def __init__(self, model: Any, settings: Settings) -> None:
        super().__init__()
        self.adapted = adapted(model, settings)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Args: batch: what the Judge takes, and scores (B, 4): overall, recall, precision, faithfulness."""
        inputs = {name: value for name, value in batch.items() if name != "scores"}
        told = self.adapted(**inputs)
        found = torch.cat([told.overall, told.recall, told.precision, told.faithfulness], 1)
        return {"loss": (found - batch["scores"]).square().mean()}


def adapted(model: nn.Module, settings: Settings) -> Any:
    """A model with adapters in its attention, all else frozen; its own tensors are not touched.

    Raises:
        UserError: the pattern fits no layer.
    """
    from peft import LoraConfig, get_peft_model

    model.requires_grad_(False)
    pattern = settings.targets or ATTENTION[settings.model]
    config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=pattern)
    try:
        return get_peft_model(model, config)  # type: ignore[arg-type]
    except ValueError as error:
        raise UserError(f"no layer has a name like {pattern}: give other targets ({error})") from None


class Task(trainer.Task):
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.network: nn.Module
        try:
            if settings.model == "judge":
                self._open_judge()
            else:
                self._open_flow()
        except ModelError as error:
            raise UserError(f"{settings.start} cannot be fine-tuned: {error}") from None

    def _open_flow(self) -> None:
        from sam_audio.separator.official.model import SAMAudio

        model = SAMAudio.from_pretrained(self.settings.start)
        self.read = model.text_encoder
        codec = model.config.audio_codec
        self.sample_rate, self.hop, self.width = codec.sample_rate, codec.hop, codec.codebook_dim
        self.network = FlowAdapters(model, self.settings)

    def _open_judge(self) -> None:
        from judge.official import SAMAudioJudgeModel, SAMAudioJudgeProcessor

        model = SAMAudioJudgeModel.from_pretrained(self.settings.start)
        self.processor = SAMAudioJudgeProcessor.from_pretrained(self.settings.start)
        codec = model.config.codec
        self.sample_rate, self.hop = codec.sample_rate, codec.hop
        self.network = JudgeAdapters(model, self.settings)

    @property
    def n_samples(self) -> int:
        return max(1, round(self.settings.seconds * self.sample_rate / self.hop)) * self.hop

    def batches(self, share: Share, n: int, position: Position) -> Iterator[tuple[dict[str, Any], Position]]:
        stream = ShardStream(expand(self.settings.data), self.settings.seed, share.rank, share.size)

        def decode(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any] | None:
            sound, known = sound_of(sample, self.sample_rate, self.n_samples, rng)
            text = known.text("audio")
            return {"wave": sound, "text": text, "seed": sample["__seed__"]} if text and sound.any() else None

        items = decoded(stream.samples(position), decode, self.settings.workers)
        for members, after in batched(items, 2 * n):
            pairs = list(zip(members[::2], members[1::2], strict=True))
            make = self._judged if self.settings.model == "judge" else self._mixed
            yield make(pairs), after

    def _mixed(self, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Tensor]:
        target, residual = (
            torch.from_numpy(np.stack([p[k]["wave"] for p in pairs]))[:, None] for k in (0, 1)
        )
        tokens, valid = self.read([one["text"] for one, _ in pairs])
        draws = [np.random.default_rng(one["seed"]) for one, _ in pairs]
        steps = self.n_samples // self.hop
        noise = [rng.standard_normal((steps, 2 * self.width), np.float32) for rng in draws]
        return {
            "target": target,
            "residual": residual,
            "noise": torch.from_numpy(np.stack(noise)),
            "time": torch.tensor([rng.random() for rng in draws], dtype=torch.float32),
            "text": tokens,
            "text_valid": valid,
        }

    def _judged(self, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Tensor]:
        """Separations of known faults: some of the other sound left, some of the target lost; and their true scores."""
        from judge.scales import measure, scores_of

        mixtures, stems, scores = [], [], []
        for one, other in pairs:
            rng = np.random.default_rng(one["seed"])
            kept, left = rng.uniform(0.2, 1), rng.choice([0, rng.uniform(0, 1)])
            mixtures.append(one["wave"] + other["wave"])
            stems.append((kept * one["wave"] + left * other["wave"]).astype(np.float32))
            scores.append(scores_of(measure(stems[-1], one["wave"], other["wave"][None])))
        batch = self.processor(
            text=[one["text"] for one, _ in pairs],
            input_audio=[torch.from_numpy(x)[None] for x in mixtures],
            separated_audio=[torch.from_numpy(x)[None] for x in stems],
        )
        return {**batch, "scores": torch.tensor(np.array(scores), dtype=torch.float32)}

    def example(self, n: int) -> dict[str, Tensor]:
        if self.settings.model == "judge":
            raise UserError("the Judge's cost is not estimated: it is far smaller than SAM-Audio's")
        steps = self.n_samples // self.hop
        width = self.network._model[0].config.text_encoder.dim  # type: ignore[union-attr,index]
        return {
            "target": torch.zeros(n, 1, self.n_samples),
            "residual": torch.zeros(n, 1, self.n_samples),
            "noise": torch.zeros(n, steps, 2 * self.width),
            "time": torch.zeros(n),
            "text": torch.zeros(n, 8, width),
            "text_valid": torch.ones(n, 8, dtype=torch.bool),
        }

    def export(self, network: Any, folder: Path) -> list[Path]:
        """The adapters, as peft reads them: ``PeftModel.from_pretrained(model, folder)``."""
        network.adapted.save_pretrained(folder, safe_serialization=True)
        return [folder / "adapter_model.safetensors", folder / "adapter_config.json"]
