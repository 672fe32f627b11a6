"""What is done with each recording of a batch. A task is plain data; what it loads does the work, in a worker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sam_audio.errors import ModelError, PromptError, UserError
from sam_audio.finding.spans import Event, find_events
from sam_audio.options import RenderOptions, SpanOptions
from sam_audio.version import __version__

if TYPE_CHECKING:
    from sam_audio.types import Progress

FRAME_S = 0.1
BLOCK_FRAMES = 100
TENTH = SpanOptions(threshold=0.1)  # of the mixture's energy

Do = Callable[[Path, "Asked"], dict[str, Any]]


@dataclass(frozen=True)
class Asked:
    """What is asked of a recording.

    Args:
        prompts: texts, none for tasks that take none.
        folder: where outputs may be written.
        title: of the recording, for tags.
        progress: called with frames done and in all.
    """

    prompts: tuple[str, ...]
    folder: Path
    title: str
    progress: Progress | None = None


class Task(Protocol):
    """A kind of work, with its settings."""

    @property
    def name(self) -> str: ...

    @property
    def takes_prompts(self) -> bool: ...

    def load(self) -> Do:
        """What does it: a function of a local file and what is asked, to columns of a catalogue row. Files that it
        writes are in the row's stems, in the order in which they are to get their names."""
        ...


# settings of tasks that decide no sample
_DECIDE_NOTHING = ("device", "threads")


def how(task: Task) -> str:
    """Digest of what decides what comes out, beside the recording and the prompts."""
    settings = asdict(task)  # type: ignore[call-overload]
    deciding = {key: _known(value) for key, value in settings.items() if key not in _DECIDE_NOTHING}
    text = json.dumps([task.name, __version__, deciding], sort_keys=True)
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()


