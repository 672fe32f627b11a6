"""The page runs: every state of it, without a browser."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("streamlit")
from sam_audio.app import page, project, views  # noqa: E402
from sam_audio.app.acting import SETTINGS, sentence  # noqa: E402
from sam_audio.app.controller import Settings, Stems  # noqa: E402
from sam_audio.app.presets import can_apply_effects  # noqa: E402
from sam_audio.app.project import Ask, Media  # noqa: E402

MEDIA = Media(Path("a.wav"), "a.wav", "0" * 64, 1000, 2, 10_000)


@pytest.fixture
def app(tmp_path, tiny_weights, monkeypatch):
    """The page with a recording of its own, in one visitor's eyes."""
    import streamlit as st
    from streamlit.testing.v1 import AppTest

    logging.getLogger("streamlit").setLevel(logging.ERROR)
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "mix.wav", rng.normal(0, 0.1, (16_000, 2)), 16_000)
    settings = Settings(
        str(tmp_path / "mix.wav"), str(tmp_path / "sessions"), models={"tiny": str(tiny_weights)}
    )
    monkeypatch.setenv(SETTINGS, json.dumps(vars(settings)))
    st.cache_resource.clear()
    yield AppTest.from_file(page.__file__, default_timeout=30)
    st.cache_resource.clear()


def until(app, done, tries: int = 60):
    for _ in range(tries):
        app.run()
        assert not app.exception, app.exception
        if done():
            return
    raise AssertionError(f"the page never came there: {[e.value for e in app.error]}")


def button(app, label: str):
    return next(one for one in app.button if one.label == label)


def test_from_a_file_to_stems(app):
    until(app, lambda: bool(app.header))
    assert app.header[0].value == "` mix.wav `"
    app.session_state.editor.do(project.ask_for, Ask("guitar"))
    until(app, lambda: any(one.label == "Prepare the download" for one in app.button))
    assert not app.error
    button(app, "Undo").click()
    until(app, lambda: not any(one.label == "Prepare the download" for one in app.button))
    button(app, "Redo").click()
    until(app, lambda: any(one.label == "Prepare the download" for one in app.button))
    button(app, "Save session").click()
    app.run()
    assert not app.exception and not app.error


def test_options_of_the_model_can_be_set_and_undone(app):
    def listening_first():
        return next(one for one in app.toggle if one.label == "Predict spans")

    until(app, lambda: bool(app.toggle))
    assert listening_first().value is True
    listening_first().set_value(False)
    until(app, lambda: listening_first().value is False and not button(app, "Undo").disabled)
    button(app, "Undo").click()
    until(app, lambda: listening_first().value is True)


def test_what_cannot_be_asked_is_said(app):
    until(app, lambda: bool(app.header))
    editor = app.session_state.editor
    editor.do(project.ask_for, Ask("", (("point", "3,4"),)))  # in a recording without a picture
    until(app, lambda: bool(app.error))
    for _ in range(2):  # the page also runs by itself
        app.run()
        assert len(app.error) == 1 and "picture" in app.error[0].value
    next(one for one in app.button if one.label.startswith("Remove")).click()
    app.run()
    assert not app.error and not editor.project.asks


def test_a_preset_is_one_click(app):
    until(app, lambda: bool(app.header))
    button(app, "Karaoke").click()
    app.run()
    editor = app.session_state.editor
    assert editor.project.names == ["singing voice"] and editor.project.fader("singing voice").mute
    until(app, lambda: app.session_state["prepared"] is not None)  # the mix is made by itself
    first = app.session_state["prepared"]
    effects = next(one for one in app.toggle if one.label == "Effects of Karaoke: limiter")
    assert effects.value is can_apply_effects()
    if effects.value:
        effects.set_value(False)
        until(app, lambda: not editor.project.effects and app.session_state["prepared"] != first)  # anew


def test_words_that_the_model_does_not_know_are_told(app):
    until(app, lambda: bool(app.header))
    editor = app.session_state.editor
    editor.do(project.ask_for, Ask("gitar"))
    until(app, lambda: any("instead" in one.label for one in app.button))
    until(app, lambda: any(one.label == "Prepare the download" for one in app.button))
    assert not any("did you mean" in one.value for one in app.warning)  # it is said in one place
    button(app, "Ask for ` guitar ` instead").click()
    app.run()
    assert editor.project.names == ["guitar"]


def test_without_a_file_there_is_a_welcome(app, monkeypatch, tmp_path):
    monkeypatch.setenv(SETTINGS, json.dumps(vars(Settings())))
    app.run()
    assert not app.exception and app.title[0].value.startswith("Pull any sound")
    button(app, "Try an example").click()
    until(app, lambda: bool(app.header))
    assert app.header[0].value == "` example.ogg `"


