"""From a recording to the files of its stems: streamed, in constant memory, all files or none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from judge.rank import Ranker
from judge.report import in_mixture
from judge.types import Judge, Judgement
from sam_audio.errors import UserError
from sam_audio.io import (
    AudioReader,
    AudioWriter,
    OutputSpec,
    WriterGroup,
    open_audio,
    quantise,
    resolve_output,
)
from sam_audio.io.formats import FORMATS
from sam_audio.io.tags import Metadata, read_metadata
from sam_audio.naming import RESIDUAL, check_prompts, check_template, distinct, fill_template, safe_name, slug
from sam_audio.pipeline import separate_blocks
from sam_audio.selection.candidates import Rated, Recording, best_of
from sam_audio.selection.judging import StemJudge
from sam_audio.types import SeparationModel, SeparationResult

if TYPE_CHECKING:
    from sam_audio.made import OutputSet

Progress = Callable[[int, "int | None"], None]  # frames done, frames in all when known

BLOCK_S = 0.5
SILENCE_DB = -120.0
ENERGY_FLOOR = 1e-12


@dataclass(frozen=True)
class RenderOptions:
    """How stems are made and stored.

    Args:
        out: folder of the output, or ``-`` for standard output (one stem only).
        filename: template with ``{track}``, ``{stem}`` and ``{ext}``.
        mode: ``extract`` writes what was asked for, and the residual; ``remove`` writes only what is left.
        residual: name of what is left, None for not writing it.
        format: wav, flac, mp3, ogg or opus.
        depth: int16, int24, int32 or float32; None keeps the input's.
        clip_mode: None (report it), ``clamp`` or ``rescale``.
        overwrite: replace files that are there already.
        skip_existing: leave outputs that are whole as they are, and make the others anew, see `sam_audio.made`.
        start_s, duration_s: the part of the recording to separate.
        sound_track: number of a video's sound track, from 1; None is the one that players choose.
        strength: 0..2, how boldly to cut.
        judge: whether stems are judged, where there is a judge.
        candidates: how many ways to separate are tried; the judge keeps the best for each stem.
        tags: whether stems take over tags, cover, time code and markers.
    """

    out: str | Path = "separated"
    filename: str = "{track}/{stem}.{ext}"
    mode: Literal["extract", "remove"] = "extract"
    residual: str | None = RESIDUAL
    format: str = "wav"
    depth: str | None = None
    clip_mode: Literal["clamp", "rescale"] | None = None
    overwrite: bool = False
    skip_existing: bool = False
    start_s: float = 0.0
    duration_s: float | None = None
    sound_track: int | None = None
    strength: float = 1.0
    judge: bool = True
    candidates: int = 1
    tags: bool = True

    @property
    def replaces(self) -> bool:
        """Whether files that are there already may be replaced."""
        return self.overwrite or self.skip_existing

    def check(self) -> None:
        """Raises UserError for values that could never work."""
        check_template(self.filename)
        if self.overwrite and self.skip_existing:
            raise UserError("--overwrite and --skip-existing exclude each other: choose one")
        if self.skip_existing and str(self.out) == "-":
            raise UserError("on standard output nothing is there already: leave --skip-existing out")
        if not 0 <= self.strength <= 2:
            raise UserError(f"a strength of {self.strength:g} is out of range: use 0 to 2, 1 is neutral")
        if self.candidates < 1:
            raise UserError(f"{self.candidates} candidates are too few: use 1 or more")
        if self.mode not in ("extract", "remove"):
            raise UserError(f"{self.mode} is not a mode: use extract or remove")
        if self.mode == "remove" and self.residual is None:
            raise UserError(
                "mode remove writes only the residual, so it needs a name: leave --residual none out"
            )


@dataclass
class StemReport:
    """What became of one output. Levels in dB relative to the mixture's energy; ``peak`` is linear.

    ``scores`` are the judge's, and ``in_mixture`` says whether the sound asked for is there at all; both are None
    where there was no judge or it could not tell. ``candidates`` are all that were tried.
    """

    name: str
    prompt: str | None
    path: str
    level_db: float = SILENCE_DB
    peak: float = 0.0
    clipped_samples: int = 0
    scores: Judgement | None = None
    in_mixture: bool | None = None
    candidates: list[Rated] = field(default_factory=list)


@dataclass
class RenderReport:
    """Summary of one mixture; ``as_dict`` is what ``--json`` prints.

    ``stems`` are those that were written. In mode ``remove`` there are none, and ``removed`` says what was taken out
    (its ``path`` is empty). ``layout`` says where the channels belong, e.g. ``5.1``, ``quad`` or ``ambisonic 1``; None
    if the recording does not tell. ``sound_track`` is the number that was asked for. ``skipped`` are the files of a set
    that was whole already: then nothing was separated.
    """

    mixture: str
    track: str
    model: str
    sample_rate: int
    channels: int
    seconds: float = 0.0
    elapsed_s: float = 0.0
    gain_db: float = 0.0
    stems: list[StemReport] = field(default_factory=list)
    residual: StemReport | None = None
    removed: list[StemReport] = field(default_factory=list)
    judge: str | None = None
    warnings: list[str] = field(default_factory=list)
    layout: str | None = None
    sound_track: int | None = None
    skipped: list[str] = field(default_factory=list)

    @property
    def asked(self) -> list[StemReport]:
        """What was asked for, one a prompt, written or removed."""
        return [*self.stems, *self.removed]

    @property
    def absent(self) -> list[str]:
        """Prompts whose sound is not in the mixture, as far as the judge can tell."""
        return [stem.prompt or stem.name for stem in self.asked if stem.in_mixture is False]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def render(
    model: SeparationModel,
    source: str | Path,
    prompts: Sequence[str],
    options: RenderOptions,
    track: str | None = None,
    progress: Progress | None = None,
    judge: Judge | None = None,
    ranker: Ranker | None = None,
    made: OutputSet | None = None,
) -> RenderReport:
    """Separates one file into files.

    Args:
        model: what separates.
        source: path of the mixture, or ``-`` for standard input.
        prompts: what to pull out, one stem each.
        options: see :class:`RenderOptions`.
        track: name for ``{track}``; the file's own name without its extension by default.
        progress: called after each block.
        judge: what judges the stems, unless the options say no.
        ranker: what chooses among candidates; by default the judge's overall score.
        made: what will be remembered of the outputs.

    Raises:
        UserError: of any kind; nothing is left half-written then.
    """
    begun = time.perf_counter()
    options.check()
    prompts = check_prompts(prompts)
    judge = judge if options.judge else None
    with open_audio(
        source, start_s=options.start_s, duration_s=options.duration_s, track=options.sound_track
    ) as reader:
        spec = resolve_output(options.format, options.depth, reader)
        track = track or track_name(source)
        report = RenderReport(
            str(source),
            track,
            model.name,
            reader.sample_rate,
            reader.channels,
            layout=reader.layout,
            sound_track=options.sound_track,
        )
        conditions = model.encode(prompts)
        recording = Recording(
            partial(reader.blocks, max(1, round(reader.sample_rate * BLOCK_S))),
            reader.sample_rate,
            reader.channels,
            reader.frames,
        )
        with WriterGroup() as group:
            metadata = _metadata(reader, options, report)
            outputs = _open_outputs(group, reader, spec, prompts, options, report, metadata)
            best = best_of(
                model,
                options.candidates,
                conditions,
                recording,
                judge,
                strength=options.strength,
                ranker=ranker,
                progress=progress,
            )
            totals = _Totals(len(prompts) + 1)
            # rescaling, or a change of rate on the way to the file, would undo the rounding
            rounds = options.clip_mode != "rescale" and spec.sample_rate == reader.sample_rate
            rounding = _Rounding(spec.subtype, len(prompts)) if rounds else None
            listener = None if judge is None else StemJudge(judge, conditions)
            for mixture, parts in separate_blocks(
                best.model,
                conditions,
                recording.blocks(),
                reader.sample_rate,
                reader.channels,
                options.strength,
                rounding,
                [] if listener is None else [listener],
            ):
                totals.add(mixture, parts)
                for output in outputs:
                    output.writer.write(parts[output.index])
                if best.progress is not None:
                    best.progress(totals.frames, reader.frames)
            for stem, tried in zip(report.asked, best.rated, strict=True):
                stem.candidates = tried
            if listener is not None:
                _judge(report, listener)
            if made is not None and str(options.out) != "-":
                group.finish()
                with made.remembered({output.report.path: output.writer.size_bytes for output in outputs}):
                    group.commit()
        report.warnings = reader.warnings + report.warnings  # only reading it through has told them all
        _complete(report, outputs, totals, rounding, group, options)
    report.elapsed_s = time.perf_counter() - begun
    return report


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


@dataclass
class _Output:
    """One file being written; ``index`` is its row among the separated parts."""

    index: int
    writer: AudioWriter
    report: StemReport


def stem_names(prompts: Sequence[str], options: RenderOptions) -> tuple[list[str], str | None]:
    """What the stems and the residual, if it is wanted, are called in file names."""
    residual = None if options.residual is None else slug(options.residual)
    return distinct([slug(p) for p in prompts], taken=[] if residual is None else [residual]), residual


def _metadata(reader: AudioReader, options: RenderOptions, report: RenderReport) -> Metadata:
    """What stems take over of the recording; the report says what they cannot."""
    if not options.tags or reader.path is None:
        return Metadata()
    metadata, warnings = read_metadata(reader.path, reader.name)
    report.warnings += warnings
    frames = None if options.duration_s is None else round(options.duration_s * reader.sample_rate)
    return metadata.of_part(reader.start_frame, frames)


def _open_outputs(
    group: WriterGroup,
    reader: AudioReader,
    spec: OutputSpec,
    prompts: Sequence[str],
    options: RenderOptions,
    report: RenderReport,
    metadata: Metadata,
) -> list[_Output]:
    names, residual = stem_names(prompts, options)
    wanted: list[tuple[int, str, str | None]] = []
    if options.mode == "extract":
        wanted += [(i, name, prompt) for i, (name, prompt) in enumerate(zip(names, prompts, strict=True))]
    else:
        report.removed = [StemReport(name, prompt, "") for name, prompt in zip(names, prompts, strict=True)]
    to_stdout = str(options.out) == "-"
    if residual is not None and not (to_stdout and options.mode == "extract"):
        wanted.append((len(prompts), residual, None))
    if to_stdout and len(wanted) != 1:
        raise UserError(
            f"standard output takes one stem, not {len(wanted)}: give one prompt, or a folder with --out"
        )
    outputs = []
    for index, name, prompt in wanted:
        extension = spec.extension.lstrip(".")
        path = (
            "-"
            if to_stdout
            else fill_template(options.filename, Path(options.out), report.track, name, extension)
        )
        suffix = Path(path).suffix.lower().lstrip(".")
        if suffix in FORMATS and suffix != extension:
            raise UserError(
                f"{Path(path).name} would be no {suffix} but {extension}: add --format {suffix}, or end the file name "
                "template in {ext}"
            )
        writer = AudioWriter(
            path,
            sample_rate=spec.sample_rate,
            channels=reader.channels,
            layout=reader.layout,
            input_rate=reader.sample_rate,
            format=spec.format,
            subtype=spec.subtype,
            overwrite=options.replaces,
            inputs=[report.mixture],
            clip_mode=options.clip_mode,
            metadata=metadata.of_stem(prompt or name, report.track),
        )
        stem = StemReport(name, prompt, str(path))
        outputs.append(_Output(index, group.add(writer), stem))
        if prompt is None:
            report.residual = stem
        else:
            report.stems.append(stem)
    return outputs


class _Totals:
    """Energies of the mixture and its parts, for the report."""

    def __init__(self, n_parts: int):
        self.frames = 0
        self.mixture = 0.0
        self.parts = np.zeros(n_parts)

    def add(self, mixture: np.ndarray, parts: np.ndarray) -> None:
        self.frames += mixture.shape[-1]
        self.mixture += float(np.square(mixture, dtype=np.float64).sum())
        self.parts += np.square(parts, dtype=np.float64).sum(axis=(1, 2))

    def level_db(self, index: int) -> float:
        return relative_db(self.parts[index], self.mixture)


def relative_db(energy: float, mixture: float) -> float:
    """A part's energy against that of its mixture, in dB; SILENCE_DB when either is silent."""
    if energy <= ENERGY_FLOOR or mixture <= ENERGY_FLOOR:
        return SILENCE_DB
    return max(SILENCE_DB, 10 * float(np.log10(energy / mixture)))


