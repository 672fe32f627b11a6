"""The editor in the browser.

    server (its door) -> page (streamlit) -> controller (one per visitor) -> project (immutable state, undo)
                                                                          -> work (queue, progress, cancel) -> Separator
                      -> pieces (what the mixer fetches)                  -> sounds (blocks, peaks, spectrograms)

Nothing but `server`, `page`, its parts (`acting`, `asking`, `separating`, `exporting`) and its components imports
streamlit.
"""
