"""Which parts of the nano separator are worth their cost? Small networks, trained from scratch on the same mixtures.

    uv run benchmarks/ablations.py --minutes 30          # the table of docs/ablations.md
    uv run benchmarks/ablations.py --minutes 0.5 --seeds 1   # does it work?

All variants step in turn on every batch, so that they differ in nothing but what their name says; each seed draws its
own weights and mixtures, in a process of its own. The network is less than a third of the shipped one in size. Needs
the data bank (`sam-audio train data`). Results of a seed are kept in the cache folder and not made again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from peav.nano.audio import AudioTower
from peav.nano.precision import autocast
from sam_audio.evaluation.tables import markdown
from sam_audio.paths import cache_dir
from sam_audio.separator.nano.engine import WEIGHTS
from sam_audio.separator.nano.network import MaskNetwork
from sam_audio.separator.nano.torch_engine import load_network
from sam_audio.training.data.examples import load_examples
from sam_audio.training.recipes.separator import (
    MixtureStream,
    PromptVectors,
    Recipe,
    State,
    load_state,
    question,
    rate_at,
    training_step,
    validate,
    validation_set,
)

PAGE = Path(__file__).parent.parent / "docs" / "ablations.md"
SHIPPED = Recipe().network
NETWORK = replace(
    SHIPPED, channels=(32, 64, 128, 160), blocks=(1, 2, 2, 2), attention_layers=2, query_dim=192
)
BASE = Recipe(network=NETWORK, learning_rate=1e-3, warmup_steps=60, ema=0.99, cooldown=0.5)
Batch = dict[str, Tensor]


def unchanged(batch: Batch) -> Batch:
    return batch


def without_activity(batch: Batch) -> Batch:
    tracks = batch["tracks"].clone()
    tracks[:, :, :2] = 0
    return batch | {"tracks": tracks}


def always_activity(batch: Batch) -> Batch:
    tracks = batch["tracks"].clone()
    tracks[:, :, 1] = 1
    return batch | {"tracks": tracks}


def two_sources(batch: Batch) -> Batch:
    """Leaves out what is asked of the mixtures with more sources than two, as far as the batch has others."""
    few = batch["members"].amax(dim=1).sum(dim=-1) <= 2
    if not few.any():
        return batch
    asked = few[:, None]
    return batch | {"present": batch["present"] & asked, "absent": batch["absent"] & asked}


@cache
def teacher() -> tuple[MaskNetwork, AudioTower, PromptVectors]:
    """The shipped separator, and what it needs to answer a batch."""
    tower = AudioTower.from_pretrained("nano")
    return load_network(WEIGHTS), tower, PromptVectors(load_examples(cache_dir() / "bank"))


@torch.no_grad()
def distilled(batch: Batch) -> Batch:
    """Half of what is to be learned is what the shipped separator makes of it."""
    network, tower, vectors = teacher()
    given = question(network, batch, vectors(batch["asked"]), tower)
    with autocast():
        masks = network(
            given.features, given.conditions, given.maps, given.energies, given.candidates
        ).sigmoid()
    cross = masks * batch["mixture"]
    return batch | {
        "target": torch.lerp(batch["target"], masks * cross, 0.5),
        "cross": torch.lerp(batch["cross"], cross, 0.5),
    }


@dataclass(frozen=True)
class Variant:
    recipe: Recipe = BASE
    first: Recipe | None = None  # of the first half of its training, if another
    seen: Callable[[Batch], Batch] = unchanged
    seen_first: Callable[[Batch], Batch] | None = None
    optimizer: Callable[[torch.nn.Module], torch.optim.Optimizer] | None = None  # Muon with AdamW, where None


def network(**changes: object) -> Variant:
    return Variant(replace(BASE, network=replace(NETWORK, **changes)))


def adamw(module: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        module.parameters(), BASE.learning_rate, weight_decay=BASE.weight_decay, betas=(0.9, 0.98)
    )


VARIANTS = {
    "as shipped, smaller": Variant(),
    "does not hear through the audio tower": network(hears=False),
    "without rivals": network(n_labels=0, n_hypernyms=0),
    "without predicted activity (PE-A-Frame)": Variant(seen=without_activity),
    "prompts do not read the excerpt (FiLM over time alone)": network(n_reads=0),
    "no attention over bands and time": network(attention_layers=0),
    "as deep as shipped": network(blocks=SHIPPED.blocks, attention_layers=SHIPPED.attention_layers),
    "8 mask bases, for 32": network(n_bases=8),
    "loss: cross-entropy of masks alone": Variant(replace(BASE, waveform_weight=0.0)),
    "loss: SNR and SI-SDR alone": Variant(replace(BASE, mask_weight=0.0)),
    "loss: SNR and SI-SDR with a third of the weight": Variant(
        replace(BASE, waveform_weight=BASE.waveform_weight / 3)
    ),
    "curriculum: masks alone in the first half": Variant(first=replace(BASE, waveform_weight=0.0)),
    "curriculum: two sources in the first half": Variant(seen_first=two_sources),
    "distillation: half of each target is the shipped separator's": Variant(seen=distilled),
    "AdamW, for Muon": Variant(optimizer=adamw),
}


def run(seed: int, bank_dir: Path, minutes: float, names: list[str]) -> list[dict[str, float | str]]:
    """Trains the variants of these names for ``minutes`` in all; one row each."""
    variants = {name: VARIANTS[name] for name in names}
    torch.set_num_threads(1)
    vectors, tower = PromptVectors(load_examples(bank_dir)), AudioTower.from_pretrained("nano")
    states: dict[str, State] = {}
    for name, variant in variants.items():
        states[name] = load_state(Path("none"), variant.recipe, seed)
        if variant.optimizer:
            states[name].optimizer = variant.optimizer(states[name].network)
    spent = dict.fromkeys(variants, 0.0)
    stream = iter(MixtureStream(bank_dir, "train", BASE, seed=seed))
    begun = time.monotonic()
    while (progress := (time.monotonic() - begun) / (minutes * 60)) < 1:
        batch = next(stream)
        for name, variant in variants.items():
            state, recipe, seen = states[name], variant.recipe, variant.seen
            if progress < 0.5:
                recipe, seen = variant.first or recipe, variant.seen_first or seen
            rate = rate_at(progress, state.step, recipe)
            torch.manual_seed(state.step)  # the same noise for everyone
            rng = np.random.default_rng(state.step)
            step_begun = time.process_time()  # whatever else the machine does
            training_step(state, seen(batch), vectors, tower, recipe, rng, rate)
            spent[name] += time.process_time() - step_begun
    validation = validation_set(bank_dir, BASE)
    rows = []
    for name, variant in variants.items():
        state = states[name]
        seen = without_activity if variant.seen is without_activity else always_activity
        scores = validate(state.ema, [seen(batch) for batch in validation], vectors, tower)
        size = sum(p.numel() for p in state.network.parameters()) / 1e6
        row = {"variant": name, "parameters": size, "step_s": spent[name] / state.step}
        rows.append(row | scores | {"mixtures": state.mixtures})
    return rows


def table(runs: list[list[dict[str, float | str]]]) -> list[dict[str, float | str]]:
    """One row a variant: means over seeds, and how far the seeds' differences to the first variant lie apart."""

    def column(rows: tuple, name: str) -> np.ndarray:
        return np.array([row[name] for row in rows], float)

    bases = tuple(rows[0] for rows in runs)
    made: list[dict[str, float | str]] = []
    for rows in zip(*runs, strict=True):
        difference = column(rows, "mean_si_sdri") - column(bases, "mean_si_sdri")
        made.append(
            {
                "": str(rows[0]["variant"]),
                "M parameters": f"{column(rows, 'parameters').mean():.1f}",
                "step, s": f"{column(rows, 'step_s').mean():.2f}",
                "mean SI-SDRi, dB": f"{column(rows, 'mean_si_sdri').mean():.2f}",
                "median": f"{column(rows, 'median_si_sdri').mean():.2f}",
                "improved": f"{100 * column(rows, 'improved').mean():.0f} %",
                "absent, dB": f"{column(rows, 'absent_median_db').mean():.1f}",
                "mean against the first, by seed": ", ".join(f"{d:+.2f}" for d in difference),
            }
        )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bank", type=Path, default=cache_dir() / "bank")
    parser.add_argument("--minutes", type=float, default=30.0, help="of training, all variants together")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument(
        "--only", nargs="*", help="the first variant, and those with one of these in their name"
    )
    parser.add_argument("--page", type=Path, help=f"where the table goes, {PAGE.name} by default")
    options = parser.parse_args()
    first, *others = VARIANTS
    names = [first, *(n for n in others if not options.only or any(part in n for part in options.only))]
    digest = hashlib.sha1("\n".join(names).encode()).hexdigest()[:8]
    folder = cache_dir() / "training" / f"ablations-{options.minutes:g}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"seed-{seed}.json" for seed in range(options.seeds)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        waiting = {
            path: pool.submit(run, seed, options.bank, options.minutes, names)
            for seed, path in enumerate(paths)
            if not path.exists()
        }
        for path, result in waiting.items():
            path.write_text(json.dumps(result.result(), indent=1), encoding="utf-8")
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    counts = ", ".join(f"{rows[0]['mixtures']:,}" for rows in runs)
    rows = table(runs)
    text = markdown(rows)
    print(text)
    only = f" --only {' '.join(map(repr, options.only))}" if options.only else ""
    intro = (
        "# Ablations of the nano separator\n\nWritten by `uv run benchmarks/ablations.py"
        f" --minutes {options.minutes:g} --seeds {options.seeds}{only}`: change the program, not this page.\n\n"
        "Networks less than a third of the shipped one's size, from scratch, all variants on the same mixtures, one"
        f" line of mixtures and weights a seed ({counts} mixtures). Validation: pairs and triples of held-out"
        f" recordings, band energies. {date.today()}, {platform.processor() or platform.machine()},"
        " one core a seed; the time of a step is of 8 mixtures of 3.84 s.\n\n"
    )
    (options.page or PAGE).write_text(intro + text, encoding="utf-8")


if __name__ == "__main__":
    main()
