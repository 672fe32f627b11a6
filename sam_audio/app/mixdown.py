"""Stems and mixes as files: chosen stems, the mix as it is heard, zips, and sessions for workstations."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from sam_audio.app.project import Media
from sam_audio.errors import MissingExtraError, UserError
from sam_audio.export.timeline import Track, session_of_files
from sam_audio.export.video import Sound, with_sound
from sam_audio.export.workstation import session_exporter
from sam_audio.host.files import find_rack, load_desk
from sam_audio.host.rack import MASTER, Mixing
from sam_audio.io import AudioWriter, OutputSpec, WriterGroup, open_audio, quantise, resolve_output
from sam_audio.io.tags import Metadata, read_metadata
from sam_audio.naming import RESIDUAL, slug
from sam_audio.session import Fader
from sam_audio.types import Samples

_BLOCK_S = 1.0


def heard(faders: Mapping[str, Fader]) -> dict[str, Fader]:
    """The tracks that sound: those that are soloed if any is, and never those that are muted."""
    solo = any(fader.solo for fader in faders.values())
    return {name: f for name, f in faders.items() if not f.mute and (f.solo or not solo)}


def mixed(parts: Mapping[str, Samples], faders: Mapping[str, Fader], channels: int) -> Samples:
    """Parts (C, n) through their faders, summed: (``channels``, n).

    Pan is a balance, as in a rack: it turns one side down and moves nothing. It counts for stereo only; mono is
    given to both sides first.
    """
    frames = next(iter(parts.values())).shape[-1]
    out = np.zeros((channels, frames), np.float32)
    for name, fader in heard(faders).items():
        part = parts[name] * np.float32(10 ** (fader.gain_db / 20))
        if len(part) == 1 and channels == 2:
            part = np.repeat(part, 2, axis=0)
        if fader.pan and channels == 2:
            part = part * np.array([[min(1 - fader.pan, 1)], [min(1 + fader.pan, 1)]], np.float32)
        out += part
    return out


def write_mix(
    media: Media,
    stems: Mapping[str, Path],
    faders: Mapping[str, Fader],
    out: Path,
    format: str = "wav",
    depth: str | None = None,
    rack: str = "",
) -> Path:
    """Writes what the mixer plays; it may exceed full scale, which integer formats clip.

    Args:
        rack: the ready-made rack whose effects it gets; the faders stay those of the mixer.

    Raises:
        UserError: nothing would sound, or the format cannot hold it.
        MissingExtraError: the rack needs what is not installed.
    """
    faders = {name: faders.get(name, Fader()) for name in stems}
    if not heard(faders):
        raise UserError("every track is muted: unmute one to export the mix")
    panned = media.channels == 1 and any(fader.pan for fader in faders.values())
    channels = 2 if panned else media.channels
    spec = _spec(media, format, depth, channels)
    path = out / f"{slug(Path(media.name).stem)}-mix{spec.extension}"
    with _writer(path, media, spec, channels, "mix", _metadata(media)) as writer:
        if rack:
            blocks = _through_rack(stems, faders, channels, media.sample_rate, rack)
        else:
            blocks = (mixed(parts, faders, channels) for parts in _blocks(stems))
        for block in blocks:
            writer.write(block)
    return path


def _through_rack(
    stems: Mapping[str, Path], faders: Mapping[str, Fader], channels: int, sample_rate: int, rack: str
) -> Iterator[Samples]:
    """The mix with the chains and buses of a rack, (C, n) block by block."""
    desk = load_desk(find_rack(rack), list(stems))
    for name, fader in faders.items():
        strip = desk[name]
        strip.gain_db, strip.mute, strip.solo = fader.gain_db, fader.mute, fader.solo
        strip.pan = fader.pan if channels == 2 else 0.0
    mixing = Mixing(desk, sample_rate, channels)
    for parts in _blocks(stems):
        wide = [np.broadcast_to(part, (channels, part.shape[-1])) for part in parts.values()]
        yield mixing.push(np.stack(wide))[MASTER]
    yield mixing.push(np.zeros((len(stems), channels, 0), np.float32), last=True)[MASTER]


def write_video(
    media: Media, stems: Mapping[str, Path], faders: Mapping[str, Fader], out: Path, rack: str = ""
) -> Path:
    """Writes the recording's pictures, as they are, with what the mixer plays as their sound.

    Raises:
        UserError: nothing would sound, or the pictures cannot be taken over.
    """
    sound = write_mix(media, stems, faders, out, "wav", "float32", rack)
    try:
        return with_sound(media.path, Sound(sound, "mix"), sound)
    except MissingExtraError:
        raise
    except UserError:
        raise UserError(
            f"the pictures of {media.name} cannot be put under another sound: export the mix alone"
        ) from None
    finally:
        sound.unlink()


def write_stems(
    media: Media,
    stems: Mapping[str, Path],
    chosen: Sequence[str],
    out: Path,
    format: str = "wav",
    depth: str | None = None,
) -> list[Path]:
    """Writes stems as they were separated, without their faders.

    In integer formats stems are rounded, and the residual makes up for it: together they are the mixture.
    """
    if not chosen:
        raise UserError("no stem is chosen: choose at least one to export")
    spec = _spec(media, format, depth, media.channels)
    paths = {name: out / f"{stems[name].stem}{spec.extension}" for name in stems if name in chosen}
    metadata = _metadata(media)
    with WriterGroup() as group:
        writers = {
            name: group.add(_writer(path, media, spec, media.channels, name, metadata))
            for name, path in paths.items()
        }
        for parts in _blocks(stems):
            if spec.subtype.startswith("PCM") and spec.sample_rate == media.sample_rate:
                parts = _rounded(parts, spec.subtype)
            for name, writer in writers.items():
                writer.write(parts[name])
    return list(paths.values())


def _rounded(parts: Mapping[str, Samples], subtype: str) -> dict[str, Samples]:
    mixture = np.sum(list(parts.values()), axis=0, dtype=np.float32)
    rounded = {name: quantise(part, subtype) for name, part in parts.items() if name != RESIDUAL}
    rest = mixture - np.sum(list(rounded.values()), axis=0, dtype=np.float32)
    return {**rounded, RESIDUAL: np.asarray(rest, np.float32)}


def write_session(
    media: Media,
    stems: Mapping[str, Path],
    faders: Mapping[str, Fader],
    out: Path,
    format: str,
) -> Path:
    """A session for a workstation; one that names its sounds is zipped with them.

    Args:
        format: one of `sam_audio.export.workstation.session_exporters`.
    """
    exporter = session_exporter(format)
    title = slug(Path(media.name).stem)
    folder = out / title
    (folder / "stems").mkdir(parents=True, exist_ok=True)
    mixture = folder / f"{title}{media.path.suffix}"
    shutil.copyfile(media.path, mixture)
    named = {}
    for name, path in stems.items():
        named[folder / "stems" / path.name] = name
        shutil.copyfile(path, folder / "stems" / path.name)
    session = session_of_files(mixture, named)
    tracks = [session.tracks[0], *(_through(track, faders.get(track.name)) for track in session.tracks[1:])]
    made = exporter.save(
        replace(session, tracks=tuple(tracks)), folder / f"{title}{exporter.suffix}", overwrite=True
    )
    return made if exporter.holds_sounds else zipped([folder], out / f"{title}-{format}.zip")


def _through(track: Track, fader: Fader | None) -> Track:
    return track if fader is None else replace(track, **asdict(fader))


def zipped(paths: Sequence[Path], out: Path) -> Path:
    """Files and folders as one zip; sound does not get smaller, so it is stored as it is."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as packed:
        for path in paths:
            files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
            for file in files:
                packed.write(file, file.relative_to(path.parent).as_posix())
    return out


def _spec(media: Media, format: str, depth: str | None, channels: int) -> OutputSpec:
    return resolve_output(format, depth, replace(media, channels=channels))


def _metadata(media: Media) -> Metadata:
    """What exports take over of the recording. The stems' report has told already what they cannot."""
    return read_metadata(media.path, media.name)[0]


def _writer(
    path: Path, media: Media, spec: OutputSpec, channels: int, stem: str, metadata: Metadata
) -> AudioWriter:
    layout = media.layout if channels == media.channels else None
    return AudioWriter.of(
        spec,
        replace(media, channels=channels, layout=layout),
        path,
        overwrite=True,
        metadata=metadata.of_stem(stem, Path(media.name).stem),
    )


def _blocks(stems: Mapping[str, Path]) -> Iterator[dict[str, Samples]]:
    """The same stretch of every stem, (C, n) each, from beginning to end."""
    with ExitStack() as stack:
        readers = {name: stack.enter_context(open_audio(path)) for name, path in stems.items()}
        each = [reader.blocks(round(reader.sample_rate * _BLOCK_S)) for reader in readers.values()]
        for blocks in zip(*each, strict=True):
            yield dict(zip(readers, blocks, strict=True))
