"""The engines of nano on the same held-out mixtures: how much do their stems differ, and how long do they take?

    python benchmarks/engines.py BANK --mixtures 40

BANK is the folder that ``sam-audio train data`` fills. Prints a table: against ONNX Runtime with two threads, the
largest difference of a sample, the median and largest difference of SI-SDR; the improvement; and processor time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from judge.metrics import si_sdr
from peav import threads
from peav.nano import precision
from sam_audio.evaluation.separation import mixtures, separate_conditions
from sam_audio.separator.nano.engine import WEIGHTS, Engine
from sam_audio.separator.nano.loading import load_engine
from sam_audio.separator.nano.model import NanoSeparator
from sam_audio.separator.nano.torch_engine import TorchEngine, load_network, load_tower

PER_SCENARIO = 4  # mixtures of each kind


def onnx(n_threads: int, kind: str = "float32") -> Engine:
    threads.use(n_threads)
    return load_engine(precision=kind)


def in_torch(bfloat16: bool) -> TorchEngine:
    threads.use(2)
    precision.cpu_has_bfloat16 = lambda: bfloat16  # type: ignore[assignment]
    return TorchEngine(load_network(WEIGHTS), load_tower())


# ---- the table -----------------------------------------------------------------------------------------


def held_out(bank: Path, n: int) -> Iterator[tuple[np.ndarray, np.ndarray, list[str]]]:
    """Mixtures, their true sources, and what is asked for."""
    made = 0
    for _, mixture, _ in mixtures(bank, PER_SCENARIO):
        sources = np.stack([source.samples for source in mixture.sources])
        labels = [source.label for source in mixture.sources]
        once = [k for k, label in enumerate(labels) if labels.count(label) == 1][:3]
        if once and made < n:
            made += 1
            yield sources.sum(axis=0), sources[once], [labels[k] for k in once]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bank", type=Path, help="folder of recordings that training has prepared")
    parser.add_argument("--mixtures", type=int, default=40)
    given = parser.parse_args()
    engines: dict[str, Callable[[], Engine]] = {
        "ONNX Runtime, 2 threads": lambda: onnx(2),
        "ONNX Runtime, 1 thread": lambda: onnx(1),
        "torch, float32": lambda: in_torch(False),
        "torch, bfloat16": lambda: in_torch(True),
        "ONNX Runtime in int8, 2 threads": lambda: onnx(2, "int8"),
    }
    cases = list(held_out(given.bank, given.mixtures))
    reference: list[np.ndarray] = []
    print(f"{len(cases)} held-out mixtures, {sum(len(labels) for *_, labels in cases)} prompts\n")
    print("| engine | sample differs by | SI-SDR: median | at most | SI-SDRi mean | median | processor s |")
    print("|---|---|---|---|---|---|---|")
    for name, load in engines.items():
        model = NanoSeparator()
        model.engine = load()
        stems, begun = [], time.process_time()
        for mixed, _, labels in cases:
            stems.append(separate_conditions(model, mixed, model.encode(labels)))
        took = time.process_time() - begun
        reference = reference or stems
        worst = max(float(np.abs(a - b).max()) for a, b in zip(stems, reference, strict=True))
        scores = np.concatenate([si_sdr(s, c[1]) for s, c in zip(stems, cases, strict=True)])
        before = np.concatenate([si_sdr(c[0][None], c[1]) for c in cases])
        own = np.concatenate([si_sdr(s, c[1]) for s, c in zip(reference, cases, strict=True)])
        off = np.abs(scores - own)
        gains = scores - before
        print(
            f"| {name} | {worst:.1e} | {np.median(off):.4f} dB | {off.max():.3f} dB "
            f"| {gains.mean():.2f} | {np.median(gains):.2f} | {took:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
