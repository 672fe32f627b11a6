"""Readers of data sets of recordings: what `sam_audio.evaluation.datasets` knows by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from sam_audio.errors import UserError
from sam_audio.evaluation.folders import Folder, of_split, spoken, table
from sam_audio.evaluation.items import Item

_CLIP_S = 10  # length of AudioSet's clips


def audiocaps(folder: Folder) -> Iterator[Item]:
    captions: dict[Path, list[str]] = defaultdict(list)
    columns = "audiocap_id", "youtube_id", "start_time", "caption"
    for line in table(folder.annotation(f"{folder.split}.csv"), columns):
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


def clotho(folder: Folder) -> Iterator[Item]:
    columns = [f"caption_{n}" for n in range(1, 6)]
    for line in table(folder.annotation(f"clotho_captions_{folder.split}.csv"), ["file_name", *columns]):
        captions = tuple(filter(None, (line[column] for column in columns)))
        yield Item(folder.media(line["file_name"]), captions=captions)


def vggsound(folder: Folder) -> Iterator[Item]:
    path = folder.annotation("vggsound.csv")
    lines = table(path, ["youtube_id", "start", "label", "split"], header=False)
    lines = (line for line in lines if line["start"].lower() not in ("start", "start seconds"))
    for line in of_split(lines, "split", folder.split, path):
        youtube, start = line["youtube_id"], int(line.number("start"))
        names = f"{youtube}_{start:06d}", f"{youtube}_{start}", youtube
        yield Item(folder.media(*names), label=spoken(line["label"]))


def esc50(folder: Folder) -> Iterator[Item]:
    path = folder.annotation("esc50.csv")
    lines = table(path, ["filename", "fold", "category"])
    if folder.split != "all":
        lines = of_split(lines, "fold", folder.split, path)
    for line in lines:
        yield Item(folder.media(line["filename"]), label=spoken(line["category"]))


def vctk(folder: Folder) -> Iterator[Item]:
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
