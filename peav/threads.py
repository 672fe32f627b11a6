"""How many threads the networks may use, whichever library computes them."""

from __future__ import annotations

import os
import sys

_wanted: int | None = None


def use(n: int) -> None:
    """From now on networks use ``n`` threads: those of torch at once, graphs when they are loaded next."""
    global _wanted
    _wanted = n
    tell_torch()


def tell_torch() -> None:
    """Passes on what was asked for, if torch is there by now."""
    if _wanted is not None and "torch" in sys.modules:
        import torch

        torch.set_num_threads(_wanted)


def number() -> int:
    """How many there are to be: what was asked for, or as many as there are processors for this process."""
    if _wanted is not None:
        return _wanted
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
