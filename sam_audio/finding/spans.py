"""When does it happen: from a model's probabilities per frame to spans, and spans as tables, labels and a plot.

Activity has the shape (N, frames): one row per prompt, values 0 to 1; frame i covers the time from
i / frame_rate to (i + 1) / frame_rate seconds.
"""

from __future__ import annotations

import csv
import io
import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sam_audio.errors import MissingExtraError
from sam_audio.options import SpanOptions
from sam_audio.types import Samples, Span

__all__ = [
    "Event",
    "Spectrogram",
    "SpanOptions",
    "find_events",
    "find_spans",
    "plot",
    "spectrogram",
    "to_audacity",
    "to_csv",
    "to_json",
]

PLOT_FORMATS = ("png", "svg", "pdf")

_MAX_COLUMNS = 2000  # of a plot: more than a screen has
_BANDS = 96
_LOWEST_HZ = 50.0
_HOP_S = 0.02
_RANGE_DB = 80.0
_TICKS_HZ = (100, 300, 1000, 3000, 10_000, 30_000)
_STEPS_S = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400)  # between marks on the time axis
_COLOURS = ("#1f77b4", "#d95f02", "#2ca02c", "#c2185b", "#7b5cb8", "#8c6d31")


@dataclass(frozen=True)
class Event:
    """A span in which a prompt is heard; ``score`` is the highest probability in it, 0 to 1."""

    prompt: str
    start_s: float
    end_s: float
    score: float


def find_spans(
    activity: Samples,
    frame_rate: float,
    options: SpanOptions | None = None,
    duration_s: float | None = None,
) -> list[Span]:
    """The spans of one prompt, in order and apart from each other.

    Args:
        activity: (frames,) probabilities.
        frame_rate: in Hz.
        options: thresholds and durations.
        duration_s: of the recording; no span ends after it, as the last frame may.

    >>> find_spans(np.array([0, 0.9, 0.8, 0, 0.1]), 10.0)
    [Span(start_s=0.1, end_s=0.3)]
    """
    options = options or SpanOptions()
    activity = np.asarray(activity, np.float64)
    release = options.threshold if options.release is None else options.release
    active = np.concatenate([[False], activity >= release, [False]])
    edges = np.flatnonzero(np.diff(active.astype(np.int8)))
    limit_s = math.inf if duration_s is None else duration_s
    merged: list[Span] = []
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if activity[first:last].max() < options.threshold:
            continue
        span = Span(first / frame_rate, min(last / frame_rate, limit_s))
        # Frame times are no binary fractions: a gap of exactly the limit must not depend on their rounding.
        if merged and span.start_s - merged[-1].end_s <= options.merge_gap_s + 1e-9:
            span = Span(merged.pop().start_s, span.end_s)
        merged.append(span)
    return [span for span in merged if span.end_s - span.start_s >= max(options.min_duration_s - 1e-9, 1e-9)]


def find_events(
    activity: Samples,
    prompts: Sequence[str],
    frame_rate: float,
    options: SpanOptions | None = None,
    duration_s: float | None = None,
) -> list[Event]:
    """The spans of all prompts, by time. Arguments as `find_spans`, but activity (N, frames)."""
    events = []
    for prompt, row in zip(prompts, activity, strict=True):
        for span in find_spans(row, frame_rate, options, duration_s):
            first, last = int(span.start_s * frame_rate + 0.5), math.ceil(span.end_s * frame_rate - 1e-6)
            events.append(
                Event(prompt, span.start_s, span.end_s, float(np.max(row[first : max(last, first + 1)])))
            )
    return sorted(events, key=lambda event: (event.start_s, event.end_s, event.prompt))


# ---- text ------------------------------------------------------------------------------------------------