def _complete(
    report: RenderReport,
    outputs: list[_Output],
    totals: _Totals,
    rounding: _Rounding | None,
    group: WriterGroup,
    options: RenderOptions,
) -> None:
    report.seconds = totals.frames / report.sample_rate
    report.gain_db = 20 * float(np.log10(group.applied_gain))
    if totals.mixture <= ENERGY_FLOOR:
        report.warnings.append(f"{report.mixture} is silent, and so are its stems")
    for index, removed in enumerate(report.removed):
        removed.level_db = round(totals.level_db(index), 2)
    for output in outputs:
        stem = output.report
        stem.level_db = round(totals.level_db(output.index), 2)
        stem.peak = round(float(output.writer.peak), 6)
        stem.clipped_samples = output.writer.clipped_samples
        if rounding is not None and stem.prompt is not None:  # stems saturated before their writers saw them
            stem.peak = max(stem.peak, round(float(rounding.peaks[output.index]), 6))
            stem.clipped_samples += int(rounding.clipped[output.index])
        if stem.clipped_samples and options.clip_mode is None:
            report.warnings.append(
                f"{stem.name} exceeds full scale: {stem.clipped_samples} samples were clipped; "
                "use --float32, or --clip-mode rescale"
            )


def track_name(source: str | Path) -> str:
    """What ``{track}`` stands for."""
    return "stdin" if str(source) == "-" else safe_name(Path(source).stem)


def save_result(result: SeparationResult, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Writes a result's stems and residual as float32 wav files; all of them or none."""
    stems = [*result.stems.values(), result.residual]
    names = distinct([slug(stem.name) for stem in stems[:-1]], taken=[slug(result.residual.name)])
    paths = [folder / f"{name}.wav" for name in [*names, slug(result.residual.name)]]
    with WriterGroup() as group:
        for path, stem in zip(paths, stems, strict=True):
            writer = AudioWriter(
                path,
                sample_rate=stem.sample_rate,
                channels=stem.samples.shape[0],
                subtype="FLOAT",
                overwrite=overwrite,
            )
            group.add(writer).write(stem.samples)
    return paths
