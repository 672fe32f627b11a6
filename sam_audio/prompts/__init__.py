"""What is asked for: texts, and clues of every kind that the package and its plugins know.

    texts and options -> Prompt -> resolve() -> Request -> Prompted.encode() -> Condition

A prompt makes one stem. It is a text, or clues (spans, a region, an example...), or both together; clues of
the whole call belong to every prompt that does not bring its own of that kind.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio.errors import PromptError
from sam_audio.naming import check_prompts

if TYPE_CHECKING:
    from sam_audio.extending.hookspecs import PromptType
    from sam_audio.extending.registry import Registry

__all__ = ["Prompt", "Request", "existing_file", "resolve"]


class Prompt:
    """One sound to ask for.

    Args:
        text: in words, or None.
        name: of its stem; by default its text, or the kinds of its clues.
        clues: by the keys of the options that `separate --help-all` shows, for example ``spans``, ``not_spans`` or
            what a plugin adds.

    >>> Prompt("dog barking", spans=["3.2-5.0"])
    Prompt('dog barking', spans=['3.2-5.0'])
    """

    __slots__ = ("text", "name", "clues")

    def __init__(self, text: str | None = None, *, name: str | None = None, **clues: Any) -> None:
        self.text, self.name, self.clues = text, name, clues

    @classmethod
    def of(cls, text: str) -> Prompt:
        """A text that may end in spans of its own: where the sound is, and after ``!`` where it is not.

        >>> Prompt.of("dog barking@3.2-5,!7-9")
        Prompt('dog barking', spans=['3.2-5'], not_spans=['7-9'])
        >>> Prompt.of("music @home")
        Prompt('music @home')
        """
        match = re.fullmatch(r"(.*?)\s*@\s*(!?\s*\d.*)", text, re.DOTALL)
        if match is None:
            return cls(text)
        spans = [span.strip() for span in match[2].split(",")]
        clues: dict[str, Any] = {
            "spans": [span for span in spans if not span.startswith("!")],
            "not_spans": [span[1:].strip() for span in spans if span.startswith("!")],
        }
        return cls(match[1] or None, **{key: those for key, those in clues.items() if those})

    def __repr__(self) -> str:
        parts = [] if self.text is None else [repr(self.text)]
        parts += [] if self.name is None else [f"name={self.name!r}"]
        return f"Prompt({', '.join([*parts, *(f'{key}={value!r}' for key, value in self.clues.items())])})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prompt):
            return NotImplemented
        return (self.text, self.name, self.clues) == (other.text, other.name, other.clues)


@dataclass(frozen=True)
class Request:
    """A prompt that has been understood: what its stem is called, its text, and each clue with its type."""

    name: str
    text: str | None
    clues: tuple[tuple[PromptType, Any], ...] = ()


def resolve(
    prompts: str | Prompt | Iterable[str | Prompt],
    clues: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
) -> list[Request]:
    """Understands prompts without loading any model.

    Args:
        prompts: texts (with spans after an @, see `Prompt.of`) and prompts; if there are none, ``clues`` are one.
        clues: for every prompt that does not bring its own of that key.
        registry: of the prompt types; that of the process by default.

    Raises:
        PromptError: one of them cannot be understood.
    """
    asked = [prompts] if isinstance(prompts, (str, Prompt)) else list(prompts)
    shared = {key: value for key, value in (clues or {}).items() if _given(value)}
    if not asked and shared:
        asked = [Prompt()]
    requests = []
    for one in asked:
        if isinstance(one, str) and "@" in one:
            one = Prompt.of(one)
        elif not isinstance(one, Prompt):
            one = Prompt(check_prompts([one])[0])
        requests.append(_understand(one, shared, registry))
    if not requests:
        check_prompts([])
    return requests


def existing_file(value: Any, what: str, hint: str) -> Path:
    """The path that is the value of an option, which may come from anywhere: a command line, a job file, Python.

    Raises:
        PromptError: it is none, or there is no such file; ``what`` it should be and what to do, ``hint``, are said.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise PromptError(f"{what} {value!r} is no path: {hint}")
    if not os.path.isfile(value):  # False, too, for names that no disk can hold
        raise PromptError(f"{what} {_shortened(str(value))} is not a file: {hint}")
    return Path(value)


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:100]}...{text[-50:]}"


def asked_twice(requests: Iterable[Request]) -> list[str]:
    """Texts that are asked for more than once, with nothing else to tell them apart."""
    counts = Counter(one.text.casefold() for one in requests if one.text is not None and not one.clues)
    return [text for text, count in counts.items() if count > 1]


def _given(value: Any) -> bool:
    return value is not None and not (isinstance(value, (list, tuple, str)) and not len(value))


def _understand(prompt: Prompt, shared: Mapping[str, Any], registry: Registry | None) -> Request:
    own = {key: value for key, value in prompt.clues.items() if _given(value)}
    values = {**shared, **own}
    understood = _parse(values, registry) if values else []
    if prompt.text is not None:
        text = check_prompts([prompt.text])[0]
        return Request(prompt.name or text, text, tuple(understood))
    if not understood:
        check_prompts([])
    name = prompt.name or " ".join(kind.name for kind, _ in understood)
    return Request(name, None, tuple(understood))


def _parse(values: Mapping[str, Any], registry: Registry | None) -> list[tuple[PromptType, Any]]:
    if registry is None:
        from sam_audio.extending.registry import registry as found

        registry = found()
    kinds = registry.all("prompt_types")
    keys = [option.key for kind in kinds for option in kind.options]
    unknown = [key for key in values if key not in keys]
    if unknown:
        raise PromptError(f"a prompt has no {unknown[0]!r}: it can have {', '.join(keys)}")
    understood = []
    for kind in kinds:
        own = {}
        for option in kind.options:
            if option.key in values:
                value = values[option.key]
                if option.many and not isinstance(value, list):
                    value = [value]
                own[option.key] = value
        if own:
            understood.append((kind, kind.parse(own)))
    return understood
