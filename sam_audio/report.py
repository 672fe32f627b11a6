"""The report of a separation: one object for Python, the command line, jobs and the editor."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from judge.types import Judgement

SILENCE_DB = -120.0


@dataclass(frozen=True)
class Rated:
    """A candidate for one stem; ``score`` is what decides, the highest is chosen."""

    candidate: str
    score: float | None
    scores: Judgement | None
    chosen: bool = False


@dataclass
class StemReport:
    """What became of one part. Levels in dB relative to the mixture's energy; ``peak`` is linear.

    ``path`` is empty for what is not in a file. ``scores`` are the judge's, and ``in_mixture`` says whether the
    sound asked for is there at all; both are None where there was no judge or
    it could not tell, and ``in_mixture`` where it is in doubt. ``candidates``
    are all that were tried.
    """

    name: str
    prompt: str | None
    path: str = ""
    level_db: float = SILENCE_DB
    peak: float = 0.0
    clipped_samples: int = 0
    scores: Judgement | None = None
    in_mixture: bool | None = None
    candidates: list[Rated] = field(default_factory=list)


@dataclass
class RenderReport:
    """Summary of one mixture; ``as_dict`` is what ``--json`` prints.

    ``stems`` are those that were made. In mode ``remove`` there are none, and ``removed`` says what was taken out
    (its ``path`` is empty). ``layout`` says where the channels belong, e.g. ``5.1``, ``quad`` or ``ambisonic 1``; None
    if the recording does not tell. ``sound_track`` is the number that was asked for. ``skipped`` are the files of a set
    that was whole already: then nothing was separated.
    """

    mixture: str
    track: str
    model: str
    sample_rate: int
    channels: int
    seconds: float = 0.0
    elapsed_s: float = 0.0
    gain_db: float = 0.0
    stems: list[StemReport] = field(default_factory=list)
    residual: StemReport | None = None
    removed: list[StemReport] = field(default_factory=list)
    judge: str | None = None
    warnings: list[str] = field(default_factory=list)
    layout: str | None = None
    sound_track: int | None = None
    skipped: list[str] = field(default_factory=list)

    @property
    def asked(self) -> list[StemReport]:
        """What was asked for, one a prompt, kept or removed."""
        return [*self.stems, *self.removed]

    @property
    def written(self) -> list[StemReport]:
        """What was made: the stems, and the residual if there is one."""
        return [*self.stems, *([self.residual] if self.residual else [])]

    @property
    def absent(self) -> list[str]:
        """Prompts whose sound is not in the mixture, as far as the judge can tell."""
        return [stem.prompt or stem.name for stem in self.asked if stem.in_mixture is False]

    def stem(self, name: str) -> StemReport:
        """What became of a prompt, by the name of its stem.

        Raises:
            KeyError: there is none of that name.
        """
        for one in self.asked:
            if one.name == name:
                return one
        raise KeyError(name)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
