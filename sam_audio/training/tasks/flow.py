"""A generative separator: flow matching on codec latents, target and residual together.

The network is that of `sam_audio.separator.official`, at any size. Between noise (time 0) and the latents of target and
residual (time 1) it learns the velocity of the straight line (Lipman et al. 2023), told the mixture, and the text, the
masked video and the anchors, each of which is left out now and then, so that none is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from peav.official.codec import CodecConfig
from sam_audio.documents import structured
from sam_audio.errors import UserError
from sam_audio.io.target import whole_file
from sam_audio.separator.official import config as sizes
from sam_audio.separator.official.dit import Block, Linear
from sam_audio.separator.official.flow import FlowNetwork
from sam_audio.separator.official.ode import Solver
from sam_audio.training import recipe, trainer
from sam_audio.training.codecs import AudioCodec, load_codec
from sam_audio.training.tasks.stored import read_trained, write_trained
from sam_audio.training.trainer import Position, Share

TOY = ("low tone", "high tone")
NAME = "flow"  # of the files that a recipe leaves
CODEC = "codec.pth"  # where a file of weights was given as the codec
LEVEL = 0.1  # RMS of the sound that is wanted


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """Of the transformer; the published ones have heads of 128."""

    dim: int
    heads: int
    layers: int


class Dropout(msgspec.Struct, frozen=True, kw_only=True):
    """How often a condition is left out."""

    text: float = 0.1
    anchors: float = 0.5
    video: float = 0.3


class Settings(recipe.Settings, frozen=True, kw_only=True):
    """Keys of a recipe with ``task = "flow"``.

    Args:
        data: shards (see `sam_audio.training.data.shards`), or "toy": low and high tones in each other.
        codec: see `sam_audio.training.codecs`.
        text: "nano" reads with PE-AV nano's text tower; otherwise the name of a T5.
        seconds: of sound an item has.
        latent_mean, latent_std: of the codec's latents, so that the flow sees numbers around one.
    """

    model: Sizes
    data: str | list[str]
    valid: str | list[str] = []
    codec: str = "dac"
    text: str = "nano"
    text_width: int = 384
    video_width: int = 1280
    seconds: float
    latent_mean: float = 0.0
    latent_std: float = 1.0
    dropout: Dropout = Dropout()
    examples: int = 16  # held-out ones that it is validated on
    solver: Literal["euler", "midpoint"] = "midpoint"
    solver_steps: int = 8


class FlowMatching(nn.Module):
    """The loss of a batch; the codec, which does not learn, is no part of its weights."""

    entries = ("separate",)

    def __init__(self, settings: Settings, codec: AudioCodec) -> None:
        super().__init__()
        width = 2 * codec.width
        model = settings.model
        self.flow = FlowNetwork(
            sizes.SAMAudioConfig(
                in_channels=3 * width,
                audio_codec=CodecConfig(codebook_dim=codec.width),
                text_encoder=sizes.TextConfig(name=settings.text, dim=settings.text_width),
                vision_encoder=sizes.VisionConfig(dim=settings.video_width),
                transformer=sizes.TransformerConfig(
                    dim=model.dim,
                    n_heads=model.heads,
                    n_layers=model.layers,
                    context_dim=model.dim,
                    out_channels=width,
                ),
            )
        )
        # gates start closed: what is behind them must not be zero too, or nothing would ever open them
        nn.init.normal_(self.flow.embed_anchors.embed["weight"])
        self._codec, self.mean, self.std = (codec,), settings.latent_mean, settings.latent_std

    @property
    def codec(self) -> AudioCodec:
        return self._codec[0]

    def latents(self, waves: Tensor) -> Tensor:
        """Shape: (B, 1, n) -> (B, T, C)."""
        codec = self.codec.to(waves.device)
        with torch.no_grad():
            return (codec.encode(waves) - self.mean) / self.std

    def sounds(self, latents: Tensor) -> Tensor:
        """Shape: (B, T, 2 C) -> target and residual (B, 2, n)."""
        both = latents.unflatten(-1, (2, -1)).transpose(1, 2).flatten(0, 1) * self.std + self.mean
        return self.codec.to(latents.device).decode(both)[:, 0].unflatten(0, (-1, 2))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Args: batch, from `collate`: waves target, residual (B, 1, n), noise (B, T, 2 C), time (B,), conditions."""
        goal = torch.cat([self.latents(batch["target"]), self.latents(batch["residual"])], -1)
        noise, time = batch["noise"], batch["time"]
        state = torch.lerp(noise, goal, time[:, None, None])
        velocity = self.velocity(state, time, batch, self.mixed(batch))
        return {"loss": (velocity.float() - (goal - noise)).square().mean()}

    def mixed(self, batch: dict[str, Tensor]) -> Tensor:
        """Latents of the mixtures, twice: (B, T, 2 C)."""
        mixture = self.latents(batch["target"] + batch["residual"])
        return torch.cat([mixture, mixture], -1)

    def velocity(self, state: Tensor, time: Tensor, batch: dict[str, Tensor], mixed: Tensor) -> Tensor:
        return self.flow(
            state,
            mixed,
            batch["text"],
            time,
            batch["video"],
            batch.get("text_valid"),
            batch["anchor_ids"],
            batch["anchor_alignment"],
        )

    @torch.no_grad()
    def separate(self, batch: dict[str, Tensor], solver: Solver) -> Tensor:
        """Target and residual (B, 2, n) of the batch's mixtures."""
        mixed = self.mixed(batch)

        def field(time: float, state: Tensor) -> Tensor:
            return self.velocity(state, torch.full((len(state),), time, device=state.device), batch, mixed)

        return self.sounds(solver.integrate(field, batch["noise"]))


