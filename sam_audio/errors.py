"""The exceptions this package raises on purpose.

    SamAudioError            anything below
    +- UserError             the caller can fix it; the message is one sentence: the problem, then the fix
       +- AudioReadError     an input that cannot be read or separated
       +- AudioWriteError    an output that cannot be written
       |  +- OutputExistsError
       +- PromptError        a prompt that cannot be understood or resolved
       +- ModelError         a model that cannot be found or loaded
       +- MissingExtraError  an optional dependency that is not installed

The command line prints the message of a `UserError` and exits with code 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "AudioReadError",
    "AudioWriteError",
    "MissingExtraError",
    "ModelError",
    "OutputExistsError",
    "PromptError",
    "SamAudioError",
    "UserError",
    "as_model_error",
    "needing_extras",
]


class SamAudioError(Exception):
    """Root of every exception this package raises on purpose."""


class UserError(SamAudioError):
    """Something the user can fix; `str(error)` is one sentence naming the problem and the fix."""


class AudioReadError(UserError):
    """An input that is missing, unreadable, empty, damaged or not separable."""


class AudioWriteError(UserError):
    """An output that its format, folder or disk cannot take."""


class OutputExistsError(AudioWriteError):
    """An output file that already exists, while overwriting was not asked for."""


class PromptError(UserError):
    """A prompt that cannot be understood or resolved."""


class ModelError(UserError):
    """A model that cannot be found or loaded."""


class MissingExtraError(UserError):
    """An optional dependency that is not installed.

    Args:
        need: what was attempted and what it lacks, e.g. "the editor needs streamlit, which is not installed".
        extra: name of the extra that brings it, e.g. "app".
        alternative: another way to get it, e.g. "install ffmpeg".

    >>> str(MissingExtraError("the editor needs streamlit", "app"))
    'the editor needs streamlit: run pip install "separate-by-prompt[app]"'
    """

    def __init__(self, need: str, extra: str, alternative: str = "") -> None:
        instead = f"{alternative}, or " if alternative else ""
        super().__init__(f'{need}: {instead}run pip install "separate-by-prompt[{extra}]"')
        self.extra = extra


# the extra that brings a module which the base installation does without
_EXTRAS = {
    "torch": "torch",
    "scipy": "eval",
    "tokenizers": "official",
    "transformers": "official",
    "onnx": "train",
    "onnxscript": "train",
}


@contextmanager
def needing_extras(what: str) -> Iterator[None]:
    """Turns the lack of a module that an extra brings into a sentence that names the extra.

    Args:
        what: that needs it, e.g. "training".

    Raises:
        MissingExtraError: in place of ModuleNotFoundError, for the modules of this table.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in _EXTRAS:
            raise
        raise MissingExtraError(f"{what} needs {module}, which is not installed", _EXTRAS[module]) from None


@contextmanager
def as_model_error() -> Iterator[None]:
    """Turns what peav says about a checkpoint into this package's error.

    Raises:
        ModelError: in place of `peav.checkpoints.CheckpointError`.
    """
    from peav.checkpoints import CheckpointError

    try:
        yield
    except CheckpointError as error:
        raise ModelError(str(error).rstrip(".")) from None
