"""Options, declared once: command line, job files and Python calls all take them from the same dataclasses.

A field says with :func:`option` what it is called and what it does. Options of models and of plugins are declared
in the same way. This module imports nothing heavy: ``separate --help`` reads it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, get_type_hints

from sam_audio.errors import UserError
from sam_audio.naming import RESIDUAL, check_template

T = TypeVar("T")
_DECLARED = "sam_audio.option"
RECORDINGS, STEMS, JUDGING, MACHINE = (
    "Recordings",
    "Stems",
    "Judging",
    "Machine and messages",
)  # panels of the help


@dataclass(frozen=True)
class Declared:
    """How a field of options is asked for.

    Args:
        help: one sentence.
        key: its name in job files; by default the field's own.
        name: on the command line, without dashes; by default the key.
        short: one letter more for the command line, with its dash.
        metavar: what the help shows for its value.
        choices: all that it can be.
        switches: flags that stand for values, each with its help; in place of one flag with a value.
        off: for a bool, the flag that says no.
        shown: what the help shows of a default that is None, or is written in another way.
        panel: under which heading ``--help-all`` shows it; without one it is common enough for ``--help``.
        least: of numbers.
        parse: makes the value of a text, where that is more than its type.
        loading: of models: decides how the model is loaded, so that a loaded one cannot change it any more.
    """

    help: str
    key: str = ""
    name: str = ""
    short: str = ""
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    switches: Mapping[str, str] | None = None
    off: str = ""
    shown: str | None = None
    panel: str | None = None
    least: int | None = None
    parse: Callable[[str], Any] | None = None
    loading: bool = False


@dataclass(frozen=True)
class OptionField:
    """A declared field: its name in Python, its type, its default, and how it is asked for."""

    name: str
    type: Any
    default: Any
    declared: Declared

    @property
    def key(self) -> str:
        return self.declared.key or self.name

    @property
    def flag(self) -> str:
        return "--" + (self.declared.name or self.key).replace("_", "-")

    def parsed(self, value: Any) -> Any:
        """The value of what somebody wrote.

        Raises:
            UserError: it cannot be one.
        """
        return self.declared.parse(value) if self.declared.parse and isinstance(value, str) else value


def option(default: T, help: str, **more: Any) -> T:
    """A field of a dataclass of options; ``more`` are the arguments of :class:`Declared`."""
    made: T = field(default=default, metadata={_DECLARED: Declared(help, **more)})
    return made


def options_of(kind: type) -> Iterator[OptionField]:
    """The declared fields of a dataclass, in order."""
    types = get_type_hints(kind)
    for one in fields(kind):
        declared = one.metadata.get(_DECLARED)
        if declared is not None:
            yield OptionField(one.name, types[one.name], one.default, declared)


@dataclass(frozen=True)
class NoOptions:
    """Of what has none."""


def size_bytes(size: str, what: str = "a size") -> int:
    """How many bytes a size like 8GB, 500MB or 2.5g is; units are decimal. ``what`` it should be is for the message.

    Raises:
        UserError: it is none.

    >>> size_bytes("2.5g"), size_bytes("500 MB"), size_bytes("64")
    (2500000000, 500000000, 64)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", size.strip().lower())
    if match is None:
        raise UserError(f"{size} is not {what}: write it like 8GB or 500MB")
    return int(float(match[1]) * 1000 ** " kmgt".index(match[2] or " "))


def kilobits(rate: str) -> int:
    """A bit rate in kbit/s of what people write for it.

    Raises:
        UserError: it is none.

    >>> kilobits("192k"), kilobits("128")
    (192, 128)
    """
    match = re.fullmatch(r"(\d{1,4})\s*k?(bit/s|bps)?", rate.strip().lower())
    if match is None:
        raise UserError(f"{rate} is not a bit rate: write it like 192k")
    return int(match[1])


def _name_or_none(text: str) -> str | None:
    return None if text.lower() == "none" else text


@dataclass(frozen=True)
class SeparationOptions:
    """How a recording is separated.

    Args:
        start_s: where the part to separate begins.
        duration_s: its length; None is all that follows.
        sound_track: number of a video's sound track, from 1; None is the one that players choose.
        strength: 0..2, how boldly to cut.
        judge: whether stems are judged, where there is a judge.
        candidates: how many ways to separate are tried; the judge keeps the best for each stem.
    """

    start_s: float = option(0.0, "Where to begin, in seconds.", key="start", metavar="S")
    duration_s: float | None = option(
        None, "How much to separate, in seconds.", key="duration", metavar="S", shown="all"
    )
    sound_track: int | None = option(
        None,
        "Which sound track of a video.",
        name="track",
        metavar="N",
        least=1,
        shown="the one that players choose",
        panel=RECORDINGS,
    )
    strength: float = option(1.0, "How boldly to cut.", metavar="0..2")
    judge: bool = option(
        True, "Say how good the stems are, and what is not in the mix.", off="no_judge", panel=JUDGING
    )
    candidates: int = option(
        1,
        "Separate in N ways; the judge keeps the best of each stem. Official models, and plugins that have several.",
        metavar="N",
        least=1,
        panel=JUDGING,
    )

    def check(self) -> None:
        """Raises UserError for values that could never work."""
        if not 0 <= self.strength <= 2:
            raise UserError(f"a strength of {self.strength:g} is out of range: use 0 to 2, 1 is neutral")
        if self.candidates < 1:
            raise UserError(f"{self.candidates} candidates are too few: use 1 or more")


