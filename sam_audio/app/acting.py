"""What all parts of the page use: the visitor's editor, actions whose problems are shown, and a look at long work."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import streamlit as st

from sam_audio.app import views
from sam_audio.app.controller import Editor, Settings, Shared
from sam_audio.app.server import SETTINGS
from sam_audio.app.work import WAITING, Task
from sam_audio.errors import UserError

SHORT_S = 0.4  # work that is this quick is waited for, without a progress bar that flickers


@st.cache_resource(show_spinner=False, on_release=Shared.close)
def shared() -> Shared:
    """One for the server."""
    return Shared(Settings(**json.loads(os.environ.get(SETTINGS, "{}"))))


def visitor() -> Editor:
    """One for each visitor. It outlives a lost connection: Streamlit keeps a session as long as server.py says."""
    from streamlit.runtime import get_instance
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    state, context = st.session_state, get_script_run_ctx()
    assert context is not None
    if "editor" not in state or state.editor.closed:
        state.editor = Editor(shared(), partial(get_instance().is_active_session, context.session_id))
    return state.editor


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


def problems() -> None:
    """What was wrong with the visitor's last action: the page may run many times before their next one."""
    problem = st.session_state.get("problem")
    if problem:
        st.error(sentence(problem), icon=":material/error:")


def sentence(text: str) -> str:
    """A problem or a notice, to be shown; it may hold names of files and other words of visitors."""
    if "." not in text.split(" ", 1)[0]:  # else it begins with the name of a file
        text = text[:1].upper() + text[1:]
    return views.plain(text + ("" if text.endswith((".", "!", "?")) else "."))


def watch(
    task: Task[Any], label: str, cancel: str = "", before: Callable[[Task[Any]], int] | None = None
) -> None:
    """Shows how far work is; runs the page again when it is over. The more visitors wait, the less often each looks.

    Args:
        label: what it does, if it does not say so itself (`Task.stage`).
        cancel: what the button says that ends it; no button if empty.
        before: how many tasks come before one that waits.
    """
    pace_s = min(0.4 + 0.3 * shared().separations.length, 3.0)
    st.fragment(_watch, run_every=pace_s)(task, label, cancel, before)


def _watch(task: Task[Any], label: str, cancel: str, before: Callable[[Task[Any]], int] | None) -> None:
    if task.over:
        st.rerun()
    says = f"{task.stage or label} · {100 * task.share:.0f} %"
    if task.state == WAITING:
        ahead = before(task) if before is not None else 0
        says = f"Waiting: {ahead} before you in the queue" if ahead else "Waiting for its turn"
    elif task.stage and not task.share:
        says = f"{task.stage}…"
    left, right = st.columns([5, 1], vertical_alignment="center") if cancel else (st.container(), None)
    left.progress(task.share, says)
    if right is not None:
        right.button(cancel, width="stretch", key=f"cancel-{label}", on_click=task.cancel)
