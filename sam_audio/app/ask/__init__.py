"""The one place to ask, as a component: a field with suggestions, and what was heard as chips."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any


def component() -> Callable[..., Any]:
    """Registers the component with the running server; ask once for each run of the page."""
    import streamlit as st

    here = resources.files(__name__)
    return st.components.v2.component(
        "sam_audio.ask",
        html='<div id="ask"></div>',
        js=here.joinpath("ask.js").read_text(encoding="utf-8"),
        css=here.joinpath("ask.css").read_text(encoding="utf-8"),
    )
