"""The part of the page where a separation is waited for, heard, seen, mixed and tuned."""

from __future__ import annotations

from typing import Any

import streamlit as st

from sam_audio.app import mixer, project, views
from sam_audio.app.acting import SHORT_S, act, sentence, tried, watch
from sam_audio.app.controller import Editor, options_of_model
from sam_audio.app.views import plain
from sam_audio.app.work import DONE, FAILED
from sam_audio.options import OptionField

MIXER = "mixer"


def separation(editor: Editor) -> None:
    """How far the separation is, or why it failed."""
    task = editor.separation()
    if task is None:
        return
    task.wait(SHORT_S)
    if task.state == DONE:
        st.rerun()  # what stands above knows of it then, too
    if not task.over:
        watch(task, "Separating", cancel="Cancel", before=editor.position)
        return
    if task.state == FAILED:
        st.error(sentence(task.problem), icon=":material/error:")
    else:
        st.info("The separation was cancelled.")
    with st.container(horizontal=True):
        st.button("Try again", key="again", on_click=act, args=(editor.separation, True))
        for index, ask in enumerate(editor.project.asks):
            st.button(
                f"Remove {plain(ask.text or ask.hint)}",
                key=f"remove-{index}",
                on_click=act,
                args=(editor.do, project.drop, index),
            )


# ---- the mixer -----------------------------------------------------------------------------------------


def tracks(editor: Editor) -> None:
    """The mixer, with the picture of a video beside it."""
    state = st.session_state
    found = editor.project.media
    assert found is not None
    sounds, other = editor.sounds(), editor.other
    data = {
        "tracks": views.tracks(editor.project, editor.stems, sounds),
        "film": views.film(found, sounds, state.get("mark")),
        "token": found.sha256,
        "seconds": found.seconds,
        "can_pan": found.channels <= 2,
        "seq": state.seq,
        "selection": state.selection,
        "other": editor.takes[editor.compared].name if other is not None and editor.compared else None,
    }
    mixer.component()(
        key=MIXER,
        data=data,
        on_state_change=lambda: _heard_of_mixer(editor),
        on_remove_change=lambda: _remove_track(editor),
        on_mark_change=lambda: _mark(editor),
    )


def _heard_of_mixer(editor: Editor) -> None:
    state = st.session_state
    found = editor.project.media
    said = found and views.said_by_mixer((state.get(MIXER) or {}).get("state"), found)
    if not said or said.seq <= state.seq:  # it is told once
        return
    state.seq = said.seq
    state.selection = said.selection
    if editor.stems is not None:
        editor.do(project.set_faders, said.faders)  # no action: the mixer also reports by itself


def _remove_track(editor: Editor) -> None:
    name = (st.session_state.get(MIXER) or {}).get("remove")
    if name in editor.project.names:
        tried(editor.do, project.drop, editor.project.names.index(name))


def _mark(editor: Editor) -> None:
    found = editor.project.media
    if found is not None and found.picture is not None:
        said = (st.session_state.get(MIXER) or {}).get("mark")
        st.session_state.mark = views.mark_of(said, found.picture, found.seconds)


# ---- takes ---------------------------------------------------------------------------------------------


def takes(editor: Editor) -> None:
    """The separations that were made: go back to one, hear one beside the present one, give them names."""
    current = editor.project.key
    for key, take in reversed(editor.takes.items()):
        name, go, compare = st.columns([5, 2, 3], vertical_alignment="bottom")
        said = name.text_input(
            "Name of this separation" if key == current else "Name",
            take.name,
            key=f"take-{key}-{take.name}",
            label_visibility="visible" if key == current else "collapsed",
        )
        if said != take.name:
            tried(editor.rename, key, said)
            st.rerun()
        if key == current:
            go.caption("is shown")
            continue
        go.button("Show", key=f"show-{key}", width="stretch", on_click=act, args=(editor.go_to, key))
        compared = editor.compared == key and editor.other is not None
        compare.button(
            "Stop comparing" if compared else "Compare as B",
            key=f"compare-{key}",
            width="stretch",
            on_click=act,
            args=(editor.compare_with, None if compared else key),
        )


# ---- tuning --------------------------------------------------------------------------------------------


def tuning(editor: Editor) -> None:
    """How boldly to cut, and options of the model."""
    turn = st.session_state.turn
    current = editor.project
    left, right = st.columns(2)
    strength = left.slider(
        "Strength",
        0.0,
        2.0,
        current.strength,
        0.1,
        key=f"strength-{turn}-{current.strength}",
        help="Below 1 keeps more of what is doubtful, above 1 cuts more boldly.",
    )
    offered = list(editor.shared.settings.models)
    model = right.selectbox(
        "Model",
        offered,
        offered.index(current.model),
        key=f"model-{turn}-{current.model}",
        help="Those that the editor was started with.",
    )
    options = options_of_model(editor.shared.settings.models[current.model])
    said = dict(current.options)
    for one, place in zip(options, st.columns(4) * len(options), strict=False):
        before = said.get(one.name, one.default)
        value = _option_control(place, one, before, f"option-{one.name}-{turn}-{before}")
        if value != before:
            if not tried(editor.do, project.set_option, one, value):
                st.session_state.turn += 1  # shows again what holds
            st.rerun()
    if strength != current.strength:
        tried(editor.do, project.set_strength, strength)
        st.rerun()
    if model and model != current.model:
        tried(editor.do, project.set_model, model, offered)
        st.rerun()


def _option_control(place: Any, one: OptionField, value: Any, key: str) -> Any:
    """A control for an option of a model; returns what it is set to."""
    label, help = one.key.replace("_", " ").capitalize(), one.declared.help
    if isinstance(one.default, bool):
        return place.toggle(label, value, key=key, help=help)
    if isinstance(one.default, (int, float)):
        return place.number_input(label, value=value, min_value=one.declared.least, key=key, help=help)
    if one.declared.choices:
        return place.selectbox(
            label, one.declared.choices, one.declared.choices.index(value), key=key, help=help
        )
    text = place.text_input(label, "" if value is None else str(value), key=key, help=help)
    return text.strip() or one.default
