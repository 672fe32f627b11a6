"""Finds, reads and writes checkpoints: a safetensors file with a JSON file of the same name beside it.

Nothing here runs code from a file or reaches for the network. Tensors are stored as float16, as int8 with one float16
scale per row (a tensor ``name`` with its ``name.scale``), or as float32; in memory everything is float32.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # torch is imported where it is used, so that CheckpointError can be had without it
    from numpy import ndarray
    from torch import Tensor, nn

    Module = TypeVar("Module", bound=nn.Module)

FORMAT = 1
NANO = "nano"  # the checkpoints that come with the package
SCALE = ".scale"
_SUFFIX = ".safetensors"
MOST_JSON_BYTES = 100_000_000
# of settings: widths beyond, and layers, each of which costs time and memory to make whatever its width
_MOST_WIDTH, _MOST_LAYERS = 1 << 20, 100
_LAYERS_COUNTED = frozenset({"layers", "blocks", "attention_layers", "n_reads"})
WEIGHTS = Path(__file__).parent / "weights"  # of the towers
_PICKLES = (b"\x80", b"PK\x03\x04")  # a bare pickle, and the zip that torch.save writes


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or made for something else; the message is one sentence."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: where it was, its settings, and its tensors as arrays (float32)."""

    path: Path
    config: dict[str, Any]
    arrays: dict[str, ndarray]

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The same in torch."""
        import torch

        return {name: torch.from_numpy(array) for name, array in self.arrays.items()}

    def fits(self, other: Path) -> bool:
        """Whether the model has the sizes of that of another checkpoint, which is whole."""
        return self.config.get("model") == read_json(other.with_suffix(".json")).get("model")


def packaged(tower: str, folder: Path = WEIGHTS) -> list[str]:
    """Names of the checkpoints of a tower that come with a package, in its folder of weights, e.g. ["nano"]."""
    ending = f"-{tower}{_SUFFIX}"
    return sorted(p.name.removesuffix(ending) for p in folder.glob(f"*{ending}"))


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file holds, which has to be an object.

    Raises:
        CheckpointError: it does not, or cannot be read.
    """
    unreadable = CheckpointError(f"{path} is not a readable JSON file: fetch the model again.")
    try:
        if path.stat().st_size > MOST_JSON_BYTES:
            raise unreadable
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise unreadable from None
    if not isinstance(values, dict):
        raise unreadable
    return values


def of_tower(folder: Path, tower: str, suffix: str = _SUFFIX) -> list[Path]:
    """The checkpoints of a tower in a folder, which are called NAME-TOWER.safetensors; the one that is called nano, as
    those that are saved by `peav.sharing` are, goes before all others."""
    saved = folder / f"{NANO}-{tower}{suffix}"
    return [saved] if saved.is_file() else sorted(folder.glob(f"*-{tower}{suffix}"))


def resolve(name: str | os.PathLike[str], tower: str, folder: Path = WEIGHTS, suffix: str = _SUFFIX) -> Path:
    """Turns the name of a packaged checkpoint, a path, or a folder with one checkpoint of the tower, into the path of a
    safetensors file, or of that of another ``suffix`` beside it.

    Raises:
        CheckpointError: when it is none of them, or the folder has several.
    """
    if isinstance(name, str) and name in packaged(tower, folder):
        return folder / f"{name}-{tower}{suffix}"
    path = Path(name).expanduser()
    if path.is_file():
        return path if suffix == _SUFFIX else path.with_suffix(suffix)
    if path.is_dir():
        found = of_tower(path, tower, suffix)
        if not found:
            raise CheckpointError(
                f"{path} has no file called NAME-{tower}{suffix}: name another folder, or a file."
            )
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise CheckpointError(
                f"{path} has several {tower} checkpoints ({names}): name the file that is meant."
            )
        return found[0]
    known = ", ".join(packaged(tower, folder)) or "none"
    raise CheckpointError(
        f"There is no {tower} checkpoint {str(name)!r}: use a packaged one ({known}), a path, or a model on the "
        "Hugging Face hub like me/tuned."
    )


def load(name: str | os.PathLike[str], tower: str, folder: Path = WEIGHTS) -> Checkpoint:
    """Reads the checkpoint of a tower; see `resolve` for the name.

    Raises:
        CheckpointError: when a file is missing or damaged, or belongs to another tower.
    """
    path = resolve(name, tower, folder)
    config = _read_config(path.with_suffix(".json"), tower)
    return Checkpoint(path, config, _read_arrays(path))


def settings(name: str | os.PathLike[str], tower: str, folder: Path = WEIGHTS) -> Checkpoint:
    """The same without its tensors, which need not be there."""
    path = resolve(name, tower, folder, ".json")
    return Checkpoint(path.with_suffix(_SUFFIX), _read_config(path, tower), {})


