"""Sessions: a recording, what was asked of it, and how the stems were mixed, in a folder.

    NAME/session.json    what is below, see docs/editor.md
    NAME/mixture.wav     the recording, as it came
    NAME/stems/*.wav     the stems and the residual, if they were kept
    NAME/clues/*         files that prompts refer to

The editor writes and reopens them, ``separate --session NAME`` separates again what they hold.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sam_audio.errors import OutputExistsError, UserError
from sam_audio.prompts import Prompt

FORMAT, VERSION = "sam-audio session", 1
FILE = "session.json"
CLUE_FILES = ("like", "hum", "midi", "mask", "labels")  # clues that name a file


@dataclass(frozen=True)
class Fader:
    """A track of the mixer: gain in dB (-60..12), pan from -1 (left) to 1 (right), mute and solo."""

    gain_db: float = 0.0
    pan: float = 0.0
    mute: bool = False
    solo: bool = False


@dataclass(frozen=True)
class SavedSession:
    """What a session folder holds; all paths are absolute.

    Args:
        name: for people.
        mixture: the recording.
        title: what the recording was called when it was loaded.
        prompts: texts, or objects with a text and clues, as in job files.
        model: that separated.
        strength: 0..2.
        faders: by the name of the stem.
        stems: files by name, the residual last; empty if they were not kept.
        report: what was said about the stems.
    """

    name: str
    mixture: Path
    title: str
    prompts: tuple[str | dict[str, Any], ...] = ()
    model: str = "nano"
    strength: float = 1.0
    faders: Mapping[str, Fader] = field(default_factory=dict)
    stems: Mapping[str, Path] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)

    def asked(self) -> tuple[str | Prompt, ...]:
        """The prompts as `sam_audio.separate` takes them."""
        return tuple(one if isinstance(one, str) else Prompt(**one) for one in self.prompts)


def write_session(
    folder: Path, session: SavedSession, *, overwrite: bool = False, with_stems: bool = True
) -> Path:
    """Writes a session, whole or not at all, and copies the files that it needs.

    Raises:
        OutputExistsError: the folder exists and is not to be replaced, or is no session.
        UserError: it cannot be written.
    """
    if folder.exists() and not (overwrite and (folder / FILE).is_file()):
        raise OutputExistsError(f"{folder} already exists: choose another name for the session")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = _hidden_folder(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): choose another folder") from None
    try:
        content = _filled(made, session, with_stems)
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (made / FILE).write_text(text + "\n", encoding="utf-8")
        if folder.exists():
            old = made.with_name(made.name + ".old")
            os.rename(folder, old)
            try:
                os.rename(made, folder)
            except BaseException:
                os.rename(old, folder)  # nobody would look for a session under a hidden name
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(made, folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): check the disk") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _hidden_folder(folder: Path) -> Path:
    """A new folder beside it; not tempfile's, which is private to the user whatever the umask says."""
    while True:
        made = folder.with_name(f".{folder.name[:40]}.{secrets.token_hex(4)}")
        try:
            made.mkdir()
        except FileExistsError:
            continue
        return made


def _filled(folder: Path, session: SavedSession, with_stems: bool) -> dict[str, Any]:
    """Copies files into the folder; returns what session.json says."""

    def kept(path: Path, name: str) -> str:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(path, folder / name)
        return name

    prompts: list[Any] = []
    for n, prompt in enumerate(session.prompts):
        if isinstance(prompt, dict):
            prompt = {
                key: kept(Path(value), f"clues/{n}-{key}{Path(value).suffix}") if key in CLUE_FILES else value
                for key, value in prompt.items()
            }
        prompts.append(prompt)
    stems = session.stems if with_stems else {}
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": session.name,
        "mixture": kept(session.mixture, f"mixture{session.mixture.suffix}"),
        "title": session.title,
        "model": session.model,
        "strength": session.strength,
        "prompts": prompts,
        "mixer": {name: vars(fader) for name, fader in session.faders.items()},
        "stems": {name: kept(path, f"stems/{path.name}") for name, path in stems.items()},
        "report": dict(session.report),
    }


def read_session(folder: str | Path) -> SavedSession:
    """Reads a session folder.

    Raises:
        UserError: it is none, it is damaged, or a file of it is missing.
    """
    folder = Path(folder).resolve()
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} holds no session: name a folder with a {FILE} in it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / FILE} cannot be read ({error}): open another session") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{folder / FILE} is no session of sam-audio: open another folder")
    if content.get("version") != VERSION:
        raise UserError(f"{folder / FILE} was written by a newer sam-audio: update to open it")
    try:
        return SavedSession(
            name=str(content["name"]),
            mixture=_inside(folder, content["mixture"]),
            title=str(content.get("title") or content["mixture"]),
            prompts=tuple(_prompt(folder, prompt) for prompt in content["prompts"]),
            model=str(content["model"]),
            strength=float(content["strength"]),
            faders={name: _fader(values) for name, values in content["mixer"].items()},
            stems={name: _inside(folder, path) for name, path in content["stems"].items()},
            report=dict(content.get("report") or {}),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / FILE} is damaged ({error}): open another session") from None


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder; names that lead out of it are refused, for sessions come from other people."""
    pure = PurePosixPath(name)
    path = folder.joinpath(*pure.parts)
    if pure.is_absolute() or ".." in pure.parts or not path.resolve().is_relative_to(folder):
        raise UserError(f"the session names {name}, which lies outside of its folder: open another one")
    if not path.is_file():
        raise UserError(f"the session lacks its file {name}: open another one, or separate again")
    return path


def _prompt(folder: Path, prompt: Any) -> str | dict[str, Any]:
    if isinstance(prompt, str):
        return prompt
    return {key: str(_inside(folder, v)) if key in CLUE_FILES else v for key, v in prompt.items()}


def _fader(values: Mapping[str, Any]) -> Fader:
    return Fader(
        float(values.get("gain_db", 0)),
        float(values.get("pan", 0)),
        bool(values.get("mute", False)),
        bool(values.get("solo", False)),
    )


def unpack_session(archive: Path, folder: Path, most_bytes: int) -> Path:
    """Unpacks a zipped session into a new folder.

    Args:
        archive: a zip file.
        folder: that does not exist yet.
        most_bytes: that it may hold, unpacked.

    Raises:
        UserError: the zip is no session, or holds more.
    """
    refused = UserError(f"{archive.name} is neither a recording nor a saved session: choose another file")
    try:
        with zipfile.ZipFile(archive) as packed:
            entries = [entry for entry in packed.infolist() if not entry.is_dir()]
            names = [PurePosixPath(entry.filename) for entry in entries]
            if FILE not in map(str, names) or any(".." in n.parts or n.is_absolute() for n in names):
                raise refused
            if sum(entry.file_size for entry in entries) > most_bytes:
                raise UserError(
                    f"{archive.name} holds more than {most_bytes // 10**6} MB: open it as a folder"
                )
            for entry, name in zip(entries, names, strict=True):
                path = folder.joinpath(*name.parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(entry) as source, path.open("wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError):
        raise refused from None
    return folder


def pack_session(folder: Path, archive: Path) -> Path:
    """A session folder as a zip file; sound is stored as it is."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            packed.write(path, path.relative_to(folder).as_posix())
    return archive
