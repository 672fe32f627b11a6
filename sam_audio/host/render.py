"""A file through a rack into files: streamed, in constant memory, all files or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sam_audio.host.rack import MASTER, Rack
from sam_audio.io import AudioWriter, WriterGroup, open_audio, resolve_output
from sam_audio.made import OutputSet
from sam_audio.naming import distinct, shorten, slug
from sam_audio.plan import track_name
from sam_audio.types import Progress

BLOCK_S = 0.5


@dataclass
class RackReport:
    """Files written, the mix first, and what was clipped."""

    paths: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def rack_outputs(
    rack: Rack, source: str | Path, folder: Path, name: str, *, stems: bool = False, format: str = "wav"
) -> dict[str, Path]:
    """FOLDER/TRACK-NAME.wav for the master, and with ``stems`` FOLDER/TRACK-NAME/STRIP.wav for every strip and bus.

    Args:
        rack: what it is run through.
        source: path of the mixture, or ``-`` for standard input.
        folder, name: of the result; ``name`` is the rack's.
        stems: also every strip and bus, after its fader.
        format: wav, flac, mp3, ogg or opus.
    """
    mix = f"{track_name(source)}-{slug(name)}"
    extension = format.lower().lstrip(".")
    wanted = {MASTER: folder / shorten(f"{mix}.{extension}")}
    if stems:
        strips = [*rack.strips, *rack.buses]
        names = distinct(slug(strip) for strip in strips)
        wanted |= {s: folder / shorten(mix) / f"{n}.{extension}" for s, n in zip(strips, names, strict=True)}
    return wanted


def render_rack(
    rack: Rack,
    source: str | Path,
    wanted: Mapping[str, Path],
    *,
    format: str = "wav",
    overwrite: bool = False,
    made: OutputSet | None = None,
    progress: Progress | None = None,
) -> RackReport:
    """Writes what comes out of a rack.

    Args:
        rack: what to run it through.
        source: path of the mixture, or ``-`` for standard input.
        wanted: files by strip, see :func:`rack_outputs`.
        format: wav, flac, mp3, ogg or opus, at the input's depth.
        made: what will be remembered of the files.
        progress: called after each block.

    Raises:
        UserError: of any kind; nothing is left half-written then.
    """
    report = RackReport()
    with open_audio(source) as reader:
        spec = resolve_output(format, None, reader)
        with WriterGroup() as group:
            writers = {}
            for strip, path in wanted.items():
                writer = AudioWriter.of(spec, reader, path, overwrite=overwrite, inputs=[source])
                writers[strip] = group.add(writer)
            blocks = reader.blocks(max(1, round(reader.sample_rate * BLOCK_S)))
            done = 0
            for parts in rack.stream_parts(blocks, reader.sample_rate, reader.channels):
                for strip, writer in writers.items():
                    if strip in parts:
                        writer.write(parts[strip])
                done += parts[MASTER].shape[-1]
                if progress is not None:
                    progress(done, reader.frames)
            if made is not None:
                group.finish()
                sizes = {str(path): writers[strip].size_bytes for strip, path in wanted.items()}
                with made.remembered(sizes):
                    group.commit()
        for strip, path in wanted.items():
            report.paths.append(path)
            clipped = writers[strip].clipped_samples
            if clipped:
                report.warnings.append(
                    f"{path.name} exceeds full scale: {clipped} samples were clipped; lower its gain, or add a Limiter"
                )
    return report
