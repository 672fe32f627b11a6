"""What Prometheus reads at /metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from sam_audio.service.jobs import Queue

SECONDS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800)


class Metrics:
    """Counters of this process, and the jobs of the queue."""

    def __init__(self, queue: Queue) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "sam_audio_requests", "Answers.", ["method", "route", "status"], registry=self.registry
        )
        self.uploaded = Counter("sam_audio_uploaded_bytes", "Bytes of uploads.", registry=self.registry)
        self.seconds = Histogram(
            "sam_audio_job_seconds",
            "How long jobs took.",
            ["kind", "state"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.registry.register(_Jobs(queue))
        ProcessCollector(registry=self.registry)

    def job_ended(self, kind: str, state: str, seconds: float) -> None:
        self.seconds.labels(kind, state).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _Jobs:
    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("sam_audio_jobs", "Jobs that are kept.", labels=["kind", "state"])
        for (kind, state), number in self.queue.counts().items():
            jobs.add_metric([kind, state], number)
        yield jobs
        yield GaugeMetricFamily(
            "sam_audio_stored_bytes", "Of uploads and outputs.", value=self.queue.stored_bytes()
        )
