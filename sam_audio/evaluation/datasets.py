"""Readers of published data sets in the layouts they are usually kept in: local folders, nothing is fetched.

Recordings:
    audiocaps        {split}.csv: audiocap_id,youtube_id,start_time,caption (a row a caption)
    clotho           clotho_captions_{split}.csv: file_name,caption_1..caption_5
    vggsound         vggsound.csv, no header: youtube_id,start,label,split
    esc50            esc50.csv: filename,fold,target,category,...; the split is a fold, 1 to 5
    vctk             txt/p225/p225_001.txt beside p225_001_mic1.flac; the split is the microphone

Videos:
    valor            desc_{split}.json: [{video_id, desc}]
    msr-vtt          MSRVTT_JSFUSION_{split}.csv: key,vid_key,video_id,sentence (the 1k-A test part)
    msvd             AllVideoDescriptions.txt: "video_start_end a sentence", and {split}_list.txt
    didemo           {split}_data.json: [{video, description, ...}]; a video and its paragraph
    activitynet      {split}.json: {video_id: {duration, timestamps, sentences}}; a video and its paragraph
    activitynet-clips   the same; a timestamp and its sentence
    kinetics400      {split}.csv: label,youtube_id,time_start,time_end,split
    ucf101           testlist01.txt: Class/v_Class_g01_c01.avi; the split is its number
    hmdb51           CLASS_test_split1.txt: "file.avi 2"; the split is its number
    moments-in-time  {split}Set.csv, no header: class/file.mp4,class,...
    something-something-v2   something-something-v2-{split}.json or {split}.json: [{id, template, ...}]

Sound events:
    desed            {split}.tsv: filename onset offset event_label
    audioset-strong  audioset_{split}_strong.tsv: segment_id start_time_seconds end_time_seconds label,
                     and mid_to_display_name.tsv
    urbansed         annotations/{split}/NAME.jams, as scaper writes it, beside audio/{split}/NAME.wav

Annotations and media are found by name at any depth below the folder. Media may have any extension in
`sam_audio.evaluation.folders.MEDIA`: many copies have been converted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sam_audio.errors import UserError
from sam_audio.evaluation import sets_audio, sets_events, sets_video
from sam_audio.evaluation.folders import Folder
from sam_audio.evaluation.items import Item, LabelledEvent

__all__ = ["DATASETS", "Dataset", "LabelledEvent", "Item", "load"]


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
    annotated = list(reader(Folder(root, split)))
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


# name -> reader, the split that results are usually given for
DATASETS: dict[str, tuple[Callable[[Folder], Iterator[Item]], str]] = {
    "audiocaps": (sets_audio.audiocaps, "test"),
    "clotho": (sets_audio.clotho, "evaluation"),
    "vggsound": (sets_audio.vggsound, "test"),
    "esc50": (sets_audio.esc50, "all"),
    "vctk": (sets_audio.vctk, "mic1"),
    "valor": (sets_video.valor, "test"),
    "msr-vtt": (sets_video.msrvtt, "test"),
    "msvd": (sets_video.msvd, "test"),
    "didemo": (sets_video.didemo, "test"),
    "activitynet": (sets_video.activitynet, "val_1"),
    "activitynet-clips": (sets_video.activitynet_clips, "val_1"),
    "kinetics400": (sets_video.kinetics400, "val"),
    "ucf101": (sets_video.ucf101, "1"),
    "hmdb51": (sets_video.hmdb51, "1"),
    "moments-in-time": (sets_video.moments_in_time, "validation"),
    "something-something-v2": (sets_video.something_something, "validation"),
    "desed": (sets_events.desed, "validation"),
    "audioset-strong": (sets_events.audioset_strong, "eval"),
    "urbansed": (sets_events.urbansed, "test"),
}