def _known(value: Any) -> Any:
    """A model that is a file stands for its bytes."""
    if isinstance(value, str) and value.endswith(".safetensors") and Path(value).is_file():
        with open(value, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return value


@dataclass(frozen=True)
class _OfModel:
    """What tasks with a model have in common."""

    model: str = "nano"
    device: str = "auto"
    threads: int | None = None

    def ready(self) -> str:
        """The device to load the model on; its threads are set."""
        from sam_audio.devices import choose_device

        _use_threads(self.threads)
        return choose_device(self.device)


def _use_threads(threads: int | None) -> None:
    if threads is not None:
        from peav import threads as threads_

        threads_.use(threads)


@dataclass(frozen=True)
class SeparateTask(_OfModel):
    """Stems of prompts, judged; of ``options`` the places of files and what may be replaced are the batch's own."""

    options: RenderOptions = RenderOptions()
    name = "separate"
    takes_prompts = True

    def load(self) -> Do:
        from sam_audio.api import Separator

        separator = Separator(self.model, self.device, self.threads)

        def do(path: Path, asked: Asked) -> dict[str, Any]:
            options = replace(self.options, out=asked.folder, filename="{stem}.{ext}", overwrite=True)
            report = separator.render(
                path, list(asked.prompts), options, track=asked.title, progress=asked.progress
            ).as_dict()
            written = [*report["stems"], *([report["residual"]] if report["residual"] else [])]
            keep = "seconds", "sample_rate", "channels", "model", "judge", "warnings"
            return {
                **{key: report[key] for key in keep},
                "warnings": [one.replace(str(path), asked.title) for one in report["warnings"]],
                "stems": [_stem(one, path) for one in written],
            }

        return do


def _stem(report: Mapping[str, Any], mixture: Path) -> dict[str, Any]:
    """A stem as the catalogue has it."""
    path = Path(report["path"])
    spans = [
        {"start_s": one.start_s, "end_s": one.end_s, "score": one.score} for one in sounding(mixture, path)
    ]
    keep = "name", "prompt", "level_db", "peak", "clipped_samples", "in_mixture"
    facts = {key: report[key] for key in keep} | (report["scores"] or {})
    return {**facts, "path": path.name, "bytes": path.stat().st_size, "spans": spans}


def sounding(mixture: Path, stem: Path) -> list[Event]:
    """Where a stem holds at least a tenth of the mixture's energy; ``score`` is the highest share in a span.

    Costs reading the two files, no listening.
    """
    from sam_audio.io import open_audio

    shares: list[np.ndarray] = []
    with open_audio(mixture) as one, open_audio(stem) as other:
        for whole, part in zip(_energies(one), _energies(other), strict=False):
            n = min(len(whole), len(part))
            heard = whole[:n] > 1e-8  # below -80 dBFS a share means nothing
            shares.append(np.where(heard, part[:n] / np.maximum(whole[:n], 1e-12), 0).clip(0, 1))
    activity = np.concatenate([*shares, np.zeros(0)]).astype(np.float32)
    return find_events(activity[None], [""], 1 / FRAME_S, TENTH)


def _energies(reader: Any) -> Any:
    """Mean power in frames of FRAME_S, BLOCK_FRAMES at a time."""
    size = round(reader.sample_rate * FRAME_S)
    for block in reader.blocks(size * BLOCK_FRAMES):
        power = np.square(block, dtype=np.float64).mean(axis=0)
        yield np.pad(power, (0, -len(power) % size)).reshape(-1, size).mean(axis=1)


@dataclass(frozen=True)
class EmbedTask(_OfModel):
    """A vector of the joint space."""

    name = "embed"
    takes_prompts = False

    def load(self) -> Do:
        from sam_audio.conditioning.embedding import load_embedder
        from sam_audio.finding.media import embed_file

        embedder = load_embedder(self.model, self.ready())

        def do(path: Path, asked: Asked) -> dict[str, Any]:
            _, vector = embed_file(embedder, path)
            return {"model": embedder.name, "vector": vector.tolist(), **_facts(path)}

        return do


@dataclass(frozen=True)
class LocateTask(_OfModel):
    """When the prompts sound."""

    options: SpanOptions = SpanOptions()
    name = "locate"
    takes_prompts = True

    def load(self) -> Do:
        from sam_audio.finding.locate import load_locator

        locator = load_locator(self.model, self.ready())

        def do(path: Path, asked: Asked) -> dict[str, Any]:
            prompts = list(dict.fromkeys(asked.prompts))
            facts = _facts(path)
            activity = locator.activity(path, prompts)
            events = find_events(activity, prompts, locator.frame_rate, self.options, facts["seconds"])
            return {"model": locator.name, "events": [asdict(one) for one in events], **facts}

        return do


@dataclass(frozen=True)
class CaptionTask:
    """What the installed captioners say of the first ``most_s`` seconds; ``names`` None for all of them."""

    names: tuple[str, ...] | None = None
    threads: int | None = None
    most_s: float = 60.0
    name = "caption"
    takes_prompts = False

    def load(self) -> Do:
        from sam_audio.io import open_audio

        _use_threads(self.threads)
        chosen = captioners(self.names)

        def do(path: Path, asked: Asked) -> dict[str, Any]:
            with open_audio(path, duration_s=self.most_s) as reader:
                samples = np.concatenate(list(reader.blocks(1 << 16)), axis=1)
            told = [
                {"captioner": one.name, "text": caption.text, "confidence": caption.confidence}
                for one in chosen
                for caption in one.caption(samples, reader.sample_rate)
            ]
            return {"captions": told, **_facts(path)}

        return do


def captioners(names: Sequence[str] | None = None) -> list[Any]:
    """Those that are installed, all or some.

    Raises:
        UserError: there is none, or none of that name.
    """
    from sam_audio.extending.registry import registry

    # those of pictures hear nothing
    hearing = (one for one in registry().all("captioners") if not getattr(one, "pictures", False))
    found = {one.name: one for one in hearing}
    if not found:
        raise UserError("no captioner is installed: install a plugin that brings one, see docs/plugins.md")
    for name in names or ():
        if name not in found:
            raise UserError(f"there is no captioner {name}: use {', '.join(sorted(found))}")
    return [found[name] for name in sorted(names or found)]


def _facts(path: Path) -> dict[str, Any]:
    """Length, rate and channels; the length is None where a file does not tell, as of pictures."""
    from sam_audio.finding.media import PICTURE, kind_of
    from sam_audio.io import open_audio

    if kind_of(path) == PICTURE:
        return {"seconds": None, "sample_rate": None, "channels": None}
    try:
        with open_audio(path) as reader:
            seconds = None if reader.frames is None else reader.frames / reader.sample_rate
            return {"seconds": seconds, "sample_rate": reader.sample_rate, "channels": reader.channels}
    except UserError:  # a video without sound still has pictures to embed
        return {"seconds": None, "sample_rate": None, "channels": None}


def check_asked(task: Task, prompts: Sequence[str]) -> None:
    """Raises PromptError or ModelError for what could work on no recording."""
    if task.takes_prompts and not prompts:
        raise PromptError("nothing is asked for: give a --prompt, or prompts in a manifest")
    if not task.takes_prompts and prompts:
        raise PromptError(f"{task.name} takes no prompts: leave --prompt out")
    model = getattr(task, "model", "nano")
    if model.endswith(".safetensors") and not Path(model).is_file():
        raise ModelError(f"{model} does not exist: check its name")
