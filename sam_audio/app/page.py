"""The page. Everything it knows is in the visitor's `Editor`; here is only what is shown where.

Streamlit runs this file from top to bottom whenever something changes, and breaks a run off when something else changes
meanwhile. So what a button does is a callback: it is done before the run begins, while an action in the run itself
would be lost with it. Long work goes on beside the page: `watch` looks at it a few times a second and runs the page
again when it is over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from sam_audio.app import mixer, project, views
from sam_audio.app.controller import Editor, Settings, Shared, example_key, options_of_model
from sam_audio.app.media import EXCERPT_S, picture_at
from sam_audio.app.project import Ask
from sam_audio.app.server import SETTINGS
from sam_audio.app.views import plain
from sam_audio.app.work import CANCELLED, DONE, FAILED, WAITING, Task
from sam_audio.errors import UserError
from sam_audio.export.workstation import session_exporters
from sam_audio.naming import RESIDUAL, slug
from sam_audio.options import OptionField

SHORT_S = 0.7  # work that is this quick is waited for, without a progress bar that flickers
MIXER = "mixer"


@st.cache_resource(show_spinner=False, on_release=Shared.close)
def shared() -> Shared:
    """One for the server."""
    return Shared(Settings(**json.loads(os.environ.get(SETTINGS, "{}"))))


def visitor() -> Editor:
    """One for each visitor. It outlives a lost connection: Streamlit keeps a session as long as cli/editor.py says."""
    from streamlit.runtime import get_instance
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    state, context = st.session_state, get_script_run_ctx()
    assert context is not None
    if "editor" not in state or state.editor.closed:
        state.editor = Editor(shared(), partial(get_instance().is_active_session, context.session_id))
    return state.editor


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
    if editor.project.media is None:
        _welcome(editor)
    else:
        _header(editor)
        _problems()
        _asking(editor)
        _listening(editor)
        _separation(editor)
        _mixer(editor)
        _tuning(editor)
        _export(editor)
        _spectrogram(editor)


# ---- loading -------------------------------------------------------------------------------------------


def _finish_loading(editor: Editor) -> None:
    state = st.session_state
    task = state.get("loading")
    if task is None:
        return
    task.wait(SHORT_S)
    if not task.over:
        watch([(task, "Looking at the recording")])
        return
    state.loading = None
    if task.state == DONE:
        state.notice = editor.loaded(task)
        state.selection = state.mark = state.prepared = None
        state.turn += 1
    else:
        state.problem = task.problem or "the recording was not opened"


def _welcome(editor: Editor) -> None:
    st.title("Pull any sound out of a recording")
    st.markdown(
        "Load a recording or a video, say what you want to hear, and get it as a track of its own, "
        "beside everything else."
    )
    _problems()
    _sources(editor)


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


def _problems() -> None:
    """What was wrong with the visitor's last action: the page may run many times before their next one."""
    problem = st.session_state.get("problem")
    if problem:
        st.error(_sentence(problem), icon=":material/error:")


def _sentence(text: str) -> str:
    """A problem or a notice, to be shown; it may hold names of files and other words of visitors."""
    if "." not in text.split(" ", 1)[0]:  # else it begins with the name of a file
        text = text[:1].upper() + text[1:]
    return plain(text + ("" if text.endswith((".", "!", "?")) else "."))


def tried(action: Callable[..., Any], *values: Any) -> bool:
    """Takes an action; a problem with it is shown until the next one."""
    st.session_state.problem = None
    try:
        action(*values)
    except UserError as error:
        st.session_state.problem = str(error)
        return False
    return True


def act(action: Callable[..., Any], *values: Any) -> None:
    """What a button does: `tried`."""
    tried(action, *values)


# ---- header --------------------------------------------------------------------------------------------


def _header(editor: Editor) -> None:
    found = editor.project.media
    assert found is not None
    title, buttons = st.columns(2, vertical_alignment="center")
    title.header(plain(editor.name or found.name), anchor=False)
    title.caption(views.about(found))
    with buttons.container(horizontal=True, horizontal_alignment="right"):
        past, future = editor.history.past, editor.history.future
        st.button(
            "Undo", icon=":material/undo:", disabled=not past, key="undo", on_click=_step, args=(editor.undo,)
        )
        st.button(
            "Redo",
            icon=":material/redo:",
            disabled=not future,
            key="redo",
            on_click=_step,
            args=(editor.redo,),
        )
        with st.popover("Save", icon=":material/save:"):
            _saving(editor)
        with st.popover("Open", icon=":material/folder_open:"):
            _sources(editor)
    for warning in (*found.warnings, *(editor.stems.warnings if editor.stems is not None else ())):
        st.warning(_sentence(warning), icon=":material/warning:")
    if st.session_state.get("notice"):
        st.toast(_sentence(st.session_state.pop("notice")))


