"""Sessions: a recording, what was asked of it, and how the stems were mixed, in a folder.

    NAME/session.json    what is below, see docs/editor.md
    NAME/mixture.wav     the recording, as it came
    NAME/stems/*.wav     the stems and the residual, if they were kept
    NAME/clues/*         files that prompts refer to

The editor writes and reopens them, ``separate --session NAME`` separates again what they hold.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from sam_audio.documents import (
    ClueValue,
    Document,
    converted,
    inner_name,
    parse_json,
    prompt_parts,
    read_text,
    shown,
    structured,
)
from sam_audio.errors import OutputExistsError, UserError
from sam_audio.io.parts import locked_folder, part_folder, remove_dead_parts
from sam_audio.io.signals import uninterrupted
from sam_audio.prompts import Prompt
from sam_audio.separator import model_options

FORMAT, VERSION = "sam-audio session", 1
FILE = "session.json"
_REPLACED = ".replaced-session"  # ends the hidden name of one that gives way to another
MOST_FILES = 1000  # in a zip: those of a session are its stems and examples
_MOST_READ = 4 << 20  # bytes that a zip's list of files may have: it is read at once
_STORED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what every system's zips are made with


@dataclass(frozen=True)
class Fader:
    """A track of the mixer: gain in dB (-60..12), pan from -1 (left) to 1 (right), mute and solo."""

    gain_db: Annotated[float, Meta(ge=-60, le=12)] = 0.0
    pan: Annotated[float, Meta(ge=-1, le=1)] = 0.0
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
        options: of the model, by the names of their fields.
        rack: the ready-made rack whose effects go on the mix; empty for none.
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
    options: Mapping[str, Any] = field(default_factory=dict)
    rack: str = ""

    def asked(self) -> tuple[str | Prompt, ...]:
        """The prompts as `sam_audio.separate` takes them."""
        return tuple(one if isinstance(one, str) else Prompt(**one) for one in self.prompts)


class _Scores(Document):
    overall: float
    recall: float
    precision: float
    faithfulness: float
    present: float | None = None


class _Report(Document):
    level_db: dict[str, float] = {}
    scores: dict[str, _Scores] = {}
    in_mixture: dict[str, bool | None] = {}
    spans: dict[str, list[tuple[float, float]]] = {}


class _File(Document, kw_only=True):
    """What session.json says."""

    format: str
    version: int
    name: str
    mixture: str
    title: str | None = None
    model: str
    strength: Annotated[float, Meta(ge=0, le=2)]
    options: dict[str, Any] = {}
    prompts: list[str | dict[str, Any]]
    mixer: dict[str, Any]
    stems: dict[str, str]
    report: dict[str, Any] | None = None
    rack: str = ""


def write_session(
    folder: Path, session: SavedSession, *, overwrite: bool = False, with_stems: bool = True
) -> Path:
    """Writes a session, whole or not at all, and copies the files that it needs.

    Raises:
        OutputExistsError: the folder exists and is not to be replaced, or is no session.
        UserError: it cannot be written.
    """
    recover_sessions(folder.parent)
    if os.path.lexists(folder) and not (overwrite and (folder / FILE).is_file()):
        raise OutputExistsError(f"{folder} already exists: choose another name for the session")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with part_folder(folder) as made:
            content = _filled(made, session, with_stems)
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            # names that are no text stand in JSON as its own escapes, which backslashreplace writes
            (made / FILE).write_text(text, encoding="utf-8", errors="backslashreplace")
            with uninterrupted():
                _give_name(made, folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): check the disk") from None
    return folder


def _give_name(made: Path, folder: Path) -> None:
    if not folder.exists():
        os.rename(made, folder)
        return
    old = folder.with_name(f".{folder.name}{_REPLACED}")
    with locked_folder(folder):
        os.rename(folder, old)
        try:
            os.rename(made, folder)
        except BaseException:
            os.rename(old, folder)  # nobody would look for a session under a hidden name
            raise
        shutil.rmtree(old, ignore_errors=True)


def recover_sessions(root: Path) -> None:
    """Cleans a folder of sessions up after processes that were killed while they wrote one.

    A session that was about to be replaced gets its name back; what was replaced, and what is half-written, is
    removed.
    """
    remove_dead_parts(root)
    for old in root.glob(f".*{_REPLACED}"):
        folder = old.with_name(old.name[1:].removesuffix(_REPLACED))
        with suppress(OSError), locked_folder(old) as free:
            if free is False:
                continue
            if os.path.lexists(folder):
                shutil.rmtree(old)
            else:
                os.rename(old, folder)


def _filled(folder: Path, session: SavedSession, with_stems: bool) -> dict[str, Any]:
    """Copies files into the folder; returns what session.json says."""

    def kept(path: Path, name: str) -> str:
        suffix = path.suffix if re.fullmatch(r"\.\w{1,12}", path.suffix) else ""
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(path, folder / f"{name}{suffix}")
        return f"{name}{suffix}"

    files = _files_of_clues()
    prompts: list[Any] = []
    for n, prompt in enumerate(session.prompts):
        if isinstance(prompt, dict):
            prompt = {key: value for key, value in prompt.items() if files.get(key) != "write"}
            for key in prompt:
                value = prompt[key]
                if files.get(key) != "read":
                    continue
                if isinstance(value, (list, tuple)):
                    prompt[key] = [kept(Path(one), f"clues/{n}-{key}-{i}") for i, one in enumerate(value, 1)]
                else:
                    prompt[key] = kept(Path(value), f"clues/{n}-{key}")
        prompts.append(prompt)
    stems = session.stems if with_stems else {}
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": session.name,
        "mixture": kept(session.mixture, "mixture"),
        "title": session.title,
        "model": session.model,
        "strength": session.strength,
        "options": _said(session.options),
        "prompts": prompts,
        "mixer": {name: asdict(fader) for name, fader in session.faders.items()},
        "stems": {name: kept(path, f"stems/{path.stem}") for name, path in stems.items()},
        "report": dict(session.report),
        "rack": session.rack,
    }


def read_session(folder: str | Path) -> SavedSession:
    """Reads a session folder.

    Raises:
        UserError: it is none, it is damaged, or a file of it is missing.
    """
    try:
        folder = Path(os.path.realpath(folder))
    except ValueError:
        raise UserError(f"{shown(str(folder))} is no name of a folder: name one with a {FILE}") from None
    path = folder / FILE
    if not os.path.lexists(folder):
        recover_sessions(folder.parent)
    if not os.path.isfile(path):
        raise UserError(f"{folder} holds no session: name a folder with a {FILE} in it")
    where = str(path)
    values = parse_json(read_text(path, "a session that sam-audio saved"), where)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UserError(f"{path} is no session of sam-audio: open another folder")
    if values.get("version") != VERSION:
        raise UserError(f"{path} was written by a newer sam-audio: update to open it")
    saved = structured(values, _File, where)
    if saved.report is not None:
        structured(saved.report, _Report, f"the report in {where}")
    files = _files_of_clues()
    return SavedSession(
        name=saved.name,
        mixture=_inside(folder, saved.mixture),
        title=saved.title or saved.mixture,
        prompts=tuple(_prompt(folder, prompt, files) for prompt in saved.prompts),
        model=saved.model,
        strength=saved.strength,
        options=_options(saved.options, where),
        faders={
            name: structured(fader, Fader, f"the fader {shown(name)} in {where}")
            for name, fader in saved.mixer.items()
        },
        stems={name: _inside(folder, stem) for name, stem in saved.stems.items()},
        report=saved.report or {},
        rack=saved.rack,
    )


def _said(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a model by their keys, as in job files."""
    known = model_options()
    return {known[name].key: value for name, value in options.items() if name in known}


