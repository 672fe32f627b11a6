"""Readers of data sets of sound events: what `sam_audio.evaluation.datasets` knows by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sam_audio.errors import UserError
from sam_audio.evaluation.folders import Folder, Line, number, read_json, spoken, table
from sam_audio.evaluation.items import Item, LabelledEvent

_CLIP_S = 10  # length of AudioSet's clips


def desed(folder: Folder) -> Iterator[Item]:
    events: dict[str, list[LabelledEvent]] = defaultdict(list)
    path = folder.annotation(f"{folder.split}.tsv")
    for line in table(path, ["filename", "onset", "offset", "event_label"], delimiter="\t"):
        heard = events[line["filename"]]
        if line["event_label"]:  # a recording in which nothing is heard has a line of its name alone
            heard.append(_event(line, "onset", "offset", line["event_label"]))
    for name, heard in events.items():
        yield Item(folder.media(name), events=tuple(heard))


def audioset_strong(folder: Folder) -> Iterator[Item]:
    path = folder.annotation(f"audioset_{folder.split}_strong.tsv", f"{folder.split}.tsv")
    names = _display_names(folder.annotation("mid_to_display_name.tsv"))
    events: dict[str, list[LabelledEvent]] = defaultdict(list)
    columns = "segment_id", "start_time_seconds", "end_time_seconds", "label"
    for line in table(path, columns, delimiter="\t"):
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


def urbansed(folder: Folder) -> Iterator[Item]:
    here = [path for name in folder.files if name.endswith(".jams") for path in folder.files[name]]
    annotations = sorted(path for path in here if folder.split in path.relative_to(folder.root).parts[:-1])
    if not annotations:
        raise UserError(
            f"{folder.root} holds no annotations/{folder.split}/NAME.jams: give URBAN-SED's own folder"
        )
    for path in annotations:
        yield Item(folder.media(path.stem), events=tuple(_foreground(path)))


def _foreground(path: Path) -> Iterator[LabelledEvent]:
    """The events of a JAMS file of scaper's, without its background."""
    try:
        annotation = read_json(path)["annotations"][0]
        observations: list[Mapping[str, Any]] = annotation["data"]
        for one in observations:
            if one["value"]["role"] == "background":
                continue
            start_s = number(one["time"], f"{path}: a time")
            end_s = start_s + number(one["duration"], f"{path}: a duration")
            yield LabelledEvent(spoken(one["value"]["label"]), start_s, end_s)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise UserError(f"{path} is not an annotation that scaper wrote: download it again") from None


def _display_names(path: Path) -> dict[str, str]:
    return {line["mid"]: line["name"] for line in table(path, ["mid", "name"], delimiter="\t", header=False)}


def _event(line: Line, onset: str, offset: str, label: str) -> LabelledEvent:
    event = LabelledEvent(spoken(label), line.number(onset), line.number(offset))
    if not 0 <= event.onset_s <= event.offset_s:
        raise UserError(f"{line.where}: an event from {event.onset_s:g} s to {event.offset_s:g} s is not one")
    return event
