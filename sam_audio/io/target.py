"""Where an output goes: a file that appears whole or not at all, or standard output."""

import contextlib
import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from sam_audio.errors import AudioWriteError, OutputExistsError
from sam_audio.io.parts import open_part, part_name, remove_dead_parts
from sam_audio.io.signals import uninterrupted


def identity(path: str | Path) -> tuple[int, int] | None:
    """Device and inode of a regular file, which all of its names and links share; None if there is none.

    None on disks without inodes, too: what cannot be told apart is not taken for the same.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # the latter of names with a NUL, or that are no text
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) and found.st_ino else None


class FileTarget:
    """A hidden temporary file in the folder of `path`, renamed to `path` when it is complete.

    A symbolic link at `path` is a name that is taken: it is never written through, and replaced itself where
    overwriting is allowed.

    Args:
        path: the final name.
        overwrite: allow an existing file to be replaced.
        inputs: files that are read meanwhile; they are never replaced, by whatever name or link.

    Attributes:
        name: for messages.
        folder: where large temporaries belong.
        file: open for reading and writing.
        part: path of the temporary file, for programs that write it themselves.
    """

    part: Path

    def __init__(self, path: Path, overwrite: bool, inputs: Iterable[str | Path] = ()) -> None:
        self.path = path
        self.name = str(path)
        if not _is_name(self.name):
            raise AudioWriteError(
                f"{self.name!r} is not a file name: leave out the NUL character and what is no text"
            )
        self.folder: Path | None = self.path.parent
        self._overwrite = overwrite
        self._inputs = _identities(inputs)
        self._created: list[Path] = []
        self._temporary: Path | None = None
        self._withdrawn: Path | None = None
        self._replaced = False
        self._published = False
        with writing(self.name):
            self.check()
            try:
                with uninterrupted():
                    self._make_folder()
                    remove_dead_parts(self.path.parent)
                    self.part, self.file = open_part(self.path)
                    self._temporary = self.part
            except BaseException:
                self.discard()
                raise

    def check(self) -> None:
        """Raise if the final name is taken by something that must not be replaced."""
        _check_place(self.path, self._overwrite, self._inputs)

    def sync(self) -> None:
        """Have the bytes on the disk, so that the rename cannot outlive them."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def withdraw(self) -> None:
        """Hide the file that is to be replaced, so that it can come back if others of its set fail."""
        if self._overwrite and os.path.lexists(self.path):
            withdrawn = part_name(self.path)
            os.rename(self.path, withdrawn)
            self._withdrawn = withdrawn

    def publish(self) -> None:
        """Give the file its final name; raises `OutputExistsError` if the name was taken meanwhile."""
        assert self._temporary is not None
        with uninterrupted():
            if (
                os.name == "nt"
            ):  # where open files cannot be renamed; elsewhere they stay locked until they are
                self.file.close()
            if self._overwrite:
                self._replaced = os.path.lexists(self.path)
                os.replace(self._temporary, self.path)
            else:
                try:
                    _rename_new(self._temporary, self.path)
                except FileExistsError:
                    raise _exists(self.name) from None
            self._published = True
            self.file.close()

    def unpublish(self) -> None:
        """Take back a published file, unless it has replaced one that is gone, and have the old one back."""
        if self._published and not self._replaced:
            with contextlib.suppress(OSError):
                self.path.unlink()
        if self._withdrawn is not None:
            with contextlib.suppress(OSError):
                os.replace(self._withdrawn, self.path)
        self._remove_folders()

    def settle(self) -> None:
        """Remove the file that was replaced."""
        if self._withdrawn is not None:
            with contextlib.suppress(OSError):
                self._withdrawn.unlink()

    def discard(self) -> None:
        """Remove the temporary file and the folders made for it; nothing after `publish`."""
        if self._published:
            return
        if self._temporary is not None:
            with contextlib.suppress(OSError):  # a full disk fails once more when the buffer is flushed
                self.file.close()
            with contextlib.suppress(OSError):
                self._temporary.unlink()
        self._remove_folders()

    def _make_folder(self) -> None:
        missing = []
        folder = self.path.parent
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError):  # another process was faster: the folder is theirs
                folder.mkdir()
                self._created.append(folder)

    def _remove_folders(self) -> None:
        while self._created:
            with contextlib.suppress(OSError):  # in use by another output
                self._created.pop().rmdir()


