"""Results as notebooks show them: players with waveforms, a table of scores, plots."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from judge.report import presence
from judge.types import AXES
from sam_audio.errors import MissingExtraError
from sam_audio.io.resample import Resampler
from sam_audio.report import StemReport
from sam_audio.types import Samples, Stem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLAYER_S = 60.0  # of a stem at most
ALL_S = 480.0  # of all players together: about 10 MB of page
_MP3_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_COLUMNS, _HEIGHT = 480, 48  # of a waveform


def page(stems: Sequence[Stem], reports: Mapping[str, StemReport]) -> str:
    """Stems as HTML that stands for itself: sounds are in it, shortened where they are long.

    Args:
        stems: one player each.
        reports: what is known of them, by name.
    """
    shown_s = min(PLAYER_S, ALL_S / max(len(stems), 1))
    rows = "".join(_player(stem, shown_s) for stem in stems)
    return f'<div class="sam-audio"><table>{rows}</table>{_table(list(reports.values()))}</div>'


def _player(stem: Stem, shown_s: float) -> str:
    samples = stem.samples[:, : round(shown_s * stem.sample_rate)]
    cut = f"<br/><small>the first {shown_s:.3g} s</small>" if samples.shape[1] < stem.samples.shape[1] else ""
    source = f'<audio controls="" preload="none" src="{data_uri(samples, stem.sample_rate)}"></audio>'
    return (
        f'<tr><th style="text-align:left">{html.escape(stem.name)}{cut}</th>'
        f"<td>{waveform(stem.samples)}</td><td>{source}</td></tr>"
    )


def data_uri(samples: Samples, sample_rate: int) -> str:
    """Sound as an address that holds it, mp3. Shape: (channels, T); of more than two channels their mean."""
    import soundfile

    sound = samples if len(samples) <= 2 else samples.mean(axis=0, keepdims=True)
    if sample_rate not in _MP3_HZ:
        resampler = Resampler(sample_rate, _MP3_HZ[-1], len(sound))
        sound = np.concatenate([resampler.push(sound), resampler.finish()], axis=-1)
        sample_rate = _MP3_HZ[-1]
    content = io.BytesIO()
    soundfile.write(content, np.clip(sound.T, -1, 1), sample_rate, format="MP3", subtype="MPEG_LAYER_III")
    return "data:audio/mpeg;base64," + base64.b64encode(content.getvalue()).decode()


def envelope(samples: Samples, columns: int = _COLUMNS) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest sample in each of so many equal stretches, (columns,) each, at most one a sample.

    Shape: (channels, T).
    """
    length = samples.shape[1]
    if not length:
        return np.zeros(1), np.zeros(1)
    starts = np.arange(min(columns, length)) * length // min(columns, length)
    low = np.minimum.reduceat(samples.min(axis=0), starts)
    return low, np.maximum.reduceat(samples.max(axis=0), starts)


def waveform(samples: Samples) -> str:
    """A picture of sound, svg, in the colour of the text around it. Shape: (channels, T)."""
    low, high = (np.clip(edge, -1, 1) for edge in envelope(samples))
    x = np.arange(len(low)) * (_COLUMNS / len(low))
    edge = [*zip(x, high, strict=True), *zip(x[::-1], low[::-1], strict=True)]
    points = " ".join(f"{a:.0f},{(1 - b) * _HEIGHT / 2:.1f}" for a, b in edge)
    return (
        f'<svg width="{_COLUMNS}" height="{_HEIGHT}" viewBox="0 0 {_COLUMNS} {_HEIGHT}" role="img" '
        f'aria-label="waveform"><polygon points="{points}" fill="currentColor" stroke="currentColor" '
        'stroke-width="0.5"/></svg>'
    )


def _table(reports: Sequence[StemReport]) -> str:
    judged = [stem for stem in reports if stem.scores is not None]
    if not judged:
        return ""
    head = "".join(f"<th>{name}</th>" for name in ("stem", "level", *AXES, "in the mixture"))
    rows = []
    for stem in judged:
        scores = [f"{getattr(stem.scores, axis):.1f}" for axis in AXES]
        cells = [html.escape(stem.name), f"{stem.level_db:.1f} dB", *scores, presence(stem.scores)]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def plot(stems: Sequence[Stem], reports: Mapping[str, StemReport]) -> Figure:
    """Waveforms of stems below each other, with the judge's overall scores.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("plots need matplotlib, which is not installed", "search") from None
    figure = Figure(figsize=(9, 1.3 * len(stems) + 0.5), layout="constrained")
    axes: Any = figure.subplots(len(stems), sharex=True, sharey=True, squeeze=False)
    for axis, stem in zip(axes[:, 0], stems, strict=True):
        low, high = envelope(stem.samples, 2000)
        length_s = stem.samples.shape[1] / stem.sample_rate
        axis.fill_between(np.linspace(0, length_s, len(low)), low, high, linewidth=0)
        scores = reports[stem.name].scores if stem.name in reports else None
        score = "" if scores is None else f", overall {scores.overall:.1f}"
        axis.set_title(f"{stem.name}{score}", loc="left", fontsize="medium")
    axes[-1, 0].set_xlabel("seconds")
    return figure
