"""The part of the page where visitors ask: in words, with a click on what was heard, and with clues beside them."""

from __future__ import annotations

from functools import cache
from typing import Any

import streamlit as st

from sam_audio.app import ask, project, views
from sam_audio.app.acting import SHORT_S, act, sentence, tried, watch
from sam_audio.app.controller import Editor, example_key
from sam_audio.app.presets import prepare, presets
from sam_audio.app.project import Ask
from sam_audio.app.views import plain
from sam_audio.app.work import CANCELLED, DONE, FAILED
from sam_audio.vocabulary import load_labels

ASK = "ask"
LISTEN_S = 600.0  # recordings up to this length are listened to by themselves
_NOTHING = "Nothing that has a name here stands out. Ask for it in your own words."
_WHERE = {"It sounds there": "spans", "It does not sound there": "not_spans", "Pay no attention to it": None}


def asking(editor: Editor) -> None:
    """All of it."""
    state, turn = st.session_state, st.session_state.turn
    found = editor.project.media
    assert found is not None
    task = editor.listening(start=found.seconds <= LISTEN_S)
    is_over = task is None or task.wait(SHORT_S).over  # now: the rest of this run goes by that
    heard = (task.result or []) if task is not None and is_over else []
    taken = {one.text for one in editor.project.asks}
    data = {
        "turn": turn,
        "labels": _suggestions(),
        "heard": [views.chip(one, found.seconds, one.name in taken) for one in heard],
        "says": "Heard in it:"
        if heard
        else _NOTHING
        if is_over and task is not None and task.state == DONE
        else "",
    }
    ask.component()(key=ASK, data=data, on_ask_change=lambda: _ask(editor))
    if state.selection is not None:
        low, high = state.selection
        label = f"The selected stretch, {views.clock(low)} – {views.clock(high)}"
        st.radio(label, list(_WHERE), horizontal=True, key=f"where-{turn}")
    if state.get("mark"):
        st.caption("The mark in the picture goes with what you ask for next.")
    if state.get("example"):
        st.caption(f"An example is given: {plain(state.example[1])}")
    _corrections(editor)
    if task is not None and not is_over:
        watch(task, "Listening for what is in here", cancel="Stop listening")
    elif task is None or task.state in (FAILED, CANCELLED):
        if task is not None and task.problem:
            st.error(sentence(task.problem))
        st.button(
            "What is in here?",
            icon=":material/hearing:",
            key="listen",
            on_click=act,
            args=(editor.listening, True),
        )
    _more(editor)


@cache
def _suggestions() -> list[str]:
    """What is known to be understood: the labels, and what they are kinds of."""
    known = load_labels().values()
    return sorted({one.name for one in known} | {parent for one in known for parent in one.parents})


def _ask(editor: Editor) -> None:
    """Asks for what the field or a chip says, with the clues that are given."""
    state = st.session_state
    said = (state.get(ASK) or {}).get("ask")
    text = said.get("text") if isinstance(said, dict) else None
    if not isinstance(text, str):
        return
    clues: list[tuple[str, Any]] = []
    where = _WHERE.get(state.get(f"where-{state.turn}", ""))
    if state.selection is not None and where is not None:
        low, high = state.selection
        clues.append((where, (f"{low:g}-{high:g}",)))
    if state.get("mark"):
        clues.append((state.mark["key"], state.mark["value"]))
    if state.get("example"):
        clues += state.example[0].clues
    if tried(editor.do, project.ask_for, Ask(text, tuple(sorted(clues)))):
        state.selection = state.mark = state.example = None
        state.turn += 1


def _corrections(editor: Editor) -> None:
    """What was asked for in words that the model does not know, and what may have been meant."""
    for text, better in editor.corrections:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/spellcheck: {plain(text)} holds a word that the model does not know.")
            st.button(
                f"Ask for {plain(better)} instead",
                key=f"meant-{text}",
                on_click=act,
                args=(editor.do, project.instead, text, better),
            )


def _more(editor: Editor) -> None:
    """What else there is than words: ready-made racks, and an example of the sound."""
    state, turn = st.session_state, st.session_state.turn
    clue = example_key()
    with st.container(horizontal=True):
        with st.popover("Presets", icon=":material/auto_awesome:"):
            for one in presets().values():
                st.button(
                    one.title,
                    key=f"use-{one.name}",
                    help=one.about,
                    width="stretch",
                    on_click=use,
                    args=(editor, one.name),
                )
        if clue is None:
            return
        with st.popover("Give an example", icon=":material/library_music:"):
            sent = st.file_uploader("A short recording of a sound like it", key=f"example-{turn}")
    if sent is not None and (state.get("example") or (None, None))[1] != sent.name:

        def keep() -> None:
            state.example = editor.keep_example(clue, sent, sent.name), sent.name

        if not tried(keep):
            state.turn += 1
        st.rerun()


def use(editor: Editor, name: str) -> None:
    """Prepares the project as a preset says; its mix is made for download when it is separated."""
    if tried(editor.do, prepare, presets()[name]):
        st.session_state.export_when_done = True
