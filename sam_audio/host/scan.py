"""Looking at plugins from a safe distance: a child process loads each, so that one that crashes is only reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sam_audio.errors import UserError
from sam_audio.host.effects import load_pedalboard, parameters

TIMEOUT_S = 60.0
SUFFIXES = (".vst3", ".component")
_MARK = "sam-audio-plugin-report:"  # plugins print what they like; the report is the line that begins so


@dataclass(frozen=True)
class PluginInfo:
    """One plugin of a file. ``parameters``: name, value, unit, minimum, maximum of each knob."""

    name: str
    maker: str
    version: str
    kind: str
    latency_samples: int
    parameters: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class PluginReport:
    """A plugin file, and what is in it or, in one sentence, why nothing is."""

    path: str
    plugins: tuple[PluginInfo, ...] = ()
    error: str | None = None


def plugin_folders() -> list[Path]:
    """Where this system keeps its plugins."""
    home = Path.home()
    if sys.platform == "darwin":
        roots = [Path("/Library/Audio/Plug-Ins"), home / "Library/Audio/Plug-Ins"]
        return [root / kind for root in roots for kind in ("VST3", "Components")]
    if sys.platform == "win32":
        shared = os.environ.get("COMMONPROGRAMFILES", r"C:\Program Files\Common Files")
        return [Path(shared) / "VST3"]
    return [home / ".vst3", Path("/usr/local/lib/vst3"), Path("/usr/lib/vst3")]


def find_plugins(folders: Iterable[Path]) -> list[Path]:
    """Plugin files and bundles below the folders, in order of name."""
    found: set[Path] = set()
    for folder in folders:
        for place, inner, files in os.walk(folder):
            for name in [*inner, *files]:
                if name.lower().endswith(SUFFIXES):
                    found.add(Path(place) / name)
            inner[:] = [name for name in inner if not name.lower().endswith(SUFFIXES)]
    return sorted(found)


def scan(folders: Iterable[Path] | None = None, timeout_s: float = TIMEOUT_S) -> Iterator[PluginReport]:
    """Examines every plugin of the folders, by default the system's.

    Raises:
        UserError: a folder that was asked for is not there.
    """
    if folders is not None:
        folders = list(folders)
        for folder in folders:
            if not folder.is_dir():
                raise UserError(f"there is no folder {folder}: name one that holds .vst3 files")
    for path in find_plugins(plugin_folders() if folders is None else folders):
        yield examine(path, timeout_s)


def examine(path: Path, timeout_s: float = TIMEOUT_S) -> PluginReport:
    """What a child process finds in a plugin file; never raises for a bad one."""
    load_pedalboard()
    if not path.exists():
        return PluginReport(
            str(path), error=f"there is no plugin {path}: give the path of a .vst3 or .component"
        )
    return _examine(str(path.resolve()), path.stat().st_mtime_ns, timeout_s)


@lru_cache(maxsize=256)
def _examine(path: str, _changed: int, timeout_s: float) -> PluginReport:
    command = [sys.executable, "-m", "sam_audio.host.scan", path]
    try:
        child = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        sentence = (
            f"{path} was not loaded after {timeout_s:g} s: open it in its own host first, or leave it out"
        )
        return PluginReport(path, error=sentence)
    for line in reversed(child.stdout.decode(errors="replace").splitlines()):
        if line.startswith(_MARK):
            found = json.loads(line[len(_MARK) :])
            if "error" in found:
                return PluginReport(path, error=found["error"])
            if child.returncode >= 0:
                infos = [PluginInfo(**{**p, "parameters": tuple(p["parameters"])}) for p in found["plugins"]]
                return PluginReport(path, tuple(infos))
    return PluginReport(
        path, error=f"{path} crashed while loading ({_death(child.returncode)}): leave it out"
    )


def _death(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _child(path: str) -> None:
    """In the child process: loads every plugin of the file and prints what there is."""
    pedalboard = load_pedalboard()
    kind = pedalboard.AudioUnitPlugin if path.lower().endswith(".component") else pedalboard.VST3Plugin
    plugins = []
    try:
        for name in kind.get_plugin_names_for_file(path):
            plugin = kind(path, plugin_name=name)
            info = PluginInfo(
                name,
                str(plugin.manufacturer_name),
                str(plugin.version),
                "instrument" if plugin.is_instrument else "effect",
                int(plugin.reported_latency_samples),
                tuple(asdict(parameter) for parameter in parameters(plugin)),
            )
            plugins.append(asdict(info))
    except (ImportError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        found: dict[str, Any] = {
            "error": f"{path} is not a plugin that can be loaded ({reason}): reinstall it"
        }
    else:
        found = {"plugins": plugins}
        if not plugins:
            found = {"error": f"{path} holds no plugin for this system: install the build for {sys.platform}"}
    print(f"\n{_MARK}{json.dumps(found, default=str)}", flush=True)


if __name__ == "__main__":
    _child(sys.argv[1])
    os._exit(0)  # what a plugin does when it is unloaded is of no interest
