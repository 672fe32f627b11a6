"""The editor in the browser.

    page (streamlit) -> controller (one per visitor) -> project (immutable state, undo)
                                                     -> work (queue, progress, cancel) -> Separator

Nothing but `page` and its components imports streamlit.
"""
