"""Anchors: stretches of time where the sound asked for is, or is not, as the published models read them.

Every item has a list of token ids, which begins with one for "nothing said" and one for padding, and every latent frame
points into that list.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from sam_audio.errors import PromptError

TOKENS = {"<null>": 0, "+": 1, "-": 2, "<pad>": 3}
NOTHING_SAID, PADDING = 0, 1  # places in the list of every item

AnchorLike: TypeAlias = tuple[str, float, float]  # "+" or "-", start and end in seconds


def check_anchors(anchors: Sequence[Sequence[AnchorLike]], durations_s: Sequence[float]) -> None:
    """Refuses anchors that cannot be meant.

    Args:
        anchors: of every item.
        durations_s: how long the items are.

    Raises:
        PromptError: an unknown sign, an end that is not after its start, times outside the item, or anchors that
            overlap, of which only the later would count.
    """
    if len(anchors) != len(durations_s):
        raise PromptError(
            f"there are anchors for {len(anchors)} items, but {len(durations_s)} items: give one list for each"
        )
    for item, duration_s in zip(anchors, durations_s, strict=True):
        for anchor in item:
            _check_within(anchor, duration_s)
        ordered = sorted(item, key=lambda anchor: anchor[1])
        for before, after in zip(ordered[:-1], ordered[1:], strict=True):
            if after[1] < before[2]:
                raise PromptError(
                    f"the anchors {_show(before)} and {_show(after)} overlap: let one end where the other starts"
                )


def read_anchor(anchor: Any) -> AnchorLike:
    """An anchor as it was given: sign, start and end in seconds.

    Raises:
        PromptError: it is not of that form, its sign is unknown, or its times are no times.
    """
    try:
        sign, start_s, end_s = anchor
        read = sign, float(start_s), float(end_s)
    except (TypeError, ValueError):
        raise PromptError(
            f'the anchor {anchor!r} cannot be read: write it as ("+", start, end) in seconds'
        ) from None
    if sign not in ("+", "-"):
        raise PromptError(
            f"the anchor {_show(read)} has the sign {sign!r}: use + where the sound is, - where it is not"
        )
    if not (math.isfinite(read[1]) and math.isfinite(read[2])):
        raise PromptError(
            f"the anchor {_show(read)} has no start or no end: use seconds from the recording's start"
        )
    return read


def _check_within(anchor: AnchorLike, duration_s: float) -> None:
    _, start_s, end_s = read_anchor(anchor)
    if start_s < 0:
        raise PromptError(
            f"the anchor {_show(anchor)} does not start within the recording: use seconds from its start"
        )
    if end_s <= start_s:
        raise PromptError(
            f"the anchor {_show(anchor)} ends before it starts: give its start first, then its end"
        )
    if end_s > duration_s:
        raise PromptError(
            f"the anchor {_show(anchor)} ends after the recording, which is {duration_s:.2f} s long"
        )


def _show(anchor: AnchorLike) -> str:
    return f"{anchor[0]} {anchor[1]:g}-{anchor[2]:g} s"


def lay_out(
    anchors: Sequence[Sequence[AnchorLike]],
    valid: Tensor,
    frame_rate: tuple[int, int],
    first_frame: int = 0,
) -> tuple[Tensor, Tensor]:
    """Anchors as ids, and which of them each frame has. A later anchor overwrites an earlier one.

    Args:
        anchors: of every item; nothing is checked, and what lies beyond the last frame is cut off.
        valid: frames that are sound, (B, T) bool.
        frame_rate: sample rate in Hz and samples in a frame; both, since their quotient would round differently.
        first_frame: of the recording, where the T frames are a part of it.

    Returns:
        ids (B, A) and alignment (B, T), int64.
    """
    sample_rate, hop = frame_rate
    longest = max((len(item) for item in anchors), default=0)
    ids = torch.full((len(valid), 2 + longest), TOKENS["<pad>"])
    ids[:, NOTHING_SAID] = TOKENS["<null>"]
    alignment = torch.where(valid.cpu(), NOTHING_SAID, PADDING)
    for b, item in enumerate(anchors):
        for j, (sign, start_s, end_s) in enumerate(item):
            ids[b, 2 + j] = TOKENS[sign]
            start, end = (
                max(math.ceil(float(s) * sample_rate / hop) - first_frame, 0) for s in (start_s, end_s)
            )
            alignment[b, start:end] = 2 + j
    return ids.to(valid.device), alignment.to(valid.device)