class Task(trainer.Task):
    blocks = (Block,)
    divided = (Linear,)  # not by block: keys and values of the text are made outside of a block's forward

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        codec = load_codec(settings.codec)
        self.network = FlowMatching(settings, codec)
        self.sample_rate, self.hop, self.width = codec.sample_rate, codec.hop, codec.width
        self.n_frames = max(1, round(settings.seconds * codec.sample_rate / codec.hop))
        self.read = _reader(settings)

    def batches(
        self, share: Share, n: int, position: Position
    ) -> Iterator[tuple[dict[str, Tensor], Position]]:
        if self.settings.data != "toy":
            yield from self._streamed(self.settings.data, share, n, position)
            return
        first = position.get("item", 0)
        while True:
            mine = range(first + share.rank * n, first + (share.rank + 1) * n)
            first += share.size * n
            yield self.collate([self._toy("train", i) for i in mine]), {"item": first}

    def example(self, n: int) -> dict[str, Tensor]:
        return {
            "target": torch.zeros(n, 1, self.n_frames * self.hop),
            "residual": torch.zeros(n, 1, self.n_frames * self.hop),
            "noise": torch.zeros(n, self.n_frames, 2 * self.width),
            "time": torch.zeros(n),
            "text": torch.zeros(n, 1, self.settings.text_width),
            "video": torch.zeros(n, self.settings.video_width, self.n_frames),
            "anchor_ids": torch.zeros(n, 4, dtype=torch.int64),
            "anchor_alignment": torch.zeros(n, self.n_frames, dtype=torch.int64),
        }

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Items: waves target and residual (n,), text, seed, maybe video (T, C). All that is random comes from the
        seeds, so that it is the same in however many processes and sittings."""
        dropout = self.settings.dropout
        rngs = [np.random.default_rng(item["seed"]) for item in items]
        times = [float(rng.random()) for rng in rngs]
        noise = [rng.standard_normal((self.n_frames, 2 * self.width), np.float32) for rng in rngs]
        kept = [rng.random(3) >= (dropout.text, dropout.anchors, dropout.video) for rng in rngs]
        texts = self.read([item["text"] for item in items])
        batch = self.told(items, [text if keep[0] else None for text, keep in zip(texts, kept, strict=True)])
        batch["time"] = torch.tensor(times)
        batch["noise"] = torch.from_numpy(np.stack(noise))
        for b, (item, keep) in enumerate(zip(items, kept, strict=True)):
            if keep[1]:
                heard = item["target"].reshape(self.n_frames, -1)
                level = np.square(heard).mean(1)
                active = level > 1e-4 * max(level.max(), 1e-12)
                batch["anchor_alignment"][b] = torch.from_numpy(np.where(active, 2, 3))
            if keep[2] and "video" in item:
                batch["video"][b] = item["video"]
        return batch

    def told(self, items: Sequence[dict[str, Any]], texts: Sequence[Tensor | None]) -> dict[str, Tensor]:
        """A batch of waves target and residual, with tokens (L, width) of texts, or without, and nothing else known."""
        batch = self.example(len(items))
        tokens = [torch.zeros(1, self.settings.text_width) if text is None else text for text in texts]
        longest = max(map(len, tokens))
        batch["text"] = torch.zeros(len(items), longest, self.settings.text_width)
        batch["text_valid"] = torch.zeros(len(items), longest, dtype=torch.bool)
        for b, (item, rows) in enumerate(zip(items, tokens, strict=True)):
            for name in ("target", "residual"):
                batch[name][b, 0] = torch.from_numpy(item[name])
            batch["text"][b, : len(rows)] = rows
            batch["text_valid"][b, : len(rows)] = True
            # ids as the release numbers them: 0 nothing known, 3 padding, 1 is there, 2 is not
            batch["anchor_ids"][b] = torch.tensor([0, 3, 1, 2])
        return batch

    def validate(self, network: FlowMatching) -> dict[str, float]:
        """Mean improvement in dB of SI-SDR over the mixture on held-out items, and the share that improves."""
        from judge.metrics import si_sdr

        items = self._held_out()
        batch = self.collate(items)
        device = next(network.parameters()).device
        batch = {name: value.to(device) for name, value in batch.items()}
        network.eval()
        found = network.separate(batch, Solver(self.settings.solver, 1 / self.settings.solver_steps))
        network.train()
        gains = []
        for b, item in enumerate(items):
            mixture = item["target"] + item["residual"]
            estimate = found[b, 0].float().cpu().numpy()
            gains.append(si_sdr(estimate, item["target"]) - si_sdr(mixture, item["target"]))
        return {
            "si_sdr_improvement_db": float(np.mean(gains)),
            "improved": float(np.mean(np.array(gains) > 0)),
        }

    def export(self, network: FlowMatching, folder: Path) -> list[Path]:
        """`load_flow` reads this; the folder needs no other file."""
        settings, files = self.settings, []
        if Path(settings.codec).is_file():
            with whole_file(folder / CODEC) as file:
                file.write(Path(settings.codec).read_bytes())
            settings, files = msgspec.structs.replace(settings, codec=CODEC), [folder / CODEC]
        return [*write_trained(folder, NAME, network.state_dict(), settings), *files]

    def _toy(self, split: str, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.settings.seed, split == "valid", index])
        n = self.n_frames * self.hop
        t = np.arange(n) / self.sample_rate
        kind = int(rng.integers(2))
        waves = []
        for low in (kind == 0, kind == 1):
            hertz = rng.uniform(*((40, 120) if low else (350, 700)))
            start = rng.uniform(0, 0.5) * n / self.sample_rate
            swell = np.clip((t - start) * 40, 0, 1)
            waves.append((rng.uniform(0.7, 1.4) * swell * np.sin(2 * np.pi * hertz * t)).astype(np.float32))
        return {
            "target": waves[0],
            "residual": waves[1],
            "text": TOY[kind],
            "seed": [self.settings.seed, split == "valid", index, 1],
        }

    def _held_out(self) -> list[dict[str, Any]]:
        n = self.settings.examples
        if self.settings.data == "toy":
            return [self._toy("valid", i) for i in range(n)]
        stream = self._pairs(self.settings.valid or self.settings.data, Share(), {})
        return [item for item, _ in (next(stream) for _ in range(n))]

    def _streamed(
        self, data: str | list[str], share: Share, n: int, position: Position
    ) -> Iterator[tuple[dict[str, Tensor], Position]]:
        from sam_audio.training.data.shards import batched

        for items, after in batched(self._pairs(data, share, position), n):
            yield self.collate(items), after

    def _pairs(
        self, data: str | list[str], share: Share, position: Position
    ) -> Iterator[tuple[dict[str, Any], Position]]:
        """Each recording is wanted once, and the one after it, at another level, is in its way."""
        from sam_audio.training.data.samples import sound_of
        from sam_audio.training.data.shards import ShardStream, decoded, expand

        n = self.n_frames * self.hop

        def decode(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any] | None:
            sound, about = sound_of(sample, self.sample_rate, n, rng)
            text = about.text("audio")
            if text is None or not np.abs(sound).max() > 1e-4:
                return None
            sound *= LEVEL / max(float(np.sqrt(np.square(sound).mean())), 1e-4)
            gain = 10 ** (rng.uniform(-5, 5) / 20)
            return {"wave": sound, "text": text, "gain": gain, "seed": sample["__seed__"]}

        stream = ShardStream(expand(data), self.settings.seed, share.rank, share.size)
        wanted = decoded(stream.samples(position), decode, self.settings.workers)
        for item, _ in wanted:
            other, after = next(wanted)
            yield (
                {
                    "target": item["wave"],
                    "residual": np.float32(other["gain"]) * other["wave"],
                    "text": item["text"],
                    "seed": item["seed"],
                },
                after,
            )


def load_flow(folder: Path) -> tuple[FlowMatching, Task]:
    """A separator as a recipe has left it.

    Raises:
        UserError: the folder does not hold one.
    """
    values, tensors = read_trained(folder, NAME, "separator")
    settings = structured(values, Settings, f"{NAME}.json")
    codec = settings.codec
    if codec == CODEC:
        codec = str(folder / CODEC)
    elif Path(codec).exists() or codec.startswith((".", "/")):  # the file may be a stranger's
        raise UserError(f"{folder} names {codec} as its codec: only one of its own, or of the hub, is opened")
    task = Task(msgspec.structs.replace(settings, codec=codec))
    task.network.load_state_dict(tensors)
    return task.network.eval(), task


def _reader(settings: Settings) -> Any:
    """Texts to vectors of their tokens, (L, width) each, remembered; nano's text tower gives one for all of a text."""
    known: dict[str, Tensor] = {}
    towers: list[Any] = []

    def embed(texts: list[str]) -> list[Tensor]:
        if settings.text == "nano":
            from peav.nano.text import TextTower

            if not towers:
                towers.append(TextTower.from_pretrained("nano"))
            return list(towers[0].embed(texts)[:, None])
        from sam_audio.separator.official.text import TextEncoder

        if not towers:
            config = replace(sizes.TextConfig(), name=settings.text, dim=settings.text_width)
            towers.append(TextEncoder(config, settings.text))
        tokens, valid = towers[0](texts)
        return [row[keep] for row, keep in zip(tokens, valid, strict=True)]

    def read(texts: list[str]) -> list[Tensor]:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, embed(new), strict=True))
        return [known[text] for text in texts]

    return read