def test_sentences():
    assert sentence("a file_name is wrong") == "` A file_name is wrong. `"
    assert sentence("a.wav is empty") == "` a.wav is empty. `"
    assert Ask("x").hint == ""


@pytest.mark.parametrize(
    "text",
    [
        "![](http://a/b.png)",
        "[a](http://a)",
        ":red[a] $x$ <b>a</b> :smile:",
        "`a`",
        "``",
        "# a",
        "a\n\n- b",
        "* a",
        " a ",
    ],
)
def test_words_of_visitors_are_one_code_span(text):
    """By the rules of CommonMark: a run of backticks ends at the next run of the same length."""
    span = views.plain(text)
    fence = re.match("`+", span)[0]
    runs = re.findall("`+", span)
    assert runs[0] == runs[-1] == fence and fence not in runs[1:-1] and "\n" not in span
    assert span.removeprefix(fence).removesuffix(fence).strip() == " ".join(text.split())
    assert views.plain(" \n\0") == ""


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        "x",
        {"token": "other"},
        {"token": MEDIA.sha256},
        {"token": MEDIA.sha256, "seq": "x", "selection": None, "faders": {}},
        {"token": MEDIA.sha256, "seq": float("inf"), "selection": None, "faders": {}},
        {"token": MEDIA.sha256, "seq": 1, "selection": [1], "faders": {}},
        {"token": MEDIA.sha256, "seq": 1, "selection": [2, 1], "faders": {}},
        {"token": MEDIA.sha256, "seq": 1, "selection": ["a", "b"], "faders": {}},
        {"token": MEDIA.sha256, "seq": 1, "selection": None, "faders": {"a": {"gain_db": []}}},
        {"token": MEDIA.sha256, "seq": 1, "selection": None, "faders": []},
    ],
)
def test_what_is_no_state_of_the_mixer(said):
    assert views.said_by_mixer(said, MEDIA) is None


def test_what_the_mixer_says():
    said = {
        "token": f"{MEDIA.sha256}:0",
        "seq": 2,
        "selection": [1, 99],
        "faders": {"a": {"mute": True, "pan": 0.5}},
    }
    assert views.said_by_mixer(said, MEDIA) == views.Said(2, (1.0, 10.0), {"a": {"mute": 1.0, "pan": 0.5}})
    assert views.said_by_mixer({**said, "selection": None}, MEDIA).selection is None


def test_verdicts_are_plain():
    scores = dict.fromkeys(views.AXES, 3.0)
    stems = Stems({}, {"a": -6.0, "b": -120.0}, {"a": scores}, {"a": False, "b": None})
    said, figures, absent = views.verdict("a", stems)
    assert absent and said.startswith("Not in the mix") and "overall 3.0" in figures and "-6.0 dB" in figures
    assert views.verdict("b", stems) == ("silent", "", False)
    for precision, recall, says in [
        (4.2, 4.0, "clean · whole"),
        (3.5, 2.0, "traces of other sounds · much is missing"),
        (1.0, 3.0, "much of other sounds · parts missing"),
    ]:
        judged = {"a": {**scores, "precision": precision, "recall": recall}}
        assert views.verdict("a", Stems({}, {}, judged, {"a": True}))[0] == f"In the mix · {says}"
    unsure = {"a": {**scores, "present": 0.5}}
    assert views.verdict("a", Stems({}, {}, unsure, {"a": None}))[0].startswith("Perhaps in the mix · ")


@pytest.mark.parametrize(
    ("said", "key", "value"),
    [
        ({"numbers": [20, 40], "at": 1.5}, "point", "20,40@1.5"),
        ({"numbers": [-5, 999], "at": -1}, "point", "0,383@0"),
        ({"numbers": [600, 0, 100, 50], "at": 99}, "region", "600,0,40,50@10"),
        ({"numbers": [1, 2, 0, 0], "at": 0}, "region", "1,2,1,1@0"),  # a box stays a box
    ],
)
def test_marks_are_in_pixels_of_the_video(said, key, value):
    mark = views.mark_of(said, (640, 384), 10)
    assert (mark["key"], mark["value"]) == (key, value)


@pytest.mark.parametrize(
    "said", [None, {}, {"numbers": None, "at": 0}, {"numbers": [1], "at": 0}, {"numbers": [1, 2, 3], "at": 0}]
)
def test_what_is_no_mark(said):
    assert views.mark_of(said, (640, 384), 10) is None
