"""The Python interface: :func:`separate`, and :class:`Separator` which keeps its model loaded."""

from __future__ import annotations

import copy
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from judge.rank import Ranker
from judge.types import Judge
from sam_audio.conditioning.encode import encode
from sam_audio.conditioning.source import Recording
from sam_audio.devices import choose_device
from sam_audio.errors import UserError
from sam_audio.extending.hookspecs import PostProcessor
from sam_audio.io import AudioReader, open_audio
from sam_audio.io.arrays import ArrayRecording, array_recording
from sam_audio.made import OutputSet, output_set
from sam_audio.naming import RESIDUAL, distinct
from sam_audio.options import RenderOptions, SeparationFields, SeparationOptions, options_of
from sam_audio.plan import Job, Plan, plan, track_name
from sam_audio.prompts import Prompt, Request, asked_twice, resolve
from sam_audio.render import Company, render, separate_into
from sam_audio.report import RenderReport, StemReport
from sam_audio.results import SeparationResult
from sam_audio.separator.base import SeparationModel
from sam_audio.sinks import Memory
from sam_audio.types import Progress, Stem


class Separator:
    """A loaded model that serves any number of calls, from any number of threads.

    Args:
        model: ``nano`` (shipped with the package), the path of a safetensors file, or an official model's hub id or
            folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``; auto takes the fastest there is.
        threads: how many CPU threads to use; None: one for each processor.
        options: of the model, such as `sam_audio.separator.official.options.OfficialOptions`, or a dict of some of
            them.
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
        options: Any = None,
        judge: str | Path | Judge | None = "auto",
    ):
        from peav import threads as threads_
        from sam_audio import separator

        if threads is not None:
            # thousands of them would wait for each other for minutes
            most = max(64, 4 * (os.cpu_count() or 1))
            if not 1 <= threads <= most:
                raise UserError(f"{threads} threads cannot work: use 1 to {most}")
            threads_.use(threads)
        self.device = choose_device(device)
        self._how = {"model": str(model), **separator.given_options(options)}
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
        sample_rate: int | None = None,
        post: Sequence[PostProcessor] = (),
        ranker: Ranker | None = None,
        progress: Progress | None = None,
        **options: Unpack[SeparationFields],
    ) -> SeparationResult:
        """Separates a file or an array into stems held in memory.

        Args:
            mixture: a path, or samples of shape (channels, T) or (T,), full scale +-1.
            prompts: what to pull out, one stem each: texts, and :class:`sam_audio.Prompt` for more than texts.
            clues: for every prompt that has no own of that kind, such as ``{"spans": ["3.2-5.0"]}``; without prompts
                they are one by themselves.
            sample_rate: of an array, in Hz; files bring their own.
            post: changes to the stems on their way out.
            ranker: what chooses among candidates; by default the judge's overall score.
            progress: called with frames done and frames in all (None when unknown).
            options: fields of :class:`sam_audio.SeparationOptions`, such as ``strength`` or ``candidates``.

        Raises:
            UserError: what was given cannot be separated; the message says why.
        """
        how = SeparationOptions(**options)
        how.check()
        requests = resolve(prompts, clues)
        company = Company(self.judge if how.judge else None, ranker, post, progress)
        if not isinstance(mixture, (str, Path)):
            recording = array_recording(mixture, sample_rate)
            source = Recording(recording.samples, self.model, sample_rate=recording.sample_rate)
            return self._separate("array", requests, recording, source, how, company)
        if sample_rate is not None:
            raise UserError("sample_rate is for arrays: a file has its own")
        source = Recording(mixture, self.model, start_s=how.start_s, duration_s=how.duration_s)
        with open_audio(
            mixture, start_s=how.start_s, duration_s=how.duration_s, track=how.sound_track
        ) as reader:
            return self._separate(str(mixture), requests, reader, source, how, company)

    def _separate(
        self,
        name: str,
        requests: Sequence[Request],
        recording: AudioReader | ArrayRecording,
        source: Recording,
        options: SeparationOptions,
        company: Company,
    ) -> SeparationResult:
        begun = time.perf_counter()
        rate, channels = recording.sample_rate, recording.channels
        conditions = encode(requests, source)
        names = distinct([request.name for request in requests], taken=[RESIDUAL])
        report = RenderReport(name, track_name(name), self.model.name, rate, channels)
        pairs = zip(names, requests, strict=True)
        report.stems = [StemReport(stem, request.name) for stem, request in pairs]
        report.residual = StemReport(RESIDUAL, None)
        memory = Memory(len(conditions) + 1, channels)
        separate_into([memory], self.model, conditions, recording, options, report, company)
        report.warnings += self._warnings(requests)
        report.elapsed_s = time.perf_counter() - begun
        parts = memory.parts
        stems = {stem: Stem(stem, part, rate) for stem, part in zip(names, parts[:-1], strict=True)}
        return SeparationResult(stems, Stem(RESIDUAL, parts[-1], rate), rate, report)

    def render(
        self,
        source: str | Path,
        prompts: str | Prompt | Sequence[str | Prompt] = (),
        options: RenderOptions | None = None,
        *,
        track: str | None = None,
        clues: Mapping[str, Any] | None = None,
        post: Sequence[PostProcessor] = (),
        ranker: Ranker | None = None,
        progress: Progress | None = None,
    ) -> RenderReport:
        """Separates a file of any length into files; see :meth:`separate` and :class:`sam_audio.RenderOptions`.

        With ``skip_existing`` a set of outputs that is whole is only named, in the report's ``skipped``.
        """
        asked = (prompts,) if isinstance(prompts, (str, Prompt)) else tuple(prompts)
        planned = plan(Job(str(source), asked, options or RenderOptions(), track, dict(clues or {})))
        how = {
            **self._how,
            "post": [one.name for one in post],
            "ranker": None if ranker is None else type(ranker).__name__,
        }
        made = output_set(planned, how)
        if planned.options.skip_existing and made.is_whole():
            return self._skipped(planned)
        return self.render_plan(planned, made, post=post, ranker=ranker, progress=progress)

    def render_plan(
        self,
        planned: Plan,
        made: OutputSet | None = None,
        *,
        post: Sequence[PostProcessor] = (),
        ranker: Ranker | None = None,
        progress: Progress | None = None,
    ) -> RenderReport:
        """Does what was planned, whatever is there already; ``made`` is what will be remembered of it."""
        if planned.job.model_options:
            return self.with_options(planned.job.model_options).render_plan(
                replace(planned, job=replace(planned.job, model_options={})),
                made,
                post=post,
                ranker=ranker,
                progress=progress,
            )
        judge = self.judge if planned.options.judge else None
        done = render(self.model, planned, Company(judge, ranker, post, progress), made)
        done.warnings += self._warnings(planned.requests)
        return done

    def with_options(self, changes: Mapping[str, Any]) -> Separator:
        """The same with other options of its model, which are not those that it was loaded with.

        Raises:
            UserError: the model has no such option.
        """
        options = self.model.options
        known = {one.name for one in options_of(type(options))}
        for name in changes:
            if name not in known:
                raise UserError(f"the model {self.model.name} has no {name}: leave it out")
        twin = copy.copy(self)
        twin.model = self.model.with_options(replace(options, **changes))
        return twin

    def remembering(self, file: Path) -> Separator:
        """The same, for one recording: what the networks made of it is kept in a file, so that another strength
        runs none of them. Models that cannot do that separate again."""
        twin = copy.copy(self)
        twin.model = self.model.remembering(file)
        return twin

    def _skipped(self, planned: Plan) -> RenderReport:
        with open_audio(planned.job.mixture) as reader:
            return RenderReport(
                planned.job.mixture,
                planned.track,
                self.model.name,
                reader.sample_rate,
                reader.channels,
                skipped=[str(path) for path in planned.writes],
            )

    def _warnings(self, requests: Sequence[Request]) -> list[str]:
        """What can be done, and will hardly be what was meant."""
        model = self.model
        texts = [one.text for one in requests if one.text is not None]
        likely = ((text, model.meant(text)) for text in texts if model.reads(text))
        return [
            *(
                f"{text} holds no word that {model.name} knows: ask in English"
                for text in texts
                if not model.reads(text)
            ),
            *(f"{text}: did you mean {better}?" for text, better in likely if better is not None),
            *(
                f"{text} is asked for more than once: its stems share the sound between them"
                for text in asked_twice(requests)
            ),
        ]


def _find_judge(judge: str | Path | Judge | None, device: str) -> Judge | None:
    from sam_audio.selection.judging import default_judge, load_judge

    name = default_judge() if judge == "auto" else judge
    return load_judge(str(name), device) if isinstance(name, (str, Path)) else name


class SeparateArguments(SeparationFields, total=False):
    """Keyword arguments of :meth:`Separator.separate`."""

    clues: Mapping[str, Any] | None
    sample_rate: int | None
    post: Sequence[PostProcessor]
    ranker: Ranker | None
    progress: Progress | None


def separate(
    mixture: str | Path | np.ndarray,
    prompts: str | Prompt | Sequence[str | Prompt] = (),
    *,
    model: str | Path = "nano",
    device: str = "auto",
    **arguments: Unpack[SeparateArguments],
) -> SeparationResult:
    """Pulls the sounds that the prompts name out of a recording.

    Keeps the last used model loaded; for the arguments see :meth:`Separator.separate`.

    >>> result = separate("mix.wav", prompts=["guitar"])  # doctest: +SKIP
    >>> result.save("out")  # doctest: +SKIP
    """
    return _shared(str(model), device).separate(mixture, prompts, **arguments)


_lock = threading.Lock()
_last: tuple[tuple[str, str], Separator] | None = None


def _shared(model: str, device: str) -> Separator:
    global _last
    with _lock:
        if _last is None or _last[0] != (model, device):
            _last = (model, device), Separator(model, device)
        return _last[1]
