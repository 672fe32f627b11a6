"""What a look at a file's structure tells before any of its sound is decoded."""

from dataclasses import dataclass, field

LEAST_MISSING_S = 0.01  # some headers are wrong by a few samples


@dataclass(frozen=True)
class Trouble:
    """Something not as it should be in a file that can be read nevertheless.

    Attributes:
        at_s: where, in seconds; whoever reads only what lies before need not know.
        what: the sentence, to be put after the file's name.
    """

    at_s: float
    what: str


@dataclass
class Findings:
    """What was found in one compressed stream.

    Attributes:
        plain: whether libsndfile reads it right, and all of it.
        frames: how many frames a decoder will give, which libsndfile must say too; None if that is not known.
        channels: how many there are at most; None if the number does not change, or is not known.
        troubles: what is not as it should be.
    """

    plain: bool = True
    frames: int | None = None
    channels: int | None = None
    troubles: list[Trouble] = field(default_factory=list)


def cut_off(there_s: float, promised_s: float) -> list[Trouble]:
    """The trouble with a file that ends before its header says, if it does."""
    if promised_s - there_s < LEAST_MISSING_S:
        return []
    return [
        Trouble(
            there_s,
            f"is cut off: of the {promised_s:.2f} s that its header promises only {there_s:.2f} s are there, so copy "
            "or download it again",
        )
    ]


def cut_off_inside(there_s: float, what: str) -> Trouble:
    """The trouble with a file that breaks off, and does not say how long it once was."""
    return Trouble(there_s, f"is cut off after {there_s:.2f} s, {what}: copy or download it again")
