"""The parity kit: tiny random checkpoints in the official formats, and the numbers the published code gives for them.

The kit is not part of this repository. Tests look for it in the folder that the environment variable
SAM_AUDIO_PARITY names, else in ``../shared/parity`` beside the repository, and are skipped where there is none.
"""

from __future__ import annotations

import json
import os
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import numpy as np
import pytest

_VARIABLE = "SAM_AUDIO_PARITY"
_CODEC_FILES = ("ref/sam-audio-tiny/codec.npz",)


def parity_dir() -> Path:
    """The kit's folder; skips the test, or the module, that asks for it in vain."""
    folder = Path(os.environ.get(_VARIABLE) or Path(__file__).parents[2] / "shared" / "parity")
    if not (folder / "tolerances.json").is_file():
        pytest.skip(f"no parity kit in {folder}: set {_VARIABLE} to its folder", allow_module_level=True)
    return folder


@cache
def reference(name: str) -> dict[str, np.ndarray]:
    """Stored arrays by name, e.g. of ``"pe-av-tiny/outputs"``."""
    with np.load(parity_dir() / "ref" / f"{name}.npz") as stored:
        return {key: stored[key] for key in stored.files}


def limit(file: str, array: str) -> float:
    """The largest difference allowed for an array of a reference file; 0 where it has to be equal.

    Args:
        file: as for `reference`.
        array: name of the array.
    """
    path = f"ref/{file}.npz"
    rules = json.loads((parity_dir() / "tolerances.json").read_text()).get(path, {})
    if any(fnmatch(array, pattern) for pattern in rules.get("exact", [])):
        return 0.0
    named = [key for key in rules if key != "exact" and not key.startswith("_") and fnmatch(array, key)]
    if named:
        return rules[max(named, key=len)]  # the most specific one
    return 2e-4 if path in _CODEC_FILES else 1e-4


def difference(file: str, array: str, mine: object) -> float:
    """max |mine - stored|, after checking that the shapes agree."""
    stored = reference(file)[array]
    mine = np.asarray(mine)
    assert mine.shape == stored.shape, f"{array} has shape {mine.shape} instead of {stored.shape}"
    if stored.size == 0:
        return 0.0
    if stored.dtype.kind in "biu":
        return float((mine != stored).max())
    return float(np.abs(mine.astype(np.float64) - stored).max())


def check(file: str, array: str, mine: object) -> None:
    """Asserts that an array is the stored one, within its limit."""
    allowed = limit(file, array) if reference(file)[array].dtype.kind == "f" else 0.0
    off = difference(file, array, mine)
    assert off <= allowed, f"{array} of {file} is off by {off:.2g}, allowed {allowed:.2g}"
