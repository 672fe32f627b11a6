"""What a worker process of the service does with a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sam_audio.errors import AudioReadError, UserError
from sam_audio.service.settings import Settings
from sam_audio.service.uris import fetch_uri

Tell = Callable[[float], None]
_BYTES_A_SAMPLE = 4
_MOST_CHANNEL_RATE_HZ = 8 * 48_000  # channels times rate of what counts as long as it lasts


@dataclass(frozen=True)
class Assigned:
    """A job for a worker; ``folder`` is for its outputs."""

    kind: str
    request: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class ServiceWork:
    """All that a worker needs to know; plain data."""

    settings: Settings

    def load(self) -> Callable[[Assigned, Tell], dict[str, Any]]:
        """What does jobs; a job that fails gives {"error": sentence}."""
        models = _Models(self.settings)

        def do(assigned: Assigned, tell: Tell) -> dict[str, Any]:
            try:
                return {"result": _KINDS[assigned.kind](models, assigned, tell)}
            except UserError as error:
                return {"error": _told(str(error), assigned.request, self.settings)}

        return do


def _told(message: str, request: Mapping[str, Any], settings: Settings) -> str:
    """A message in words of the client, who knows nothing of names on this machine."""
    for name, source in request.items():
        if isinstance(source, Mapping) and source.get("upload"):
            known = "the recording" if name == "source" else f"the {name}"
            for place in (settings.uploads / source["upload"], source["upload"]):
                message = message.replace(str(place), known)
    return message


class _Models:
    """Models, loaded when they are first needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def separator(self) -> Any:
        from sam_audio.api import Separator

        own = self.settings
        return Separator(own.model, own.device, own.threads, judge=own.judge)

    @cached_property
    def judge(self) -> Any:
        from sam_audio.selection.judging import load_judge

        self._use_threads()
        return load_judge("nano" if self.settings.judge in (None, "auto") else str(self.settings.judge))

    @cached_property
    def locate(self) -> Any:
        from sam_audio.finding.locate import load_locator

        self._use_threads()
        return load_locator()

    @cached_property
    def embedder(self) -> Any:
        from sam_audio.conditioning.embedding import load_embedder

        self._use_threads()
        return load_embedder()

    def _use_threads(self) -> None:
        if self.settings.threads is not None:
            from peav import threads

            threads.use(self.settings.threads)


def _source(models: _Models, asked: Mapping[str, Any], stack: ExitStack, n_outputs: int = 0) -> Path:
    """The recording, on this machine and not too long."""
    settings = models.settings
    if asked.get("upload"):
        path = settings.uploads / asked["upload"]
    else:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=settings.data, prefix="fetched-")))
        path = fetch_uri(asked["uri"], settings.allow_uris, folder, settings.most_upload_bytes)
    _measure(path, settings, n_outputs)
    return path


def _measure(path: Path, settings: Settings, n_outputs: int) -> None:
    """Decodes the recording once, as far as it may go: what its header says need not be true.

    Raises:
        AudioReadError: it cannot be read, is too long, or its outputs would be too large.
    """
    from sam_audio.io import open_audio

    with open_audio(path) as reader:
        most_frames = settings.most_seconds * min(reader.sample_rate, _MOST_CHANNEL_RATE_HZ / reader.channels)
        told = reader.frames or 0
        frames = 0
        blocks = iter(()) if told > most_frames else reader.blocks(reader.sample_rate)
        for block in blocks:
            frames += block.shape[-1]
            if frames > most_frames:
                break
        if max(frames, told) > most_frames:
            raise AudioReadError(
                f"the recording lasts longer than {settings.most_seconds:g} s, or has too many channels: "
                "cut it into parts"
            )
        n_bytes = frames * reader.channels * _BYTES_A_SAMPLE * n_outputs
        if n_bytes > settings.most_output_bytes:
            raise AudioReadError(
                f"the stems would take {n_bytes / 1e9:.1f} GB: ask for fewer sounds, or cut the recording into parts"
            )


def _separate(models: _Models, assigned: Assigned, tell: Tell) -> dict[str, Any]:
    from sam_audio.options import RenderOptions

    asked = assigned.request
    names = "format", "mode", "strength"
    options = RenderOptions(
        out=assigned.folder,
        filename="{stem}.{ext}",
        overwrite=True,
        residual="residual" if asked["residual"] else None,
        judge=models.settings.judge is not None,
        **{name: asked[name] for name in names},
    )

    def progress(done: int, total: int | None) -> None:
        if total:
            tell(min(1.0, done / total))

    with ExitStack() as stack:
        path = _source(models, asked["source"], stack, len(asked["prompts"]) + 1)
        report = models.separator.render(
            path, asked["prompts"], options, track=asked["title"], progress=progress
        ).as_dict()
    for stem in [*report["stems"], *([report["residual"]] if report["residual"] else [])]:
        stem["path"] = Path(stem["path"]).name
    report["mixture"] = asked["title"]
    report["warnings"] = [one.replace(str(path), asked["title"]) for one in report["warnings"]]
    return dict(report)


def _judge(models: _Models, assigned: Assigned, tell: Tell) -> dict[str, Any]:
    from dataclasses import asdict

    from sam_audio.selection.judging import Pair, judge_files

    asked = assigned.request
    with ExitStack() as stack:
        mixture, stem = (_source(models, asked[name], stack) for name in ("mixture", "stem"))
        judgement = judge_files(models.judge, Pair(mixture, stem, asked["prompt"]))
    return {"judge": models.judge.name, **asdict(judgement)}


def _locate(models: _Models, assigned: Assigned, tell: Tell) -> dict[str, Any]:
    from dataclasses import asdict

    from sam_audio.finding.spans import SpanOptions, find_events

    asked = assigned.request
    prompts = list(dict.fromkeys(asked["prompts"]))
    with ExitStack() as stack:
        path = _source(models, asked["source"], stack)
        activity = models.locate.activity(path, prompts)
    events = find_events(activity, prompts, models.locate.frame_rate, SpanOptions(asked["threshold"]))
    return {"model": models.locate.name, "events": [asdict(event) for event in events]}


def _embed(models: _Models, assigned: Assigned, tell: Tell) -> dict[str, Any]:
    asked = assigned.request
    told: dict[str, Any] = {"model": models.embedder.name}
    if asked["source"] is not None:
        with ExitStack() as stack:
            path = _source(models, asked["source"], stack)
            told["embedding"] = models.embedder.embed_audio_file(path).tolist()
    if asked["texts"]:
        told["text_embeddings"] = models.embedder.embed_text(list(asked["texts"])).tolist()
    return told


_KINDS: dict[str, Callable[[_Models, Assigned, Tell], dict[str, Any]]] = {
    "separate": _separate,
    "judge": _judge,
    "locate": _locate,
    "embed": _embed,
}
