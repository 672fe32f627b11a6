"""The page. Everything it knows is in the visitor's `Editor`; here is only what is shown where.

Streamlit runs this file from top to bottom whenever something changes, and breaks a run off when something else changes
meanwhile. So what a button does is a callback: it is done before the run begins, while an action in the run itself
would be lost with it. Long work goes on beside the page: `watch` looks at it a few times a second and runs the page
again when it is over.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from sam_audio.app import views
from sam_audio.app.acting import SHORT_S, problems, sentence, tried, visitor, watch
from sam_audio.app.asking import asking, use
from sam_audio.app.controller import Editor, Stems
from sam_audio.app.exporting import export, ready, saving
from sam_audio.app.presets import presets
from sam_audio.app.separating import separation, takes, tracks, tuning
from sam_audio.app.views import plain
from sam_audio.app.work import DONE


def main() -> None:
    st.set_page_config("sam-audio", views.icon(), layout="wide")
    st.html(_STYLE)
    editor, state = visitor(), st.session_state
    state.setdefault("turn", 0)  # widgets whose keys hold it start afresh with the next one
    state.setdefault("seq", 0)
    state.setdefault("selection", None)
    if "loading" not in state and editor.shared.settings.file is not None:
        state.loading = editor.open_file(Path(editor.shared.settings.file).resolve())
    _finish_loading(editor)
    stems = editor.stems  # looked for first: a new one is among the takes of the header
    if editor.project.media is None:
        _welcome(editor)
    else:
        _header(editor, stems)
        problems()
        asking(editor)
        separation(editor)
        ready(editor)
        tracks(editor)
        tuning(editor)
        export(editor)


# ---- loading -------------------------------------------------------------------------------------------


def _finish_loading(editor: Editor) -> None:
    state = st.session_state
    task = state.get("loading")
    if task is None:
        return
    task.wait(SHORT_S)
    if not task.over:
        watch(task, "Looking at the recording")
        return
    state.loading = None
    if task.state == DONE:
        state.notice = editor.loaded(task)
        state.selection = state.mark = state.prepared = None
        state.turn += 1
        if state.get("preset") and not editor.project.asks:
            use(editor, state.preset)
        state.preset = None
    else:
        state.problem = task.problem or "the recording was not opened"


def _welcome(editor: Editor) -> None:
    st.title("Pull any sound out of a recording", anchor=False)
    st.markdown(
        "Load a recording or a video, say what you want to hear, and get it as a track of its own, "
        "beside everything else."
    )
    problems()
    choices = {one.title: one.name for one in presets().values()}
    chosen = st.pills(
        "What do you want of it? Choose now, or ask in your own words when it is loaded.",
        list(choices),
        key="preset-choice",
    )
    st.session_state.preset = choices.get(chosen) if chosen else None
    if chosen:
        st.caption(presets()[choices[chosen]].about)
    _sources(editor)
    st.button(
        "Try an example",
        icon=":material/play_circle:",
        key="example-sound",
        on_click=_try_example,
        args=(editor,),
    )


def _try_example(editor: Editor) -> None:
    st.session_state.loading, st.session_state.problem = editor.open_example(), None


def _sources(editor: Editor) -> None:
    state, turn = st.session_state, st.session_state.turn
    most = editor.shared.settings.most_bytes // 10**6
    sent = st.file_uploader(
        f"A recording, a video, or a saved session (up to {most} MB)", key=f"upload-{turn}", type=None
    )
    spoken = st.audio_input("Or record with the microphone", sample_rate=48_000, key=f"microphone-{turn}")
    for source in (sent, spoken):
        if source is not None:
            name = source.name if source is sent else "microphone.wav"
            state.loading, state.problem = editor.upload(source, name), None
            state.turn += 1  # a fresh widget lets go of the copy in memory
            st.rerun()
    sessions = editor.sessions()
    if sessions:
        left, right = st.columns([3, 1], vertical_alignment="bottom")
        name = left.selectbox("Or open a saved session", list(sessions), key=f"session-{turn}")
        right.button(
            "Open", key=f"open-{turn}", width="stretch", on_click=_open, args=(editor, sessions[name])
        )


def _open(editor: Editor, folder: Path) -> None:
    st.session_state.loading, st.session_state.problem = editor.open_file(folder), None


# ---- header --------------------------------------------------------------------------------------------


def _header(editor: Editor, stems: Stems | None) -> None:
    found = editor.project.media
    assert found is not None
    with st.container(horizontal=True, vertical_alignment="center", key="header"):
        with st.container(key="title"):
            st.header(plain(editor.name or found.name), anchor=False)
            st.caption(views.about(found))
        past, future = editor.history.past, editor.history.future
        for name, icon, way, steps in (
            ("Undo", ":material/undo:", editor.undo, past),
            ("Redo", ":material/redo:", editor.redo, future),
        ):
            st.button(name, icon=icon, disabled=not steps, key=name.lower(), on_click=_step, args=(way,))
        if editor.takes:
            with st.popover("Takes", icon=":material/history:"), st.container(key="takes"):
                takes(editor)
        with st.popover("Save", icon=":material/save:"):
            saving(editor)
        with st.popover("Open", icon=":material/folder_open:"):
            _sources(editor)
    told = {f"{text}: did you mean {better}?" for text, better in editor.corrections}  # beside the field
    made = [text for text in stems.warnings if text not in told] if stems is not None else []
    for warning in (*editor.troubles, *made):
        st.warning(sentence(warning), icon=":material/warning:")
    if st.session_state.get("notice"):
        st.toast(sentence(st.session_state.pop("notice")))


def _step(way: Callable[[], None]) -> None:
    tried(way)
    st.session_state.turn += 1


_STYLE = """<style>
.block-container { padding-top: 2rem; padding-bottom: 3rem; max-width: 1400px; }
h1 { font-size: 2rem !important; } h2 { font-size: 1.5rem !important; overflow-wrap: anywhere; }
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] *,
[data-testid="stFileUploaderDropzoneInstructions"] * {
  color: light-dark(#4a5361, #b6c0cc) !important; opacity: 1 !important; }
input::placeholder { color: light-dark(#5f6875, #98a3b1) !important; opacity: 1 !important; }
[data-testid="stMarkdownContainer"] code { /* words of visitors, see views.plain */
  all: unset; overflow-wrap: anywhere; }
.st-key-title { flex: 1 1 auto; min-width: 0; gap: 0; }
.st-key-takes { min-width: min(560px, 78vw); }
a.download { display: inline-block; padding: 8px 18px; border-radius: 8px; font-weight: 600; text-decoration: none;
  background: light-dark(#0b5cad, #1b64b0); color: #fff !important; }
a.download:hover { background: #094a8c; }
a.download:focus-visible { outline: 3px solid #f0a500; outline-offset: 1px; }
@media (max-width: 640px) {
  .block-container { padding-left: 1rem; padding-right: 1rem; }
  .st-key-header { flex-wrap: nowrap !important; gap: 6px !important; }
  .st-key-header button p { /* icons alone; the words stay their names */
    position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .st-key-header [data-testid="stPopoverButton"] div[aria-hidden="true"], .st-key-title p { display: none; }
  .st-key-header button { min-width: 40px; padding: 4px 8px; }
  .st-key-header button span { margin: 0; }
  .st-key-title h2 { margin: 0; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; padding: 0; }
  .st-key-title h2 { font-size: 1.1rem !important; line-height: 1.4; }
}
</style>"""


if __name__ == "__main__":
    main()