def _step(way: Callable[[], None]) -> None:
    tried(way)
    st.session_state.turn += 1


def _saving(editor: Editor) -> None:
    found = editor.project.media
    assert found is not None
    name = st.text_input("Name of the session", editor.name or Path(found.name).stem, key="session-name")
    if editor.shared.settings.sessions is not None:
        st.button("Save session", type="primary", key="save", on_click=_save, args=(editor, name))
    st.download_button(
        "Download session",
        lambda: editor.packed(name).read_bytes(),
        f"{slug(name or 'session')}.zip",
        "application/zip",
        on_click="ignore",
        key="download-session",
    )


def _save(editor: Editor, name: str) -> None:
    if tried(editor.save, name):
        st.session_state.notice = f"Saved as {slug(name)}"


# ---- asking --------------------------------------------------------------------------------------------


_WHERE = {"It sounds there": "spans", "It does not sound there": "not_spans", "Pay no attention to it": None}


def _asking(editor: Editor) -> None:
    state, turn = st.session_state, st.session_state.turn
    with st.form(f"ask-{turn}", border=True, enter_to_submit=True):
        field, button = st.columns([5, 1], vertical_alignment="bottom")
        field.text_input(
            "What do you want to hear?", placeholder="guitar, a dog barking, the voice…", key=f"text-{turn}"
        )
        button.form_submit_button(
            "Separate", type="primary", width="stretch", on_click=_ask, args=(editor, turn)
        )
        if state.selection is not None:
            low, high = state.selection
            label = f"The selected stretch, {views.clock(low)} – {views.clock(high)}"
            st.radio(label, list(_WHERE), horizontal=True, key=f"where-{turn}")
        if state.get("mark"):
            st.caption(f"Marked in the picture: {plain(state.mark['value'])}")
        if state.get("example"):
            st.caption(f"An example is given: {plain(state.example[1])}")
    _more_clues(editor)


def _ask(editor: Editor, turn: int) -> None:
    """Asks for what the form says."""
    state = st.session_state
    clues: list[tuple[str, Any]] = []
    where = _WHERE.get(state.get(f"where-{turn}", ""))
    if state.selection is not None and where is not None:
        low, high = state.selection
        clues.append((where, (f"{low:g}-{high:g}",)))
    if state.get("mark"):
        clues.append((state.mark["key"], state.mark["value"]))
    if state.get("example"):
        clues += state.example[0].clues
    if tried(editor.do, project.ask_for, Ask(state[f"text-{turn}"], tuple(sorted(clues)))):
        state.selection = state.mark = state.example = None
        state.turn += 1


def _more_clues(editor: Editor) -> None:
    """Clues beside words, each in a place of its own."""
    state, turn = st.session_state, st.session_state.turn
    found = editor.project.media
    assert found is not None
    if found.picture is not None:
        with st.expander("Point at it in the picture", icon=":material/ads_click:", expanded=True):
            _pointing(editor)
    clue = example_key()
    if clue is None:
        return
    with st.expander("Give an example of the sound", icon=":material/library_music:"):
        sent = st.file_uploader("A short recording of a sound like it", key=f"example-{turn}")
        if sent is not None and (state.get("example") or (None, None))[1] != sent.name:

            def keep() -> None:
                state.example = editor.keep_example(clue, sent, sent.name), sent.name

            if not tried(keep):
                state.turn += 1
            st.rerun()


