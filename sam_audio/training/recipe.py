"""Recipes: short TOML files that say what is trained, on what, and how; see docs/training.md.

A recipe names its task, which says what keys there are. Tables under ``stages`` hold what a stage changes; the key
``stage`` picks one. ``key=value`` on the command line changes single keys: ``steps=100``, ``pairs.A-V=0``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_type_hints

import msgspec

from sam_audio.documents import parse_toml, read_text, structured
from sam_audio.errors import UserError

FOLDER = Path(__file__).with_name("recipes")
TASKS = {  # name -> module, which has a class Task and the structure Settings of its keys
    "peav": "sam_audio.training.tasks.peav",
    "codec": "sam_audio.training.tasks.codec",
    "flow": "sam_audio.training.tasks.flow",
    "frame": "sam_audio.training.tasks.frame",
    "lora": "sam_audio.training.tasks.lora",
    "pit": "sam_audio.training.tasks.pit",
    "refine": "sam_audio.training.tasks.refine",
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What all tasks understand.

    Args:
        about: one sentence for ``sam-audio train list``.
        batch: items of a step, those of all processes and of all its accumulated parts together.
        accumulate: parts that a step is computed in, one after the other. The negatives of a contrastive loss are those
            of a part.
        learning_rate: at its highest; it rises for ``warmup_steps`` and falls to zero at the last step, as a cosine.
        clip: length that gradients are cut to; 0 cuts none.
        ema: how much the averaged weights, which are those exported, keep at each step; 0 averages none.
        precision: "bf16" computes in bfloat16 where torch.autocast does; weights are float32 either way.
        strategy: "fsdp" gives every process a part of weights, gradients and optimizer, "ddp" a copy of all.
        checkpointing: computes activations again for the gradient, and keeps few in memory.
        device: cpu, cuda, or auto.
        workers: threads that read and decode.
        hour_costs: of one device, in the user's money, for --dry-run.
    """

    task: str
    about: str = ""
    stage: str = ""
    steps: int
    batch: int
    accumulate: int = 1
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.02
    beta2: float = 0.98
    clip: float = 1.0
    ema: float = 0.0
    precision: Literal["fp32", "bf16"] = "fp32"
    strategy: Literal["ddp", "fsdp"] = "ddp"
    checkpointing: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: int = 2
    seed: int = 0
    log_every: int = 10
    save_every: int = 500
    validate_every: int = 500
    hour_costs: float = 2.5


def names() -> dict[str, str]:
    """The recipes that come with the package, and what each is about."""
    return {_name(path): _read(path).get("about", "") for path in sorted(FOLDER.rglob("*.toml"))}


def load(name: str, changes: Iterable[str] = ()) -> Settings:
    """The settings of a recipe.

    Args:
        name: of one that comes with the package, or the path of a TOML file.
        changes: ``key=value`` each.

    Raises:
        UserError: there is no such recipe or key, or a value is of the wrong kind.
    """
    path = FOLDER / f"{name}.toml"
    if name.endswith(".toml"):
        path = Path(name)
    elif name not in (known := [_name(found) for found in sorted(FOLDER.rglob("*.toml"))]):
        raise UserError(f"there is no recipe called {name}: use {', '.join(known)}, or name a .toml file")
    values = _read(path)
    stages = values.pop("stages", {})
    given = [_change(text) for text in changes]
    stage = next((value for keys, value in reversed(given) if keys == ["stage"]), values.get("stage", ""))
    if stage:
        if not isinstance(stages, Mapping) or stage not in stages:
            raise UserError(f"{name} has no stage {stage!r}: it has {', '.join(stages) or 'none'}")
        _merge(values, stages[stage])
    for keys, value in given:
        for key in reversed(keys):
            value = {key: value}
        _merge(values, value)
    task = values.get("task")
    if task not in TASKS:
        raise UserError(f"{path.name} has no task that is known: write task = one of {', '.join(TASKS)}")
    kind = import_module(TASKS[task]).Settings
    for key, inner in get_type_hints(kind).items():
        table = is_dataclass(inner) or (isinstance(inner, type) and issubclass(inner, msgspec.Struct))
        if table and key in values:
            # msgspec alone passes over keys in tables
            structured(values[key], inner, f"{key} of {path.name}")
    settings = structured(values, kind, path.name)
    for key in ("steps", "batch", "accumulate", "log_every", "save_every", "validate_every", "workers"):
        if getattr(settings, key) < 1:
            raise UserError(f"{key} is {getattr(settings, key)}: give 1 or more")
    return settings


def task_of(settings: Settings) -> Any:
    """The task that settings describe, its network built from their seed; see `sam_audio.training.trainer.Task`."""
    import torch

    torch.manual_seed(settings.seed)
    return import_module(TASKS[settings.task]).Task(settings)


def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Keys with dots, and their values."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _name(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").as_posix()


def _read(path: Path) -> dict[str, Any]:
    return parse_toml(read_text(path, "a recipe"), path.name)


def _change(text: str) -> tuple[list[str], Any]:
    """``a.b=1`` as keys and a value: TOML's if it is one, else a text."""
    key, equals, value = text.partition("=")
    if not (equals and key.strip()):
        raise UserError(f"{text!r} changes nothing: write key=value, as in steps=100")
    try:
        return key.strip().split("."), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip().split("."), value


def _merge(values: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = value
