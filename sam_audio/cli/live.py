"""``sam-audio live``: from the microphone to the loudspeaker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from sam_audio.cli.shared import prompts_option, show, show_json, was_given

LEAST_BLOCK, MOST_BLOCK = 1, 1 << 16  # samples


def live(
    context: typer.Context,
    prompt: Annotated[
        Optional[list[str]],
        prompts_option("What to let through."),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Let through everything else.")] = False,
    rack: Annotated[
        Optional[str],
        typer.Option(metavar="RACK", help="A whole rack, in place of a prompt.", show_default=False),
    ] = None,
    input_name: Annotated[
        Optional[str],
        typer.Option("--input", metavar="NAME", help="Input device.", show_default="the system's"),
    ] = None,
    output_name: Annotated[
        Optional[str],
        typer.Option("--output", metavar="NAME", help="Output device.", show_default="the system's"),
    ] = None,
    from_file: Annotated[
        Optional[Path],
        typer.Option("--from", metavar="FILE", help="A recording in place of the input.", show_default=False),
    ] = None,
    to_file: Annotated[
        Optional[Path],
        typer.Option("--to", metavar="FILE", help="A wav file in place of the output.", show_default=False),
    ] = None,
    block: Annotated[int, typer.Option(metavar="N", help="Samples at a time.")] = 512,
    seconds: Annotated[
        Optional[float], typer.Option(metavar="S", help="How long to run.", show_default="until Ctrl-C")
    ] = None,
    sample_rate: Annotated[
        int, typer.Option(metavar="HZ", help="Of the devices; 48000 is quickest.")
    ] = 48_000,
    strength: Annotated[float, typer.Option(metavar="0..2", help="How boldly to cut.")] = 1.0,
    model: Annotated[str, typer.Option(metavar="nano|PATH", help="Only the nano model works live.")] = "nano",
    device: Annotated[str, typer.Option("--device", "-d", help="auto, cpu, cuda or mps.")] = "auto",
    threads: Annotated[
        int, typer.Option(metavar="N", help="CPU threads; one leaves the others to the sound card.")
    ] = 1,
    json_summary: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of --to.")] = False,
) -> None:
    """Separate while it sounds: microphone or loopback in, the sound asked for out."""
    import sys
    from contextlib import ExitStack
    from dataclasses import asdict

    from peav import threads as threads_
    from sam_audio.errors import UserError
    from sam_audio.host.files import find_rack, load_rack
    from sam_audio.host.live import Device, FileSink, FileSource, LiveReport, run_live
    from sam_audio.host.rack import Rack
    from sam_audio.io import open_audio
    from sam_audio.naming import RESIDUAL

    if bool(prompt) == (rack is not None):
        raise UserError("say what to let through: give --prompt TEXT, or --rack RACK")
    if (from_file is None) != (to_file is None):
        raise UserError("--from and --to belong together: give both, or neither for the sound card")
    for flag, name, other in (
        ("--strength", "strength", rack and "--rack"),
        ("--remove", "remove", rack and "--rack"),
        ("--input", "input_name", from_file and "--from"),
        ("--output", "output_name", from_file and "--from"),
        ("--sample-rate", "sample_rate", from_file and "--from"),
    ):
        if other and was_given(context, name):
            raise UserError(f"{flag} does nothing beside {other}: leave one of them out")
    if not LEAST_BLOCK <= block <= MOST_BLOCK:
        raise UserError(f"a block of {block} samples cannot work: use {LEAST_BLOCK} to {MOST_BLOCK}")
    if threads < 1:
        raise UserError(f"{threads} threads cannot work: use 1 or more")
    threads_.use(threads)

    def describe(report: LiveReport) -> str:
        return (
            f"latency {report.latency_s * 1000:.0f} ms, load {report.busy * 100:.0f} %, "
            f"{report.dropouts} drop-outs in {report.seconds:.0f} s"
        )

    with ExitStack() as stack:
        if rack is not None:
            mixer = load_rack(find_rack(rack), model=model, device=device, live=True)
        else:
            mixer = Rack(prompt or [], model=model, device=device, live=True, strength=strength)
            for name, strip in mixer.strips.items():
                strip.mute = (name == RESIDUAL) != remove
        if from_file is not None and to_file is not None:
            reader = stack.enter_context(open_audio(from_file))
            source = FileSource(reader, block)
            sink = stack.enter_context(FileSink(to_file, source.sample_rate, source.channels, overwrite))
        else:
            source = sink = stack.enter_context(Device(input_name, output_name, sample_rate))  # type: ignore[assignment]
        warm_up(mixer, source.sample_rate, source.channels)
        latency = mixer.latency(source.sample_rate, source.channels)

        def tell(report: LiveReport) -> None:
            if sys.stderr.isatty():
                print(f"\r{describe(report)}  ", end="", file=sys.stderr, flush=True)

        report = run_live(
            lambda samples, rate: mixer.process(samples, rate, reset=False),
            latency,
            source,
            sink,
            block=block,
            seconds=seconds,
            on_status=tell,
        )
    if json_summary:
        show_json(asdict(report))
    else:
        show(describe(report))


def warm_up(mixer: object, sample_rate: int, channels: int) -> None:
    """Has everything loaded and set up before the first sound, so that it does not break off."""
    import numpy as np

    from sam_audio.host.rack import Rack

    assert isinstance(mixer, Rack)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((channels, 4 * sample_rate)).astype(np.float32) * 1e-3
    mixer.process(noise, sample_rate, reset=False)
    mixer.reset()
