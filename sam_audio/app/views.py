"""What the page shows, as plain data: tracks for the mixer, chips and sentences. No streamlit here."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam_audio.app.controller import AXES, BESIDE, MIXTURE, Stems
from sam_audio.app.listen import Found
from sam_audio.app.project import Media, Project
from sam_audio.app.sounds import Sound
from sam_audio.naming import RESIDUAL

FORMATS = {
    "WAV": "wav",
    "FLAC": "flac",
    "MP3": "mp3",
    "Ogg Vorbis": "ogg",
    "Opus": "opus",
}
DEPTHS = {"as the recording": None, "16 bit": "int16", "24 bit": "int24", "32 bit float": "float32"}


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


def verdict(name: str, stems: Stems) -> tuple[str, str, bool]:
    """What is said about a stem in plain words, the figures behind it, and whether its sound is not in the mix."""
    there = stems.in_mixture.get(name)
    scores = stems.scores.get(name)
    words, figures = [], []
    if there is False:
        words.append("Not in the mix, as far as the judge can tell")
    elif there:
        words.append("In the mix")
    elif scores and scores.get("present") is not None:
        words.append("Perhaps in the mix")
    if scores:
        if there is not False:
            words += [_word(scores["precision"], *_CLEAN), _word(scores["recall"], *_WHOLE)]
        figures.append("Judge: " + ", ".join(f"{axis} {scores[axis]:.1f}" for axis in AXES) + " of 5")
    if name in stems.level_db:
        level = stems.level_db[name]
        figures.append("silent" if level <= -120 else f"{level:.1f} dB against the original")
    if not words and figures:  # nobody has judged it
        words = [figures.pop()]
    return " · ".join(words), " · ".join(figures), there is False


def _word(score: float, good: str, fair: str, poor: str) -> str:
    """For a score of the judge, 1 to 5."""
    return good if score >= 4 else fair if score >= 3 else poor


_CLEAN = "clean", "traces of other sounds", "much of other sounds"
_WHOLE = "whole", "parts missing", "much is missing"


def tracks(project: Project, stems: Stems | None, sounds: Mapping[str, Sound]) -> list[dict[str, Any]]:
    """The rows of the mixer: the recording first, then the stems, the residual last, then those of the other take."""
    rows = []
    for track, sound in sounds.items():
        name = track.removesuffix(BESIDE)
        kind = {MIXTURE: "mixture", RESIDUAL: "residual"}.get(name, "stem")
        label = {MIXTURE: "Original", RESIDUAL: "Everything else"}.get(name, name)
        own = stems is not None and kind != "mixture" and track == name
        says, figures, absent = verdict(name, stems) if own and stems is not None else ("", "", False)
        rows.append(
            {
                "name": track,
                "beside": name if track != name else None,
                "label": label,
                "kind": kind,
                "address": f"sounds/{sound.token}",
                "rate": sound.rate,
                "fader": vars(project.fader(name)),
                "says": says,
                "figures": figures,
                "absent": absent,
            }
        )
    return rows


def film(media: Media, sounds: Mapping[str, Sound], mark: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The picture beside the tracks; None without one."""
    if media.picture is None:
        return None
    width, height = media.picture
    shown = None if mark is None else {"value": mark["value"], "numbers": list(mark["numbers"])}
    return {"address": f"sounds/{sounds[MIXTURE].token}", "width": width, "height": height, "mark": shown}


def chip(heard: Found, seconds: float, taken: bool) -> dict[str, Any]:
    """A sound that was heard, to be asked for with one click."""
    spans = "; ".join(f"{clock(a)} to {clock(b)}" for a, b in heard.spans[:8])
    more = "" if len(heard.spans) <= 8 else " and more"
    share = min(round(100 * heard.seconds / max(seconds, 0.01)), 100)
    return {
        "name": heard.name,
        "taken": taken,
        "share": f"{max(share, 1)} % of the time" if share < 95 else "all through",
        "about": f"{heard.name}: {spans}{more}. The model is {100 * heard.score:.0f} % sure.",
    }


def mark_of(said: Any, size: tuple[int, int], seconds: float) -> dict[str, Any] | None:
    """What was clicked or framed in the picture, as the mixer says it.

    Args:
        said: ``numbers``, x, y and for a box w, h in pixels of the video, and ``at``, the time of the picture.
        size: of the video, (width, height).
        seconds: how long it is.
    """
    try:
        x, y, *box = (int(n) for n in said["numbers"])
        time_s = round(min(max(float(said["at"]), 0.0), seconds), 2)
    except (KeyError, OverflowError, TypeError, ValueError):
        return None
    if len(box) not in (0, 2) or math.isnan(time_s):
        return None
    x, y = min(max(x, 0), size[0] - 1), min(max(y, 0), size[1] - 1)
    box = [max(1, min(length, end - start)) for length, end, start in zip(box, size, (x, y), strict=False)]
    numbers = (x, y, *box)
    clue = ",".join(map(str, numbers)) + f"@{time_s:g}"
    return {"key": "region" if box else "point", "value": clue, "numbers": numbers}


def icon() -> Any:
    """Of the browser's tab, 32 x 32 pixels: streamlit would fetch its own symbols from elsewhere."""
    from PIL import Image

    picture = np.zeros((32, 32, 4), np.uint8)
    for n, tall in enumerate((8, 20, 30, 16, 10)):
        picture[16 - tall // 2 : 16 + tall // 2, 2 + 6 * n : 6 + 6 * n] = (11, 92, 173, 255)
    return Image.fromarray(picture)
