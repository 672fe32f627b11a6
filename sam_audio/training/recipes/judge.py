"""Trains Judge nano: ``sam-audio train judge``.

Stems of many qualities are made from mixtures whose sources we know: outputs of several separators, ideal masks
with leaks, holes and noise, the wrong sound, the mixture itself, silence. What is true of each is measured on the
sources (`judge.scales`); what the Judge hears of it is stored once, so that the network, which is small, can see
everything many times.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from judge.nano import compare, listen, listener
from judge.network import WHEN_FACTS, Given, JudgeNetwork, given
from judge.scales import Measured, measure, scores_of
from judge.types import AXES
from peav import checkpoints, threads
from peav.nano.audio import AudioTower
from peav.nano.precision import autocast
from peav.nano.text import TextTower
from sam_audio.io.target import whole_file
from sam_audio.paths import cache_dir
from sam_audio.separator.nano.bands import HOP
from sam_audio.separator.nano.engine import WEIGHTS, Engine, Question
from sam_audio.separator.nano.spectra import istft, power, stft, to_bands, to_bins
from sam_audio.separator.nano.synthesis import hedged
from sam_audio.separator.nano.torch_engine import TorchEngine, load_network, load_tower
from sam_audio.training.data.bank import Bank
from sam_audio.training.data.mixing import Mixer, Mixture
from sam_audio.training.log import short

log = logging.getLogger(__name__)

FORMAT = 2  # of examples: counts up when what makes them changes
SECONDS = 5.76  # six windows of the audio tower
PER_SHARD = 200  # mixtures
STEMS = 5  # of each mixture
PLAIN_SHARE = 0.35  # of mixtures that are two or three sources, mostly with stems as separators make them
PLAIN = (
    ("event", "event"),
    ("event", "ambience"),
    ("instrument", "instrument"),
    ("speech", "event"),
    ("speech", "ambience"),
    ("speech", "music"),
    ("event", "instrument", "speech"),
    ("event", "event", "event"),
    ("instrument", "instrument", "instrument"),
)
# how stems are made: by a separator, blended with the ideal mask, from that mask degraded, of the wrong sound, or as a
# balance of the sources
KINDS = ("network", "blend", "degraded", "wrong", "gains")
KIND_SHARES, PLAIN_KIND_SHARES = (0.72, 0.1, 0.06, 0.06, 0.06), (0.88, 0.03, 0.03, 0.03, 0.03)
MADE_WEIGHT = 0.3  # of stems that no separator made: people seldom have those judged
MOST_DB = 30.0
THERE = 0.6  # share of what is asked for that is taken to be there; of the examples two thirds are


@dataclass
class Example:
    """What Judge nano gets, and what is true: scores (4,), not bounded to 1..5 and NaN where the prompt's sound is not
    there, and whether it is. ``separated``: the stem is what a separator made, as it is."""

    image: np.ndarray
    tracks: np.ndarray
    facts: np.ndarray
    scores: np.ndarray
    present: bool
    separated: bool


class StemMaker:
    """Makes stems of many qualities out of known sources."""

    def __init__(self, separators: Sequence[Path], tower: AudioTower, rng: np.random.Generator):
        self.engines = [TorchEngine(load_network(path), tower) for path in separators]
        self.rng = rng

    @torch.inference_mode()
    def stems(
        self, mixture: Mixture, vectors: Tensor, n: int, shares: Sequence[float] = KIND_SHARES
    ) -> Iterator[tuple[int, np.ndarray, bool]]:
        """Which prompt, a stem (samples,) for it, and whether it is a separator's as it is, ``n`` times; ``vectors``
        (P, 384) are of the prompts, ``shares`` of the KINDS."""
        rng, prompts = self.rng, mixture.prompts
        sources = torch.from_numpy(np.stack([s.samples for s in mixture.sources]))
        n_samples = sources.shape[-1]
        spectra = stft(sources)
        mixed = spectra.sum(0)
        engine = self.engines[rng.integers(len(self.engines))]
        energies = to_bands(power(mixed))
        question = Question(
            vectors.numpy(),
            np.ones(len(prompts), bool),
            listen=bool(rng.random() < 0.7),
            together=bool(rng.random() < 0.5),
        )
        heard = engine.listen(F.pad(sources.sum(0), (0, HOP))[None].numpy(), energies.numpy())
        masks = torch.from_numpy(hedged(heard.masks(question), energies.numpy()))
        # every prompt once, before any gets a second stem
        order = rng.permuted(np.tile(np.arange(len(prompts)), (n, 1)), axis=1).ravel()
        for which in map(int, order[:n]):
            members = prompts[which].members
            ideal = self._ideal(spectra, mixed, members)
            kind = rng.choice(KINDS, p=shares)
            if kind == "network":
                mask = masks[which].clamp(min=1e-6) ** float(rng.choice([0.5, 1, 1, 1, 1.6]))
            elif kind == "blend":
                mask = torch.lerp(masks[which], ideal, float(rng.uniform(0, 1)))
            elif kind == "degraded":
                mask = self._degraded(ideal)
            elif kind == "wrong":
                mask = self._ideal(spectra, mixed, [int(rng.integers(len(sources)))])
            else:
                mask = None
            if mask is None:  # a leaky balance of the sources, the mixture itself, or nearly nothing
                gains = 10 ** (rng.choice([0, -6, -12, -25, -60], len(sources)) / 20)
                if rng.random() < 0.3:
                    gains[:] = 1.0
                stem = (torch.from_numpy(gains).float()[:, None] * sources).sum(0)
            else:
                stem = istft(to_bins(mask) * mixed, n_samples)
            yield which, stem.numpy(), kind == "network"

    def _ideal(self, spectra: Tensor, mixed: Tensor, members: list[int]) -> Tensor:
        target = spectra[members].sum(0) if members else torch.zeros_like(mixed)
        wanted = to_bands(power(target))
        return wanted / (wanted + to_bands(power(mixed - target)) + 1e-9)

    def _degraded(self, mask: Tensor) -> Tensor:
        rng = self.rng
        noise = torch.from_numpy(rng.random(mask.shape)).float()
        if rng.random() < 0.5:  # musical noise
            mask = torch.where(noise < rng.uniform(0, 0.4), noise.new_tensor(float(rng.random() < 0.5)), mask)
        if rng.random() < 0.5:  # leakage
            mask = mask.clamp(min=float(rng.uniform(0, 0.7)))
        if rng.random() < 0.5:  # holes in time
            holes = np.repeat(rng.random(mask.shape[-1] // 10 + 1) < rng.uniform(0, 0.5), 10)[
                : mask.shape[-1]
            ]
            mask = mask * torch.from_numpy(~holes).float()
        if rng.random() < 0.3:  # a band is missing
            low = int(rng.integers(mask.shape[0]))
            mask = mask.clone()
            mask[low : low + int(rng.integers(5, 60))] = 0
        return mask


@torch.inference_mode()
def examples(mixer: Mixer, maker: StemMaker, engine: Engine, text: TextTower) -> Iterator[Example]:
    """Endless examples."""
    rng = mixer.rng
    while True:
        mixture, shares = mixer.mixture(), KIND_SHARES
        if rng.random() < PLAIN_SHARE:
            groups = PLAIN[rng.integers(len(PLAIN))]
            mixture, shares = mixer.pair(groups, list(rng.uniform(-5, 5, len(groups)))), PLAIN_KIND_SHARES
            mixture.prompts = mixer.prompts(mixture.sources)
        sources = np.stack([s.samples for s in mixture.sources])
        mixed = sources.sum(0)
        vectors = text.embed([p.phrases[rng.integers(len(p.phrases))] for p in mixture.prompts])
        known = listen(engine, mixed, vectors.numpy())
        made = list(maker.stems(mixture, vectors, STEMS, shares))
        rows = [which for which, _, _ in made]
        stems = np.stack([stem for _, stem, _ in made])
        found = compare(engine, known, stems, rows, vectors[rows].numpy())
        seen = given(*(torch.from_numpy(x) for x in found))
        for (which, stem, separated), *sensed in zip(made, *seen, strict=True):
            members = mixture.prompts[which].members
            target = sources[members].sum(0) if members else np.zeros_like(mixed)
            present = bool(np.square(target).sum() > 1e-5 * np.square(mixed).sum())
            scores = np.full(len(AXES), np.nan)
            if present:
                measured = measure(stem, target, np.delete(sources, members, axis=0))
                scores = scores_of(_audible(measured), bounded=False)
            yield Example(*_packed(Given(*sensed)), scores.astype(np.float32), present, separated)


def _audible(measured: Measured) -> Measured:
    """What lies beyond cannot be heard, but would decide over a regression."""
    return Measured(*np.clip(astuple(measured), -MOST_DB, MOST_DB).tolist())


# of levels, then of the mask: what fits into a byte
_OFFSET = torch.tensor([2.0, 2.0, 2.0, 0.0])[:, None, None]
_STEPS = torch.tensor([80.0, 80.0, 80.0, 255.0])[:, None, None]


def _packed(seen: Given) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is kept of one stem."""
    image = ((seen.image + _OFFSET) * _STEPS).round().clamp(0, 255).to(torch.uint8)
    return image.numpy(), seen.tracks.half().numpy(), seen.facts.numpy()


