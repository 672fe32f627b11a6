"""The mixer as a component: sends tracks, hears of faders, the selection, and tracks to remove."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any


def component() -> Callable[..., Any]:
    """Registers the component with the running server; ask once for each run of the page."""
    import streamlit as st

    here = resources.files(__name__)
    return st.components.v2.component(
        "sam_audio.mixer",
        html='<div id="mixer"></div>',
        js=here.joinpath("mixer.js").read_text(encoding="utf-8"),
        css=here.joinpath("mixer.css").read_text(encoding="utf-8"),
    )
