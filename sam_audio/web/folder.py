"""The folder of the page: what lies in it, and the numbers that the page shares with Python, written nowhere else."""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.numpy import save

from peav import checkpoints
from peav.graphs import named
from peav.nano import sound, wordpiece
from peav.nano.graphs import AUDIO, DIM, N_MAPS, TEXT, AudioGraph
from peav.nano.words import Words
from sam_audio.errors import UserError
from sam_audio.io.target import writing
from sam_audio.separator.nano import bands, stream, synthesis
from sam_audio.separator.nano.engine import WEIGHTS
from sam_audio.separator.nano.onnx_engine import ANSWER, TRUNK, shares
from sam_audio.types import Samples
from sam_audio.vocabulary import load_labels
from sam_audio.web import runtime

PAGE = Path(__file__).parent / "page"
MANIFEST, ARRAYS = "nano.json", "nano.safetensors"


def write(folder: Path) -> None:
    """Writes the page into a new folder, which is there when all of it is.

    Raises:
        UserError: something is there already, or it cannot be written.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder} is there already: name a folder that is not")
    with writing(str(folder)):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as made:
            part = Path(made) / folder.name
            part.mkdir()
            fill(part)
            if folder.exists():
                folder.rmdir()
            part.replace(folder)


def fill(folder: Path) -> None:
    """Puts all files of the page into an empty folder."""
    text = checkpoints.load("nano", "text")
    graphs = _graphs()
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    shutil.copytree(runtime.FOLDER, folder / runtime.FOLDER.name)
    notices = resources.files("onnxruntime").joinpath("ThirdPartyNotices.txt").read_bytes()
    (folder / runtime.FOLDER.name / "ThirdPartyNotices.txt").write_bytes(notices)
    copied = {Words.path_beside(text.path)}
    for graph, weights in graphs.values():
        copied |= {graph, *(path for path, _ in weights.values())}
    for path in copied:
        shutil.copyfile(path, folder / path.name)
    (folder / ARRAYS).write_bytes(save(_arrays()))  # save_file would leave one that others may not read
    packed = runtime.PACKED.relative_to(runtime.FOLDER.parent).as_posix()
    fetched = [ARRAYS, packed, *sorted(path.name for path in copied)]
    manifest = {
        "bytes": {name: (folder / name).stat().st_size for name in fetched},
        "runtime": packed,
        "arrays": ARRAYS,
        "tokenizer": Words.path_beside(text.path).name,
        "graphs": {
            name: {
                "graph": graph.name,
                "weights": {own: (path.name, tensor) for own, (path, tensor) in weights.items()},
            }
            for name, (graph, weights) in graphs.items()
        },
        "geometry": _geometry(),
        "words": {
            "longest": Words.beside(text).longest,
            "longest_word": wordpiece.LONGEST_WORD,
            "ideographs": wordpiece.IDEOGRAPHS,
        },
        "labels": sorted(load_labels()),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest) + "\n", encoding="utf-8")


# by their names in a graph: in which checkpoint they lie, and under which name
Weights = dict[str, tuple[Path, str]]


def _graphs() -> dict[str, tuple[Path, Weights]]:
    """The graphs by what the page calls them, with their weights."""
    network, tower, text = (
        {name: (one.path, name) for name in one.arrays}
        for one in (
            checkpoints.load(WEIGHTS, "separator"),
            checkpoints.load("nano", "audio"),
            checkpoints.load("nano", "text"),
        )
    )
    logit = {name: tower.pop(name) for name in AudioGraph.LOGIT}
    of_trunk, of_answer = shares(network, logit)
    return {
        "audio": (AUDIO, named("tower", tower)),
        "trunk": (TRUNK, of_trunk),
        "answer": (ANSWER, of_answer),
        "text": (TEXT, named("tower", text)),
    }


def _arrays() -> dict[str, Samples]:
    return {
        "window": synthesis.WINDOW,
        "mel_window": sound.mel_window(),
        "mel_filters": sound.mel_filters(),
    }


def _geometry() -> dict[str, Any]:
    return {
        "sample_rate": bands.SAMPLE_RATE,
        "n_fft": bands.N_FFT,
        "hop": bands.HOP,
        "n_bins": bands.N_BINS,
        "n_bands": bands.N_BANDS,
        "band_edges": bands.band_edges(),
        "time_multiple": bands.TIME_MULTIPLE,
        "most_gain": bands.MOST_GAIN,
        "window_frames": stream.WINDOW_FRAMES,
        "overlap_frames": stream.OVERLAP_FRAMES,
        "dim": DIM,
        "n_maps": N_MAPS,
        "frame": sound.FRAME,
        "n_mels": sound.N_MELS,
        "mel_hop": sound.MEL_HOP,
        "mel_n_fft": sound.MEL_N_FFT,
        "mel_block": sound.WINDOW,
        "log_offset": sound.LOG_OFFSET,
        "level": sound.LEVEL,
        "loud": sound.LOUD,
    }
