"""What the page shows, as plain data: tracks for the mixer, lanes, figures and sentences. No streamlit here."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam_audio.app.controller import AXES, MIXTURE, Stems
from sam_audio.app.listen import Found
from sam_audio.app.media import Excerpt
from sam_audio.app.project import Media, Project
from sam_audio.finding.spans import Spectrogram
from sam_audio.naming import RESIDUAL

FORMATS = {
    "WAV": "wav",
    "FLAC": "flac",
    "MP3": "mp3",
    "Ogg Vorbis": "ogg",
    "Opus": "opus",
}
DEPTHS = {"as the recording": None, "16 bit": "int16", "24 bit": "int24", "32 bit float": "float32"}
_COLOURS = ((0.0, "#ffffff"), (0.35, "#c9dcf0"), (0.7, "#3f7fbf"), (1.0, "#0a2540"))


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any.

    >>> clock(65.25), clock(3725)
    ('1:05.2', '1:02:05')
    """
    minutes, rest = divmod(seconds, 60)
    if minutes >= 60:
        return f"{int(minutes) // 60}:{int(minutes) % 60:02d}:{int(rest):02d}"
    return f"{int(minutes)}:{rest:04.1f}"


def plain(text: str) -> str:
    """Words of visitors and of files for labels and paragraphs, which Streamlit takes for Markdown.

    They become a code span, the one thing in Markdown inside of which nothing means anything: no picture, link, colour,
    formula, symbol or address. The page shows it in the letters around it.

    >>> plain("![](http://example.com/a.png) :red[a]"), plain("`")
    ('` ![](http://example.com/a.png) :red[a] `', '`` ` ``')
    """
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not words:
        return ""
    fence = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))
    return f"{fence} {words} {fence}"


@dataclass(frozen=True)
class Said:
    """What the mixer reports: how often it has reported, the selected stretch in seconds, faders by track."""

    seq: int
    selection: tuple[float, float] | None
    faders: dict[str, dict[str, Any]]


def said_by_mixer(state: Any, media: Media) -> Said | None:
    """What a browser sent as the state of the mixer; None if it is of another recording, or not the mixer's."""
    try:
        if not str(state["token"]).startswith(media.sha256):
            return None
        selection = state["selection"] and tuple(
            min(max(float(s), 0.0), media.seconds) for s in state["selection"]
        )
        if selection and (len(selection) != 2 or not selection[0] < selection[1]):
            return None
        faders = {
            str(name): {key: float(v) for key, v in fader.items()} for name, fader in state["faders"].items()
        }
        return Said(int(state["seq"]), selection or None, faders)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return None


def about(media: Media) -> str:
    """One line on a recording."""
    channels = {1: "mono", 2: "stereo"}.get(media.channels, f"{media.channels} channels")
    picture = "" if media.picture is None else f" · video {media.picture[0]} × {media.picture[1]}"
    return f"{clock(media.seconds)} · {media.sample_rate / 1000:g} kHz · {channels}{picture}"


def verdict(name: str, stems: Stems) -> tuple[str, bool]:
    """What is said about a stem, and whether its sound is not in the mix."""
    parts = []
    absent = stems.in_mixture.get(name) is False
    if absent:
        parts.append("Not in the mix, as far as the judge can tell")
    scores = stems.scores.get(name)
    if scores:
        parts.append("Judge: " + ", ".join(f"{axis} {scores[axis]:.1f}" for axis in AXES) + " of 5")
    if name in stems.level_db:
        level = stems.level_db[name]
        parts.append("silent" if level <= -120 else f"{level:.1f} dB against the original")
    return " · ".join(parts), absent


def tracks(
    project: Project,
    stems: Stems | None,
    excerpts: Mapping[str, Excerpt | None],
    url: Any,
) -> list[dict[str, Any]]:
    """The rows of the mixer: the recording first, then the stems, the residual last.

    Args:
        excerpts: by track; None while one is being made.
        url: from the path of an excerpt to where a browser finds it.
    """
    rows = []
    for name, excerpt in excerpts.items():
        kind = {MIXTURE: "mixture", RESIDUAL: "residual"}.get(name, "stem")
        label = {MIXTURE: "Original", RESIDUAL: "Everything else"}.get(name, name)
        said, absent = verdict(name, stems) if stems is not None and kind != "mixture" else ("", False)
        rows.append(
            {
                "name": name,
                "label": label,
                "kind": kind,
                "url": None if excerpt is None else url(excerpt.path, name),
                "peaks": [] if excerpt is None else list(excerpt.peaks),
                "fader": vars(project.fader(name)),
                "verdict": said,
                "absent": absent,
            }
        )
    return rows


