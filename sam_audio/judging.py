"""Which judge? Judge nano by the name "nano", the published Judge by hub id or folder."""

from __future__ import annotations

from judge.types import Judge
from sam_audio.errors import ModelError


def load_judge(name: str = "nano", device: str = "cpu") -> Judge:
    """A judge, ready to judge.

    Raises:
        ModelError: there is none of that name, or it cannot be loaded.
    """
    if name != "nano":
        from judge.official import OfficialJudge

        return OfficialJudge.from_pretrained(name, device=device)
    from judge.nano import NanoJudge
    from peav.checkpoints import CheckpointError

    try:
        return NanoJudge()
    except CheckpointError as error:
        raise ModelError(str(error).rstrip(".")) from None
