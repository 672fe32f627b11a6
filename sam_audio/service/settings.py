"""What a service may do, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


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
        most_data_bytes: of uploads and outputs together; beyond it uploads are refused.
        most_jobs, most_jobs_each: that wait, of all clients and of one.
        job_timeout_s: of one job.
        upload_silence_s: without a byte, after which an upload is broken off.
        least_upload_rate: bytes a second, on average from then on.
        keep_s: how long uploads and outputs are kept.
        grace_s: what running jobs get to finish when the service stops; others are queued again.
    """

    data: Path
    workers: int = 1
    threads: int | None = None
    model: str = "nano"
    judge: str | None = "auto"
    device: str = "auto"
    tokens: Mapping[str, str] = field(default_factory=dict)
    allow_uris: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    most_upload_bytes: int = 500_000_000
    most_seconds: float = 3600.0
    most_prompts: int = 32
    most_output_bytes: int = 8_000_000_000
    most_data_bytes: int = 50_000_000_000
    most_jobs: int = 1000
    most_jobs_each: int = 100
    job_timeout_s: float = 1800.0
    upload_silence_s: float = 15.0
    least_upload_rate: float = 10_000.0
    keep_s: float = 24 * 3600.0
    grace_s: float = 30.0

    @property
    def uploads(self) -> Path:
        return self.data / "uploads"

    @property
    def outputs(self) -> Path:
        return self.data / "outputs"
