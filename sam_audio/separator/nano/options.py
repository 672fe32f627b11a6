"""Options of nano."""

from __future__ import annotations

from dataclasses import dataclass

from sam_audio.options import option


@dataclass(frozen=True)
class NanoOptions:
    """How nano separates.

    Args:
        predict_spans: whether PE-A-Frame nano listens for when each prompt sounds, and tells the separator.
        precision: of the largest network on the CPU, ``float32`` or ``int8``.
    """

    predict_spans: bool = option(
        True, "Nano: first listen for when each prompt sounds.", off="no_predict_spans"
    )
    precision: str = option(
        "float32",
        "Nano: int8 is faster on processors made for it (VNNI), and differs a little.",
        choices=("float32", "int8"),
        loading=True,
    )
