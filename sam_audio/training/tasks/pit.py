"""Sources that no words tell apart, as two voices: a network of asteroid's kind by its permutation-invariant loss.

What is left is a checkpoint of asteroid, which ``--model asteroid:FILE`` of plugins/asteroid separates with.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from asteroid.losses import PITLossWrapper, pairwise_neg_sisdr
from torch import Tensor, nn

from sam_audio.errors import UserError
from sam_audio.io.target import whole_file
from sam_audio.training import blind, recipe, trainer
from sam_audio.training.data.samples import SILENCE, sound_of
from sam_audio.training.data.shards import ShardStream, batched, decoded, expand
from sam_audio.training.trainer import Position, Share

CHECKPOINT = "model.pth"
LEVEL_DB = 2.5  # of each source, up and down
GOOD_DB = 5.0


class Settings(recipe.Settings, frozen=True, kw_only=True):
    """Keys of a recipe with ``task = "pit"``.

    Args:
        data, valid: shards; samples of two sources (`About.source`, of speech the speaker) make a mixture.
        network: MagnitudeMask, or any model of asteroid, with its arguments.
        seconds: of a mixture.
        speed: by how much sounds are played faster or slower while learning, at most: more voices than there are.
        examples: validation mixtures.
    """

    data: str | list[str]
    valid: str | list[str] = []
    network: str = "MagnitudeMask"
    arguments: dict[str, Any] = {}
    n_src: int = 2
    sample_rate: int = 16_000
    seconds: float = 3.0
    speed: float = 0.12
    examples: int = 200


class Blind(nn.Module):
    """The loss of a batch of sources: negative SI-SDR in dB, of the order of the estimates that fits best."""

    entries = ("measured",)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.pit = PITLossWrapper(pairwise_neg_sisdr, pit_from="pw_mtx")

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Args: batch: sources (B, K, n)."""
        sources = batch["sources"]
        return {"loss": self.pit(self.network(sources.sum(1)).float(), sources)}

    @torch.no_grad()
    def measured(self, sources: Tensor) -> Tensor:
        """Improvement over the mixture in dB, mean of the sources: (B, K, n) -> (B,)."""
        mixture = sources.sum(1)
        _, found = self.pit(self.network(mixture).float(), sources, return_est=True)
        after = pairwise_neg_sisdr(found, sources).diagonal(dim1=1, dim2=2)
        before = pairwise_neg_sisdr(mixture[:, None].expand_as(sources), sources).diagonal(dim1=1, dim2=2)
        return (before - after).mean(1)


class Task(trainer.Task):
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        try:
            network = blind.network(settings.network)(
                settings.n_src, sample_rate=settings.sample_rate, **settings.arguments
            )
        except (TypeError, ValueError) as error:
            raise UserError(f"asteroid makes no {settings.network} of these arguments ({error})") from None
        self.network = Blind(network)
        self._valid: list[Tensor] = []

    @property
    def n_samples(self) -> int:
        return round(self.settings.seconds * self.settings.sample_rate)

    def batches(
        self, share: Share, n: int, position: Position
    ) -> Iterator[tuple[dict[str, Tensor], Position]]:
        for members, after in batched(
            self._mixtures(self.settings.data, share, position, self.settings.speed), n
        ):
            yield {"sources": torch.stack(members)}, after

    def example(self, n: int) -> dict[str, Tensor]:
        return {"sources": torch.randn(n, self.settings.n_src, self.n_samples)}

    def validate(self, network: Blind) -> dict[str, float]:
        """Improvement of SI-SDR over the mixture on validation mixtures, and the share that gains GOOD_DB."""
        if not self.settings.valid:
            return {}
        if not self._valid:
            stream = self._mixtures(self.settings.valid, Share(), {})
            self._valid = [next(stream)[0] for _ in range(self.settings.examples)]
        device = next(network.parameters()).device
        network.eval()
        gains = torch.cat(
            [network.measured(torch.stack(part).to(device)).cpu() for part in _parts(self._valid, 16)]
        )
        network.train()
        worst, median = gains.quantile(torch.tensor([0.2, 0.5])).tolist()
        return {
            "si_sdr_improvement_db": float(gains.mean()),
            "median_db": median,
            "four_of_five_db": worst,  # what 80 % of the mixtures reach
            "good": float((gains >= GOOD_DB).float().mean()),
        }

    def export(self, network: Blind, folder: Path) -> list[Path]:
        with whole_file(folder / CHECKPOINT) as file:
            torch.save(network.network.serialize(), file)  # type: ignore[operator]
        return [folder / CHECKPOINT]

    def _mixtures(
        self, data: str | list[str], share: Share, position: Position, speed: float = 0.0
    ) -> Iterator[tuple[Tensor, Position]]:
        """Sources (K, n) of mixtures: samples that follow each other, those of a source that is there left out."""
        settings = self.settings

        def decode(sample: dict[str, Any], rng: np.random.Generator) -> tuple[str, np.ndarray] | None:
            rate = round(settings.sample_rate * (1 + rng.uniform(-speed, speed)))
            sound, known = sound_of(sample, rate, self.n_samples, rng)
            if not np.abs(sound).max() > SILENCE:
                return None
            level = 10 ** (rng.uniform(-LEVEL_DB, LEVEL_DB) / 20)
            return known.source, sound * np.float32(0.1 * level / np.sqrt(np.square(sound).mean()))

        stream = ShardStream(expand(data), settings.seed, share.rank, share.size)
        held: dict[str, np.ndarray] = {}
        for (source, sound), after in decoded(stream.samples(position), decode, settings.workers):
            held.setdefault(source, sound)
            if len(held) == settings.n_src:
                yield torch.from_numpy(np.stack(list(held.values()))), after
                held = {}


def _parts(items: list[Tensor], n: int) -> Iterator[list[Tensor]]:
    return (items[start : start + n] for start in range(0, len(items), n))
