"""SAM-Audio-Bench: real recordings asked for by text, spans and what is seen, judged without a reference.

A table (parquet, or JSON Lines of the same columns) has a row a clip: the video it is of and which part of it, the text
of what is wanted, the spans in which it is heard, a mask of what makes it, and the settings in which the clip counts.
The sounds have to be fetched by whoever runs this: files called after the video, in any audio or video format, at any
depth. Columns go by how their names begin (`COLUMNS`);
where several may be meant, the table is refused. A setting whose name says "visual" is asked for by the mask
alone, one that says "span" by text and spans, any other by text.

A file that is longer than the row's end is cut to its part of the video, a shorter one is taken to be cut already;
spans count from the start of the part. Measured are the Judge's four axes, how alike PE-AV finds stem and text (the
dot product of their vectors), and what plugins score: an aesthetics predictor comes as one of their rankers.

Shi et al.: SAM Audio: Segment anything in audio, 2025.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from judge.types import AXES
from sam_audio.conditioning.embedding import Embedder
from sam_audio.errors import AudioReadError, MissingExtraError
from sam_audio.evaluation.bench.base import Bench, Scored, Tools
from sam_audio.evaluation.folders import Folder
from sam_audio.io import open_audio
from sam_audio.prompts import Prompt
from sam_audio.types import Samples

# what a column is for -> how its name may begin, the likeliest first
COLUMNS = {
    "video": ("video_id", "video", "id"),
    "text": ("description", "text", "prompt"),
    "settings": ("paper_eval", "setting", "task"),
    "start": ("start",),
    "end": ("end",),
    "spans": ("span", "anchor"),
    "mask": ("mask",),
}
_NEEDED = ("video", "text", "settings")
# how files of masks begin
_MAGIC = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"\x1aE\xdf\xa3": ".mkv", b"GIF8": ".gif"}
_WINDOW_S = 10.0


@dataclass(frozen=True)
class Clip:
    """A recording and what is wanted of it, in one setting; spans are (start, end, whether it is heard there)."""

    path: Path
    setting: str
    text: str
    start_s: float = 0.0
    end_s: float | None = None
    spans: tuple[tuple[float, float, bool], ...] = ()
    mask: bytes | Path | None = None

    @property
    def by_sight(self) -> bool:
        return "visual" in self.setting.lower()

    @property
    def by_spans(self) -> bool:
        return "span" in self.setting.lower() and not self.by_sight


class SamAudioBench(Bench):
    """All settings of the table."""

    name = "sam-audio-bench"
    layout = (
        "SAM-Audio-Bench's table (.parquet or .jsonl) and its clips as files called after the videos, "
        "such as VIDEO.mp4"
    )

    def items(self, root: Path) -> list[Clip]:
        folder = Folder(root, "test")
        tables = sorted(
            p for name in folder.files for p in folder.files[name] if p.suffix in (".parquet", ".jsonl")
        )
        if not tables:
            raise self.refusal(root, " (it has no table)")
        clips: list[Clip] = []
        for path in tables:
            for row in _rows(path):
                try:
                    columns = _columns(row)
                except ValueError as error:
                    raise self.refusal(root, f" ({path.name} {error})") from None
                clips += self._clips(
                    root, path, folder, {name: row[column] for name, column in columns.items()}
                )
        if not any(clip.path.is_file() for clip in clips):
            first = f", the first being {clips[0].path.name}" if clips else ""
            raise self.refusal(root, f" (none of its {len(clips)} clips is there{first})")
        return clips

    def _clips(self, root: Path, table: Path, folder: Folder, row: Mapping[str, Any]) -> Iterator[Clip]:
        settings = [row["settings"]] if isinstance(row["settings"], str) else list(row["settings"] or ())
        mask = row.get("mask")
        try:
            spans = tuple(_span(entry) for entry in _listed(row.get("spans")))
            start, end = row.get("start"), row.get("end")
            for setting in settings:
                clip = Clip(
                    folder.media(str(row["video"])),
                    str(setting),
                    str(row["text"] or ""),
                    float(start or 0.0),
                    None if end is None else float(end),
                    spans,
                    _inside(root, mask) if isinstance(mask, str) else mask,
                )
                # a clip without what its setting asks by is in the table for the others
                if clip.mask if clip.by_sight else clip.spans if clip.by_spans else clip.text:
                    yield clip
        except (TypeError, ValueError) as error:
            raise self.refusal(root, f" ({table.name}: {row['video']}: {error})") from None

    def measure(self, item: Clip, tools: Tools) -> list[Scored]:
        with ExitStack() as files:
            start_s, duration_s = _part(item)
            separated = tools.separator.separate(
                item.path, [self._prompt(item, files)], start_s=start_s, duration_s=duration_s, judge=False
            )
        stem = next(iter(separated.stems.values()))
        rate = separated.sample_rate
        mixture = stem.samples + separated.residual.samples
        sounds = _mono(mixture), _mono(stem.samples)
        judge, embedder = tools.judge, tools.embedder
        heard, made = _at(judge.sample_rate, rate, *sounds)
        judgement = asdict(judge.judge(heard, [made], [item.text])[0])
        measures: dict[str, float] = {axis: judgement[axis] for axis in AXES}
        _, made = _at(embedder.sample_rate, rate, *sounds)
        measures["text similarity"] = _similarity(embedder, made, item.text)
        for name, scorer in tools.scorers.items():
            heard, made = _at(scorer.sample_rate, rate, *sounds)
            measures[name] = float(scorer.rank([made], heard, item.text)[0])
        return [Scored(item.setting, measures)]

    def _prompt(self, item: Clip, files: ExitStack) -> Prompt:
        if item.by_sight:
            return Prompt(None, name=item.text or "seen", mask=_mask_file(item, files))
        if not item.by_spans:
            return Prompt(item.text)
        prompt = Prompt(item.text)
        for key, there in (("spans", True), ("not_spans", False)):
            marked = [f"{start:g}-{end:g}" for start, end, heard in item.spans if heard is there]
            prompt.clues |= {key: marked} if marked else {}
        return prompt


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        if path.suffix == ".jsonl":
            with path.open(encoding="utf-8") as file:
                for line in filter(str.strip, file):
                    if not isinstance(row := json.loads(line), dict):
                        raise ValueError("a line is no object")
                    yield row
            return
        try:
            import pyarrow.parquet
        except ImportError:
            raise MissingExtraError("parquet is read by pyarrow, which is not installed", "scale") from None
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(64):
            yield from batch.to_pylist()
    except (OSError, ValueError) as error:  # of pyarrow and of JSON
        raise AudioReadError(f"{path.name} cannot be read as a table ({error}): download it again") from None


def _columns(row: Mapping[str, Any]) -> dict[str, str]:
    """What a column is for -> its name: of the first beginning that there is, the column that is called just so, or the
    only one that begins so.

    Raises:
        ValueError: a column that is needed is missing, or several may be meant.
    """
    found = {}
    for what, beginnings in COLUMNS.items():
        for begin in beginnings:
            names = [name for name in row if name.lower().startswith(begin)]
            names = [name for name in names if name.lower() == begin] or names
            if len(names) > 1:
                raise ValueError(
                    f"has the columns {', '.join(names)}, of which one is to be {what}: call that one {begin}"
                )
            if names:
                found[what] = names[0]
                break
        else:
            if what in _NEEDED:
                wanted = " or ".join(beginnings)
                raise ValueError(
                    f"has the columns {', '.join(row)}, none of which begins with {wanted}, for {what}"
                )
    return found


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str):
        value = json.loads(value) if value else []
    return list(value if value is not None else ())


def _span(entry: Any) -> tuple[float, float, bool]:
    """Of [start, end], or of ["+", start, end] with "-" for where the sound is not."""
    sign, (start, end) = ("+", entry) if len(entry) == 2 else (entry[0], entry[1:])
    if not 0 <= float(start) <= float(end):
        raise ValueError(f"a span from {start} s to {end} s is not one")
    return float(start), float(end), sign != "-"


def _inside(root: Path, name: str) -> Path:
    """A file below the folder, whatever a table says."""
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError(f"its mask {name} lies outside of the folder")
    return path


def _part(item: Clip) -> tuple[float, float | None]:
    """Start and duration of the part of the file that is meant, in seconds."""
    if item.end_s is None:
        return item.start_s, None
    with open_audio(item.path) as reader:
        length = None if reader.frames is None else reader.frames / reader.sample_rate
    if length is not None and length < item.end_s:  # it is cut already
        return 0.0, None
    return item.start_s, item.end_s - item.start_s


def _mask_file(item: Clip, files: ExitStack) -> Path:
    if isinstance(item.mask, Path):
        return item.mask
    assert item.mask is not None
    kind = next((kind for magic, kind in _MAGIC.items() if item.mask.startswith(magic)), None)
    if kind is None and item.mask[4:8] == b"ftyp":
        kind = ".mp4"
    if kind is None:
        raise AudioReadError(
            f"the mask of {item.path.name} is neither a picture nor a video: store it as PNG or mp4"
        )
    path = Path(files.enter_context(tempfile.TemporaryDirectory(prefix="sam-audio-bench-")), f"mask{kind}")
    path.write_bytes(item.mask)
    return path


def _mono(samples: Samples) -> Samples:
    return samples.mean(axis=0, dtype=np.float32)


def _at(wanted_hz: int, rate: int, *sounds: Samples) -> list[Samples]:
    if rate == wanted_hz:
        return list(sounds)
    return [soxr.resample(sound, rate, wanted_hz).astype(np.float32) for sound in sounds]


def _similarity(embedder: Embedder, sound: Samples, text: str) -> float:
    """Cosine between a stem, in stretches of 10 s, and its text."""
    window = round(_WINDOW_S * embedder.sample_rate)
    stretches = [sound[start : start + window] for start in range(0, len(sound), window)]
    total = np.sum([embedder.embed_audio(stretch) * len(stretch) for stretch in stretches], axis=0)
    vector = total / max(float(np.linalg.norm(total)), 1e-12)
    return float(vector @ embedder.embed_text([text], "audio")[0])


BENCHES = [SamAudioBench()]
