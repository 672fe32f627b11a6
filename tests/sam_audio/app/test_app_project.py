"""Actions on a project, and undo."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sam_audio.app.controller import options_of_model
from sam_audio.app.project import (
    MOST_PROMPTS,
    Ask,
    History,
    Media,
    Project,
    ask_for,
    drop,
    load,
    restore,
    set_faders,
    set_model,
    set_option,
    set_strength,
)
from sam_audio.errors import UserError
from sam_audio.session import Fader, SavedSession

MEDIA = Media(Path("a.wav"), "a.wav", "0" * 64, 48_000, 2, 96_000)


@pytest.fixture
def project() -> Project:
    return load(Project(), MEDIA)


def test_actions_make_new_states(project):
    asked = ask_for(project, Ask(" guitar "))
    assert project.asks == () and asked.asks == (Ask("guitar"),)
    assert asked.names == ["guitar"]
    assert drop(asked, 0) == project
    assert MEDIA.seconds == 2.0


def test_what_is_asked_is_what_can_be_separated(project):
    span = Ask("", (("spans", ("1-2",)),))
    both = ask_for(ask_for(project, span), Ask("Dog barking", (("point", "3,4@1"),)))
    assert both.names == ["span", "Dog barking"]
    assert both.files == ["span", "dog-barking", "residual"]
    assert [Ask.of(ask.saved()) for ask in both.asks] == list(both.asks)
    assert both.asks[1].prompt().clues == {"point": "3,4@1"}
    assert both.asks[1].hint == "at 3,4@1 in the picture" and span.hint == "in 1-2 s"


@pytest.mark.parametrize(
    ("spans", "says"),
    [
        (["1-2", "3-4.5"], "in 1-2, 3-4.5 s"),
        ([[1, 2], [3, 4.5]], "in 1-2, 3-4.5 s"),
        (["0-0.5", [1, 2]], "in 0-0.5, 1-2 s"),
    ],
)
def test_spans_of_a_session_are_texts_or_pairs(project, spans, says):
    ask = Ask.of({"text": "dog", "spans": spans})
    asked = ask_for(project, ask)
    assert ask.hint == says and hash(ask) and asked.key
    assert Ask.of(json.loads(json.dumps(ask.saved()))) == ask
    with pytest.raises(UserError, match="already"):
        ask_for(asked, ask)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (Ask(""), "empty"),
        (Ask("guitar"), "already"),
        (Ask("x", (("spans", ("2-1",)),)), "ends before it starts"),
    ],
)
def test_prompts_that_cannot_be(project, ask, says):
    with pytest.raises(UserError, match=says):
        ask_for(ask_for(project, Ask("guitar")), ask)


def test_there_is_an_end_to_tracks(project):
    for n in range(MOST_PROMPTS):
        project = ask_for(project, Ask(f"sound {n}"))
    with pytest.raises(UserError, match="remove one"):
        ask_for(project, Ask("one more"))


def test_the_key_is_that_of_the_stems(project):
    asked = ask_for(project, Ask("guitar"))
    assert project.key is None
    others = [
        ask_for(asked, Ask("drums")),
        set_strength(asked, 1.5),
        set_model(asked, "other", ["nano", "other"]),
        replace(asked, media=replace(MEDIA, sha256="1" * 64)),
    ]
    assert len({asked.key, *(other.key for other in others)}) == 5
    moved = replace(asked, media=replace(MEDIA, path=Path("b.wav"), name="b"))
    assert set_faders(moved, {"guitar": {"gain_db": -3}}).key == asked.key


def test_options_of_the_model_are_kept_where_they_are_not_its_defaults(project):
    (one,) = options_of_model("nano")
    asked = ask_for(project, Ask("dog"))
    changed = set_option(asked, one, False)
    assert changed.options == (("predict_spans", False),) and changed.key != asked.key
    assert load(changed, changed.media).options == changed.options
    assert set_option(changed, one, True).key == asked.key
    assert set_model(changed, "other", ["nano", "other"]).options == ()


def test_options_that_decide_about_loading_are_not_offered():
    names = [one.name for one in options_of_model("facebook/sam-audio-small")]
    assert "steps" in names and "dtype" not in names and "revision" not in names


def test_faders_stay_in_range_and_belong_to_tracks(project):
    asked = ask_for(project, Ask("guitar"))
    heard = set_faders(asked, {"guitar": {"gain_db": 99, "pan": -9, "solo": 1}, "stranger": {"gain_db": 1}})
    assert heard.faders == {"guitar": Fader(12.0, -1.0, False, True)}
    assert set_faders(heard, {"guitar": {}}).faders == {}
    assert drop(heard, 0).faders == {}
    for wrong in (-0.1, 2.1, float("nan")):
        with pytest.raises(UserError):
            set_strength(project, wrong)
    assert set_faders(asked, {"guitar": {"gain_db": float("nan"), "pan": float("inf")}}).faders == {
        "guitar": Fader(0.0, 1.0)
    }


def test_models_are_those_of_the_editor_and_nothing_is_told_about_others(project, tmp_path):
    (tmp_path / "there").mkdir()
    said = set()
    for name in (
        "",
        " ",
        "..",
        "/",
        "/etc/passwd",
        "facebook/sam-audio-small",
        tmp_path / "there",
        tmp_path / "gone",
    ):
        with pytest.raises(UserError) as refused:
            set_model(project, str(name), ["nano", "mine"])
        said.add(str(refused.value))
    assert said == {"this editor does not offer that model: choose nano or mine"}


def test_sessions_are_taken_up_step_by_step():
    saved = SavedSession(
        "take", Path("mixture.wav"), "a.wav", ("guitar", {"text": "drums", "spans": ["0-1"]}), "gone", 1.5,
        {"guitar": Fader(float("inf"), -9.0), "stranger": Fader(1.0)},
    )  # fmt: skip
    opened = restore(MEDIA, saved, ["nano"], ["karaoke"])
    assert opened.names == ["guitar", "drums"] and opened.strength == 1.5
    assert opened.model == "nano"  # that of the session is not offered
    assert opened.faders == {"guitar": Fader(12.0, -1.0)}
    known = replace(saved, rack="karaoke")
    assert [restore(MEDIA, known, ["nano"], racks).rack for racks in (["karaoke"], [])] == ["karaoke", ""]
    for wrong in (
        {"strength": 3.0},
        {"strength": float("nan")},
        {"prompts": ("guitar", "guitar")},
        {"prompts": ("",)},
        {"prompts": ({"spans": ["9-1"]},)},
        {"prompts": tuple(map(str, range(MOST_PROMPTS + 1)))},
    ):
        with pytest.raises(UserError):
            restore(MEDIA, replace(saved, **wrong), ["nano"], [])


def test_undo_and_redo(project):
    first = History(project)
    asked = ask_for(project, Ask("guitar"))
    second = first.do(asked)
    assert second.do(asked) is second
    assert second.undo().now == project and second.undo().redo() == second
    assert first.undo() is first and second.redo() is second
    other = second.undo().do(set_strength(project, 2))
    assert other.future == () and other.undo().now == project
