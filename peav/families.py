"""One door to both families: the embedded towers by the name "nano", the published models by any other.

Embedded towers that are no part of the package are named "nano:" and their folder, or their name on the hub.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from peav.checkpoints import NANO
from peav.hub import HubOptions
from peav.nano.sharing import embedded

if TYPE_CHECKING:
    from peav.nano.model import NanoAudioFrame, NanoAudioVideo, NanoProcessor
    from peav.official.frame import PEAudioFrame
    from peav.official.model import PEAudioVideo
    from peav.official.processing import PEAudioFrameProcessor, PEAudioVideoProcessor


def load_audio_video(
    name: str | os.PathLike[str] = NANO, *, revision: str | None = None, **how: Any
) -> tuple[NanoAudioVideo | PEAudioVideo, NanoProcessor | PEAudioVideoProcessor]:
    """PE-AV and what makes its inputs; the methods of both families are the same.

    Args:
        name: "nano", a model on the hub ("facebook/pe-av-small", "nano:me/tuned"), or a folder.
        revision: of a model on the hub.
        how: ``device``, ``dtype``, ``device_map``, and the hub's options: see `peav.PEAudioVideo.from_pretrained`.

    Raises:
        CheckpointError: it cannot be found or loaded.
        ValueError: no model can be on such a device, or compute in such numbers.
    """
    asked = {option: how[option] for option in HubOptions.__annotations__ if option in how}
    if (own := embedded(name, "text")) is not None:
        from peav.nano.model import NanoAudioVideo, NanoProcessor

        nano = NanoAudioVideo.from_pretrained(own, revision=revision, **how)
        return nano, NanoProcessor.from_pretrained(own, revision=revision, **asked)
    from peav.official.model import PEAudioVideo
    from peav.official.processing import PEAudioVideoProcessor

    model = PEAudioVideo.from_pretrained(name, revision=revision, **how)
    return model, PEAudioVideoProcessor.from_pretrained(name, revision=revision, **asked)


def load_audio_frame(
    name: str | os.PathLike[str] = NANO, *, revision: str | None = None, **how: Any
) -> tuple[NanoAudioFrame | PEAudioFrame, NanoProcessor | PEAudioFrameProcessor]:
    """PE-A-Frame and what makes its inputs; see `load_audio_video`."""
    asked = {option: how[option] for option in HubOptions.__annotations__ if option in how}
    if (own := embedded(name, "text")) is not None:
        from peav.nano.model import NanoAudioFrame, NanoProcessor

        nano = NanoAudioFrame.from_pretrained(own, revision=revision, **how)
        return nano, NanoProcessor.from_pretrained(own, revision=revision, **asked)
    from peav.official.frame import PEAudioFrame
    from peav.official.processing import PEAudioFrameProcessor

    model = PEAudioFrame.from_pretrained(name, revision=revision, **how)
    return model, PEAudioFrameProcessor.from_pretrained(name, revision=revision, **asked)
