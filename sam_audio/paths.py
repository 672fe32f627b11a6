"""Where the package keeps what can be had again: downloads, training data, training state."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """``$SAM_AUDIO_CACHE``, else ``sam-audio`` in ``$XDG_CACHE_HOME`` or ``~/.cache``; not created here."""
    if own := os.environ.get("SAM_AUDIO_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sam-audio"
