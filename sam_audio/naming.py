"""Names of stems and files."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from pathlib import Path

from sam_audio.errors import PromptError, UserError

MAX_SLUG = 80  # characters; file systems allow 255 bytes for a name
FIELDS = ("track", "stem", "ext")
RESIDUAL = "residual"


def slug(text: str) -> str:
    """A prompt as a file name: lower case, everything that is no letter or digit becomes a hyphen.

    >>> slug("Dog barking, LOUD!")
    'dog-barking-loud'
    """
    words = re.sub(r"[^\w]+|_+", "-", text.lower()).strip("-")
    return words[:MAX_SLUG].rstrip("-") or "stem"


def distinct(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """The same names, a number after those that came before.

    >>> distinct(["guitar", "drums", "guitar"], taken=["drums"])
    ['guitar', 'drums-2', 'guitar-2']
    """
    used = set(taken)
    out = []
    for name in names:
        candidate, number = name, 2
        while candidate in used:
            candidate, number = f"{name}-{number}", number + 1
        used.add(candidate)
        out.append(candidate)
    return out


def check_prompts(prompts: Iterable[str]) -> list[str]:
    """Prompts without surrounding space.

    Raises:
        PromptError: there is none, or one is empty.
    """
    if isinstance(prompts, str):
        prompts = [prompts]
    cleaned = []
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise PromptError(f"a prompt is text such as 'guitar', not {type(prompt).__name__}")
        text = " ".join(prompt.split())
        if not text:
            raise PromptError("a prompt is empty: say what to separate, for example 'guitar'")
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise PromptError(f"the prompt {text!r} is no text: write it in UTF-8")
        cleaned.append(text)
    if not cleaned:
        raise PromptError("nothing is asked for: give at least one prompt, for example 'guitar'")
    return cleaned


def check_template(template: str) -> str:
    """A file name template with the fields track, stem and ext.

    Raises:
        UserError: it has other fields, or none that tells stems apart.
    """
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}
    except ValueError as error:
        raise _malformed(template, error) from None
    unknown = fields - set(FIELDS)
    if unknown:
        raise UserError(
            f"the file name template has the unknown field {{{min(unknown)}}}: use {{track}}, {{stem}} and {{ext}}"
        )
    if "stem" not in fields:
        raise UserError("the file name template needs {stem}, or all stems would have one name")
    try:
        template.format(track="track", stem="stem", ext="wav")
    except (ValueError, LookupError) as error:  # conversions and format specs
        raise _malformed(template, error) from None
    return template


def _malformed(template: str, error: Exception) -> UserError:
    return UserError(
        f"the file name template {template!r} is malformed ({error}): try {{track}}/{{stem}}.{{ext}}"
    )


def fill_template(template: str, folder: Path, track: str, stem: str, extension: str) -> Path:
    """The file a stem goes to. The extension comes without its dot."""
    return folder / template.format(track=track, stem=stem, ext=extension)
