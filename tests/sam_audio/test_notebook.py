"""What notebooks show of a result."""

from __future__ import annotations

import base64
import io
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import tiny
from tiny_judge import FakeJudge

from sam_audio import Separator, notebook
from sam_audio.errors import MissingExtraError
from sam_audio.notebook import data_uri, envelope


@pytest.fixture(scope="module")
def result(tiny_weights):
    separator = Separator(tiny_weights, device="cpu", judge=FakeJudge())
    return separator.separate(tiny.noise(2, 1.0, 44_100), ["guitar", "<b>dog</b>"], sample_rate=44_100)


def sound_of(address: str) -> tuple[np.ndarray, int]:
    kind, content = address.split(",", 1)
    assert kind == "data:audio/mpeg;base64"
    return soundfile.read(io.BytesIO(base64.b64decode(content)), always_2d=True)


def test_a_short_repr(result):
    names = ", ".join([*result.stems, result.residual.name])
    assert repr(result) == f"SeparationResult({names}: 1.0 s, 2 channels, 44100 Hz)"


def test_players_waveforms_and_the_judges_table(result):
    text = result._repr_html_()
    page = ElementTree.fromstring(text)
    players, table = page.findall("table")
    assert [row.find("th").text for row in players] == [*result.stems, "residual"]
    assert len(list(players.iter("polygon"))) == 3
    for stem, row in zip([*result.stems.values(), result.residual], players, strict=True):
        sound, rate = sound_of(row.find(".//audio").get("src"))
        assert rate == 44_100 and sound.shape[1] == 2
        level, wanted = (np.sqrt(np.mean(np.square(x))) for x in (sound, stem.samples))
        assert level == pytest.approx(wanted, rel=0.15, abs=1e-3)
    assert [cell.text for cell in table.find("thead/tr")][2:6] == [
        "overall",
        "recall",
        "precision",
        "faithfulness",
    ]
    rows = table.findall("tbody/tr")
    scores = result.report.stems[0].scores
    assert rows[0][2].text == f"{scores.overall:.1f}" and len(rows) == 2
    assert "<b>dog" not in text


def test_a_page_stays_small(result, monkeypatch):
    monkeypatch.setattr(notebook, "ALL_S", 1.2)
    page = ElementTree.fromstring(result._repr_html_())
    for audio in page.iter("audio"):
        sound, rate = sound_of(audio.get("src"))
        assert len(sound) / rate == pytest.approx(0.4, abs=0.1)
    assert [small.text for small in page.iter("small")] == ["the first 0.4 s"] * 3


@pytest.mark.parametrize(
    ("channels", "rate", "plays"), [(6, 96_000, 48_000), (1, 8_000, 8_000), (1, 37_800, 48_000)]
)
def test_any_rate_and_number_of_channels(channels, rate, plays):
    sound, found = sound_of(data_uri(tiny.noise(channels, 0.5, rate), rate))
    assert found == plays and sound.shape[1] == (1 if channels > 2 else channels)


def test_envelopes():
    ramp = np.stack([np.arange(1000.0), -np.arange(1000.0)])
    low, high = envelope(ramp, 10)
    np.testing.assert_array_equal(high, np.arange(99, 1000, 100))
    np.testing.assert_array_equal(low, -high)
    assert [len(edge) for edge in envelope(ramp[:, :3], 10)] == [3, 3]
    assert [len(edge) for edge in envelope(ramp[:, :0], 10)] == [1, 1]


def test_plots(result, monkeypatch):
    pytest.importorskip("matplotlib")
    figure = result.plot()
    titles = [axis.get_title("left") for axis in figure.axes]
    assert titles[0].startswith("guitar, overall ") and titles[-1] == "residual"
    with io.BytesIO() as file:
        figure.savefig(file, format="png")
        assert file.getbuffer().nbytes > 1000
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match="matplotlib"):
        result.plot()
