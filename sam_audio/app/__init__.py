"""The editor in the browser.

    server (its door) -> page (streamlit) -> controller (one per visitor) -> project (immutable state, undo)
                                                                          -> work (queue, progress, cancel) -> Separator

Nothing but `server`, `page` and its components imports streamlit.
"""
