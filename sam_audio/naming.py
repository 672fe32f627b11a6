"""Names of stems and files."""

from __future__ import annotations

import hashlib
import os
import re
import string
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from sam_audio.errors import PromptError, UserError

MAX_SLUG = 80  # bytes
MAX_NAME = 255  # bytes that file systems allow for one name
FIELDS = ("track", "stem", "ext")
RESIDUAL = "residual"
UNTITLED = "untitled"

_MAX_PAD = 255  # characters; a format spec may ask for terabytes of them
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}$")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[1-9¹²³]|lpt[1-9¹²³])(?=$|\.)", re.IGNORECASE)  # by Windows
_SEPARATORS = "/\\" if os.name == "nt" else "/"
_FORBIDDEN = '<>:"|?*' if os.name == "nt" else ""


def slug(text: str) -> str:
    """A prompt as a file name: lower case, everything that is no letter or digit becomes a hyphen.

    >>> slug("Dog barking, LOUD!")
    'dog-barking-loud'
    """
    words = re.sub(r"[^\w]+|_+", "-", text.lower()).strip("-")
    if _RESERVED.match(words):
        words += "-stem"
    return shorten(words, MAX_SLUG) or "stem"


def shorten(name: str, most_bytes: int = MAX_NAME) -> str:
    """A name of at most so many bytes; what is cut off is told by a hash, so that names that differ still do.

    >>> shorten("abc", 10), shorten("a" * 30 + ".wav", 20)
    ('abc', 'aaaaaaa-d1b45b50.wav')
    """
    if len(_encoded(name)) <= most_bytes:
        return name
    found = _SUFFIX.search(name)
    suffix = found[0] if found else ""
    mark = f"-{hashlib.sha256(_encoded(name)).hexdigest()[:8]}{suffix}"
    kept = name[: most_bytes - len(mark)]
    while len(_encoded(kept)) > most_bytes - len(mark):
        kept = kept[:-1]
    return kept.rstrip("-. ") + mark


def safe_name(text: str) -> str:
    """A text from anywhere as the name of one file or folder, which is neither hidden nor leads elsewhere.

    Separators, control characters and what the system forbids become underscores; dots and spaces around it are
    left out, names that Windows keeps for its devices get an underscore, and long ones are shortened.

    >>> safe_name("AC/DC live."), safe_name(".."), safe_name("con.wav")
    ('AC_DC live', 'untitled', '_con.wav')
    """
    plain = "".join("_" if _is_forbidden(letter) else letter for letter in text).strip(" .")
    return shorten(f"_{plain}" if _RESERVED.match(plain) else plain) or UNTITLED


def safe_track(track: str) -> str:
    """A track's name, whose separators stand for folders, each of them safe.

    >>> safe_track("live/../song")
    'live/untitled/song'
    """
    return "/".join(safe_name(part) for part in re.split(f"[{re.escape(_SEPARATORS)}]", track))


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _is_forbidden(letter: str) -> bool:
    if letter in _SEPARATORS or letter in _FORBIDDEN:
        return True
    if (
        "\ud800" <= letter <= "\udfff"
    ):  # half a character; but these stand for bytes of a name that is no text
        return os.name == "nt" or not "\udc80" <= letter <= "\udcff"
    return unicodedata.category(letter) == "Cc"


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


def _is_visible(letter: str) -> bool:
    """Whether a reader sees it, alone: no space, no mark or joiner of others, no filler that is drawn empty."""
    return unicodedata.category(letter)[0] in "LNPS" and letter not in "\u115f\u1160\u2800\u3164\uffa0"


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
        if not any(map(_is_visible, text)):
            raise PromptError("a prompt is empty: say what to separate, for example 'guitar'")
        if any(unicodedata.category(letter) == "Cc" for letter in text):
            raise PromptError(f"the prompt {text!r} has control characters: leave them out")
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
        field = " ".join(min(unknown).split())[:80]
        raise UserError(
            f"the file name template has the unknown field {{{field}}}: use {{track}}, {{stem}} and {{ext}}"
        )
    specs = " ".join(spec or "" for _, _, spec, _ in string.Formatter().parse(template))
    if "{" in specs:
        raise _malformed(template, "a field within a field")
    pads = re.findall(r"\d+", specs)
    if any(len(pad) > 9 or int(pad) > _MAX_PAD for pad in pads):
        raise UserError(
            f"the file name template pads a name to more than {_MAX_PAD} characters: use a smaller number"
        )
    if "stem" not in fields:
        raise UserError("the file name template needs {stem}, or all stems would have one name")
    try:
        template.format(track="track", stem="stem", ext="wav")
    except (ValueError, LookupError) as error:  # conversions and format specs
        raise _malformed(template, error) from None
    return template


def _malformed(template: str, error: Exception | str) -> UserError:
    return UserError(
        f"the file name template {template!r} is malformed ({error}): try {{track}}/{{stem}}.{{ext}}"
    )


def fill_template(template: str, folder: Path, track: str, stem: str, extension: str) -> Path:
    """The file a stem goes to, each part of its name short enough. The extension comes without its dot."""
    filled = template.format(track=safe_track(track), stem=stem, ext=extension)
    return folder / "/".join(shorten(part) for part in filled.split("/"))