def _given(data: dict[str, Tensor], rows: Tensor | slice) -> Given:
    """Of examples that were kept."""
    image = data["image"][rows].float() / _STEPS - _OFFSET
    return Given(image, data["tracks"][rows].float(), data["facts"][rows])


def make_examples(
    bank_dir: Path, folder: Path, n: int, separators: Sequence[Path], split: str = "train", workers: int = 1
) -> list[Path]:
    """Fills ``folder`` with shards of examples until there are ``n`` mixtures; returns the shards."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = [folder / f"{split}-{shard:04d}.npz" for shard in range(-(-n // PER_SHARD))]
    missing = [(seed, path) for seed, path in enumerate(shards) if not path.exists()]
    with ProcessPoolExecutor(workers) as pool:
        done = [
            pool.submit(_make_shard, path, bank_dir, list(separators), split, 7_000 + seed)
            for seed, path in missing
        ]
        for shard in done:
            log.info("%s", shard.result())
    return shards


def _make_shard(path: Path, bank_dir: Path, separators: list[Path], split: str, seed: int) -> str:
    threads.use(1)
    engine, text = listener(), TextTower.from_pretrained("nano")
    mixer = Mixer(Bank(bank_dir), split, SECONDS, seed)
    source = examples(mixer, StemMaker(separators, load_tower(), mixer.rng), engine, text)
    batch = [next(source) for _ in range(PER_SHARD * STEMS)]
    columns: dict[str, Any] = {
        name: np.stack([getattr(example, name) for example in batch]) for name in Example.__annotations__
    }
    with whole_file(path) as file:
        np.savez(file, **columns)
    return f"{path.name}: {len(batch)} examples"


def load_examples(shards: Sequence[Path]) -> dict[str, Tensor]:
    """All shards as one dict of tensors."""
    with ExitStack() as stack:
        parts = [stack.enter_context(np.load(path)) for path in shards]
        return {
            name: torch.from_numpy(np.concatenate([part[name] for part in parts]))
            for name in Example.__annotations__
        }


def train(
    data: dict[str, Tensor],
    held_out: dict[str, Tensor],
    epochs: int = 12,
    threads: int = 2,
    batch: int = 64,
    start: JudgeNetwork | None = None,
) -> tuple[JudgeNetwork, dict[str, float]]:
    """Trains a network, the one to ``start`` from if there is one; returns it with its correlations on held-out
    examples."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    lr = 2e-3 if start is None else 1e-3
    network = copy.deepcopy(start or JudgeNetwork()).requires_grad_(True).train()
    ema = copy.deepcopy(network).eval()
    n = len(data["present"])
    steps = epochs * (n // batch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    step = 0
    for epoch in range(epochs):
        order = torch.randperm(n)
        losses = []
        for rows in order[: n // batch * batch].view(-1, batch):
            seen = _given(data, rows)
            seen = seen._replace(facts=seen.facts + 0.03 * torch.randn_like(seen.facts))
            with autocast():
                scores, present = network(*seen)
            there = data["present"][rows]
            # nearly squares: the mean of what may be true is what correlates best with it
            errors = F.smooth_l1_loss(scores[there], data["scores"][rows][there], beta=2.0, reduction="none")
            weight = torch.where(data["separated"][rows][there], 1.0, MADE_WEIGHT)[:, None]
            loss = (errors * weight).mean()
            loss = loss + 0.3 * F.binary_cross_entropy_with_logits(present, there.float())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
            step += 1
            torch._foreach_lerp_(
                [p.data for p in ema.parameters()],
                [p.data for p in network.parameters()],
                1 - min(0.995, step / (step + 10)),
            )
        log.info("epoch %d: loss %.3f; %s", epoch, np.mean(losses), short(validate(ema, held_out)))
    calibrate(ema, held_out)
    return ema.requires_grad_(False), validate(ema, held_out)


@torch.no_grad()
def calibrate(network: JudgeNetwork, data: dict[str, Tensor]) -> None:
    """Fits the logit of presence to examples that were not learned from: its scale, its offset, and once more how much
    the separator's opinion counts. Networks know recordings that they have learned from too well."""
    from sklearn.linear_model import LogisticRegression

    there = data["present"].numpy()
    columns = np.column_stack([_answers(network, data)[1], data["facts"][:, WHEN_FACTS]])
    fitted = LogisticRegression(C=10.0, max_iter=1000).fit(columns, there)
    scale, *weights = torch.from_numpy(fitted.coef_[0]).float()
    offset = float(fitted.intercept_[0]) + _logit(THERE) - _logit(float(there.mean()))
    for layer in (network.head, network.direct):
        layer.weight[4] *= scale
    network.head.bias[4] = network.head.bias[4] * scale + offset
    network.direct.weight[4, WHEN_FACTS] += torch.stack(weights)


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def _answers(network: JudgeNetwork, data: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N, 4) and logits of presence (N,)."""
    parts = [network(*_given(data, slice(i, i + 64))) for i in range(0, len(data["present"]), 64)]
    return torch.cat([p[0] for p in parts]).numpy(), torch.cat([p[1] for p in parts]).numpy()


@torch.inference_mode()
def validate(network: JudgeNetwork, data: dict[str, Tensor]) -> dict[str, float]:
    """Pearson correlation of each score where the sound is there, of separators' own stems, and AUROC of presence."""
    from sklearn.metrics import roc_auc_score

    scores, present = _answers(network, data)
    there, truth = data["present"].numpy(), data["scores"].numpy()
    shown, own = scores.clip(1, 5), there & data["separated"].numpy()
    out = {name: float(np.corrcoef(shown[own, k], truth[own, k])[0, 1]) for k, name in enumerate(AXES)}
    return out | {"auroc": float(roc_auc_score(there, present))}


def export_weights(network: JudgeNetwork, path: Path) -> None:
    """Writes what is shipped: float16, the config beside it."""
    checkpoints.save(path, "judge", {"model": {}}, network.state_dict())
    log.info("exported %s", path)


def examples_dir(separators: Sequence[Path]) -> Path:
    """Where examples are kept that these separators made and the shipped towers and separator heard."""
    towers = [checkpoints.resolve("nano", tower) for tower in ("audio", "text")]
    digest = hashlib.sha256(repr((FORMAT, SECONDS, STEMS, PER_SHARD)).encode())
    for path in (*towers, WEIGHTS, *separators):
        digest.update(path.read_bytes())
    return cache_dir() / "training" / f"judge-{digest.hexdigest()[:12]}"
