"""Where the channels of a recording belong: names of layouts as ffmpeg has them, masks of wav, the order of Xiph.

Inside of this package channels are in the order of wav (and of FLAC, and of ffmpeg): by rising bit of the mask.
"""

from collections.abc import Sequence

# The bits of dwChannelMask, from the lowest.
_SPEAKERS = (
    *("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR"),
    *("TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR"),
)
_LAYOUTS = {
    "mono": "FC",
    "stereo": "FL FR",
    "2.1": "FL FR LFE",
    "3.0": "FL FR FC",
    "3.0(back)": "FL FR BC",
    "4.0": "FL FR FC BC",
    "quad": "FL FR BL BR",
    "quad(side)": "FL FR SL SR",
    "3.1": "FL FR FC LFE",
    "5.0": "FL FR FC BL BR",
    "5.0(side)": "FL FR FC SL SR",
    "4.1": "FL FR FC LFE BC",
    "5.1": "FL FR FC LFE BL BR",
    "5.1(side)": "FL FR FC LFE SL SR",
    "6.0": "FL FR FC BC SL SR",
    "6.1": "FL FR FC LFE BC SL SR",
    "7.0": "FL FR FC BL BR SL SR",
    "7.1": "FL FR FC LFE BL BR SL SR",
    "7.1(wide)": "FL FR FC LFE BL BR FLC FRC",
    "5.1.2": "FL FR FC LFE BL BR TFL TFR",
    "5.1.4": "FL FR FC LFE BL BR TFL TFR TBL TBR",
    "7.1.2": "FL FR FC LFE BL BR SL SR TFL TFR",
    "7.1.4": "FL FR FC LFE BL BR SL SR TFL TFR TBL TBR",
}
_MASKS = {name: sum(1 << _SPEAKERS.index(s) for s in speakers.split()) for name, speakers in _LAYOUTS.items()}
_NAMES = {mask: name for name, mask in _MASKS.items()}
# What FLAC and Vorbis mean by a count of channels, and Opus by mapping family 1.
_XIPH_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
# Channels of Vorbis and Opus in the order of wav: wav's channel c is the XIPH_ORDER[C][c]th of the file.
_XIPH_ORDER = {3: (0, 2, 1), 5: (0, 2, 1, 3, 4), 6: (0, 2, 1, 5, 3, 4)}
_XIPH_ORDER |= {7: (0, 2, 1, 6, 5, 3, 4), 8: (0, 2, 1, 7, 5, 6, 3, 4)}
AMBISONIC = "ambisonic"  # with its order behind: "ambisonic 1" has 4 channels


def layout_of_mask(mask: int, channels: int) -> str | None:
    """Name of a wav channel mask, None where it does not say where each channel belongs."""
    if mask.bit_count() != channels or mask >> len(_SPEAKERS):
        return None
    return _NAMES.get(mask) or "+".join(s for bit, s in enumerate(_SPEAKERS) if mask >> bit & 1)


def mask_of_layout(layout: str | None) -> int:
    """The wav channel mask of a layout; 0, "nowhere in particular", for None, ambisonics and unknown names."""
    if layout in _MASKS:
        return _MASKS[layout]
    speakers = (layout or "").split("+")
    if not set(speakers) <= set(_SPEAKERS):
        return 0
    return sum(1 << _SPEAKERS.index(s) for s in set(speakers))


def layout_of_count(channels: int) -> str | None:
    """The layout that Vorbis, Opus and FLAC mean by a number of channels, None beyond eight."""
    return _XIPH_LAYOUTS[channels - 1] if 1 <= channels <= len(_XIPH_LAYOUTS) else None


def ambisonic(channels: int) -> str | None:
    """Name of the full-sphere ambisonics of so many channels, None if it is no square of a whole number."""
    order = round(channels**0.5) - 1
    return f"{AMBISONIC} {order}" if (order + 1) ** 2 == channels else None


def from_xiph_order(channels: int) -> Sequence[int] | None:
    """For each channel of wav its place in a Vorbis or Opus file; None where the orders agree."""
    return _XIPH_ORDER.get(channels)


def to_xiph_order(channels: int) -> Sequence[int] | None:
    """For each channel of a Vorbis or Opus file its place in wav; None where the orders agree."""
    order = from_xiph_order(channels)
    return None if order is None else sorted(range(channels), key=order.__getitem__)
