"""From activity to spans, and spans as text and as a picture."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import soundfile

from sam_audio.errors import AudioReadError, MissingExtraError, UserError
from sam_audio.finding import spans as localize
from sam_audio.finding.spans import Event, SpanOptions, find_events, find_spans
from sam_audio.types import Span

RATE = 25.0


def activity(*spans: tuple[float, float], frames: int = 250, level: float = 0.9, floor: float = 0.0):
    values = np.full(frames, floor, np.float32)
    for start_s, end_s in spans:
        values[round(start_s * RATE) : round(end_s * RATE)] = level
    return values


def spans(values, duration_s=None, **options) -> list[tuple[float, float]]:
    found = find_spans(
        values, RATE, SpanOptions(**{"merge_gap_s": 0.0, "min_duration_s": 0.0} | options), duration_s
    )
    return [(round(span.start_s, 6), round(span.end_s, 6)) for span in found]


# ---- spans -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [[], [(0.0, 10.0)], [(0.0, 0.04)], [(9.96, 10.0)], [(0.4, 1.2), (1.24, 2.0)], [(3.0, 3.04), (7.0, 9.0)]],
)
def test_spans_come_back(made):
    assert spans(activity(*made)) == made


def test_nothing_in_nothing():
    assert find_spans(np.zeros(0), RATE) == []
    assert find_spans(np.full(10, np.nan), RATE) == []


def test_every_active_frame_is_in_a_span_and_no_other():
    values = np.random.default_rng(0).random(1000)
    inside = np.zeros(1000, bool)
    for start_s, end_s in spans(values, threshold=0.5):
        inside[round(start_s * RATE) : round(end_s * RATE)] = True
    np.testing.assert_array_equal(inside, values >= 0.5)


def test_the_threshold_belongs_to_the_span():
    assert spans(activity((1, 2), level=0.5)) == [(1, 2)]
    assert spans(activity((1, 2), level=0.5), threshold=0.51) == []


@pytest.mark.parametrize(("gap_s", "count"), [(0.16, 2), (0.2, 1), (0.24, 1)])
def test_gaps_up_to_the_limit_are_closed(gap_s, count):
    """Exactly the limit counts, wherever it lies: 0.2 s is no binary fraction."""
    for start in (0.0, 1.4, 5.56):
        values = activity((start, start + 1), (start + 1.2, start + 2))
        assert len(spans(values, merge_gap_s=gap_s)) == count


@pytest.mark.parametrize(("min_s", "count"), [(0.16, 1), (0.2, 1), (0.24, 0)])
def test_what_is_shorter_than_the_minimum_is_dropped(min_s, count):
    assert len(spans(activity((5.56, 5.76)), min_duration_s=min_s)) == count


def test_short_spans_merge_before_they_are_dropped():
    values = activity((1.0, 1.08), (1.16, 1.24))
    assert spans(values, min_duration_s=0.2, merge_gap_s=0.1) == [(1.0, 1.24)]
    assert spans(values, min_duration_s=0.2) == []


def test_hysteresis_keeps_a_wavering_sound_whole():
    values = np.maximum(activity((1, 2), (3, 4)), activity((0.6, 4.4), level=0.4))
    values = np.maximum(values, activity((6, 7), level=0.4))
    assert spans(values, threshold=0.5) == [(1, 2), (3, 4)]
    assert spans(values, threshold=0.5, release=0.3) == [
        (0.6, 4.4)
    ]  # and what never reaches the threshold is none


def test_no_span_outlasts_the_recording():
    assert spans(activity((9, 10)), duration_s=9.97) == [(9, 9.97)]
    assert find_spans(np.ones(1), RATE, SpanOptions(min_duration_s=0), duration_s=0.01) == [Span(0.0, 0.01)]


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 0},
        {"threshold": 1},
        {"threshold": float("nan")},
        {"release": 0.6},
        {"release": 0},
        {"min_duration_s": -1},
        {"merge_gap_s": float("inf")},
        {"merge_gap_s": float("nan")},
    ],
)
def test_options_out_of_range(options):
    with pytest.raises(UserError):
        SpanOptions(**options)


def test_events_are_ordered_by_time_and_scored_by_their_peak():
    rows = np.stack([activity((5, 6)), activity((1, 2), (8, 9))])
    rows[1, 30] = 0.97
    events = find_events(rows, ["dog", "bell"], RATE)
    assert [(event.prompt, event.start_s, event.end_s) for event in events] == [
        ("bell", 1, 2),
        ("dog", 5, 6),
        ("bell", 8, 9),
    ]
    assert [event.score for event in events] == pytest.approx([0.97, 0.9, 0.9])


def test_events_score_only_their_own_span():
    """Spans next to each other, at a frame rate whose frame times are not exact."""
    values = np.tile([0.6, 0.1, 0.9, 0.1], 250)
    options = SpanOptions(min_duration_s=0, merge_gap_s=0)
    scores = [event.score for event in find_events(values[None], ["x"], 24.9, options)]
    np.testing.assert_array_equal(scores, np.tile([0.6, 0.9], 250))


# ---- text --------------------------------------------------------------------------------------------------

EVENTS = [Event('dog, "big"', 0.48, 1.2, 0.912345), Event("雨\tund Regen", 3.0, 9.96, 0.5)]


def test_csv_round_trip():
    rows = list(csv.DictReader(io.StringIO(localize.to_csv(EVENTS))))
    assert [(r["prompt"], float(r["start_s"]), float(r["end_s"]), float(r["score"])) for r in rows] == [
        ('dog, "big"', 0.48, 1.2, 0.912),
        ("雨\tund Regen", 3.0, 9.96, 0.5),
    ]
    assert localize.to_csv([]) == "prompt,start_s,end_s,score\n"


def test_json_round_trip():
    read = json.loads(localize.to_json(EVENTS, {"file": "a.wav"}))
    assert read["file"] == "a.wav"
    assert [Event(**row) for row in read["events"]] == [Event('dog, "big"', 0.48, 1.2, 0.9123), EVENTS[1]]


def test_audacity_labels_have_three_fields():
    lines = localize.to_audacity(EVENTS).splitlines()
    assert lines == ['0.480000\t1.200000\tdog, "big"', "3.000000\t9.960000\t雨 und Regen"]


# ---- picture -----------------------------------------------------------------------------------------------


def write(path, samples, rate):
    soundfile.write(path, samples.T, rate, "FLOAT")
    return path


@pytest.mark.parametrize("rate", [1000, 8000, 44_100, 192_000])
def test_a_tone_shows_in_its_band(tmp_path, rate):
    hz = rate / 5 if rate < 44_100 else 3000
    tone = np.sin(2 * np.pi * hz * np.arange(2 * rate) / rate)[None].astype(np.float32)
    sound = localize.spectrogram(write(tmp_path / "tone.wav", tone, rate))
    assert sound.duration_s == 2 and len(sound.edges_hz) == len(sound.level_db) + 1
    band = int(np.argmax(sound.level_db.mean(axis=1)))
    assert sound.edges_hz[band] - 50 <= hz <= sound.edges_hz[band + 1] + 50
    assert sound.level_db.max() == 0 and sound.level_db.min() >= -80


def test_columns_are_halved_until_they_fit(tmp_path):
    rate = 8000
    noise = np.random.default_rng(0).normal(0, 0.01, (1, 61 * rate)).astype(np.float32)
    click_s = 37.0
    noise[0, int(click_s * rate) : int(click_s * rate) + 200] += 0.9
    path = write(tmp_path / "long.wav", noise, rate)
    for columns in (10, 37, 1000, 5000):
        sound = localize.spectrogram(path, columns)
        assert sound.level_db.shape[1] <= columns
        assert (
            (sound.level_db.shape[1] - 1) * sound.column_s
            < 61
            <= sound.level_db.shape[1] * sound.column_s + 1e-9
        )
        loudest = int(np.argmax(sound.level_db.mean(axis=0)))
        assert loudest * sound.column_s - 0.04 <= click_s <= (loudest + 1) * sound.column_s + 0.04


@pytest.mark.parametrize("samples", [np.zeros((2, 48_000)), np.ones((1, 480)), np.ones((24, 3))])
def test_silence_and_scraps_have_a_spectrogram(tmp_path, samples):
    sound = localize.spectrogram(write(tmp_path / "a.wav", samples.astype(np.float32), 48_000))
    assert np.isfinite(sound.level_db).all()


def test_a_spectrogram_needs_a_recording(tmp_path):
    with pytest.raises(AudioReadError, match="does not exist"):
        localize.spectrogram(tmp_path / "gone.wav")


def picture(path, rows, prompts, format="png", title="") -> bytes:
    events = find_events(rows, prompts, RATE)
    file = io.BytesIO()
    localize.plot(file, localize.spectrogram(path), rows, prompts, events, RATE, title=title, format=format)
    return file.getvalue()


@pytest.fixture
def scene(tmp_path):
    return write(
        tmp_path / "scene.wav", np.random.default_rng(0).normal(0, 0.1, (2, 80_000)).astype(np.float32), 8000
    )


@pytest.mark.parametrize(("format", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_plot_formats(scene, format, start):
    assert picture(scene, activity((1, 2))[None], ["dog"], format).startswith(start)


def test_the_plot_shows_where_the_spans_are(scene):
    """Pixels of a lane differ from those of an empty lane where the span is, and there only."""
    pytest.importorskip("matplotlib")
    from matplotlib import image

    flat = np.full((1, 250), 0.2, np.float32)
    events = [Event("dog", 2.5, 5.0, 0.9)]
    images = []
    for shown in ([], events):
        file = io.BytesIO()
        localize.plot(file, localize.spectrogram(scene), flat, ["dog"], shown, RATE)
        file.seek(0)
        images.append(image.imread(file))
    columns = np.flatnonzero((images[0] != images[1]).any(axis=(0, 2)))
    assert columns.size and (np.diff(columns) == 1).all()
    assert columns.size / images[0].shape[1] == pytest.approx(0.25, abs=0.04)


def test_plots_take_any_prompt(scene, recwarn):
    prompts = ["$x$ and $\\oops{", "雨の音", "a" * 400, "<b>&", "100 % \\n"]
    assert picture(scene, np.stack([activity((1, 2))] * 5), prompts, title="$bad$ \\name{")
    assert not list(recwarn)


def test_many_lanes(scene):
    assert picture(scene, np.stack([activity((1, 2))] * 60), [f"prompt {i}" for i in range(60)])


def test_plotting_leaves_matplotlib_as_it_was(scene):
    matplotlib = pytest.importorskip("matplotlib")
    before = dict(matplotlib.rcParams)
    picture(scene, activity((1, 2))[None], ["dog"])
    assert dict(matplotlib.rcParams) == before


def test_plotting_without_matplotlib(scene, monkeypatch):
    sound = localize.spectrogram(scene)
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(MissingExtraError, match="matplotlib.*search"):
        localize.plot(io.BytesIO(), sound, activity((1, 2))[None], ["dog"], [], RATE)
