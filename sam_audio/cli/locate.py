"""``sam-audio locate FILE --prompt TEXT``"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from sam_audio.cli.options import fields_as_options
from sam_audio.cli.shared import clock, outputs, prompts_option, show
from sam_audio.errors import UserError
from sam_audio.options import SpanOptions

if TYPE_CHECKING:
    from sam_audio.finding.spans import Event


@fields_as_options(options=SpanOptions)
def locate(
    file: Annotated[
        Optional[str], typer.Argument(metavar="FILE", help="A recording or video.", show_default=False)
    ] = None,
    prompt: Annotated[
        Optional[list[str]], prompts_option("What to find. May be given several times.")
    ] = None,
    options: SpanOptions = SpanOptions(),  # noqa: B008 (frozen)
    csv: Annotated[
        Optional[str],
        typer.Option(metavar="FILE", help="Write a table; - is standard output.", show_default=False),
    ] = None,
    audacity: Annotated[
        Optional[str],
        typer.Option(metavar="FILE", help="Write a label track; - is standard output.", show_default=False),
    ] = None,
    plot: Annotated[
        Optional[str],
        typer.Option(
            metavar="FILE.png", help="Draw the spectrogram and a lane for each prompt.", show_default=False
        ),
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="See: sam-audio models list.")] = "nano",
    json_spans: Annotated[bool, typer.Option("--json", help="Print spans and settings as JSON.")] = False,
    report: Annotated[
        Optional[str], typer.Option(metavar="FILE", help="Write that JSON to a file.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Tell when sounds happen in a recording.

    Prints a table of spans unless another format goes to standard output.
    """
    if file is None:
        raise UserError('no recording is given: sam-audio locate FILE -p "dog barking"')
    if file == "-":
        raise UserError("a recording to locate sounds in is read more than once: name a file instead of -")
    from sam_audio.finding import spans as localize
    from sam_audio.naming import check_prompts

    prompts = list(dict.fromkeys(check_prompts(prompt or [])))
    wanted = {name: path for name, path in (("csv", csv), ("audacity", audacity), ("report", report)) if path}
    printed = [name for name, path in wanted.items() if path == "-"] + ["json"] * json_spans
    if len(printed) > 1:
        raise UserError(
            f"standard output takes one of --{printed[0]} and --{printed[1]}: name a file for one"
        )
    if plot is not None:
        wanted["plot"] = plot
        picture_format = plot.rpartition(".")[2].lower()
        if picture_format not in localize.PLOT_FORMATS:
            raise UserError(f"{plot} cannot be drawn: name a {', '.join(localize.PLOT_FORMATS)} file")
    to_files = {name: path for name, path in wanted.items() if path != "-"}

    with outputs(list(to_files.values()), overwrite, [file]) as files:
        duration_s = _duration_s(file)
        from sam_audio.finding.locate import load_locator
        from sam_audio.io.target import writing

        locator = load_locator(model)
        activity = locator.activity(file, prompts)
        events = localize.find_events(activity, prompts, locator.frame_rate, options, duration_s)

        def rendered(name: str) -> str | bytes:
            if name == "csv":
                return localize.to_csv(events)
            if name == "audacity":
                return localize.to_audacity(events)
            if name in ("json", "report"):
                return localize.to_json(events, _about(file, locator, prompts, activity, options))
            picture = io.BytesIO()
            sound = localize.spectrogram(file)
            localize.plot(
                picture,
                sound,
                activity,
                prompts,
                events,
                locator.frame_rate,
                options.threshold,
                title=file,
                format=picture_format,
            )
            return picture.getvalue()

        for name, target in zip(to_files, files, strict=True):
            data = rendered(name)
            with writing(to_files[name]):
                target.write(data.encode(errors="surrogateescape") if isinstance(data, str) else data)
        text = rendered(printed[0]) if printed else _table(events, prompts, activity)
    if text:
        show(str(text).removesuffix("\n"))


def _duration_s(file: str) -> float | None:
    """Length of a recording in seconds, None if it does not say."""
    from sam_audio.io import open_audio

    with open_audio(file) as reader:
        return None if reader.frames is None else reader.frames / reader.sample_rate


def _about(file: str, locator: Any, prompts: list[str], activity: Any, options: Any) -> dict[str, Any]:
    return {
        "file": file,
        "model": locator.name,
        "frame_rate": locator.frame_rate,
        "threshold": options.threshold,
        "min_duration_s": options.min_duration_s,
        "merge_gap_s": options.merge_gap_s,
        "prompts": [
            {"prompt": prompt, "highest": round(float(row.max()), 4)}
            for prompt, row in zip(prompts, activity, strict=True)
        ],
    }


def _table(events: list[Event], prompts: list[str], activity: Any) -> str:
    """Spans by time, then what was not found."""
    rows = [
        (clock(event.start_s), clock(event.end_s), f"{event.score:.2f}", event.prompt) for event in events
    ]
    lines = []
    if rows:
        rows.insert(0, ("start", "end", "score", "prompt"))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for *cells, prompt in rows:
            lines.append("  ".join([*(cell.rjust(w) for cell, w in zip(cells, widths, strict=True)), prompt]))
    heard = {event.prompt for event in events}
    for prompt, row in zip(prompts, activity, strict=True):
        if prompt not in heard:
            lines.append(f"not heard: {prompt} (highest score {row.max():.2f})")
    return "\n".join(lines)
