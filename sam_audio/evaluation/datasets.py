"""Readers of published data sets in the layouts they are usually kept in: local folders, nothing is fetched.

    audiocaps        {split}.csv: audiocap_id,youtube_id,start_time,caption (a row a caption)
    clotho           clotho_captions_{split}.csv: file_name,caption_1..caption_5
    vggsound         vggsound.csv, no header: youtube_id,start,label,split
    esc50            esc50.csv: filename,fold,target,category,...; the split is a fold, 1 to 5
    vctk             txt/p225/p225_001.txt beside p225_001_mic1.flac; the split is the microphone
    activitynet      {split}.json: {video_id: {duration, timestamps, sentences}}; a video and its paragraph
    activitynet-clips   the same; a timestamp and its sentence
    kinetics400      {split}.csv: label,youtube_id,time_start,time_end,split
    desed            {split}.tsv: filename onset offset event_label
    audioset-strong  audioset_{split}_strong.tsv: segment_id start_time_seconds end_time_seconds label,
                     and mid_to_display_name.tsv

Annotations and media are found by name at any depth below the folder. Media may have any extension in
`MEDIA`: many copies have been converted.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sam_audio.errors import UserError

__all__ = ["DATASETS", "Dataset", "LabelledEvent", "Item", "load"]

VIDEO = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"}
AUDIO = {".aac", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"}
MEDIA = VIDEO | AUDIO

_CLIP_S = 10  # length of AudioSet's clips
_SHOWN = 5  # names listed in a message


@dataclass(frozen=True)
class LabelledEvent:
    """One sound of a recording; seconds."""

    label: str
    onset_s: float
    offset_s: float


@dataclass(frozen=True)
class Item:
    """One clip with its annotation: captions, a label or events, whichever the data set has.

    `start_s` and `end_s` are the part of the file that the annotation is about; None is its end.
    """

    path: Path
    captions: tuple[str, ...] = ()
    label: str = ""
    events: tuple[LabelledEvent, ...] = ()
    start_s: float = 0.0
    end_s: float | None = None

    @property
    def duration_s(self) -> float | None:
        return None if self.end_s is None else self.end_s - self.start_s

    @property
    def has_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO


@dataclass(frozen=True)
class Dataset:
    """What is there of a data set.

    Attributes:
        items: the clips whose media are there.
        labels: every label of the split, sorted, also those whose media are missing.
        missing: how many annotated clips have no media.
    """

    name: str
    split: str
    items: list[Item]
    labels: list[str]
    missing: int


def load(name: str, folder: str | Path, split: str | None = None, limit: int | None = None) -> Dataset:
    """Read a data set.

    Args:
        name: one of `DATASETS`.
        folder: where it is.
        split: which part of it; None is the part that results are usually given for.
        limit: at most so many clips, spread evenly over the data set: many are sorted by class or speaker.

    Raises:
        UserError: the folder, an annotation, a column or all media are missing, or an annotation is malformed.
    """
    reader, usual = DATASETS[name]
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: give the folder that holds {name}")
    split = usual if split is None else split
    annotated = list(reader(_Folder(root, split)))
    items = [item for item in annotated if item.path.is_file()]
    if not annotated:
        raise UserError(f"the {split} split of {name} in {root} is empty: check its annotations")
    if not items:
        raise UserError(
            f"none of the {len(annotated)} clips of {name} is in {root}: "
            f"the first should be called {annotated[0].path.name}, in any audio or video format"
        )
    labels = {item.label for item in annotated} | {e.label for item in annotated for e in item.events}
    missing = len(annotated) - len(items)
    if limit is not None and limit < len(items):
        items = [items[i * len(items) // limit] for i in range(limit)]
    return Dataset(name, split, items, sorted(labels - {""}), missing)


class _Folder:
    """All files below a folder, by name."""

    def __init__(self, root: Path, split: str) -> None:
        self.root, self.split = root, split
        self.files: dict[str, list[Path]] = defaultdict(list)
        self._media: dict[str, list[Path]] = defaultdict(list)
        for where, folders, names in os.walk(root, followlinks=True):
            folders.sort()
            for name in sorted(names):
                if name.startswith("."):  # ._x.wav, which macOS leaves beside x.wav
                    continue
                path = Path(where, name)
                self.files[name].append(path)
                if path.suffix.lower() in MEDIA:
                    self._media[path.stem].append(path)

    def annotation(self, *names: str) -> Path:
        """The first of `names` that is there."""
        for name in names:
            if name in self.files:
                return min(self.files[name], key=lambda path: len(path.parts))
        kind = Path(names[0]).suffix
        others = sorted(name for name in self.files if name.endswith(kind))
        found = f"; it has {_listed(others)}: is the split right?" if others else ""
        raise UserError(f"{self.root} holds no {' or '.join(names)}{found}")

    def media(self, *names: str) -> Path:
        """The file called by the first of `names` that is there, or a path that does not exist.

        Several: the one in a folder named after the split, then one with a picture, as it also has the sound.
        """
        for name in names:
            stem = name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in MEDIA else name
            if stem in self._media:
                return min(self._media[stem], key=self._preference)
        return self.root / names[0]

    def _preference(self, path: Path) -> tuple[bool, bool]:
        inside = path.relative_to(self.root).parts[:-1]
        return self.split not in inside, path.suffix.lower() not in VIDEO


@dataclass(frozen=True)
class _Line:
    """One line of a table; `where` is for messages."""

    fields: dict[str, str]
    where: str

    def __getitem__(self, column: str) -> str:
        return self.fields[column].strip()

    def number(self, column: str) -> float:
        return _number(self[column], f"{self.where}: {column}")


def _number(value: object, what: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{what} is {value!r}: it has to be a number of seconds")
    return number


def _table(path: Path, columns: Sequence[str], delimiter: str = ",", header: bool = True) -> Iterator[_Line]:
    """The lines of a csv or tsv file; `columns` must be there, or are all there are without a header."""
    # In the tsv files nothing is quoted, and a lone quotation mark would swallow the lines after it.
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = None if header else columns
            reader = csv.DictReader(file, names, restval=None, delimiter=delimiter, quoting=quoting)
            there = [name.strip() for name in reader.fieldnames or ()]
            absent = [column for column in columns if column not in there]
            if absent:
                raise UserError(f"{path} has no column {_listed(absent)}; its columns are {_listed(there)}")
            reader.fieldnames = there
            for fields in reader:
                where = f"line {reader.line_num} of {path}"
                if any(fields[column] is None for column in columns):
                    raise UserError(f"{where} has too few columns: it needs {', '.join(columns)}")
                yield _Line(fields, where)
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path} is not a table that can be read ({error}): download it again") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check its permissions") from None


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:_SHOWN], *(["..."] if len(names) > _SHOWN else [])]) or "none"


def _of_split(lines: Iterator[_Line], column: str, split: str, path: Path) -> Iterator[_Line]:
    """The lines of one split."""
    others: set[str] = set()
    found = False
    for line in lines:
        if line[column] == split:
            found = True
            yield line
        else:
            others.add(line[column])
    if not found:
        raise UserError(f"{path} has no split {split!r}; it has {_listed(sorted(others))}")


def _spoken(label: str) -> str:
    """As one would say it: chirping_birds -> chirping birds."""
    return label.replace("_", " ")


def _audiocaps(folder: _Folder) -> Iterator[Item]:
    captions: dict[Path, list[str]] = defaultdict(list)
    columns = "audiocap_id", "youtube_id", "start_time", "caption"
    for line in _table(folder.annotation(f"{folder.split}.csv"), columns):
        youtube, start = line["youtube_id"], int(line.number("start_time"))
        path = folder.media(
            youtube,
            f"{youtube}_{start}",
            f"{youtube}_{start}_{start + _CLIP_S}",
            f"{youtube}_{start * 1000}",
            f"Y{youtube}",
            line["audiocap_id"],
        )
        captions[path].append(line["caption"])
    for path, texts in captions.items():
        yield Item(path, captions=tuple(filter(None, texts)))


def _clotho(folder: _Folder) -> Iterator[Item]:
    columns = [f"caption_{n}" for n in range(1, 6)]
    for line in _table(folder.annotation(f"clotho_captions_{folder.split}.csv"), ["file_name", *columns]):
        captions = tuple(filter(None, (line[column] for column in columns)))
        yield Item(folder.media(line["file_name"]), captions=captions)


def _vggsound(folder: _Folder) -> Iterator[Item]:
    path = folder.annotation("vggsound.csv")
    lines = _table(path, ["youtube_id", "start", "label", "split"], header=False)
    lines = (line for line in lines if line["start"].lower() not in ("start", "start seconds"))
    for line in _of_split(lines, "split", folder.split, path):
        youtube, start = line["youtube_id"], int(line.number("start"))
        names = f"{youtube}_{start:06d}", f"{youtube}_{start}", youtube
        yield Item(folder.media(*names), label=_spoken(line["label"]))


def _esc50(folder: _Folder) -> Iterator[Item]:
    path = folder.annotation("esc50.csv")
    lines = _table(path, ["filename", "fold", "category"])
    if folder.split != "all":
        lines = _of_split(lines, "fold", folder.split, path)
    for line in lines:
        yield Item(folder.media(line["filename"]), label=_spoken(line["category"]))


def _vctk(folder: _Folder) -> Iterator[Item]:
    texts = sorted(
        path
        for name, paths in folder.files.items()
        for path in paths
        if name.endswith(".txt") and path.parent.parent.name == "txt"
    )
    if not texts:
        raise UserError(
            f"{folder.root} holds no transcripts like txt/p225/p225_001.txt: give VCTK's own folder"
        )
    for path in texts:
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise UserError(f"{path} is not a transcript that can be read: download it again") from None
        audio = folder.media(f"{path.stem}_{folder.split}", path.stem)  # the second up to version 0.80
        yield Item(audio, captions=(text,) if text else ())


def _activitynet(folder: _Folder) -> Iterator[Item]:
    for path, sentences, _ in _activitynet_videos(folder):
        yield Item(path, captions=(" ".join(sentences),) if sentences else ())


def _activitynet_clips(folder: _Folder) -> Iterator[Item]:
    for path, sentences, spans in _activitynet_videos(folder):
        for sentence, (start_s, end_s) in zip(sentences, spans, strict=True):
            yield Item(path, captions=(sentence,), start_s=start_s, end_s=end_s)


def _activitynet_videos(folder: _Folder) -> Iterator[tuple[Path, list[str], list[tuple[float, float]]]]:
    """(video, sentences, spans in seconds), the latter two of one length."""
    path = folder.annotation(f"{folder.split}.json")
    try:
        videos = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # JSONDecodeError, UnicodeDecodeError
        raise UserError(f"{path} is not JSON that can be read ({error}): download it again") from None
    if not isinstance(videos, dict):
        raise UserError(f"{path} is not an object of video ids: it is not ActivityNet's captions")
    for video, entry in videos.items():
        where = f"{video} in {path}"
        try:
            sentences = [" ".join(sentence.split()) for sentence in entry["sentences"]]
            pairs = [(start, end) for start, end in entry["timestamps"]]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise UserError(f"{where} lacks a list of timestamps or of sentences") from None
        if len(pairs) != len(sentences):
            raise UserError(f"{where} has {len(sentences)} sentences but {len(pairs)} timestamps")
        spans = [
            (_number(start, f"{where}: a start"), _number(end, f"{where}: an end")) for start, end in pairs
        ]
        # A few are the wrong way round in the published file.
        spans = [(min(span), max(span)) for span in spans]
        yield folder.media(video, f"v_{video}", video.removeprefix("v_")), sentences, spans


def _kinetics400(folder: _Folder) -> Iterator[Item]:
    path = folder.annotation(
        f"{folder.split}.csv", f"kinetics_400_{folder.split}.csv", f"k400_{folder.split}.csv"
    )
    for line in _table(path, ["label", "youtube_id", "time_start", "time_end"]):
        youtube = line["youtube_id"]
        start, end = int(line.number("time_start")), int(line.number("time_end"))
        names = f"{youtube}_{start:06d}_{end:06d}", f"{youtube}_{start}_{end}", youtube
        yield Item(folder.media(*names), label=_spoken(line["label"]))


def _desed(folder: _Folder) -> Iterator[Item]:
    events: dict[str, list[LabelledEvent]] = defaultdict(list)
    path = folder.annotation(f"{folder.split}.tsv")
    for line in _table(path, ["filename", "onset", "offset", "event_label"], delimiter="\t"):
        heard = events[line["filename"]]
        if line["event_label"]:  # a recording in which nothing is heard has a line of its name alone
            heard.append(_event(line, "onset", "offset", line["event_label"]))
    for name, heard in events.items():
        yield Item(folder.media(name), events=tuple(heard))


def _audioset_strong(folder: _Folder) -> Iterator[Item]:
    path = folder.annotation(f"audioset_{folder.split}_strong.tsv", f"{folder.split}.tsv")
    names = _display_names(folder.annotation("mid_to_display_name.tsv"))
    events: dict[str, list[LabelledEvent]] = defaultdict(list)
    columns = "segment_id", "start_time_seconds", "end_time_seconds", "label"
    for line in _table(path, columns, delimiter="\t"):
        if line["label"] not in names:
            raise UserError(f"{line.where}: {line['label']!r} is not in mid_to_display_name.tsv")
        event = _event(line, "start_time_seconds", "end_time_seconds", names[line["label"]])
        events[line["segment_id"]].append(event)
    for segment, heard in events.items():
        youtube, _, start_ms = segment.rpartition("_")
        if not youtube or not start_ms.isdigit():
            raise UserError(f"{path}: segment {segment!r} is not named like s9d-2nhuJCQ_30000")
        start_s = int(start_ms) / 1000
        spans = f"{youtube}_{start_s:.3f}_{start_s + _CLIP_S:.3f}", f"{youtube}_{start_s:.0f}"
        stems = segment, *spans, youtube
        yield Item(folder.media(*stems, *(f"Y{stem}" for stem in stems)), events=tuple(heard))


def _display_names(path: Path) -> dict[str, str]:
    return {line["mid"]: line["name"] for line in _table(path, ["mid", "name"], delimiter="\t", header=False)}


def _event(line: _Line, onset: str, offset: str, label: str) -> LabelledEvent:
    event = LabelledEvent(_spoken(label), line.number(onset), line.number(offset))
    if not 0 <= event.onset_s <= event.offset_s:
        raise UserError(f"{line.where}: an event from {event.onset_s:g} s to {event.offset_s:g} s is not one")
    return event


# name -> reader, the split that results are usually given for
DATASETS: dict[str, tuple[Callable[[_Folder], Iterator[Item]], str]] = {
    "audiocaps": (_audiocaps, "test"),
    "clotho": (_clotho, "evaluation"),
    "vggsound": (_vggsound, "test"),
    "esc50": (_esc50, "all"),
    "vctk": (_vctk, "mic1"),
    "activitynet": (_activitynet, "val_1"),
    "activitynet-clips": (_activitynet_clips, "val_1"),
    "kinetics400": (_kinetics400, "val"),
    "desed": (_desed, "validation"),
    "audioset-strong": (_audioset_strong, "eval"),
}
