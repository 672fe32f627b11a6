"""The Python interface: :func:`separate`, and :class:`Separator` which keeps its model loaded."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from judge.rank import Ranker
from judge.report import in_mixture
from judge.types import Judge, Judgement
from sam_audio.errors import AudioReadError, UserError
from sam_audio.io import open_audio
from sam_audio.io.reader import MAX_RATE_HZ, MIN_RATE_HZ
from sam_audio.made import OutputSet, output_set
from sam_audio.naming import RESIDUAL, distinct
from sam_audio.pipeline import separate_blocks
from sam_audio.prompts import Prompt, Request, asked_twice, resolve
from sam_audio.render import Progress, RenderOptions, RenderReport, relative_db, render, track_name
from sam_audio.selection.candidates import Rated, Recording, best_of
from sam_audio.selection.judging import StemJudge
from sam_audio.separator import ModelOptions
from sam_audio.types import Samples, SeparationModel, SeparationResult, Stem

if TYPE_CHECKING:
    from sam_audio.conditioning.encode import Prompted
    from sam_audio.extending.hookspecs import PostProcessor

MAX_CHANNELS = 64  # of arrays with fewer samples than that


class Separator:
    """A loaded model that serves any number of calls, from any number of threads.

    Args:
        model: ``nano`` (shipped with the package), the path of a safetensors file, or an official model's hub id or
            folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``; auto takes the fastest there is.
        threads: how many CPU threads to use; None leaves torch's own choice.
        options: of the model, see :class:`sam_audio.separator.ModelOptions`.
        judge: what says how good stems are: ``nano``, a path, a hub id, or a judge; loaded when first needed.
            ``auto`` is nano where its weights are installed; None for none.

    Raises:
        ModelError: the model cannot be found or loaded; for the judge, when it is first needed.
        UserError: the device is not there.

    >>> separator = Separator()  # doctest: +SKIP
    >>> result = separator.separate("mix.wav", prompts=["guitar", "drums"])  # doctest: +SKIP
    >>> result.stems["guitar"].samples.shape  # doctest: +SKIP
    (2, 441000)
    """

    def __init__(
        self,
        model: str | Path = "nano",
        device: str = "auto",
        threads: int | None = None,
        options: ModelOptions | None = None,
        judge: str | Path | Judge | None = "auto",
    ):
        import torch

        from sam_audio import separator

        if threads is not None:
            # thousands of them would wait for each other for minutes
            most = max(64, 4 * (os.cpu_count() or 1))
            if not 1 <= threads <= most:
                raise UserError(f"{threads} threads cannot work: use 1 to {most}")
            torch.set_num_threads(threads)
        self.device = choose_device(device)
        self._how = {"model": str(model), **(options or separator.ModelOptions()).given()}
        self.model: SeparationModel = separator.load(str(model), self.device, options)
        self._load_judge = cache(partial(_find_judge, judge, self.device))

    @property
    def judge(self) -> Judge | None:
        """What judges the stems, if anything does."""
        return self._load_judge()

    def separate(
        self,
        mixture: str | Path | np.ndarray,
        prompts: str | Prompt | Sequence[str | Prompt] = (),
        *,
        clues: Mapping[str, Any] | None = None,
        post: Sequence[PostProcessor] = (),
        sample_rate: int | None = None,
        strength: float = 1.0,
        start_s: float = 0.0,
        duration_s: float | None = None,
        sound_track: int | None = None,
        judge: bool = True,
        candidates: int = 1,
        ranker: Ranker | None = None,
        progress: Progress | None = None,
    ) -> SeparationResult:
        """Separates a file or an array into stems held in memory.

        Args:
            mixture: a path, or samples of shape (channels, T) or (T,), full scale +-1.
            prompts: what to pull out, one stem each: texts, and :class:`sam_audio.Prompt` for more than texts.
            clues: for every prompt that has no own of that kind, such as ``{"spans": ["3.2-5.0"]}``; without prompts
                they are one by themselves.
            post: changes to the stems on their way out.
            sample_rate: of an array, in Hz; files bring their own.
            strength: how boldly to cut, 0..2.
            start_s, duration_s: the part of a file to separate.
            sound_track: number of a video's sound track, from 1; None is the one that players choose.
            judge: whether stems are judged: ``scores`` in the result's report, and ``in_mixture``.
            candidates: how many ways to separate are tried; the best of each stem is kept.
            ranker: what chooses among candidates; by default the judge's overall score.
            progress: called with frames done and frames in all (None when unknown).

        Raises:
            UserError: what was given cannot be separated; the message says why.
        """
        begun = time.perf_counter()
        requests = resolve(prompts, clues)
        RenderOptions(strength=strength, judge=judge, candidates=candidates).check()
        listener = self.judge if judge else None
        if isinstance(mixture, (str, Path)):
            if sample_rate is not None:
                raise UserError("sample_rate is for arrays: a file has its own")
            model = self._asked(requests, mixture, post, start_s=start_s, duration_s=duration_s)
            with open_audio(mixture, start_s=start_s, duration_s=duration_s, track=sound_track) as reader:
                recording = Recording(
                    partial(reader.blocks, reader.sample_rate),
                    reader.sample_rate,
                    reader.channels,
                    reader.frames,
                )
                done = _separate(model, recording, listener, candidates, strength, ranker, progress)
        else:
            samples, sample_rate = _checked(mixture, sample_rate)
            model = self._asked(requests, samples, post, sample_rate=sample_rate)
            recording = Recording(
                lambda: [samples] if samples.shape[1] else [], sample_rate, len(samples), samples.shape[1]
            )
            done = _separate(model, recording, listener, candidates, strength, ranker, progress)
        parts, sample_rate = done.parts, recording.sample_rate
        names = distinct([request.name for request in requests], taken=[RESIDUAL])
        stems = {name: Stem(name, part, sample_rate) for name, part in zip(names, parts[:-1], strict=True)}
        report: dict[str, Any] = {
            "model": self.model.name,
            "seconds": parts.shape[-1] / sample_rate,
            "elapsed_s": time.perf_counter() - begun,
            "level_db": dict(zip(names, _levels_db(parts), strict=True)),
        }
        if listener is not None:
            report["judge"] = listener.name
            report["scores"] = {
                name: None if scores is None else asdict(scores)
                for name, scores in zip(names, done.scores, strict=True)
            }
            report["in_mixture"] = dict(zip(names, map(in_mixture, done.scores), strict=True))
        if candidates > 1:
            report["candidates"] = {
                name: [asdict(one) for one in tried] for name, tried in zip(names, done.rated, strict=True)
            }
        return SeparationResult(stems, Stem(RESIDUAL, parts[-1], sample_rate), sample_rate, report)

    def render(
        self,
        source: str | Path,
        prompts: str | Prompt | Sequence[str | Prompt] = (),
        options: RenderOptions | None = None,
        *,
        clues: Mapping[str, Any] | None = None,
        post: Sequence[PostProcessor] = (),
        made: OutputSet | None = None,
        **more: Any,
    ) -> RenderReport:
        """Separates a file of any length into files; see :meth:`separate` and :func:`sam_audio.render.render`.

        With ``skip_existing`` a set of outputs that is whole is only named, in the report's ``skipped``; who has looked
        already gives ``made``.
        """
        options = options or RenderOptions()
        requests = resolve(prompts, clues)
        if made is None:
            how = {
                **self._how,
                "post": [one.name for one in post],
                "ranker": type(more.get("ranker")).__name__,
            }
            made = output_set(source, prompts, clues, options, more.get("track"), how)
            if options.skip_existing and made.is_whole():
                return self._skipped(made, more.get("track"))
        model = self._asked(requests, source, post, start_s=options.start_s, duration_s=options.duration_s)
        judge = self.judge if options.judge else None
        names = [request.name for request in requests]
        done = render(model, source, names, options, judge=judge, made=made, **more)
        done.warnings += self._warnings(requests)
        return done

    def _skipped(self, made: OutputSet, track: str | None) -> RenderReport:
        with open_audio(made.recording) as reader:
            return RenderReport(
                str(made.recording),
                track or track_name(made.recording),
                self.model.name,
                reader.sample_rate,
                reader.channels,
                skipped=[str(path) for path in made.paths],
            )

    def _warnings(self, requests: Sequence[Request]) -> list[str]:
        """What can be done, and will hardly be what was meant."""
        reads = getattr(self.model, "reads", lambda text: True)
        meant = getattr(self.model, "meant", lambda text: None)
        texts = [one.text for one in requests if one.text is not None]
        likely = ((text, meant(text)) for text in texts if reads(text))
        return [
            *(
                f"{text} holds no word that {self.model.name} knows: ask in English"
                for text in texts
                if not reads(text)
            ),
            *(f"{text}: did you mean {better}?" for text, better in likely if better is not None),
            *(
                f"{text} is asked for more than once: its stems share the sound between them"
                for text in asked_twice(requests)
            ),
        ]

    def _asked(
        self,
        requests: Sequence[Request],
        source: str | Path | Samples,
        post: Sequence[PostProcessor],
        **part: Any,
    ) -> Prompted:
        """The model, which knows what is asked of this recording."""
        from sam_audio.conditioning import encode as asking
        from sam_audio.conditioning import source as recording

        return asking.Prompted(requests, recording.Recording(source, self.model, **part), post)


@dataclass
class _Separated:
    """Stems and residual (N + 1, C, T), and what the judge made of the stems."""

    parts: Samples
    scores: list[Judgement | None]
    rated: list[list[Rated]]


def _separate(
    model: Prompted,
    recording: Recording,
    judge: Judge | None,
    n_candidates: int,
    strength: float,
    ranker: Ranker | None,
    progress: Progress | None,
) -> _Separated:
    """Separates a recording in memory."""
    conditions = model.encode()
    rate, channels = recording.sample_rate, recording.channels
    best = best_of(
        model,
        n_candidates,
        conditions,
        recording,
        judge,
        strength=strength,
        ranker=ranker,
        progress=progress,
    )
    listener = None if judge is None else StemJudge(judge, conditions)
    done, collected = 0, [np.zeros((len(conditions) + 1, channels, 0), np.float32)]
    for mixture, parts in separate_blocks(
        best.model,
        conditions,
        recording.blocks(),
        rate,
        channels,
        strength,
        judges=[] if listener is None else [listener],
    ):
        collected.append(parts)
        done += mixture.shape[-1]
        if best.progress is not None:
            best.progress(done, recording.frames)
    scores = [] if listener is None else listener.finish()
    return _Separated(np.concatenate(collected, axis=-1), scores, best.rated)


def _find_judge(judge: str | Path | Judge | None, device: str) -> Judge | None:
    from sam_audio.selection.judging import default_judge, load_judge

    name = default_judge() if judge == "auto" else judge
    return load_judge(str(name), device) if isinstance(name, (str, Path)) else name


def separate(
    mixture: str | Path | np.ndarray,
    prompts: str | Prompt | Sequence[str | Prompt] = (),
    *,
    model: str | Path = "nano",
    device: str = "auto",
    **options: Any,
) -> SeparationResult:
    """Pulls the sounds that the prompts name out of a recording.

    Keeps the last used model loaded; for the arguments see :meth:`Separator.separate`.

    >>> result = separate("mix.wav", prompts=["guitar"])  # doctest: +SKIP
    >>> result.save("out")  # doctest: +SKIP
    """
    return _shared(str(model), device).separate(mixture, prompts, **options)


_lock = threading.Lock()
_last: tuple[tuple[str, str], Separator] | None = None


def _shared(model: str, device: str) -> Separator:
    global _last
    with _lock:
        if _last is None or _last[0] != (model, device):
            _last = (model, device), Separator(model, device)
        return _last[1]


def choose_device(device: str) -> str:
    """Resolves ``auto`` and checks that the device is there.

    Raises:
        UserError: unknown, or not on this machine.
    """
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    kind = device.split(":")[0]
    if kind not in there:
        raise UserError(f"{device} is not a device: use auto, cpu, cuda or mps")
    if not there[kind]:
        raise UserError(f"this machine has no {kind}: use --device cpu")
    return device


def _checked(mixture: np.ndarray, sample_rate: int | None) -> tuple[Samples, int]:
    samples = np.asarray(mixture)
    if sample_rate is None:
        raise UserError("an array has no sample rate of its own: pass sample_rate")
    if not MIN_RATE_HZ <= sample_rate <= MAX_RATE_HZ:
        raise AudioReadError(
            f"a sample rate of {sample_rate} Hz cannot be separated: use {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
        )
    if samples.ndim == 1:
        samples = samples[None]
    if samples.ndim != 2 or not samples.shape[0]:
        raise UserError(f"samples of shape {np.shape(mixture)} cannot be separated: use (channels, samples)")
    if samples.shape[0] > max(samples.shape[1], MAX_CHANNELS):
        raise UserError(
            f"samples of shape {np.shape(mixture)} would have {samples.shape[0]} channels: use (channels, samples), "
            "which of soundfile's arrays is the transpose"
        )
    if not np.issubdtype(samples.dtype, np.floating):
        raise UserError(
            f"samples of type {samples.dtype} cannot be separated: convert them to floats within +-1"
        )
    with np.errstate(over="ignore"):
        samples = samples.astype(np.float32)
    if not np.isfinite(samples).all():
        raise AudioReadError("the samples hold NaN or infinite values: replace them first")
    return samples, sample_rate


def _levels_db(parts: Samples) -> list[float]:
    """Level of every stem against the mixture; parts (N + 1, channels, T), the residual last."""
    whole, *stems = (float(np.square(x, dtype=np.float64).sum()) for x in (parts.sum(axis=0), *parts[:-1]))
    return [round(relative_db(energy, whole), 2) for energy in stems]
