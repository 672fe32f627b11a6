"""Readers of data sets of videos: what `sam_audio.evaluation.datasets` knows by name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sam_audio.errors import UserError
from sam_audio.evaluation.folders import Folder, number, read_json, read_lines, spoken, table
from sam_audio.evaluation.items import Item


def activitynet(folder: Folder) -> Iterator[Item]:
    for path, sentences, _ in _activitynet_videos(folder):
        yield Item(path, captions=(" ".join(sentences),) if sentences else ())


def activitynet_clips(folder: Folder) -> Iterator[Item]:
    for path, sentences, spans in _activitynet_videos(folder):
        for sentence, (start_s, end_s) in zip(sentences, spans, strict=True):
            yield Item(path, captions=(sentence,), start_s=start_s, end_s=end_s)


def _activitynet_videos(folder: Folder) -> Iterator[tuple[Path, list[str], list[tuple[float, float]]]]:
    """(video, sentences, spans in seconds), the latter two of one length."""
    path = folder.annotation(f"{folder.split}.json")
    videos = read_json(path)
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
            (number(start, f"{where}: a start"), number(end, f"{where}: an end")) for start, end in pairs
        ]
        # A few are the wrong way round in the published file.
        spans = [(min(span), max(span)) for span in spans]
        yield folder.media(video, f"v_{video}", video.removeprefix("v_")), sentences, spans


def kinetics400(folder: Folder) -> Iterator[Item]:
    path = folder.annotation(
        f"{folder.split}.csv", f"kinetics_400_{folder.split}.csv", f"k400_{folder.split}.csv"
    )
    for line in table(path, ["label", "youtube_id", "time_start", "time_end"]):
        youtube = line["youtube_id"]
        start, end = int(line.number("time_start")), int(line.number("time_end"))
        names = f"{youtube}_{start:06d}_{end:06d}", f"{youtube}_{start}_{end}", youtube
        yield Item(folder.media(*names), label=spoken(line["label"]))


def valor(folder: Folder) -> Iterator[Item]:
    path = folder.annotation(f"desc_{folder.split}.json")
    for where, entry in _entries(path, "VALOR's descriptions"):
        video = str(entry.get("video_id", entry.get("videoid", "")))
        if not video or not isinstance(entry.get("desc"), str):
            raise UserError(f"{where} has no video_id or no desc: it is not one of VALOR's descriptions")
        yield Item(folder.media(video), captions=_said(entry["desc"]))


def msrvtt(folder: Folder) -> Iterator[Item]:
    path = folder.annotation(f"MSRVTT_JSFUSION_{folder.split}.csv")
    for line in table(path, ["video_id", "sentence"]):
        yield Item(folder.media(line["video_id"]), captions=_said(line["sentence"]))


def msvd(folder: Folder) -> Iterator[Item]:
    path = folder.annotation("AllVideoDescriptions.txt")
    said: dict[str, list[str]] = defaultdict(list)
    for text in read_lines(path):
        video, _, sentence = text.partition(" ")
        if not video.startswith("#"):  # the head of the file is a remark
            said[video].extend(_said(sentence))
    listed = folder.annotation(f"{folder.split}_list.txt")
    for name in read_lines(listed):
        if name not in said:
            raise UserError(f"{name} in {listed} has no sentence in {path.name}: download both again")
        yield Item(folder.media(name), captions=tuple(dict.fromkeys(said[name])))


def didemo(folder: Folder) -> Iterator[Item]:
    said: dict[str, list[str]] = defaultdict(list)
    for where, entry in _entries(folder.annotation(f"{folder.split}_data.json"), "DiDeMo's descriptions"):
        if not isinstance(entry.get("video"), str) or not isinstance(entry.get("description"), str):
            raise UserError(f"{where} has no video or no description: it is not one of DiDeMo's")
        said[entry["video"]].append(" ".join(entry["description"].split()))
    for video, sentences in said.items():  # a video and its paragraph
        yield Item(folder.media(video, Path(video).stem), captions=_said(" ".join(sentences)))


def ucf101(folder: Folder) -> Iterator[Item]:
    path = folder.annotation(f"testlist{folder.split.zfill(2)}.txt")
    for text in read_lines(path):
        label, slash, name = text.partition("/")
        if not slash:
            raise UserError(f"{path}: {text!r} is not CLASS/FILE.avi")
        yield Item(folder.media(name), label=re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).lower())


def hmdb51(folder: Folder) -> Iterator[Item]:
    ending = f"_test_split{folder.split}.txt"
    lists = sorted(name for name in folder.files if name.endswith(ending))
    if not lists:
        raise UserError(f"{folder.root} holds no CLASS{ending}: unpack testTrainMulti_7030_splits there")
    for name in lists:
        for text in read_lines(folder.annotation(name)):
            clip, _, part = text.rpartition(" ")
            if part.strip() == "2":  # 1 is for training, 0 for neither
                yield Item(folder.media(clip.strip()), label=spoken(name.removesuffix(ending)))


def moments_in_time(folder: Folder) -> Iterator[Item]:
    path = folder.annotation(f"{folder.split}Set.csv")
    for line in table(path, ["path", "label"], header=False):
        yield Item(folder.media(Path(line["path"]).name), label=line["label"].replace("+", " "))


def something_something(folder: Folder) -> Iterator[Item]:
    path = folder.annotation(f"something-something-v2-{folder.split}.json", f"{folder.split}.json")
    for where, entry in _entries(path, "Something-Something's annotations"):
        if not isinstance(entry.get("template"), str) or "id" not in entry:
            raise UserError(f"{where} has no id or no template: it is not one of Something-Something's")
        label = entry["template"].replace("[", "").replace("]", "")
        yield Item(folder.media(str(entry["id"])), label=label)


def _entries(path: Path, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, object) of each in a list."""
    entries = read_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{path} is not a list of objects: it is not {what}")
    for index, entry in enumerate(entries):
        yield f"entry {index} of {path}", entry


def _said(sentence: str) -> tuple[str, ...]:
    sentence = " ".join(sentence.split())
    return (sentence,) if sentence else ()
