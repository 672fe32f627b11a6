"""The application: uploads, jobs, progress, outputs. `create_app` makes it; uvicorn or Ray Serve run it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from sam_audio.errors import UserError
from sam_audio.naming import check_prompts
from sam_audio.service.doors import Door
from sam_audio.service.jobs import Job, Queue
from sam_audio.service.metrics import Metrics
from sam_audio.service.running import Runner, output_path
from sam_audio.service.settings import Settings
from sam_audio.service.uris import allowed_prefix
from sam_audio.service.views import JobFacts, JobView, Output, output_names
from sam_audio.version import __version__

WAIT_S = 60.0
EVENT_S, BEAT_S = 0.3, 10.0
LOOK_BYTES = 8_000_000  # of an upload, before it is asked again whether there is room
Id = Annotated[str, InPath(pattern="^[0-9a-f]{32}$")]
METHODS = ("GET", "HEAD", "POST", "DELETE")
Text = Annotated[str, Field(max_length=200)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Source(_Body):
    """A recording: an upload's id, or a URI that the service may read."""

    upload: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    uri: Annotated[str, Field(max_length=2000)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Source:
        if (self.upload is None) == (self.uri is None):
            raise ValueError("give either upload or uri")
        return self


class Separate(_Body):
    source: Source
    prompts: Annotated[list[Text], Field(min_length=1)]
    title: Annotated[str, Field(max_length=100)] = "recording"
    format: Literal["wav", "flac", "mp3", "ogg", "opus"] = "wav"
    mode: Literal["extract", "remove"] = "extract"
    residual: bool = True
    strength: Annotated[float, Field(ge=0, le=2)] = 1.0


class Judge(_Body):
    mixture: Source
    stem: Source
    prompt: Text


class Locate(_Body):
    source: Source
    prompts: Annotated[list[Text], Field(min_length=1)]
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.3


class Embed(_Body):
    source: Source | None = None
    texts: list[Text] = []


class Problem(BaseModel):
    """What is wrong, in one sentence."""

    detail: str


class Uploaded(BaseModel):
    upload: str
    bytes: int


@dataclass(frozen=True)
class Service:
    """What is behind the routes."""

    settings: Settings
    queue: Queue
    runner: Runner
    metrics: Metrics


def create_app(settings: Settings) -> FastAPI:
    """The application. Its runner starts and stops with it; ``app.state.service`` is what is behind it."""
    queue = Queue(settings.data / "queue.sqlite3")
    counters = Metrics(queue)
    runner = Runner(queue, settings, counters.job_ended)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(runner.start)
        yield
        await run_in_threadpool(runner.stop)

    app = FastAPI(title="sam-audio", version=__version__, lifespan=life, docs_url="/docs", redoc_url=None)
    app.state.service = Service(settings, queue, runner, counters)
    app.include_router(routes)
    app.add_middleware(Door, settings=settings)
    if settings.hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.hosts), www_redirect=False)

    @app.middleware("http")
    async def count(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        route = getattr(request.scope.get("route"), "path", "none")
        # names that strangers think up are no labels: each would be kept
        method = request.method if request.method in METHODS else "other"
        counters.requests.labels(method, route, str(response.status_code)).inc()
        response.headers["x-content-type-options"] = "nosniff"
        return response

    @app.exception_handler(UserError)
    async def told(request: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    @app.exception_handler(RequestValidationError)
    async def misshapen(request: Request, error: RequestValidationError) -> JSONResponse:
        # what was sent is not told back: it need not be text or JSON that could be
        (first, *_) = error.errors()
        place = ".".join(str(one) for one in first["loc"] if one != "body")
        detail = f"{place or 'the body'}: {first['msg']}".encode(errors="replace").decode()
        return JSONResponse({"detail": detail[:500]}, 422)

    @app.exception_handler(sqlite3.Error)
    async def stuck(request: Request, error: sqlite3.Error) -> JSONResponse:
        detail = f"the queue cannot be used ({error}): ask again later"
        return JSONResponse({"detail": detail}, 503, {"retry-after": "30"})

    return app


def _service_of(request: Request) -> Service:
    return request.app.state.service  # type: ignore[no-any-return]


def _client_of(request: Request) -> str:
    return str(request.state.client)


def _own_job(job_id: Id, here: Here, client: Client) -> Job:
    job = here.queue.get(job_id)
    # addresses are no names: without tokens, who knows the id may see the job
    if job is None or (here.settings.tokens and job.client != client):
        raise HTTPException(404, "there is no such job, or it is no longer kept")
    return job


Here = Annotated[Service, Depends(_service_of)]
Client = Annotated[str, Depends(_client_of)]
Own = Annotated[Job, Depends(_own_job)]
Wait = Annotated[float, Query(ge=0, le=WAIT_S, description="Seconds to wait for the end of the job.")]
routes = APIRouter(responses={422: {"model": Problem}})


@routes.get("/v1/health")
def health(here: Here) -> dict[str, str]:
    if here.runner.stopping.is_set():
        raise HTTPException(503, "the service is stopping")
    return {"state": "well", "version": __version__}


@routes.get("/metrics", include_in_schema=False)
def metrics(here: Here) -> Response:
    return Response(here.metrics.text(), media_type="text/plain; version=0.0.4")


@routes.post("/v1/uploads", status_code=201)
async def upload(request: Request, here: Here, client: Client) -> Uploaded:
    """Takes a recording: the body is the file as it is."""
    upload_id = secrets.token_hex(16)
    n_bytes = await _receive(request, here, here.settings.uploads / upload_id)
    await run_in_threadpool(here.queue.add_upload, upload_id, client, n_bytes)
    here.metrics.uploaded.inc(n_bytes)
    return Uploaded(upload=upload_id, bytes=n_bytes)


@routes.post("/v1/separate", status_code=202)
async def separate(body: Separate, here: Here, client: Client, response: Response, wait: Wait = 0) -> JobView:
    """Pulls the sounds that the prompts name out of a recording."""
    return await _accepted("separate", here, client, body, wait, response)


@routes.post("/v1/judge", status_code=202)
async def judge(body: Judge, here: Here, client: Client, response: Response, wait: Wait = 0) -> JobView:
    """Says how good a stem is, without knowing the true one."""
    return await _accepted("judge", here, client, body, wait, response)


@routes.post("/v1/locate", status_code=202)
async def locate(body: Locate, here: Here, client: Client, response: Response, wait: Wait = 0) -> JobView:
    """Tells when sounds happen in a recording."""
    return await _accepted("locate", here, client, body, wait, response)


@routes.post("/v1/embed", status_code=202)
async def embed(body: Embed, here: Here, client: Client, response: Response, wait: Wait = 0) -> JobView:
    """Turns a recording and texts into vectors of one space."""
    return await _accepted("embed", here, client, body, wait, response)


@routes.get("/v1/jobs/{job_id}")
def get_job(job: Own) -> JobView:
    return _view(job)


@routes.delete("/v1/jobs/{job_id}")
def cancel_job(job: Own, here: Here) -> JobView:
    """Cancels a job that has not ended."""
    here.queue.cancel(job.id)
    return _view(here.queue.get(job.id) or job)


@routes.get("/v1/jobs/{job_id}/events", response_class=StreamingResponse)
async def events(job: Own, here: Here) -> StreamingResponse:
    """Server-sent events: the job each time that it has changed, until it has ended."""
    headers = {"cache-control": "no-store"}
    return StreamingResponse(_changes(job.id, here), media_type="text/event-stream", headers=headers)


@routes.get("/v1/jobs/{job_id}/outputs/{name}", response_class=FileResponse)
def output(job: Own, here: Here, name: str) -> FileResponse:
    path = output_path(here.settings, job, name)
    if path is None or not path.is_file():
        raise HTTPException(404, "the job has no such output")
    return FileResponse(path, media_type="application/octet-stream", filename=name)


async def _changes(job_id: str, here: Service) -> AsyncIterator[str]:
    told, told_at = "", time.monotonic()
    while True:
        now = await run_in_threadpool(here.queue.get, job_id)
        text = "" if now is None else json.dumps(asdict(_view(now)))
        if now is not None and text != told:
            told, told_at = text, time.monotonic()
            yield f"event: job\ndata: {text}\n\n"
        elif time.monotonic() - told_at > BEAT_S:
            told_at = time.monotonic()
            yield ": still there\n\n"
        if now is None or now.has_ended or here.runner.stopping.is_set():
            return
        await asyncio.sleep(EVENT_S)


async def _accepted(
    kind: str, here: Service, client: str, body: _Body, wait: float, response: Response
) -> JobView:
    """Queues a job, and waits a while for its end."""
    job = await run_in_threadpool(_queued, kind, here, client, body)
    deadline = time.monotonic() + wait
    while not job.has_ended and time.monotonic() < deadline and not here.runner.stopping.is_set():
        await asyncio.sleep(EVENT_S)
        found = await run_in_threadpool(here.queue.get, job.id)
        job = found or job
    response.status_code = 200 if job.has_ended else 202
    response.headers["location"] = f"/v1/jobs/{job.id}"
    return _view(job)


def _queued(kind: str, here: Service, client: str, body: _Body) -> Job:
    request = body.model_dump()
    _check(request, client, here.settings, here.queue)
    if here.runner.stopping.is_set():
        raise HTTPException(503, "the service is stopping: ask again in a minute")
    if not here.runner.has_room():
        raise _no_room()
    settings = here.settings
    job = here.queue.add(kind, client, request, settings.most_jobs, settings.most_jobs_each)
    if job is None:
        raise HTTPException(429, "too many jobs wait already: ask again later", {"retry-after": "30"})
    return job


def _view(job: Job) -> JobView:
    outputs = tuple(Output(name, f"/v1/jobs/{job.id}/outputs/{name}") for name in output_names(job))
    return JobView(**{one.name: getattr(job, one.name) for one in fields(JobFacts)}, outputs=outputs)


def _check(request: dict[str, Any], client: str, settings: Settings, queue: Queue) -> None:
    """What can be said of a job before it is queued.

    Raises:
        UserError: it cannot be done.
        HTTPException: an upload is not there.
    """
    for name in ("prompts", "texts"):
        texts = request.get(name)
        if texts:
            request[name] = check_prompts(texts)
            if len(texts) > settings.most_prompts:
                raise UserError(f"{len(texts)} {name} are too many: send at most {settings.most_prompts}")
    if "prompt" in request:
        (request["prompt"],) = check_prompts([request["prompt"]])
    if request.get("mode") == "remove" and not request["residual"]:
        raise UserError("mode remove writes only the residual: leave residual out, or make it true")
    sources = [request[name] for name in ("source", "mixture", "stem") if request.get(name)]
    if not sources and not request.get("texts"):
        raise UserError("nothing is given: send a source or texts")
    for source in sources:
        if source["uri"] is not None:
            allowed_prefix(source["uri"], settings.allow_uris)
        else:
            owner = queue.upload_client(source["upload"])
            if owner is None or (settings.tokens and owner != client):
                raise HTTPException(404, "there is no such upload, or it is no longer kept")


def _no_room() -> HTTPException:
    return HTTPException(507, "there is no room for more recordings: ask again later", {"retry-after": "600"})


async def _receive(request: Request, here: Service, path: Path) -> int:
    """Writes a body to a file, which has its name when it is complete and on the disk; its size in bytes."""
    part = path.with_suffix(".part")
    n_bytes = looked_at = 0
    try:
        if not await run_in_threadpool(here.runner.has_room):
            raise _no_room()
        with part.open("xb") as file:
            async for block in request.stream():
                n_bytes += len(block)
                here.runner.arriving_bytes += len(block)
                await run_in_threadpool(file.write, block)
                if n_bytes - looked_at > LOOK_BYTES:  # many may have begun when there was room for one
                    looked_at = n_bytes
                    if not await run_in_threadpool(here.runner.has_room):
                        raise _no_room()
            file.flush()
            await run_in_threadpool(os.fsync, file.fileno())
        if not n_bytes:
            raise HTTPException(400, "the body is empty: send the recording as the body")
        part.rename(path)
    except OSError as error:
        raise HTTPException(
            507, f"the recording cannot be stored ({error.strerror}): ask again later"
        ) from None
    finally:
        here.runner.arriving_bytes -= n_bytes
        with suppress(OSError):
            part.unlink()
    return n_bytes