class SeparationFields(TypedDict, total=False):
    """The fields of :class:`SeparationOptions` as keyword arguments."""

    start_s: float
    duration_s: float | None
    sound_track: int | None
    strength: float
    judge: bool
    candidates: int


@dataclass(frozen=True)
class RenderOptions(SeparationOptions):
    """How stems are made and stored.

    Args:
        out: folder of the output, or ``-`` for standard output (one stem only).
        filename: template with ``{track}``, ``{stem}`` and ``{ext}``.
        mode: ``extract`` writes what was asked for, and the residual; ``remove`` writes only what is left.
        residual: name of what is left, None for not writing it.
        format: wav, flac, mp3, ogg or opus.
        bitrate_kbps: of mp3, ogg and opus, in kbit/s; None for a good quality.
        depth: int16, int24, int32 or float32; None keeps the input's.
        clip_mode: None (report it), ``clamp`` or ``rescale``.
        tags: whether stems take over tags, cover, time code and markers.
        overwrite: replace files that are there already.
        skip_existing: leave outputs that are whole as they are, and make the others anew, see `sam_audio.made`.
    """

    out: str | Path = option(
        "separated", "Folder of the stems; - is standard output.", short="-o", metavar="DIR"
    )
    filename: str = option(
        "{track}/{stem}.{ext}", "Name of each file in the folder.", metavar="TEMPLATE", panel=STEMS
    )
    mode: Literal["extract", "remove"] = option(
        "extract", "extract: the sounds and the rest; remove: only the rest.", choices=("extract", "remove")
    )
    residual: str | None = option(
        RESIDUAL,
        "Name of the rest, or none to leave it out.",
        metavar="NAME",
        parse=_name_or_none,
        panel=STEMS,
    )
    format: str = option(
        "wav",
        "File format of the stems.",
        short="-f",
        choices=("wav", "flac", "mp3", "ogg", "opus"),
    )
    bitrate_kbps: int | None = option(
        None,
        "Bit rate of mp3, ogg or opus, like 192k.",
        key="bitrate",
        metavar="KBPS",
        parse=kilobits,
        shown="about 180k to 250k for stereo",
        panel=STEMS,
    )
    depth: str | None = option(
        None,
        "How samples are stored; by default as in the input.",
        switches={
            "int16": "16-bit samples.",
            "int24": "24-bit samples.",
            "float32": "Float samples; by default the input's depth is kept.",
        },
        panel=STEMS,
    )
    clip_mode: Literal["clamp", "rescale"] | None = option(
        None,
        "What to do beyond full scale; nothing but a warning by default.",
        choices=("clamp", "rescale"),
        panel=STEMS,
    )
    tags: bool = option(
        True, "Stems take over tags, cover, time code and markers.", off="no_tags", panel=STEMS
    )
    overwrite: bool = option(False, "Replace files that are there already.")
    skip_existing: bool = option(
        False, "Pass over recordings whose files are whole already; go on.", panel=RECORDINGS
    )

    @property
    def replaces(self) -> bool:
        """Whether files that are there already may be replaced."""
        return self.overwrite or self.skip_existing

    def check(self) -> None:
        """Raises UserError for values that could never work."""
        check_template(self.filename)
        if self.overwrite and self.skip_existing:
            raise UserError("overwrite=True and skip_existing=True exclude each other: choose one")
        if self.skip_existing and str(self.out) == "-":
            raise UserError("on standard output nothing is there already: leave skip_existing=True out")
        super().check()
        if self.mode not in ("extract", "remove"):
            raise UserError(f"{self.mode} is not a mode: use extract or remove")
        if self.mode == "remove" and self.residual is None:
            raise UserError(
                "mode remove writes only the residual, so it needs a name: leave residual=None out"
            )

    def over(self, own: Mapping[str, Any]) -> RenderOptions:
        """These with what a job or a session says itself, by the names of the fields."""
        said = dict(own)
        for name, other in (("overwrite", "skip_existing"), ("skip_existing", "overwrite")):
            if said.get(name):  # what a job says itself comes before what the command line says
                said.setdefault(other, False)
        return replace(self, **said)


@dataclass(frozen=True)
class SpanOptions:
    """How activity becomes spans.

    Args:
        threshold: a span reaches this probability somewhere, 0 to 1.
        release: it lasts while the probability is at least this; None is the threshold. A lower one
            (hysteresis) keeps a sound in one piece that wavers around the threshold.
        min_duration_s: shorter spans are dropped, after merging.
        merge_gap_s: spans less than or exactly this far apart are one.

    Raises:
        UserError: a value is out of its range.
    """

    threshold: float = option(0.3, "How sure the model has to be somewhere in a span.", metavar="0..1")
    release: float | None = None
    min_duration_s: float = option(0.1, "Drop what is shorter.", key="min_duration", metavar="S")
    merge_gap_s: float = option(0.2, "Join what is no further apart.", key="merge_gap", metavar="S")

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise UserError(f"a threshold of {self.threshold:g} lets all or nothing through: use one in 0..1")
        if self.release is not None and not 0 < self.release <= self.threshold:
            raise UserError(f"a release of {self.release:g} must lie between 0 and the threshold")
        for name, value in (("minimum duration", self.min_duration_s), ("merge gap", self.merge_gap_s)):
            if not (math.isfinite(value) and value >= 0):
                raise UserError(f"a {name} of {value:g} s makes no sense: use 0 or more")