def lane(heard: Found, seconds: float) -> str:
    """When a sound happens, as a strip of HTML with a description for those who do not see it."""
    spans = "; ".join(f"{clock(a)} to {clock(b)}" for a, b in heard.spans[:12])
    pieces = "".join(
        f'<i style="position:absolute;top:0;bottom:0;border-radius:3px;background:#0b5cad;'
        f'left:{100 * a / seconds:.2f}%;width:{max(100 * (b - a) / seconds, 0.4):.2f}%"></i>'
        for a, b in heard.spans
    )
    text = html.escape(f"{heard.name}: {spans}")
    return (
        f'<div class="lane" role="img" aria-label="{text}" title="{text}" style="position:relative;height:26px;'
        f'background:#e6eaef;border-radius:4px;overflow:hidden">{pieces}</div>'
    )


def spectrogram(sound: Spectrogram, selection: Sequence[float] | None) -> Any:
    """A figure of a whole recording that can be zoomed into."""
    import plotly.graph_objects as go

    level = np.clip((sound.level_db + 80) * 3.1, 0, 255).astype(np.uint8)
    centres = np.sqrt(np.maximum(sound.edges_hz[:-1], 1) * sound.edges_hz[1:])
    times = np.round((np.arange(level.shape[1]) + 0.5) * sound.column_s, 3)
    figure = go.Figure(
        go.Heatmap(
            z=level,
            x=times,
            y=np.round(centres),
            colorscale=[list(pair) for pair in _COLOURS],
            showscale=False,
            hovertemplate="%{x:.2f} s, %{y:.0f} Hz<extra></extra>",
        )
    )
    if selection is not None:
        figure.add_vrect(*selection, fillcolor="#f0a500", opacity=0.25, line_width=0)
    figure.update_yaxes(
        type="log",
        title="Hz",
        tickvals=[100, 300, 1000, 3000, 10000],
        ticktext=["100", "300", "1k", "3k", "10k"],
    )
    figure.update_xaxes(title="seconds", range=[0, sound.duration_s])
    figure.update_layout(
        height=260, margin={"l": 56, "r": 8, "t": 8, "b": 44}, dragmode="zoom", font={"color": "#1b1f24"}
    )
    return figure


def marked(picture: np.ndarray, mark: Mapping[str, Any] | None) -> np.ndarray:
    """A picture (H, W, 3) with what was marked drawn onto it."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    if mark is not None:
        draw = ImageDraw.Draw(image)
        numbers = mark["numbers"]
        wide = max(2, image.width // 200)
        if len(numbers) == 2:
            x, y = numbers
            reach = max(6, image.width // 30)
            for colour, width in (("white", 3 * wide), ("#c0272d", wide)):
                draw.line([x - reach, y, x + reach, y], fill=colour, width=width)
                draw.line([x, y - reach, x, y + reach], fill=colour, width=width)
        else:
            x, y, w, h = numbers
            draw.rectangle([x, y, x + w, y + h], outline="white", width=3 * wide)
            draw.rectangle([x, y, x + w, y + h], outline="#c0272d", width=wide)
    return np.asarray(image)


def mark_of(value: Mapping[str, float] | None, size: tuple[int, int], time_s: float) -> dict[str, Any] | None:
    """What was clicked or drawn on a shown picture, in pixels of the video.

    Args:
        value: of streamlit-image-coordinates: a point x, y or two corners, and the size as shown.
        size: of the video, (width, height).
        time_s: of the picture.
    """
    if not value or not value.get("width"):
        return None
    scale_x, scale_y = size[0] / value["width"], size[1] / value["height"]

    def inside(x: float, y: float) -> tuple[int, int]:
        return (
            int(min(max(x * scale_x, 0), size[0] - 1)),
            int(min(max(y * scale_y, 0), size[1] - 1)),
        )

    if "x1" not in value:
        numbers: tuple[int, ...] = inside(value["x"], value["y"])
    else:
        (x1, y1), (x2, y2) = inside(value["x1"], value["y1"]), inside(value["x2"], value["y2"])
        x, y, w, h = min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1)
        numbers = (x, y, w, h) if w >= 4 and h >= 4 else (x1, y1)
    return marking(numbers, time_s)


def marking(numbers: Sequence[int], time_s: float) -> dict[str, Any]:
    """A point (x, y) or box (x, y, w, h) at a time, as a clue."""
    clue = ",".join(map(str, numbers)) + f"@{time_s:g}"
    return {"key": "point" if len(numbers) == 2 else "region", "value": clue, "numbers": tuple(numbers)}


def icon() -> Any:
    """Of the browser's tab, 32 x 32 pixels: streamlit would fetch its own symbols from elsewhere."""
    from PIL import Image

    picture = np.zeros((32, 32, 4), np.uint8)
    for n, tall in enumerate((8, 20, 30, 16, 10)):
        picture[16 - tall // 2 : 16 + tall // 2, 2 + 6 * n : 6 + 6 * n] = (11, 92, 173, 255)
    return Image.fromarray(picture)


def mime(path: Path) -> str:
    """Of a download."""
    known = {
        ".wav": "audio/wav",
        ".flac": "audio/flac",
        ".mp3": "audio/mpeg",
        ".ogg": "audio/ogg",
        ".opus": "audio/ogg",
        ".zip": "application/zip",
        ".mp4": "audio/mp4",
    }
    return known.get(path.suffix, "application/octet-stream")
