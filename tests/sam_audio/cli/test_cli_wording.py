"""Python's words become flags on the command line, and only there."""

import doctest

import pytest

import sam_audio
from sam_audio.cli import wording
from sam_audio.cli.wording import as_flags
from sam_audio.errors import OutputExistsError, UserError


def test_doctests():
    result = doctest.testmod(wording)
    assert result.attempted and not result.failed


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("use device='cpu'", "use --device cpu"),
        ("as sound_track=2", "as --track 2"),
        ("leave residual=None out", "leave --residual none out"),
        ("leave skip_existing=True out", "leave --skip-existing out"),
        ("a=1 and b='c'", "a=1 and b='c'"),
    ],
)
def test_options_become_flags(said, shown):
    assert as_flags(said) == shown


def test_python_is_told_in_python(tmp_path, separator):
    import numpy as np
    import soundfile

    soundfile.write(tmp_path / "mix.wav", np.zeros(8000), 16_000)
    options = sam_audio.RenderOptions(out=tmp_path / "out", judge=False)
    separator.render(tmp_path / "mix.wav", ["dog"], options)
    with pytest.raises(OutputExistsError, match="overwrite=True"):
        separator.render(tmp_path / "mix.wav", ["dog"], options)
    with pytest.raises(UserError, match="device='cpu'|not a device"):
        sam_audio.Separator(device="cuda:0" if not __import__("torch").cuda.is_available() else "nowhere")
