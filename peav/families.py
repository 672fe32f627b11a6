"""One door to both families: the embedded towers by the name "nano", the published models by any other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peav.nano.model import NanoAudioFrame, NanoAudioVideo, NanoProcessor
    from peav.official.frame import PEAudioFrame
    from peav.official.model import PEAudioVideo
    from peav.official.processing import PEAudioFrameProcessor, PEAudioVideoProcessor

NANO = "nano"


def load_audio_video(
    name: str | os.PathLike[str] = NANO, *, revision: str | None = None, device: str = "cpu"
) -> tuple[NanoAudioVideo | PEAudioVideo, NanoProcessor | PEAudioVideoProcessor]:
    """PE-AV and what makes its inputs; the methods of both families are the same.

    Args:
        name: "nano", a model on the hub ("facebook/pe-av-small"), or a folder.
        revision: of a model on the hub.

    Raises:
        CheckpointError: it cannot be found or loaded.
    """
    if name == NANO:
        from peav.nano.model import NanoAudioVideo, NanoProcessor

        return NanoAudioVideo(device=device), NanoProcessor()
    from peav.official.model import PEAudioVideo
    from peav.official.processing import PEAudioVideoProcessor

    model = PEAudioVideo.from_pretrained(name, revision=revision, device=device)
    return model, PEAudioVideoProcessor.from_pretrained(name, revision=revision)


def load_audio_frame(
    name: str | os.PathLike[str] = NANO, *, revision: str | None = None, device: str = "cpu"
) -> tuple[NanoAudioFrame | PEAudioFrame, NanoProcessor | PEAudioFrameProcessor]:
    """PE-A-Frame and what makes its inputs; see `load_audio_video`."""
    if name == NANO:
        from peav.nano.model import NanoAudioFrame, NanoProcessor

        return NanoAudioFrame(device=device), NanoProcessor()
    from peav.official.frame import PEAudioFrame
    from peav.official.processing import PEAudioFrameProcessor

    model = PEAudioFrame.from_pretrained(name, revision=revision, device=device)
    return model, PEAudioFrameProcessor.from_pretrained(name, revision=revision)
