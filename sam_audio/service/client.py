"""A client of the service, which needs none of its extras.

>>> client = Client("http://localhost:8765")  # doctest: +SKIP
>>> job = client.wait(client.separate("mix.wav", ["guitar"]))  # doctest: +SKIP
>>> client.download(job, "stems")  # doctest: +SKIP
"""

from __future__ import annotations

import json
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

from sam_audio.errors import SamAudioError, UserError
from sam_audio.io.target import whole_file
from sam_audio.service.views import JobView, Output

__all__ = ["Client", "JobView", "Output", "ServiceError"]


class ServiceError(SamAudioError):
    """The service refused or failed; ``status`` is that of HTTP, 0 where none came."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Client:
    """Talks to a service.

    Args:
        url: of the service.
        token: what it asks for beyond localhost.
        timeout_s: without an answer.

    Raises (all methods):
        ServiceError: the service cannot be reached, refuses, or fails.
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float = 60.0) -> None:
        self.url, self.token, self.timeout_s = url.rstrip("/") + "/", token, timeout_s

    def upload(self, path: str | Path) -> str:
        """Uploads a recording; its id."""
        path = Path(path)
        with path.open("rb") as file:
            headers = {"Content-Length": str(path.stat().st_size), "Content-Type": "application/octet-stream"}
            return str(self._json("POST", "v1/uploads", file, headers)["upload"])

    def separate(self, source: str | Path, prompts: Sequence[str], **options: Any) -> JobView:
        """Queues a separation of a file, or of a URI that the service may read; ``options`` are title, format, mode,
        residual and strength."""
        title = {"title": Path(str(source)).stem[:100] or "recording"} | options
        return self._add("separate", {"source": self._source(source), "prompts": list(prompts), **title})

    def judge(self, mixture: str | Path, stem: str | Path, prompt: str) -> JobView:
        return self._add(
            "judge", {"mixture": self._source(mixture), "stem": self._source(stem), "prompt": prompt}
        )

    def locate(self, source: str | Path, prompts: Sequence[str], threshold: float = 0.3) -> JobView:
        return self._add(
            "locate", {"source": self._source(source), "prompts": list(prompts), "threshold": threshold}
        )

    def embed(self, source: str | Path | None = None, texts: Sequence[str] = ()) -> JobView:
        asked = None if source is None else self._source(source)
        return self._add("embed", {"source": asked, "texts": list(texts)})

    def job(self, job_id: str) -> JobView:
        """The job as it is now."""
        return JobView.of(self._json("GET", f"v1/jobs/{job_id}"))

    def cancel(self, job_id: str) -> JobView:
        return JobView.of(self._json("DELETE", f"v1/jobs/{job_id}"))

    def events(self, job_id: str) -> Iterator[JobView]:
        """The job each time that it has changed; ends when the job or the service does."""
        with self._open("GET", f"v1/jobs/{job_id}/events") as answer:
            for line in answer:
                if line.startswith(b"data: "):
                    yield JobView.of(json.loads(line[6:]))

    def wait(
        self, job: JobView, progress: Callable[[JobView], None] | None = None, patience_s: float = 60.0
    ) -> JobView:
        """Waits for the end of a job, also across restarts of the service of up to ``patience_s``.

        Raises:
            ServiceError: the job failed or was cancelled.
        """
        seen_at = time.monotonic()
        while not job.has_ended:
            try:
                for now in self.events(job.id):
                    job = now
                    seen_at = time.monotonic()
                    if progress is not None:
                        progress(job)
            except (ServiceError, OSError) as error:
                status = getattr(error, "status", 0)
                if status not in (0, 502, 503) or time.monotonic() - seen_at > patience_s:
                    raise
            if not job.has_ended:
                time.sleep(0.5)
        if job.state != "done":
            raise ServiceError(200, job.error or f"the job was {job.state}")
        return job

    def download(self, job: JobView, folder: str | Path) -> list[Path]:
        """Saves the outputs of a job that is done, each whole or not at all."""
        paths = []
        for output in job.outputs:
            path = Path(folder) / Path(output.name).name
            with (
                self._open("GET", f"v1/jobs/{job.id}/outputs/{quote(output.name)}") as answer,
                whole_file(path) as file,
            ):
                shutil.copyfileobj(answer, file, 1 << 20)
            paths.append(path)
        return paths

    def _source(self, source: str | Path) -> dict[str, str]:
        if isinstance(source, str) and re.match(r"[a-z0-9]+://", source):
            return {"uri": source}
        if not Path(source).is_file():
            raise UserError(f"{source} is no file: name a recording, or a URI")
        return {"upload": self.upload(source)}

    def _add(self, kind: str, body: Mapping[str, Any]) -> JobView:
        headers = {"Content-Type": "application/json"}
        return JobView.of(self._json("POST", f"v1/{kind}", json.dumps(body).encode(), headers))

    def _json(
        self, method: str, path: str, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        with self._open(method, path, data, headers) as answer:
            return json.load(answer)

    def _open(
        self, method: str, path: str, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        own = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(
            urljoin(self.url, path), data=data, headers={**own, **(headers or {})}, method=method
        )
        try:
            return urllib.request.urlopen(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as error:
            with error:
                raise ServiceError(error.code, _detail(error.read(10_000))) from None
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise ServiceError(
                0, f"{self.url} cannot be reached ({getattr(error, 'reason', error)})"
            ) from None


def _detail(body: bytes) -> str:
    try:
        detail = json.loads(body)["detail"]
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:500]
    return detail if isinstance(detail, str) else json.dumps(detail)
