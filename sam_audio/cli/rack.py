"""``sam-audio rack``: a mixer after the separator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from sam_audio.errors import UserError

app = typer.Typer(help="Mix separated stems through effects and plugins.", no_args_is_help=True)


@app.command("run")
def run(
    mixture: Annotated[str, typer.Argument(metavar="MIX", help="The recording.")],
    rack: Annotated[
        str, typer.Argument(metavar="RACK", help="A .rack.toml file, or see: sam-audio rack list.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the result.")] = Path(
        "racked"
    ),
    stems: Annotated[bool, typer.Option("--stems", help="Also write every strip, after its fader.")] = False,
    format: Annotated[str, typer.Option("--format", "-f", help="wav, flac, mp3, ogg or opus.")] = "wav",
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="See: sam-audio models list.")] = "nano",
    device: Annotated[str, typer.Option("--device", "-d", help="auto, cpu, cuda or mps.")] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there already.")
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Do nothing if the files are there, whole and of this rack."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors.")] = False,
) -> None:
    """Run a recording through a rack; writes DIR/MIX-RACK.wav."""
    from sam_audio.cli.shared import complain, progress, show
    from sam_audio.host.files import find_rack, load_rack, parse_rack, rack_name
    from sam_audio.host.rack import MASTER
    from sam_audio.host.render import rack_outputs, render_rack
    from sam_audio.made import check_known, known, set_at

    path = find_rack(rack)
    if overwrite and skip_existing:
        raise UserError("--overwrite and --skip-existing exclude each other: choose one")
    if skip_existing:
        check_known(mixture)
    loaded = load_rack(path, model=model, device=device)
    outputs = rack_outputs(loaded, mixture, out, rack_name(path), stems=stems, format=format)
    how = [known(parse_rack(path), path.parent), stems, format, model]
    made = set_at(outputs[MASTER], mixture, outputs.values(), how)
    if skip_existing and made.is_whole():
        if not quiet:
            show(f"{mixture}  skipped: its files are whole")
        return
    with progress(rack_name(path)) as advance:
        done = render_rack(
            loaded,
            mixture,
            outputs,
            format=format,
            overwrite=overwrite or skip_existing,
            made=made,
            progress=lambda frames, total: advance(frames, total or 0, mixture),
        )
    for warning in done.warnings:
        complain(warning, "warning")
    if not quiet:
        for written in done.paths:
            show(str(written))


@app.command("list")
def list_racks(json_list: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """List the ready-made racks."""
    from sam_audio.cli.shared import show, show_json
    from sam_audio.host.files import ready_made

    racks = ready_made()
    if json_list:
        show_json({"racks": [{"name": name, "description": text} for name, text in racks.items()]})
        return
    for name, text in racks.items():
        show(f"{name:10}  {text}")


@app.command("plugins")
def plugins(
    folders: Annotated[
        Optional[list[Path]],
        typer.Argument(metavar="FOLDER...", help="Where to look.", show_default="the system's folders"),
    ] = None,
    parameters: Annotated[bool, typer.Option("--parameters", help="List every parameter, too.")] = False,
    effects: Annotated[bool, typer.Option("--effects", help="List pedalboard's own effects, too.")] = False,
    timeout: Annotated[float, typer.Option(metavar="S", help="How long a plugin may take to load.")] = 60.0,
    json_list: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Find VST3 and AU plugins, each looked at in a process of its own."""
    from dataclasses import asdict

    from sam_audio.cli.shared import complain, show, show_json
    from sam_audio.host.chains import effect_names
    from sam_audio.host.effects import load_pedalboard
    from sam_audio.host.scan import plugin_folders, scan

    load_pedalboard()
    reports = list(scan(folders or None, timeout))
    if json_list:
        summary = {"files": [asdict(report) for report in reports]}
        show_json({**summary, "effects": effect_names()} if effects else summary)
        return
    for report in reports:
        if report.error is not None:
            complain(report.error)
        for plugin in report.plugins:
            latency = f", {plugin.latency_samples} samples late" if plugin.latency_samples else ""
            maker = f" by {plugin.maker}" if plugin.maker else ""
            show(
                f"{plugin.name}{maker} ({plugin.kind}, {len(plugin.parameters)} parameters{latency})  {report.path}"
            )
            for knob in plugin.parameters if parameters else ():
                span = f"  {knob['minimum']:g} to {knob['maximum']:g}" if knob["maximum"] is not None else ""
                show(f"    {knob['name']} = {knob['value']} {knob['unit']}".rstrip() + span)
    if effects:
        show("effects: " + ", ".join(effect_names()))
    if not reports:
        places = ", ".join(str(folder) for folder in folders or plugin_folders())
        show(f"no plugins in {places}")
