"""Speed, memory and precision of the published SAM-Audio at its small size, each run in a process of its own.

    uv run benchmarks/official.py            # the table of docs/benchmarks-official.md
    uv run benchmarks/official.py --quick    # does it work? One second, two steps, prints only

The weights are random, which changes neither time nor memory: 492 M parameters of the flow transformer, the codec in
full. They take 2.4 GB of the temporary folder. POSIX only: peak memory is what ``wait4`` reports.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from speed import hardware, insert, run

from sam_audio.models import PUBLISHED

NAME = "facebook/sam-audio-small"
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks-official.md"
DTYPES = ("float32", "bfloat16")
STAGES = ("encode", "flow", "decode")
# the published implementation on 2 cores, float32, 10 s of sound: seconds from and to
PUBLISHED_S = {"encode": (10, 12), "flow": (57, 57), "decode": (53, 68)}
LIMIT_GB = 4.0
WANTED = {"float32": 1.4, "bfloat16": 2.2}  # times faster


def write_model(folder: Path) -> None:
    """A checkpoint with random weights. What is stored but not used here takes no room in it."""
    from peav.official.parts import unset
    from sam_audio.separator.official.config import SAMAudioConfig
    from sam_audio.separator.official.model import SAMAudio
    from sam_audio.separator.official.weights import PICTURE_TEXT, VISION, expected_shapes

    config = {**PUBLISHED[NAME].config, "span_predictor": None}
    sizes = SAMAudioConfig.of(config)
    with unset():
        model = SAMAudio(sizes)
    least = {PICTURE_TEXT + name: (1, 1) for name in ("ln_final.weight", "token_embedding.weight")}
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in expected_shapes(model, model.audio_codec, sizes, least).items():
        if name.startswith((VISION, PICTURE_TEXT)):
            tensors[name] = torch.zeros(()).expand(shape)
        else:
            tensors[name] = _random(name, shape, generator)
    torch.save(tensors, folder / "checkpoint.pt")
    (folder / "config.json").write_text(json.dumps(config))


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """As a trained layer might be: what comes out is about as loud as what went in."""
    last = name.rpartition(".")[2]
    if last in ("alpha", "weight_g") or (len(shape) == 1 and last == "weight"):
        return torch.rand(shape, generator=generator) * 0.4 + 0.4
    fan_in = torch.Size(shape[1:]).numel() if len(shape) > 1 else 100
    return torch.randn(shape, generator=generator) / fan_in**0.5


def work(folder: Path, dtype: str, threads: int, seconds: float, steps: int, out: Path) -> None:
    """Runs inside a process of its own: one separation, its stages timed. Prints JSON and writes what came out."""
    from sam_audio import SAMAudio, SAMAudioProcessor
    from sam_audio.separator.official.long import BlendedVelocity
    from sam_audio.separator.official.ode import Solver

    torch.set_num_threads(threads)
    model, load_s = _timed(lambda: SAMAudio.from_pretrained(folder, dtype=dtype, cache=False))
    generator = torch.Generator().manual_seed(1)
    sound = 0.1 * torch.randn(1, round(seconds * model.sample_rate), generator=generator)
    batch = SAMAudioProcessor.from_pretrained(folder)(audios=[sound], descriptions=["dog barking"])
    text = torch.randn(1, 4, 768, generator=generator), torch.ones(1, 4, dtype=torch.bool)
    with torch.inference_mode():
        features, encode_s = _timed(lambda: model.encode_audio(batch.audios))
        noise = torch.randn(*features.shape[:2], model.config.state_dim, generator=generator)
        velocity = BlendedVelocity(model, model.prepare(batch, features, text), [(0, features.shape[1])])
        latents, flow_s = _timed(lambda: Solver(step=1 / steps).integrate(velocity, noise))
        sounds, decode_s = _timed(lambda: model.decode(latents, message=torch.zeros(2, 16)))
    np.savez(out, latents=latents.numpy(), sounds=sounds.numpy())
    print(json.dumps({"load": load_s, "encode": encode_s, "flow": flow_s, "decode": decode_s}))


def _timed(call):
    begun = time.perf_counter()
    return call(), time.perf_counter() - begun


def measure(threads: int, seconds: float, steps: int) -> str:
    """Everything, as Markdown."""
    with tempfile.TemporaryDirectory(prefix="sam-audio-official-") as name:
        folder = Path(name)
        print("writing a model", file=sys.stderr)
        # a process's peak memory counts from that of the process which started it, so this one stays small
        run([sys.executable, str(Path(__file__).resolve()), "--write", name])
        times, peaks, outcomes = {}, {}, {}
        for dtype in DTYPES:
            print(f"measuring {dtype}", file=sys.stderr)
            out = folder / f"{dtype}.npz"
            arguments = ["--work", folder, "--dtype", dtype, "--out", out]
            arguments += ["--threads", threads, "--seconds", seconds, "--steps", steps]
            done = run([sys.executable, str(Path(__file__).resolve()), *map(str, arguments)])
            times[dtype] = json.loads(done.output.strip().splitlines()[-1])
            peaks[dtype] = done.peak_mib * 2**20 / 1e9
            with np.load(out) as stored:
                outcomes[dtype] = {key: stored[key] for key in stored.files}
    return "\n".join(
        [
            hardware(threads),
            "",
            f"{seconds:g} s of sound, {steps} midpoint steps, target and residual decoded with the watermark.",
            "",
            *_table(times, peaks, whole=(seconds, steps) == (10, 16)),
            "",
            _precision(outcomes),
        ]
    )


def _table(times: dict[str, dict[str, float]], peaks: dict[str, float], whole: bool) -> list[str]:
    """Rows of Markdown; the published figures are for a whole run only."""
    lines = [
        "| | load | encode | flow | decode | encode to decode | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    totals = {dtype: sum(times[dtype][stage] for stage in STAGES) for dtype in DTYPES}
    for dtype in DTYPES:
        cells = [f"{times[dtype][stage]:.1f} s" for stage in ("load", *STAGES)]
        lines.append(f"| {dtype} | {' | '.join(cells)} | {totals[dtype]:.1f} s | {peaks[dtype]:.2f} GB |")
    if not whole:
        return lines
    spans = [f"{low}-{high} s" if low != high else f"{low} s" for low, high in PUBLISHED_S.values()]
    low, high = (sum(span[i] for span in PUBLISHED_S.values()) for i in (0, 1))
    published = " | ".join(spans)
    lines.append(
        f"| published, float32 | | {published} | {low}-{high} s | 2.4 GB for the transformer alone |"
    )
    lines += ["", "| | times faster | wanted | peak memory | wanted |", "|---|---|---|---|---|"]
    for dtype in DTYPES:
        faster = f"{low / totals[dtype]:.1f}-{high / totals[dtype]:.1f}"
        lines.append(
            f"| {dtype} | {faster} | {WANTED[dtype]} | {peaks[dtype]:.2f} GB | {LIMIT_GB:g} GB at most |"
        )
    return lines


def _precision(outcomes: dict[str, dict[str, np.ndarray]]) -> str:
    def below_db(name: str) -> float:
        exact, other = (outcomes[dtype][name].astype(np.float64) for dtype in DTYPES)
        return 10 * np.log10(np.square(exact).sum() / max(np.square(other - exact).sum(), 1e-30))

    return (
        f"bfloat16 puts an error {below_db('latents'):.0f} dB below the latents of float32 and "
        f"{below_db('sounds'):.0f} dB below its sound. With random weights that is a rough measure: "
        "the flow of a trained model contracts errors, or does not, in its own way."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of every process")
    parser.add_argument("--quick", action="store_true", help="one second, two steps; prints only")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE", help="where the tables go")
    parser.add_argument("--seconds", type=float, default=10.0, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=16, help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dtype", default="float32", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write is not None:
        write_model(args.write)
        return
    if args.work is not None:
        work(args.work, args.dtype, args.threads, args.seconds, args.steps, args.out)
        return
    text = measure(args.threads, 1.0 if args.quick else args.seconds, 2 if args.quick else args.steps)
    print(text)
    if not args.quick:
        insert(args.page, text)


if __name__ == "__main__":
    main()