def build(checkpoint: Checkpoint, make: Callable[..., Module]) -> Module:
    """The module that a checkpoint's settings describe, with the checkpoint's tensors.

    Nothing is allocated for what the file does not hold.

    Args:
        make: gets the part "model" of the settings, by name.

    Raises:
        CheckpointError: the settings describe none, or not the one whose tensors these are.
    """
    import torch

    settings = sizes(checkpoint)
    try:
        with torch.device("meta"):
            module = make(**settings)
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError, AssertionError):
        raise _unfit(checkpoint) from None
    fill(module, checkpoint)
    return module


def sizes(checkpoint: Checkpoint) -> dict[str, Any]:
    """The part "model" of a checkpoint's settings, which holds numbers and lists of numbers.

    Raises:
        CheckpointError: it holds something else.
    """
    settings = checkpoint.config.get("model", {})
    if not isinstance(settings, dict) or not all(_is_size(name, size) for name, size in settings.items()):
        raise _unfit(checkpoint)
    return settings


def _unfit(checkpoint: Checkpoint) -> CheckpointError:
    return CheckpointError(
        f"{checkpoint.path.with_suffix('.json')} does not describe a model of this kind: fetch the checkpoint again."
    )


def _is_size(name: str, size: Any) -> bool:
    """Whether a setting is a number, or a list of numbers, that a network may have as widths or numbers of layers."""
    if isinstance(size, list):
        return len(size) <= _MOST_LAYERS and all(type(n) is int and _is_size(name, n) for n in size)
    most = _MOST_LAYERS if name in _LAYERS_COUNTED else _MOST_WIDTH
    return isinstance(size, int) and 0 <= size <= most


def fill(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Puts the tensors into the module, in place of its own; every key and shape must agree.

    Raises:
        CheckpointError: when they do not.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    if expected != found:
        raise CheckpointError(f"{checkpoint.path} does not fit its config: {_difference(expected, found)}.")
    module.load_state_dict(checkpoint.tensors, assign=True)


def save(
    path: Path,
    tower: str,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    int8: Collection[str] = (),
    exact: bool = False,
) -> None:
    """Writes a checkpoint that `load` reads; both files appear whole or not at all, and the folder is made if need be.

    Args:
        path: a .safetensors file; the config goes beside it.
        int8: names of the weights to store as int8 with a scale per row; the others are stored as float16.
        exact: store all others as float32, so that they come back as they are.
    """
    import torch
    from safetensors.torch import save as to_bytes

    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in int8:
            stored[name], stored[name + SCALE] = _to_int8(tensor.detach().float())
        else:
            stored[name] = tensor.detach().cpu().to(torch.float32 if exact else torch.float16).contiguous()
    path.parent.mkdir(
        parents=True, exist_ok=True
    )  # what took hours to train must not be lost for want of a folder
    _write(path, to_bytes(stored))
    text = json.dumps({"format": FORMAT, "tower": tower, **config}, indent=2) + "\n"
    _write(path.with_suffix(".json"), text.encode())


def _read_config(path: Path, tower: str) -> dict[str, Any]:
    if not path.exists():
        raise CheckpointError(f"{path} is missing: a checkpoint needs its config beside it.")
    config = read_json(path)
    if config.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a config of format {FORMAT}, the one this version reads.")
    if config.get("tower") != tower:
        raise CheckpointError(f"{path} is for the {config.get('tower')} tower, not the {tower} tower.")
    return config


def _read_arrays(path: Path) -> dict[str, ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        stored = load_file(path)
    except (SafetensorError, ValueError, KeyError, TypeError, OSError, RuntimeError, OverflowError):
        # only now: a safetensors file begins with a length, which may look like a pickle's first byte
        if start.startswith(_PICKLES):
            raise CheckpointError(
                f"{path} is a pickle, which could run code when loaded: convert it to safetensors."
            ) from None
        raise CheckpointError(
            f"{path} is not a whole safetensors file: fetch the checkpoint again."
        ) from None
    return {name: _to_float32(name, stored, path) for name in stored if not name.endswith(SCALE)}


def _to_float32(name: str, stored: Mapping[str, ndarray], path: Path) -> ndarray:
    """Undoes the storage format."""
    array = stored[name]
    if array.dtype != "int8":
        return array.astype("float32")
    scale = stored.get(name + SCALE)
    if scale is None or scale.shape != array.shape[:1]:
        raise CheckpointError(f"{path} lacks the row scales of {name}: fetch the checkpoint again.")
    return array * scale.astype("float32").reshape(-1, *[1] * (array.ndim - 1))


def _to_int8(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Rounds weights (R, ...) to int8 (R, ...) and the float16 scales (R,) that bring them back."""
    import torch

    scale = (weights.flatten(1).abs().amax(1) / 127).clamp(min=1e-7).half()
    rows = weights / scale.float().reshape(-1, *[1] * (weights.ndim - 1))
    return rows.round().clamp(-127, 127).to(torch.int8).contiguous(), scale


def _difference(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> str:
    """The first disagreement in words."""
    for name, shape in expected.items():
        if name not in found:
            return f"{name} is missing"
        if found[name] != shape:
            return f"{name} has shape {found[name]} instead of {shape}"
    return f"{min(set(found) - set(expected))} is one tensor too many"


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)
