"""The part of the page where what was made leaves: mixes, stems, videos, workstations' sessions, and saved ones."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import streamlit as st

from sam_audio.app import project, views
from sam_audio.app.acting import SHORT_S, sentence, tried, watch
from sam_audio.app.controller import Editor
from sam_audio.app.pieces import Download
from sam_audio.app.presets import can_apply_effects, presets
from sam_audio.app.work import DONE, Task
from sam_audio.export.workstation import session_exporters
from sam_audio.naming import RESIDUAL, slug

MIX, STEMS, VIDEO, SESSION = (
    "The mix as it is heard",
    "Stems",
    "The video with this mix",
    "A session for a workstation",
)


def ready(editor: Editor) -> None:
    """The mix of a preset, which is made as soon as it is separated: its download stands where it is seen at once."""
    state = st.session_state
    if editor.stems is not None:
        _effects(editor)
    if editor.stems is not None and state.pop("export_when_done", False):
        _prepare(editor, (editor.project, "mix", (), "wav", None))
        state.by_itself = True
    prepared, task = state.get("prepared") or (None, None)
    if prepared is not None and task is not None and state.get("by_itself") and prepared[0] == editor.project:
        _download(task, "Writing the mix")


def _effects(editor: Editor) -> None:
    """Those of the preset, and whether exports get them."""
    state, current = st.session_state, editor.project
    preset = presets().get(current.rack)
    if preset is None or not preset.effects:
        return
    able = can_apply_effects()
    on = st.toggle(
        f"Effects of {preset.title}: {', '.join(preset.effects)}",
        current.effects and able,
        key=f"effects-{state.turn}-{current.effects}",
        disabled=not able,
    )
    if able:
        st.caption(
            "In downloads of the mix and of the video. What plays here is without them, and so are stems."
        )
    else:
        st.caption('They need pedalboard: pip install "separate-by-prompt[daw]".')
    if able and on != current.effects:
        state.export_when_done = bool(state.get("by_itself"))
        tried(editor.do, project.set_effects, on)
        st.rerun()


def export(editor: Editor) -> None:
    """Chooses what leaves, and makes it."""
    state, stems = st.session_state, editor.stems
    if stems is None:
        return
    found = editor.project.media
    assert found is not None
    with st.expander("Export", icon=":material/download:", expanded=True):
        offered = [MIX, STEMS, *([VIDEO] if found.picture is not None else []), SESSION]
        what = st.radio("What", offered, horizontal=True, key="what")
        chosen: list[str] = []
        format, depth = "wav", None
        kind = {MIX: "mix", STEMS: "stems", VIDEO: "video"}.get(what, "")
        if what == SESSION:
            names = {exporter.title: name for name, exporter in session_exporters().items()}
            kind = names[st.selectbox("Workstation", list(names), key="workstation")]
        elif what != VIDEO:
            if what == STEMS:
                chosen = st.multiselect(
                    "Which",
                    list(stems.files),
                    list(stems.files),
                    format_func=lambda name: "everything else" if name == RESIDUAL else name,
                    key=f"which-{editor.project.key}",
                )
            left, right = st.columns(2)
            format = views.FORMATS[left.selectbox("Format", list(views.FORMATS), key="format")]
            if format in ("wav", "flac"):
                depths = [name for name in views.DEPTHS if format == "wav" or "float" not in name]
                depth = views.DEPTHS[right.selectbox("Samples", depths, key=f"depth-{format}")]
        wanted = (editor.project, kind, tuple(chosen), format, depth)
        st.button("Prepare the download", key="export", on_click=_prepare, args=(editor, wanted))
        prepared, task = state.get("prepared") or (None, None)
        if task is not None and prepared == wanted and not state.get("by_itself"):
            _download(task, "Writing files")


def _prepare(editor: Editor, wanted: tuple[Any, ...]) -> None:
    _, kind, chosen, format, depth = wanted
    st.session_state.problem = None
    st.session_state.by_itself = False
    st.session_state.prepared = (wanted, editor.export(kind, list(chosen), format, depth))


def _download(task: Task[Path], label: str) -> None:
    """A link to what was made, which the server sends from its disk, however large it is."""
    task.wait(SHORT_S)
    if not task.over:
        watch(task, label)
        return
    if task.state != DONE or task.result is None:
        st.error(sentence(task.problem or "the work was ended"), icon=":material/error:")
        return
    held = st.session_state.setdefault("downloads", {})
    made = held.get(task.result) or Download(task.result)
    st.session_state.downloads = {task.result: made, **dict(list(held.items())[:3])}
    size = task.result.stat().st_size / 1e6
    st.html(
        f'<a class="download" href="downloads/{made.token}" download>'
        f"Download {html.escape(task.result.name)} ({size:.1f} MB)</a>"
    )


def saving(editor: Editor) -> None:
    """Keeps the project under a name here, or as a file with its visitor."""
    found = editor.project.media
    assert found is not None
    name = st.text_input("Name of the session", editor.name or Path(found.name).stem, key="session-name")
    with st.container(horizontal=True):
        if editor.shared.settings.sessions is not None:
            st.button("Save session", type="primary", key="save", on_click=_save, args=(editor, name))
        st.button("Pack it for download", key="pack", on_click=_pack, args=(editor, name))
    packed, task = st.session_state.get("packed") or (None, None)
    if task is not None and packed == (editor.project, name):
        _download(task, "Packing")


def _save(editor: Editor, name: str) -> None:
    if tried(editor.save, name):
        st.session_state.notice = f"Saved as {slug(name)}"


def _pack(editor: Editor, name: str) -> None:
    def pack() -> None:
        st.session_state.packed = ((editor.project, name), editor.pack(name))

    tried(pack)
