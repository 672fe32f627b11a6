"""What the package itself provides, through the same hooks as plugins."""

from __future__ import annotations

from sam_audio.captioning.captioners import PictureTagger, Tagger
from sam_audio.export.audacity import Audacity, ListOfFiles
from sam_audio.export.dawproject import Dawproject
from sam_audio.export.otio import Otio
from sam_audio.export.reaper import Reaper
from sam_audio.export.stem_mp4 import StemMp4
from sam_audio.export.video import Remux
from sam_audio.extending.hookspecs import Captioner, Exporter, PromptType, RankerType, SeparatorType, hookimpl
from sam_audio.prompts.region import Region
from sam_audio.prompts.spans import Spans
from sam_audio.selection.rankers import Activity, Similarity
from sam_audio.separator.families import Nano, Official


@hookimpl
def prompt_types() -> list[PromptType]:
    return [Spans(), Region()]


@hookimpl
def separators() -> list[SeparatorType]:
    return [Nano(), Official()]


@hookimpl
def rankers() -> list[RankerType]:
    return [Similarity(), Activity()]


@hookimpl
def exporters() -> list[Exporter]:
    return [Remux(), Dawproject(), Reaper(), Audacity(), ListOfFiles(), Otio(), StemMp4()]


@hookimpl
def captioners() -> list[Captioner]:
    return [Tagger(), PictureTagger()]
