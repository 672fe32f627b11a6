"""What there is to know about a job: the same for the queue, the application and its clients. Nothing is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
ENDED = (DONE, FAILED, CANCELLED)


@dataclass(frozen=True)
class JobFacts:
    """A job as it is now.

    Args:
        id: 32 hexadecimal digits.
        kind: separate, judge, locate or embed.
        state: what has become of it.
        progress: 0..1, None before it is begun.
        attempts: how often it was begun.
        created_at, started_at, finished_at: in seconds since 1970.
        error: why it failed, in one sentence.
        result: the report of what was done.
    """

    id: str
    kind: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: float | None
    attempts: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    error: str | None
    result: Mapping[str, Any] | None

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True)
class Output:
    """A file that a job has made; ``url`` is relative to the service."""

    name: str
    url: str


@dataclass(frozen=True)
class JobView(JobFacts):
    """A job as its client sees it."""

    outputs: tuple[Output, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> JobView:
        """From what the service answers; what a later version may say beyond that is passed over."""
        outputs = tuple(Output(one["name"], one["url"]) for one in values["outputs"])
        return cls(**{one.name: values[one.name] for one in fields(JobFacts)}, outputs=outputs)


def output_names(job: JobFacts) -> list[str]:
    """The names of the files that a job has made."""
    report = job.result or {}
    stems = [*report.get("stems", []), *([report["residual"]] if report.get("residual") else [])]
    return [stem["path"] for stem in stems]