def to_csv(events: Sequence[Event]) -> str:
    """A table with the columns prompt, start_s, end_s, score."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["prompt", "start_s", "end_s", "score"])
    for event in events:
        writer.writerow([event.prompt, f"{event.start_s:.3f}", f"{event.end_s:.3f}", f"{event.score:.3f}"])
    return text.getvalue()


def to_json(events: Sequence[Event], about: dict[str, Any] | None = None) -> str:
    """One JSON object: what is said ``about`` the run, and the list ``events``."""
    rows = [asdict(event) for event in events]
    for row in rows:
        row |= {key: round(row[key], 4) for key in ("start_s", "end_s", "score")}
    return json.dumps({**(about or {}), "events": rows}, indent=2, ensure_ascii=False) + "\n"


def to_audacity(events: Sequence[Event]) -> str:
    """A label track: File > Import > Labels in Audacity.

    >>> to_audacity([Event("dog barking", 0.5, 1.25, 0.9)])
    '0.500000\\t1.250000\\tdog barking\\n'
    """
    return "".join(
        f"{event.start_s:.6f}\t{event.end_s:.6f}\t{' '.join(event.prompt.split())}\n" for event in events
    )


# ---- picture ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spectrogram:
    """What a recording looks like.

    Attributes:
        level_db: (bands, columns), 0 dB at the loudest.
        edges_hz: (bands + 1,) of the bands, spaced as on the mel scale.
        column_s: how long each column lasts.
        duration_s: of the recording, which may end within the last column.
        warnings: of the reader, sentences for people.
    """

    level_db: Samples
    edges_hz: Samples
    column_s: float
    duration_s: float
    warnings: tuple[str, ...] = ()


def spectrogram(path: str | Path, max_columns: int = _MAX_COLUMNS) -> Spectrogram:
    """Reads a recording of any length in flat memory and keeps at most ``max_columns`` columns of it.

    Raises:
        AudioReadError, MissingExtraError: as `sam_audio.io.open_audio`.
    """
    from sam_audio.io import open_audio

    with open_audio(path) as reader:
        rate = reader.sample_rate
        hop = round(_HOP_S * rate)
        window = 2 * hop
        taper = np.hanning(window + 1)[:-1]
        edges_hz, weights = _bands(rate, window)
        columns: list[np.ndarray] = []
        samples = 0
        each, pending = 1, []  # how many hops a column stands for, and those of the column in work
        before = np.zeros(hop)  # half a window, so that the first one is centred where the recording begins
        for block in reader.blocks(128 * hop):
            samples += block.shape[1]
            mono = block.mean(axis=0)
            mono = np.concatenate([before, np.pad(mono, (0, -len(mono) % hop))])
            before = mono[-hop:]
            windows = np.lib.stride_tricks.sliding_window_view(mono, window)[::hop]
            for row in np.square(np.abs(np.fft.rfft(windows * taper, axis=1))) @ weights:
                pending.append(row)
                if len(pending) < each:
                    continue
                columns.append(np.max(pending, axis=0))
                pending = []
                if len(columns) == 2 * max_columns:  # halve the resolution, and go on with that
                    columns = [np.maximum(a, b) for a, b in zip(columns[::2], columns[1::2], strict=True)]
                    each *= 2
        if pending:
            columns.append(np.max(pending, axis=0))
        warnings = reader.warnings  # only reading it through has told them all
    power, pooled = _pool(np.stack(columns, axis=1), max_columns)
    level_db = 10 * np.log10(np.maximum(power / max(power.max(), 1e-12), 10 ** (-_RANGE_DB / 10)))
    return Spectrogram(
        level_db.astype(np.float32),
        edges_hz,
        pooled * each * hop / rate,
        duration_s=samples / rate,
        warnings=tuple(warnings),
    )


def plot(
    file: BinaryIO,
    sound: Spectrogram,
    activity: Samples,
    prompts: Sequence[str],
    events: Sequence[Event],
    frame_rate: float,
    threshold: float = 0.3,
    title: str = "",
    format: str = "png",
) -> None:
    """Draws the spectrogram and below it one lane per prompt: its probability, and its spans shaded.

    Args:
        activity: (N, frames) probabilities, in the order of ``prompts``.
        events: the spans of all prompts.
        format: one of PLOT_FORMATS.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("plots need matplotlib, which is not installed", "search") from None
    lanes = len(prompts)
    figure = Figure(figsize=(11, 3.2 + lanes * min(0.95, 400 / lanes)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    top, *rows = figure.subplots(
        1 + lanes, 1, sharex=True, height_ratios=[2.6] + [1.0] * lanes, squeeze=False
    )[:, 0]
    bands = len(sound.level_db)
    top.imshow(
        sound.level_db,
        origin="lower",
        aspect="auto",
        extent=(0, sound.level_db.shape[1] * sound.column_s, 0, bands),
        cmap="magma",
        vmin=-_RANGE_DB,
        vmax=0,
        interpolation="nearest",
    )
    ticks = [hz for hz in _TICKS_HZ if sound.edges_hz[0] <= hz <= sound.edges_hz[-1]]
    places = np.interp(ticks, sound.edges_hz, np.arange(bands + 1))
    top.set_yticks(places, [f"{hz // 1000} kHz" if hz >= 1000 else f"{hz} Hz" for hz in ticks])
    top.set_title(title, loc="left", fontsize=11, parse_math=False)
    for number, (axis, prompt, row) in enumerate(zip(rows, prompts, activity, strict=True)):
        colour = _COLOURS[number % len(_COLOURS)]
        shown, each = _pool(np.asarray(row, np.float64)[None], _MAX_COLUMNS)
        edges = np.minimum(np.arange(shown.shape[1] + 1) * each, len(row))
        # Steps, because a frame has a width: the curve meets its spans exactly.
        axis.stairs(shown[0], edges / frame_rate, color=colour, linewidth=1.2)
        for event in events:
            if event.prompt == prompt:
                axis.axvspan(event.start_s, event.end_s, color=colour, alpha=0.25, linewidth=0)
        axis.axhline(threshold, color="0.4", linewidth=0.8, linestyle=(0, (4, 3)))
        axis.set(ylim=(0, 1.04), yticks=[0, 0.5, 1], xlim=(0, sound.duration_s))
        axis.set_title(_cut(prompt, 100), loc="left", fontsize=10, pad=3, color=colour, parse_math=False)
        axis.spines[["top", "right"]].set_visible(False)
    if sound.duration_s <= 120:
        rows[-1].set_xlabel("time (s)")
    else:
        rows[-1].set_xlabel("time (min:s)")
        step_s = next((step for step in _STEPS_S if sound.duration_s <= 12 * step), sound.duration_s / 6)
        ticks_s = np.arange(0, sound.duration_s, step_s)
        rows[-1].set_xticks(ticks_s, [f"{int(s) // 60}:{int(s) % 60:02d}" for s in ticks_s])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that the font lacks are drawn as boxes
        figure.savefig(file, format=format)


def _bands(rate: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges (bands + 1,) in Hz, and what share of each FFT bin belongs to a band, (bins, bands)."""
    top_hz = rate / 2
    low, high = (
        2595 * np.log10(1 + np.array([min(_LOWEST_HZ, top_hz / 10), min(top_hz, 20_000.0)]) / 700)
    ).tolist()
    edges_hz = 700 * (10 ** (np.linspace(low, high, _BANDS + 1) / 2595) - 1)
    width_hz = rate / window
    centres_hz = np.arange(window // 2 + 1)[:, None] * width_hz
    lower = np.maximum(edges_hz[:-1], centres_hz - width_hz / 2)
    upper = np.minimum(edges_hz[1:], centres_hz + width_hz / 2)
    return edges_hz, np.maximum(upper - lower, 0) / np.diff(edges_hz)


def _pool(values: np.ndarray, columns: int) -> tuple[np.ndarray, int]:
    """The largest of every run of neighbours in (rows, n): (rows, at most columns), and the length of a run.

    All runs are equally long but the last, which may be shorter.
    """
    each = -(-values.shape[1] // columns)
    return np.maximum.reduceat(values, np.arange(0, values.shape[1], each), axis=1), each


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
