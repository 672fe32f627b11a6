"""Makes the folder of a new plugin; every file works, and is there to be changed."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from sam_audio.errors import AudioWriteError, OutputExistsError, PromptError

_PYPROJECT = """\
[build-system]
requires = ["uv_build>=0.8,<1"]
build-backend = "uv_build"

[project]
name = "sam-audio-{name}"
version = "0.1.0"
description = "A prompt type for sam-audio: --{name}."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["separate-by-prompt"]

[project.entry-points.sam_audio]
{name} = "sam_audio_{module}"

[tool.uv.build-backend]
module-root = ""
"""

_README = """\
# sam-audio-{name}

Adds `--{name} LOW-HIGH` to `separate`: what lies between two frequencies.

    pip install -e .
    separate mix.wav --{name} 200-4000
    python -m pytest
"""

_MODULE = '''\
"""``--{name} LOW-HIGH``: what lies between two frequencies. Make it your own: docs/plugins.md of sam-audio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sam_audio.errors import PromptError
from sam_audio.extending.hookspecs import Option, PromptType, hookimpl

if TYPE_CHECKING:  # this module is imported for `separate --help`: heavy imports belong into functions
    import numpy as np
    from numpy.typing import NDArray

    from sam_audio.conditioning.source import Recording
    from sam_audio.types import Condition, Grid, Samples


@dataclass(frozen=True)
class Range:
    """Lets through what lies from ``low_hz`` to ``high_hz``."""

    low_hz: float
    high_hz: float

    def gains(self, spectrum: NDArray[np.complex64], grid: Grid) -> Samples:
        """How much of every bin may belong to the sound; shape (channels, F, T) -> (1, F, T) in 0..1."""
        import numpy as np

        inside = (grid.frequencies_hz >= self.low_hz) & (grid.frequencies_hz <= self.high_hz)
        return np.repeat(inside[None, :, None], grid.n_frames, axis=2).astype(np.float32)


class {cls}:
    name = "{name}"
    options = (Option("--{name}", "LOW-HIGH", "Only what lies between two frequencies in Hz."),)

    def parse(self, values: Mapping[str, Any]) -> Range:
        """Understands what was given, before any model is loaded."""
        text = str(values["{module}"])
        try:
            low_hz, high_hz = map(float, text.split("-"))
        except ValueError:
            raise PromptError(f"{{text!r}} is no range: write two frequencies in Hz, like 200-4000") from None
        if not low_hz < high_hz:
            raise PromptError(f"{{text!r}} is empty: write the lower frequency first")
        return Range(low_hz, high_hz)

    def encode(self, value: Range, condition: Condition, recording: Recording) -> Condition:
        """Adds what this prompt knows: here a mask; `condition.towards(vector)` and anchors work alike."""
        return replace(condition, masks=(*condition.masks, value))


@hookimpl
def prompt_types() -> list[PromptType]:
    return [{cls}()]
'''

_TEST = """\
import numpy as np
import pytest
from sam_audio_{module} import {cls}, prompt_types

from sam_audio.errors import PromptError
from sam_audio.types import Condition, Grid


def test_it_is_provided():
    (kind,) = prompt_types()
    assert (kind.name, [option.flag for option in kind.options]) == ("{name}", ["--{name}"])


def test_what_lies_in_the_range_is_let_through():
    kind = {cls}()
    condition = kind.encode(kind.parse({{"{module}": "1000-2000"}}), Condition("x", None), None)
    grid = Grid(sample_rate=48_000, hop_length=960, n_bins=1025, first_frame=0, n_frames=3)
    (mask,) = condition.masks
    gains = mask.gains(np.ones((2, 1025, 3), np.complex64), grid)
    assert gains.shape == (1, 1025, 3)
    wanted = (grid.frequencies_hz >= 1000) & (grid.frequencies_hz <= 2000)
    np.testing.assert_array_equal(gains[0, :, 0], wanted)


@pytest.mark.parametrize("text", ["loud", "2000-1000", "5"])
def test_what_is_no_range_is_one_sentence(text):
    with pytest.raises(PromptError, match="Hz|lower"):
        {cls}().parse({{"{module}": text}})
"""


def new_plugin(name: str, folder: Path) -> list[Path]:
    """Writes the files of a distribution ``sam-audio-NAME`` into a folder of that name.

    Raises:
        PromptError: the name cannot be that of an option.
        OutputExistsError: the folder is there already.
        AudioWriteError: it cannot be written.
    """
    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(module):
        raise PromptError(
            f"{name!r} cannot be the name of a plugin: use lower-case letters and hyphens, like my-prompt"
        )
    root = folder / f"sam-audio-{name}"
    if root.exists():
        raise OutputExistsError(f"{root} already exists: choose another name or folder")
    words = {"name": name, "module": module, "cls": "".join(part.title() for part in name.split("-"))}
    files = {
        root / "pyproject.toml": _PYPROJECT,
        root / "README.md": _README,
        root / f"sam_audio_{module}" / "__init__.py": _MODULE,
        root / "tests" / f"test_{module}.py": _TEST,
    }
    for path, template in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(template.format(**words), encoding="utf-8")
        except OSError as error:
            raise AudioWriteError(
                f"{path} cannot be written ({error.strerror}): choose another folder"
            ) from None
    return list(files)
