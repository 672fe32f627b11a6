"""The mixer as a component: sends tracks, hears of faders, the selection, marks, and tracks to remove."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any

PARTS = ("base.js", "pieces.js", "player.js", "paint.js", "track.js", "picture.js", "mixer.js")


def component() -> Callable[..., Any]:
    """Registers the component with the running server; ask once for each run of the page."""
    import streamlit as st

    here = resources.files(__name__)
    return st.components.v2.component(
        "sam_audio.mixer",
        html='<div id="mixer"></div>',
        js="\n".join(here.joinpath(part).read_text(encoding="utf-8") for part in PARTS),
        css=here.joinpath("mixer.css").read_text(encoding="utf-8"),
    )
