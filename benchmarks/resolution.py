"""What does the resolution of masks allow? Ideal masks of several cells, on held-out pairs.

    uv run benchmarks/resolution.py          # the table of docs/resolution.md

Needs the data bank (`sam-audio train data`); nothing is trained.
"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sam_audio.evaluation.tables import markdown
from sam_audio.paths import cache_dir
from sam_audio.separator.nano.bands import HOP, N_BANDS, N_FFT, SAMPLE_RATE
from sam_audio.separator.nano.spectra import to_bands
from sam_audio.training.data.bank import Bank
from sam_audio.training.data.mixing import Mixer

PAGE = Path(__file__).parent.parent / "docs" / "resolution.md"
SECONDS = 6.0
KINDS = {
    "everyday pairs": ("ESC-10", "ESC-10"),
    "speech, event": ("speech", "event"),
    "instruments": ("instrument", "instrument"),
}


def ceilings(bank_dir: Path, n: int = 60) -> list[dict[str, str]]:
    """Mean SI-SDR improvement of ideal masks by the geometry of their cells, on ``n`` held-out pairs of each kind."""
    mixer = Mixer(Bank(bank_dir), "valid", SECONDS, seed=0)
    pairs = {
        kind: [np.stack([s.samples for s in mixer.pair(groups, (0, 0)).sources]) for _ in range(n)]
        for kind, groups in KINDS.items()
    }
    rows = []
    for n_fft, hop, n_bands in GEOMETRIES:
        width = f"{n_bands} bands" if n_bands else "every bin"
        shipped = " (shipped)" if (n_fft, hop, n_bands) == (N_FFT, HOP, N_BANDS) else ""
        row = {"cells": f"window {_ms(n_fft):.0f} ms, hop {_ms(hop):.0f} ms, {width}{shipped}"}
        for kind, mixtures in pairs.items():
            gains = np.array([ideal_gains(torch.from_numpy(m), n_fft, hop, n_bands) for m in mixtures])
            row[kind] = " / ".join(f"{gain:.1f}" for gain in gains.mean(axis=0))
        rows.append(row)
    return rows


GEOMETRIES = (
    (N_FFT, HOP, 64),
    (N_FFT, HOP, N_BANDS),
    (N_FFT, HOP, 256),
    (N_FFT, HOP, None),
    (N_FFT, HOP // 2, N_BANDS),
    (N_FFT // 2, HOP // 2, N_BANDS),
    (2 * N_FFT, HOP, N_BANDS),
    (2 * N_FFT, HOP, 256),
)


def ideal_gains(sources: Tensor, n_fft: int, hop: int, n_bands: int | None) -> tuple[float, float]:
    """Mean SI-SDR improvement of the sources by ideal masks, in dB: real in 0..1, and complex; both one number a cell.

    Shape: (S, samples).
    """
    window = torch.hann_window(n_fft)
    spec = torch.stft(sources, n_fft, hop, window=window, pad_mode="constant", return_complex=True)
    mixed = spec.sum(dim=0)
    cross, power, own = mixed.conj() * spec, mixed.abs().square(), spec.abs().square()
    if n_bands:
        cross, power, own = (to_bands(x, n_bands, n_fft) for x in (cross, power, own))
    total = own.sum(dim=(-2, -1))
    real = (cross.real / (power + 1e-12)).clamp(0, 1)
    cosines = (
        cross.real.sum(dim=(-2, -1)).square() / power.sum() / total,
        (real * cross.real).sum(dim=(-2, -1)).square() / (real.square() * power).sum(dim=(-2, -1)) / total,
        (cross.abs().square() / (power + 1e-12)).sum(dim=(-2, -1)) / total,
    )
    untouched, masked, turned = (10 * torch.log10(c / (1 - c).clamp_min(1e-6)) for c in cosines)
    return (masked - untouched).mean().item(), (turned - untouched).mean().item()


def _ms(samples: int) -> float:
    return 1000 * samples / SAMPLE_RATE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bank", type=Path, default=cache_dir() / "bank")
    parser.add_argument("-n", type=int, default=60, help="pairs of each kind")
    options = parser.parse_args()
    text = markdown(ceilings(options.bank, options.n))
    print(text)
    intro = (
        "# What the resolution of masks allows\n\nWritten by `uv run benchmarks/resolution.py`: change the program, not"
        " this page.\n\nMean SI-SDR improvement in dB of ideal masks on held-out pairs at 0 dB"
        f" (validation split, {options.n} mixtures of {SECONDS:g} s each; {date.today()}), one number a cell: real in 0"
        " to 1 / complex, which turns the phase too.\n\n"
    )
    outro = (
        "\nA real mask gains at most a decibel by finer cells: what limits nano is recognition (docs/quality.md)."
        " Complex masks could gain more the finer the cells are, since with one for every bin anything can be written;"
        " what of it can be learned this table does not say.\n"
    )
    PAGE.write_text(intro + text + outro, encoding="utf-8")


if __name__ == "__main__":
    main()
