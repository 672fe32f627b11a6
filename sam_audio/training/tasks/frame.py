"""PE-A-Frame by its frame-level contrastive loss, on scenes whose labels are strong because they are made here.

    recordings -> augmented -> placed in a scene -> mel frames of 40 ms -> audio tower -> a vector a frame
    labels of all scenes of the batch -> PE-AV nano's text tower -> a head -> a vector a phrase

A recording is heard where it is louder than a hundredth of its loudest frame; other labels of the batch are not heard.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peav.losses import frame_loss
from peav.official.audio import AudioEncoder
from peav.official.parts import Head
from peav.official.transformer import Block, TowerConfig
from sam_audio.documents import structured
from sam_audio.training import recipe, trainer
from sam_audio.training.augment import Augment, MelFrames
from sam_audio.training.data.samples import SILENCE, sound_of
from sam_audio.training.data.shards import ShardStream, batched, decoded, expand
from sam_audio.training.tasks.stored import read_trained, write_trained
from sam_audio.training.trainer import Position, Share

SAMPLE_RATE, FRAME = 48_000, 1920
TEXT_WIDTH = 384
QUIET = 1e-2  # of the loudest frame's amplitude: below, nothing is heard
NAME = "frame"  # of the files that a recipe leaves


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """Of the audio tower."""

    width: int = 128
    inner: int = 256
    heads: int = 4
    layers: int = 4
    output: int = 128


class Settings(recipe.Settings, frozen=True, kw_only=True):
    """Keys of a recipe with ``task = "frame"``.

    Args:
        data, valid: shards; the label of a sample is its phrase, or the audio caption where it has none.
        sounds: recordings of a scene.
        seconds: of a scene.
        mels: bands of the front end.
        augment: whether recordings are played at other speeds, bent and levelled.
        examples: validation scenes.
    """

    sizes: Sizes = Sizes()
    data: str | list[str]
    valid: str | list[str] = []
    sounds: int = 3
    seconds: float = 6.0
    mels: int = 64
    augment: bool = True
    scale: float = 10.0
    bias: float = -5.0
    examples: int = 64


class FrameLearner(nn.Module):
    """Makes scenes of recordings and compares their frames with phrases."""

    entries = ("resemblance",)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        sizes = settings.sizes
        self.augment = Augment(SAMPLE_RATE) if settings.augment else nn.Identity()
        self.front = MelFrames(SAMPLE_RATE, FRAME, settings.mels)
        tower = TowerConfig(sizes.width, sizes.inner, sizes.layers, sizes.heads, sizes.width // sizes.heads)
        self.audio = AudioEncoder(tower, self.front.width)
        self.audio_head = Head(sizes.width, sizes.output)
        self.text_head = Head(TEXT_WIDTH, sizes.output)
        self.log_scale = nn.Parameter(torch.tensor(math.log(settings.scale)))
        self.bias = nn.Parameter(torch.tensor(float(settings.bias)))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Args: batch, from `Task.collate`."""
        scenes, active = self.scenes(batch)
        frames, texts = self.vectors(scenes, batch["texts"])
        return {"loss": frame_loss(frames, texts, active, self.log_scale.exp(), self.bias)}

    def scenes(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mixtures (B, n), and which phrase is heard when, (B, N, T)."""
        sounds, starts = batch["sounds"], batch["starts"]
        rows, n = sounds.shape[0] * sounds.shape[1], sounds.shape[2]
        played = sounds.flatten(0, 1)
        if self.training:
            played = self.augment(played)
        placed = torch.zeros_like(played)
        for row, start in enumerate((starts.flatten() * FRAME).tolist()):
            placed[row, start:] = played[row, : n - start]
        level = placed.unflatten(1, (-1, FRAME)).square().mean(2).sqrt()
        heard = level > QUIET * level.amax(1, keepdim=True).clamp(min=SILENCE)
        active = torch.zeros(len(sounds), len(batch["texts"]), heard.shape[1], device=sounds.device)
        scene = torch.arange(rows, device=sounds.device) // sounds.shape[1]
        active.index_put_((scene, batch["phrases"].flatten()), heard.float(), accumulate=True)
        return placed.unflatten(0, sounds.shape[:2]).sum(1), active.clamp(max=1)

    def vectors(self, sounds: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of frames (B, T, D) and of phrases (N, D)."""
        heard = self.audio(self.front(sounds), None).last_hidden_state
        return F.normalize(self.audio_head(heard), dim=-1), F.normalize(self.text_head(texts), dim=-1)

    @torch.no_grad()
    def resemblance(self, sounds: Tensor, texts: Tensor) -> Tensor:
        """How likely each phrase is heard in each frame: (B, n), (N, 384) -> (B, N, T) in 0..1."""
        frames, phrases = self.vectors(sounds, texts)
        dots = torch.einsum("btd,nd->bnt", frames, phrases)
        return (self.log_scale.exp() * dots + self.bias).sigmoid()


class Task(trainer.Task):
    blocks = (Block,)
    divided = (Block,)

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.network = FrameLearner(settings)
        self.n_frames = max(1, round(settings.seconds * SAMPLE_RATE / FRAME))
        self._texts: dict[str, Tensor] = {}
        self._tower: list[Any] = []
        self._valid: list[list[dict[str, Any]]] = []

    def batches(
        self, share: Share, n: int, position: Position
    ) -> Iterator[tuple[dict[str, Tensor], Position]]:
        for scenes, after in batched(self._scenes(self.settings.data, share, position), n):
            yield self.collate(scenes), after

    def example(self, n: int) -> dict[str, Tensor]:
        sounds = self.settings.sounds
        return {
            "sounds": torch.randn(n, sounds, self.n_frames * FRAME),
            "starts": torch.zeros(n, sounds, dtype=torch.int64),
            "phrases": torch.arange(n * sounds).view(n, sounds),
            "texts": torch.randn(n * sounds, TEXT_WIDTH),
        }

    def collate(self, scenes: Sequence[list[dict[str, Any]]]) -> dict[str, Tensor]:
        """Scenes: recordings with wave (n,), phrase, and start, a frame."""
        phrases = list(dict.fromkeys(one["phrase"] for scene in scenes for one in scene))
        return {
            "sounds": torch.stack([torch.stack([one["wave"] for one in scene]) for scene in scenes]),
            "starts": torch.tensor([[one["start"] for one in scene] for scene in scenes]),
            "phrases": torch.tensor([[phrases.index(one["phrase"]) for one in scene] for scene in scenes]),
            "texts": self.read(phrases),
        }

    def validate(self, network: FrameLearner) -> dict[str, float]:
        """How well frames in which a phrase of the scenes is heard are told from those in which it is not (AUROC)."""
        settings = self.settings
        if not settings.valid:
            return {}
        if not self._valid:
            stream = self._scenes(settings.valid, Share(), {})
            self._valid = [next(stream)[0] for _ in range(settings.examples)]
        device = next(network.parameters()).device
        batch = {name: value.to(device) for name, value in self.collate(self._valid).items()}
        network.eval()
        scenes, active = network.scenes(batch)
        told = [network.resemblance(scene[None], batch["texts"])[0].cpu() for scene in scenes]
        network.train()
        return {"auroc": auroc(torch.stack(told).flatten(), active.cpu().flatten() > 0)}

    def export(self, network: FrameLearner, folder: Path) -> list[Path]:
        """`load_frame` reads this."""
        return write_trained(folder, NAME, network.state_dict(), self.settings)

    def read(self, texts: list[str]) -> Tensor:
        """Vectors of phrases (N, 384)."""
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if new:
            if not self._tower:
                from peav.nano.text import TextTower

                self._tower.append(TextTower.from_pretrained("nano"))
            self._texts.update(zip(new, self._tower[0].embed(new), strict=True))
        return torch.stack([self._texts[text] for text in texts])

    def _scenes(
        self, data: str | list[str], share: Share, position: Position
    ) -> Iterator[tuple[list[dict[str, Any]], Position]]:
        n = self.n_frames * FRAME

        def decode(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any] | None:
            sound, known = sound_of(sample, SAMPLE_RATE, None, None)
            phrase = known.label or known.text("audio")
            if not phrase or not np.abs(sound).max() > SILENCE:
                return None
            wave = torch.zeros(n)
            wave[: len(sound)] = torch.from_numpy(sound[:n])
            spare = max(1, self.n_frames - len(sound) // FRAME)
            return {
                "wave": wave * (0.1 / wave.square().mean().sqrt().clamp(min=SILENCE)),
                "phrase": phrase,
                "start": int(rng.integers(spare)),
            }

        stream = ShardStream(expand(data), self.settings.seed, share.rank, share.size)
        yield from batched(
            decoded(stream.samples(position), decode, self.settings.workers), self.settings.sounds
        )


def auroc(scores: Tensor, right: Tensor) -> float:
    """Share of pairs of a right and a wrong one that are in order; equal ones count half."""
    from scipy.stats import rankdata

    ranks, n = rankdata(scores.numpy()), int(right.sum())
    return float((ranks[right.numpy()].sum() - n * (n + 1) / 2) / max(n * (len(ranks) - n), 1))


def load_frame(folder: Path) -> tuple[FrameLearner, Task]:
    """A PE-A-Frame as the recipe has left it.

    Raises:
        UserError: the folder does not hold one.
    """
    values, tensors = read_trained(folder, NAME, "PE-A-Frame")
    task = Task(structured(values, Settings, f"{NAME}.json"))
    task.network.load_state_dict(tensors)
    return task.network.eval(), task