def _pointing(editor: Editor) -> None:
    from streamlit_image_coordinates import streamlit_image_coordinates

    state, turn = st.session_state, st.session_state.turn
    found = editor.project.media
    assert found is not None and found.picture is not None
    options = st.container(horizontal=True, vertical_alignment="bottom")
    last = max(0.1, round(found.seconds - 0.1, 1))
    time_s = options.slider("Picture at (s)", 0.0, last, 0.0, 0.1, key=f"picture-at-{turn}")
    how = options.radio("Mark it with", ["a click", "a box"], horizontal=True, key=f"how-{turn}")
    width, height = found.picture
    try:
        picture = _picture(str(found.path), found.sha256, time_s)
    except UserError as error:
        st.warning(_sentence(str(error)))
        return
    value = streamlit_image_coordinates(
        views.marked(picture, state.get("mark")),
        key=f"picture-{turn}",
        width=min(width, 640) if width >= 320 else 320,
        click_and_drag=how == "a box",
        cursor="crosshair",
        image_format="JPEG",
        jpeg_quality=85,
    )
    if value and value.get("unix_time") != state.get("marked_at"):
        state.marked_at = value["unix_time"]
        state.mark = views.mark_of(value, found.picture, time_s)
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="bottom"):  # for those who use the keyboard
        x = st.number_input("x (pixels)", 0, width - 1, width // 2, key=f"x-{turn}")
        y = st.number_input("y (pixels)", 0, height - 1, height // 2, key=f"y-{turn}")
        point = views.marking((int(x), int(y)), time_s)
        st.button("Mark this point", key=f"mark-{turn}", on_click=_mark, args=(point,))
        if state.get("mark"):
            st.button("Forget the mark", key=f"forget-{turn}", on_click=_mark, args=(None,))


def _mark(mark: dict[str, Any] | None) -> None:
    st.session_state.mark = mark


@st.cache_data(max_entries=32, show_spinner=False, scope="session")
def _picture(path: str, sha256: str, time_s: float) -> Any:
    return picture_at(Path(path), time_s)


def _listening(editor: Editor) -> None:
    task = editor.listening()
    if task is None or task.state in (FAILED, CANCELLED):
        if task is not None and task.problem:
            st.error(_sentence(task.problem))
        st.button(
            "What is in here?",
            icon=":material/hearing:",
            key="listen",
            on_click=act,
            args=(editor.listening, True),
        )
        return
    task.wait(SHORT_S)
    if not task.over:
        watch([(task, "Listening for what is in here")], cancel="Stop listening")
        return
    found = editor.project.media
    assert found is not None
    with st.expander("What is in here", expanded=not editor.project.asks, icon=":material/hearing:"):
        if not task.result:
            st.markdown("Nothing that has a name here stands out. Ask for it in your own words.")
        taken = {ask.text for ask in editor.project.asks}
        for heard in task.result or []:
            left, right = st.columns([2, 5], vertical_alignment="center")
            left.button(
                heard.name,
                key=f"heard-{heard.name}",
                icon=":material/add:",
                width="stretch",
                disabled=heard.name in taken,
                help=f"Separate it. The model is {100 * heard.score:.0f} % sure.",
                on_click=act,
                args=(editor.do, project.ask_for, Ask(heard.name)),
            )
            right.html(views.lane(heard, found.seconds))


# ---- separating ----------------------------------------------------------------------------------------


def _separation(editor: Editor) -> None:
    task = editor.separation()
    if task is None:
        return
    task.wait(SHORT_S)
    if task.state == DONE:
        return
    if not task.over:
        before = editor.position(task) if task.state == WAITING else 0
        watch([(task, "Separating" if not before else f"Waiting for {before} others")], cancel="Cancel")
        return
    if task.state == FAILED:
        st.error(_sentence(task.problem), icon=":material/error:")
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


def watch(work: list[tuple[Task[Any], str]], cancel: str = "") -> None:
    """Shows how far work is; runs the page again when it is over. The more visitors wait, the less often each looks."""
    pace_s = min(0.4 + 0.3 * shared().separations.length, 3.0)
    st.fragment(_watch, run_every=pace_s)(work, cancel)


def _watch(work: list[tuple[Task[Any], str]], cancel: str) -> None:
    if all(task.over for task, _ in work):
        st.rerun()
    for task, label in work:
        waits = (
            "Waiting for its turn"
            if task.state == WAITING
            else label
            if task.share
            else f"{label}: getting ready"
        )
        left, right = st.columns([5, 1], vertical_alignment="center") if cancel else (st.container(), None)
        left.progress(task.share, f"{waits} · {100 * task.share:.0f} %")
        if right is not None:
            right.button(cancel, width="stretch", key=f"cancel-{label}", on_click=task.cancel)


# ---- the mixer -----------------------------------------------------------------------------------------


def _mixer(editor: Editor) -> None:
    state = st.session_state
    found = editor.project.media
    assert found is not None
    start_s = 0.0
    if found.seconds > EXCERPT_S:
        start_s = st.slider(
            f"Stretch in the mixer ({EXCERPT_S:g} s of {views.clock(found.seconds)}), from second",
            0.0,
            max(found.seconds - EXCERPT_S / 2, 1.0),
            0.0,
            15.0,
            key="stretch",
        )
    tasks = editor.excerpts(start_s)
    for task in tasks.values():
        task.wait(SHORT_S)
    waiting = [(task, "Preparing the sound") for task in tasks.values() if not task.over]
    if waiting:
        watch(waiting[:1])
    excerpts = {name: task.result for name, task in tasks.items()}
    first = next(iter(excerpts.values()))
    data = {
        "tracks": views.tracks(editor.project, editor.stems, excerpts, _url),
        "token": f"{found.sha256}:{start_s}",
        "start_s": start_s,
        "duration_s": first.duration_s if first is not None else min(EXCERPT_S, found.seconds - start_s),
        "total_s": found.seconds,
        "can_pan": found.channels <= 2,
        "seq": state.seq,
        "selection": state.selection,
    }
    mixer.component()(
        key=MIXER,
        data=data,
        on_state_change=lambda: _heard_of_mixer(editor),
        on_remove_change=lambda: _remove_track(editor),
    )


def _heard_of_mixer(editor: Editor) -> None:
    state = st.session_state
    found = editor.project.media
    said = found and views.said_by_mixer((state.get(MIXER) or {}).get("state"), found)
    if not said:
        return
    state.seq = max(state.seq, said.seq)
    state.selection = said.selection
    if editor.stems is not None:
        editor.do(project.set_faders, said.faders)  # no action: the mixer also reports by itself


def _remove_track(editor: Editor) -> None:
    name = (st.session_state.get(MIXER) or {}).get("remove")
    if name in editor.project.names:
        tried(editor.do, project.drop, editor.project.names.index(name))


def _url(path: Path, track: str) -> str:
    """Where the browser finds an excerpt; the address holds a hash of its content, which others cannot guess."""
    from streamlit.runtime import get_instance

    return get_instance().media_file_mgr.add(str(path), "audio/ogg", f"excerpt-{track}")


def _tuning(editor: Editor) -> None:
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


# ---- export --------------------------------------------------------------------------------------------


def _export(editor: Editor) -> None:
    state, stems = st.session_state, editor.stems
    if stems is None:
        return
    with st.expander("Export", icon=":material/download:", expanded=True):
        what = st.radio(
            "What",
            ["The mix as it is heard", "Stems", "A session for a workstation"],
            horizontal=True,
            key="what",
        )
        chosen: list[str] = []
        format, depth = "wav", None
        if what == "A session for a workstation":
            names = {exporter.title: name for name, exporter in session_exporters().items()}
            kind = names[st.selectbox("Workstation", list(names), key="workstation")]
        else:
            if what == "Stems":
                chosen = st.multiselect(
                    "Which",
                    list(stems.files),
                    list(stems.files),
                    format_func=lambda name: "everything else" if name == RESIDUAL else name,
                    key=f"which-{editor.project.key}",
                )
            kind = "mix" if what.startswith("The mix") else "stems"
            left, right = st.columns(2)
            format = views.FORMATS[left.selectbox("Format", list(views.FORMATS), key="format")]
            if format in ("wav", "flac"):
                depths = [name for name in views.DEPTHS if format == "wav" or "float" not in name]
                depth = views.DEPTHS[right.selectbox("Samples", depths, key=f"depth-{format}")]
        wanted = (editor.project, kind, tuple(chosen), format, depth)
        st.button("Prepare the download", key="export", on_click=_prepare, args=(editor, wanted))
        prepared, task = state.get("prepared") or (None, None)
        if task is None or prepared != wanted:
            return
        task.wait(SHORT_S)
        if not task.over:
            watch([(task, "Writing files")])
        elif task.state == DONE:
            size = task.result.stat().st_size / 1e6
            st.download_button(
                f"Download {plain(task.result.name)} ({size:.1f} MB)",
                task.result.read_bytes(),
                task.result.name,
                views.mime(task.result),
                type="primary",
                on_click="ignore",
                key="download",
            )
        else:
            st.error(_sentence(task.problem), icon=":material/error:")


def _prepare(editor: Editor, wanted: tuple[Any, ...]) -> None:
    _, kind, chosen, format, depth = wanted
    st.session_state.problem = None
    st.session_state.prepared = (wanted, editor.export(kind, list(chosen), format, depth))


def _spectrogram(editor: Editor) -> None:
    overview = editor.overview
    if overview is None:
        return
    with st.expander("Spectrogram of the whole recording", icon=":material/equalizer:"):
        st.plotly_chart(
            views.spectrogram(overview, st.session_state.selection),
            config={"displaylogo": False},
            key="spectrogram",
        )


_STYLE = """<style>
.block-container { padding-top: 2rem; padding-bottom: 3rem; max-width: 1280px; }
h1 { font-size: 2rem !important; } h2 { font-size: 1.5rem !important; overflow-wrap: anywhere; }
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] *,
[data-testid="stFileUploaderDropzoneInstructions"] * { color: #4a5361 !important; opacity: 1 !important; }
input::placeholder { color: #5f6875 !important; opacity: 1 !important; }
[data-testid="stMarkdownContainer"] code { /* words of visitors, see views.plain */
  all: unset; overflow-wrap: anywhere; }
.lane { margin-top: 7px; }
@media (max-width: 640px) { .lane { margin-top: -10px; } .block-container { padding-left: 1rem; padding-right: 1rem; } }
</style>"""


if __name__ == "__main__":
    main()
