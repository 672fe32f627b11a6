"""What a service may do, and how much of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sam_audio.errors import UserError
from sam_audio.options import option, size_bytes


def seconds(text: str) -> float:
    """How long a time like 24h, 30min or 90s is; a number alone is seconds.

    Raises:
        UserError: it is none.

    >>> seconds("1.5h"), seconds("30 min"), seconds("90")
    (5400.0, 1800.0, 90.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)?", text.strip().lower())
    if match is None:
        raise UserError(f"{text} is no time: write it like 24h, 30min or 90s")
    return float(match[1]) * {"s": 1, "min": 60, "h": 3600, "d": 86_400}[match[2] or "s"]


@dataclass(frozen=True)
class Settings:
    """Settings of a service; plain data.

    Args:
        data: folder of the queue, uploads and outputs.
        workers: processes, each with the models it was asked for.
        threads: CPU threads of each.
        model, judge, device: as for `sam_audio.Separator`; ``model`` separates, what locates and embeds is nano.
        tokens: names of clients by their tokens; with none everybody is let in.
        allow_uris: prefixes of URIs that may be read; none, so that nothing but uploads is.
        hosts: names under which the service answers; empty for all.
        most_upload_bytes, most_seconds, most_prompts: of one recording and job.
        most_output_bytes: that the stems of a job may take.
        most_data_bytes: of uploads and outputs together; beyond it nothing more is taken.
        most_jobs, most_jobs_each: that wait, of all clients and of one.
        job_timeout_s: of one job.
        upload_silence_s: without a byte, after which an upload is broken off.
        least_upload_rate: bytes a second, on average from then on.
        keep_s: how long uploads and outputs are kept.
        grace_s: what running jobs get to finish when the service stops; others are queued again.
    """

    data: Path = option(Path("service"), "Queue, uploads and outputs.", metavar="DIR", parse=Path)
    workers: int = option(1, "Each has the models.", metavar="N", least=1)
    threads: int | None = option(None, "CPU threads of a worker.", metavar="N", least=1, shown="all")
    model: str = option("nano", "See: sam-audio models list.", metavar="NAME|PATH")
    judge: str | None = "auto"
    device: str = option("auto", "auto, cpu, cuda or mps.", short="-d")
    tokens: Mapping[str, str] = field(default_factory=dict)
    allow_uris: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    most_upload_bytes: int = option(
        500_000_000, "Of a recording.", key="max_upload", metavar="SIZE", shown="500MB", parse=size_bytes
    )
    most_seconds: float = option(3600.0, "Of a recording.", key="max_length", metavar="S", least=1)
    most_prompts: int = 32
    most_output_bytes: int = 8_000_000_000
    most_data_bytes: int = option(
        50_000_000_000,
        "Of uploads and outputs together.",
        key="max_data",
        metavar="SIZE",
        shown="50GB",
        parse=size_bytes,
    )
    most_jobs: int = option(1000, "That wait.", key="max_jobs", metavar="N", least=1)
    most_jobs_each: int = 100
    job_timeout_s: float = option(1800.0, "Of a job.", key="job_timeout", metavar="S", least=1)
    upload_silence_s: float = 15.0
    least_upload_rate: float = 10_000.0
    keep_s: float = option(
        24 * 3600.0, "How long outputs are kept.", key="keep", metavar="TIME", shown="24h", parse=seconds
    )
    grace_s: float = option(
        30.0, "What running jobs get when the service stops.", key="grace", metavar="S", least=0
    )

    @property
    def uploads(self) -> Path:
        return self.data / "uploads"

    @property
    def outputs(self) -> Path:
        return self.data / "outputs"


def check_prefixes(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """The prefixes.

    Raises:
        UserError: one is none of URIs.
    """
    for prefix in prefixes:
        if "://" not in prefix or prefix.startswith("file:"):
            raise UserError(
                f"{prefix} is no prefix of URIs: write one like https://sounds.example/ or s3://bucket/"
            )
    return prefixes
