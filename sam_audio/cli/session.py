"""``sam-audio session``: stems as a session of an audio workstation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(help="Stems as a session of an audio workstation.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("export")
def export_session(
    mixture: Annotated[Path, typer.Argument(metavar="MIX", help="The recording that was separated.")],
    stems: Annotated[Path, typer.Argument(metavar="STEMS", help="The folder of its stems.")],
    format: Annotated[
        str,
        typer.Option(
            "--format", "-f", metavar="NAME", help="For which workstation; sam-audio plugins lists exporters."
        ),
    ],
    out: Annotated[
        Optional[Path],
        typer.Option("--out", "-o", metavar="FILE", help="The session.", show_default="MIX beside the stems"),
    ] = None,
    report: Annotated[
        Optional[Path],
        typer.Option(
            metavar="FILE", help="What separate --report wrote: prompts as names.", show_default=False
        ),
    ] = None,
    spans: Annotated[
        Optional[Path],
        typer.Option(
            metavar="FILE", help="What sam-audio locate wrote as JSON: markers.", show_default=False
        ),
    ] = None,
    gain: Annotated[
        Optional[list[str]], typer.Option(metavar="STEM=DB", help="A fader.", show_default=False)
    ] = None,
    pan: Annotated[
        Optional[list[str]], typer.Option(metavar="STEM=-1..1", help="A pan.", show_default=False)
    ] = None,
    tempo: Annotated[float, typer.Option(metavar="BPM", help="Beats a minute.")] = 120.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write a session: stems on tracks in step with the mixture, which is muted; spans as markers."""
    from sam_audio.cli.shared import show
    from sam_audio.export.timeline import prompts_of_report, session_of, spans_of_events
    from sam_audio.export.workstation import session_exporter

    exporter = session_exporter(format)
    session = session_of(
        mixture,
        stems,
        names=prompts_of_report(report) if report is not None else None,
        gains_db=_numbers(gain, "--gain", "guitar=-3"),
        pans=_numbers(pan, "--pan", "guitar=0.5"),
        spans=spans_of_events(spans) if spans is not None else (),
        tempo=tempo,
    )
    path = out or stems / f"{mixture.stem}{exporter.suffix}"
    show(str(exporter.save(session, path, overwrite=overwrite)))


def _numbers(values: list[str] | None, option: str, example: str) -> dict[str, float]:
    from sam_audio.errors import UserError

    out = {}
    for value in values or []:
        name, _, number = value.rpartition("=")
        try:
            out[name] = float(number)
        except ValueError:
            name = ""
        if not name:
            raise UserError(f"{option} {value} cannot be read: write it like {option} {example}")
    return out