def _options(said: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The inverse of `_said`, checked: options that a loaded model can change, of any family that is installed."""
    known = {one.key: one for one in model_options().values() if not one.declared.loading}
    for key in said:
        if key not in known:
            raise UserError(f"{where} has an option {shown(key)} that no model has: open another session")
    return {
        known[key].name: converted(value, known[key].type, f"the option {key} in {where}")
        for key, value in said.items()
    }


def is_model_name(model: str) -> bool:
    """Whether a session's model is a name, of a shipped model or of one on the hub, and no path of this machine."""
    return re.fullmatch(
        r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", model
    ) is not None and not os.path.lexists(model)


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder; names that lead out of it are refused, for sessions come from other people."""
    path = folder / inner_name(name, "the session's file")
    if not os.path.realpath(path).startswith(os.path.join(folder, "")):
        raise UserError(f"the session's file {shown(name)} leads out of its folder: open another session")
    if not os.path.isfile(path):
        raise UserError(f"the session lacks its file {shown(name)}: open another session, or separate again")
    return path


def _prompt(
    folder: Path, prompt: str | dict[str, Any], files: Mapping[str, str | None]
) -> str | dict[str, Any]:
    """A prompt with the files that it names, all of them in the folder."""
    if isinstance(prompt, str):
        return prompt
    text, name, clues = prompt_parts(prompt, files, "a prompt of the session")
    found: dict[str, Any] = {
        key: value for key, value in (("text", text), ("name", name)) if value is not None
    }
    for key, value in clues.items():
        where = f"the {key} of a prompt of the session"
        if files[key] == "write":
            raise UserError(f"{where} names a file to write, which no session may: open another session")
        if files[key] == "read":
            named = converted(value, str | list[str], where)  # type: ignore[arg-type]
            one_only = isinstance(named, str)
            inside = [str(_inside(folder, one)) for one in ([named] if one_only else named)]
            found[key] = inside[0] if one_only else inside
        else:
            found[key] = converted(value, ClueValue, where)  # type: ignore[arg-type]
    return found


def _files_of_clues() -> dict[str, str | None]:
    from sam_audio.extending.registry import registry

    return registry().clues()


class _ShortReads(io.FileIO):
    """A zip whose list of files is read only if it is short; zipfile reads that at once, and all else in parts."""

    def read(self, size: int | None = -1, /) -> bytes:  # type: ignore[override]
        left = os.fstat(self.fileno()).st_size - self.tell()
        asked = left if size is None or size < 0 else min(size, left)
        if asked > _MOST_READ:
            raise zipfile.BadZipFile("its list of files is too long")
        return super().read(asked if asked > 0 else 0)


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
        with _ShortReads(archive) as file, zipfile.ZipFile(file) as packed:
            entries = [entry for entry in packed.infolist() if not entry.is_dir()]
            names = [inner_name(entry.orig_filename, f"in {archive.name}, the file") for entry in entries]
            if FILE not in map(str, names):
                raise refused
            if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > most_bytes:
                raise UserError(
                    f"{archive.name} holds more than {MOST_FILES} files or more than {most_bytes // 10**6} MB: "
                    "open it as a folder"
                )
            if len(set(names)) < len(names) or not all(map(_is_plain, entries)):
                raise refused
            for entry, name in zip(entries, names, strict=True):
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(entry) as source, path.open("xb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
    except UserError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except _DAMAGE:
        shutil.rmtree(folder, ignore_errors=True)
        raise refused from None
    return folder


# what zipfile and its decompressor raise about damaged archives
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    OverflowError,
)


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    """Whether a member is a file, neither a link nor a device, and compressed as usual."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return kind in (0, stat.S_IFREG) and entry.compress_type in _STORED


def pack_session(folder: Path, archive: Path) -> Path:
    """A session folder as a zip file; sound is stored as it is."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            packed.write(path, path.relative_to(folder).as_posix())
    return archive