class StdoutTarget:
    """A temporary file that is copied to standard output when it is complete."""

    def __init__(self) -> None:
        self.name = "standard output"
        self.folder: Path | None = None
        if sys.stdout.isatty():
            raise AudioWriteError("sound cannot be shown in a terminal: send the output to a file or a pipe")
        with writing(self.name):
            self.file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed by publish or discard

    def check(self) -> None:
        """Standard output is always free."""

    def sync(self) -> None:
        self.file.flush()

    def withdraw(self) -> None:
        """Nothing is replaced."""

    def publish(self) -> None:
        self.file.seek(0)
        shutil.copyfileobj(self.file, sys.stdout.buffer, 1 << 20)
        sys.stdout.buffer.flush()
        self.file.close()

    def unpublish(self) -> None:
        """What has been sent cannot be taken back; a group sends it last."""

    def settle(self) -> None:
        """Nothing was replaced."""

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            self.file.close()


def publish_together(targets: Sequence[FileTarget | StdoutTarget]) -> None:
    """Give synced files their names, all of them or none; those that they replace come back in the latter case.

    Signals wait meanwhile. A process that is killed leaves the last file without its name, whatever had it before: a
    set whose last file is there is whole.
    """
    # what reads our output may be slow, and Ctrl-C should end that
    to_stdout = any(isinstance(target, StdoutTarget) for target in targets)
    with contextlib.nullcontext() if to_stdout else uninterrupted():
        try:
            if len(targets) > 1:  # a single one is replaced in one step
                for target in reversed(targets):
                    with writing(target.name):
                        target.withdraw()
            for target in targets:
                with writing(target.name):
                    target.publish()
        except BaseException:
            for target in reversed(targets):  # the first one made the folders, so it removes them last
                target.discard()
            for target in reversed(targets):
                target.unpublish()
            raise
        for target in targets:
            target.settle()


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that takes the name, from whatever had it before, when the block ends and its bytes are on the disk.

    Raises:
        AudioWriteError: it cannot be written; `path` is as it was then.
    """
    target = FileTarget(path, overwrite=True)
    try:
        yield target.file
        with writing(target.name):
            target.sync()
            target.publish()
    finally:
        target.discard()


@contextlib.contextmanager
def writing(name: str):
    """Turn an OSError into one sentence about the output called `name`."""
    try:
        yield
    except OSError as error:
        folder = os.path.dirname(name) or "this folder"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            text = f"there is no space left to write {name}: free some, or write to another disk"
        elif error.errno == errno.EFBIG:
            text = f"{name} grew beyond the largest file this disk or account allows: write to another disk"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            text = f"{name} cannot be written because {folder} is write-protected: choose another folder"
        elif error.errno in (errno.ENOTDIR, errno.EEXIST):
            text = f"{name} cannot be written because {folder} is not a folder: choose another folder"
        elif error.errno == errno.ENAMETOOLONG:
            text = f"{name} is too long a name for this disk: give a shorter one"
        elif error.errno == errno.EPIPE:
            text = f"{name} was closed before all of the sound was written: check the command that reads it"
        else:
            text = f"{name} could not be written ({error.strerror or error}): check the disk"
        raise AudioWriteError(text) from error


def _is_name(name: str) -> bool:
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:  # half a character
        return False


def _rename_new(temporary: Path, path: Path) -> None:
    """Rename without ever replacing; raises FileExistsError if `path` exists."""
    try:
        os.link(temporary, path)  # unlike rename, fails if the name is taken
    except FileExistsError:
        raise
    except OSError:
        # No hard links here (FAT, some network disks): what remains is to look before renaming.
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "exists", str(path)) from None
        os.rename(temporary, path)
    else:
        temporary.unlink()


def check_place(path: Path, overwrite: bool, inputs: Iterable[str | Path] = ()) -> None:
    """What a `FileTarget` with these arguments checks of a name before it is made; touches nothing.

    Raises:
        OutputExistsError: a file is there that may not be replaced.
        AudioWriteError: something else is there, or the file is one of the inputs.
    """
    with writing(str(path)):
        _check_place(path, overwrite, _identities(inputs))


def _identities(paths: Iterable[str | Path]) -> set[tuple[int, int]]:
    return {found for found in map(identity, paths) if found is not None}


def _check_place(path: Path, overwrite: bool, inputs: set[tuple[int, int]]) -> None:
    if identity(path) in inputs:
        raise AudioWriteError(f"{path} is what is read: choose another folder or name for the output")
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode) and path.exists():
            mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(mode):
        raise AudioWriteError(f"{path} is a folder: give the name of a file in it")
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise AudioWriteError(f"{path} is not a regular file: give another name, or - for stdout")
    if not overwrite:
        raise _exists(str(path))


def _exists(name: str) -> OutputExistsError:
    return OutputExistsError(
        f"{name} already exists: choose another name, or let it be replaced (overwrite=True)"
    )
