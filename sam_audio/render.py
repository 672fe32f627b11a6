"""From a recording to the files of its stems: streamed, in constant memory, all files or none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from judge.rank import Ranker
from judge.report import in_mixture
from judge.types import Judge
from sam_audio.conditioning.encode import encode
from sam_audio.conditioning.source import Recording
from sam_audio.extending.hookspecs import PostProcessor
from sam_audio.io import (
    AudioReader,
    AudioWriter,
    OutputSpec,
    WriterGroup,
    open_audio,
    quantise,
    resolve_output,
)
from sam_audio.io.tags import Metadata, read_metadata
from sam_audio.options import SeparationOptions
from sam_audio.plan import Output, Plan
from sam_audio.report import RenderReport, StemReport
from sam_audio.selection.candidates import candidates, choose, share_of
from sam_audio.selection.judging import StemJudge
from sam_audio.separation import Quantiser, Readable, Sink, run
from sam_audio.separator.base import SeparationModel
from sam_audio.sinks import Files, Levels, Told
from sam_audio.types import Condition, Progress

if TYPE_CHECKING:
    from sam_audio.made import OutputSet


@dataclass(frozen=True)
class Company:
    """Who else has a say in a separation, beside the model.

    Args:
        judge: judges the stems, unless the options say no.
        ranker: chooses among candidates; by default the judge's overall score.
        post: changes stems on their way out.
        progress: called after each block.
    """

    judge: Judge | None = None
    ranker: Ranker | None = None
    post: Sequence[PostProcessor] = ()
    progress: Progress | None = None


def render(
    model: SeparationModel, planned: Plan, company: Company = Company(), made: OutputSet | None = None
) -> RenderReport:
    """Separates one file into files.

    Args:
        model: what separates.
        planned: what is asked for, and where it goes.
        company: who else has a say.
        made: what will be remembered of the outputs.

    Raises:
        UserError: of any kind; nothing is left half-written then.
    """
    begun = time.perf_counter()
    job, options = planned.job, planned.options
    with open_audio(
        job.mixture, start_s=options.start_s, duration_s=options.duration_s, track=options.sound_track
    ) as reader:
        spec = resolve_output(options.format, options.depth, reader, options.bitrate_kbps)
        report = _report(model, planned, reader)
        source = Recording(job.mixture, model, start_s=options.start_s, duration_s=options.duration_s)
        conditions = encode(planned.requests, source)
        with WriterGroup() as group:
            metadata = _metadata(reader, planned, report)
            writers = [
                group.add(_writer(output, reader, spec, planned, metadata)) for output in planned.outputs
            ]
            # rescaling, or a change of rate on the way to the file, would undo the rounding
            rounds = options.clip_mode != "rescale" and spec.sample_rate == reader.sample_rate
            rounding = _Rounding(spec.subtype, len(conditions)) if rounds else None
            files = Files([(o.row, writer) for o, writer in zip(planned.outputs, writers, strict=True)])
            separate_into([files], model, conditions, reader, options, report, company, quantise=rounding)
            if made is not None and not planned.to_stdout:
                group.finish()
                sizes = {
                    str(o.path): writer.size_bytes for o, writer in zip(planned.outputs, writers, strict=True)
                }
                with made.remembered(sizes):
                    group.commit()
        report.warnings = reader.warnings + report.warnings  # only reading it through has told them all
        report.gain_db = 20 * float(np.log10(group.applied_gain))
        for output, writer in zip(planned.outputs, writers, strict=True):
            _complete(report, output, writer, rounding, planned)
    report.elapsed_s = time.perf_counter() - begun
    return report


def separate_into(
    sinks: Sequence[Sink],
    model: SeparationModel,
    conditions: list[Condition],
    recording: Readable,
    options: SeparationOptions,
    report: RenderReport,
    company: Company,
    quantise: Quantiser | None = None,
) -> None:
    """Separates a recording into sinks: the best of several candidates, if there are, judged on its way.

    Args:
        conditions: N prompts.
        report: what is found out goes into it; it has N stems already.
        quantise: see :class:`sam_audio.separation.Separation`.
    """
    judge = company.judge if options.judge else None
    stream, progress = None, company.progress
    if options.candidates > 1:
        ways = candidates(model, options.candidates)
        choice = choose(
            ways,
            conditions,
            recording,
            judge,
            strength=options.strength,
            ranker=company.ranker,
            post=company.post,
            progress=progress,
        )
        for stem, tried in zip(report.asked, choice.rated, strict=True):
            stem.candidates = tried
        stream = choice.open(conditions, recording.channels, options.strength)
        progress = share_of(progress, len(ways), len(ways) + 1)
    levels = Levels(len(conditions) + 1)
    listener = None if judge is None else StemJudge(judge, conditions)
    told = None if progress is None else Told(progress, recording.frames)
    run(
        model,
        conditions,
        recording,
        [sink for sink in (levels, *sinks, listener, told) if sink is not None],
        strength=options.strength,
        stream=stream,
        post=company.post,
        quantise=quantise,
    )
    report.seconds = levels.frames / recording.sample_rate
    for row, stem in enumerate(report.asked):
        stem.level_db = levels.level_db(row)
    if report.residual is not None:
        report.residual.level_db = levels.level_db(len(conditions))
    if levels.silent:
        report.warnings.append(f"{report.mixture} is silent, and so are its stems")
    if listener is not None:
        _judge(report, listener)


def _judge(report: RenderReport, listener: StemJudge) -> None:
    report.judge = listener.name
    for stem, scores in zip(report.asked, listener.finish(), strict=True):
        stem.scores, stem.in_mixture = scores, in_mixture(scores)
    if listener.problem is not None:
        report.warnings.append(f"the stems of {report.mixture} could not be judged: {listener.problem}")


class _Rounding:
    """Rounds stems (N, C, T) to what their files can hold, and keeps count of what did not fit."""

    def __init__(self, subtype: str, n_stems: int):
        self.subtype = subtype
        self.peaks = np.zeros(n_stems)
        self.clipped = np.zeros(n_stems, int)

    def __call__(self, stems: np.ndarray) -> np.ndarray:
        rounded = quantise(stems, self.subtype)
        if rounded is not stems:  # float files hold everything
            magnitudes = np.abs(stems)
            self.peaks = np.maximum(self.peaks, magnitudes.max(axis=(1, 2), initial=0))
            self.clipped += np.count_nonzero(magnitudes > 1, axis=(1, 2))
        return rounded


def _report(model: SeparationModel, planned: Plan, reader: AudioReader) -> RenderReport:
    report = RenderReport(
        planned.job.mixture,
        planned.track,
        model.name,
        reader.sample_rate,
        reader.channels,
        layout=reader.layout,
        sound_track=planned.options.sound_track,
    )
    for output in planned.outputs:
        stem = StemReport(output.name, output.prompt, "-" if output.path is None else str(output.path))
        if output.prompt is None:
            report.residual = stem
        else:
            report.stems.append(stem)
    if not report.stems:
        pairs = zip(planned.names, planned.requests, strict=True)
        report.removed = [StemReport(name, request.name) for name, request in pairs]
    return report


def _metadata(reader: AudioReader, planned: Plan, report: RenderReport) -> Metadata:
    """What stems take over of the recording; the report says what they cannot."""
    options = planned.options
    if not options.tags or reader.path is None:
        return Metadata()
    metadata, warnings = read_metadata(reader.path, reader.name)
    report.warnings += warnings
    frames = None if options.duration_s is None else round(options.duration_s * reader.sample_rate)
    return metadata.of_part(reader.start_frame, frames)


def _writer(
    output: Output, reader: AudioReader, spec: OutputSpec, planned: Plan, metadata: Metadata
) -> AudioWriter:
    return AudioWriter.of(
        spec,
        reader,
        "-" if output.path is None else output.path,
        overwrite=planned.options.replaces,
        inputs=[planned.job.mixture],
        clip_mode=planned.options.clip_mode,
        metadata=metadata.of_stem(output.prompt or output.name, planned.track),
    )


def _complete(
    report: RenderReport,
    output: Output,
    writer: AudioWriter,
    rounding: _Rounding | None,
    planned: Plan,
) -> None:
    """What is known of a file when it is written."""
    stem = report.residual if output.prompt is None else report.stems[output.row]
    assert stem is not None
    stem.peak = round(float(writer.peak), 6)
    stem.clipped_samples = writer.clipped_samples
    if rounding is not None and output.prompt is not None:  # stems saturated before their writers saw them
        stem.peak = max(stem.peak, round(float(rounding.peaks[output.row]), 6))
        stem.clipped_samples += int(rounding.clipped[output.row])
    if stem.clipped_samples and planned.options.clip_mode is None:
        report.warnings.append(
            f"{stem.name} exceeds full scale: {stem.clipped_samples} samples were clipped; "
            "use depth='float32', or clip_mode='rescale'"
        )
