"""Addresses from which the page's own scripts fetch sound, pictures and downloads, piece by piece.

They hold a token that nobody can guess; behind it is one `Sound`, or one file that was made for download.
"""

from __future__ import annotations

import asyncio
import io
import mimetypes
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import soundfile
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from sam_audio.app.media import picture_at
from sam_audio.app.sounds import Sound, sound_of
from sam_audio.errors import UserError
from sam_audio.finding.media import VIDEO, kind_of

if TYPE_CHECKING:
    from starlette.requests import Request

_PATIENCE_S = 10.0  # that a browser waits for a block that is being decoded
_MOST_COLUMNS = 2000
_KEPT = {"cache-control": "private, max-age=3600"}
_PASSING = {"cache-control": "no-store"}


class Download:
    """A file that its visitor may fetch, as long as somebody holds this."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.token = secrets.token_urlsafe(18)
        _downloads[self.token] = self


_downloads: WeakValueDictionary[str, Download] = WeakValueDictionary()


def routes() -> list[Route]:
    """For the editor's server."""
    answers = {
        "about": _about,
        "block/{number:int}": _block,
        "peaks/{level:int}/{number:int}": _peaks,
        "spectrogram": _spectrogram,
        "film": _film,
        "picture": _picture,
    }
    sounds = [Route(f"/sounds/{{token}}/{path}", answer) for path, answer in answers.items()]
    return [*sounds, Route("/downloads/{token}", _download)]


def _found(request: Request) -> Sound | None:
    return sound_of(request.path_params["token"])


def _gone() -> Response:
    return Response("This sound is not open any more: load the page again.\n", 404, headers=_PASSING)


async def _about(request: Request) -> Response:
    """How long a sound is, how much of it is drawn, and when it sounds, by a model's opinion or by its level."""
    sound = _found(request)
    if sound is None:
        return _gone()
    spans = await run_in_threadpool(sound.spans) if sound.is_drawn else []
    told = {
        "rate": sound.rate,
        "frames": sound.frames,
        "share": sound.share,
        "by": "model" if sound.known_spans is not None else "level",
        "spans": [[round(s.start_s, 3), round(s.end_s, 3)] for s in spans],
    }
    return JSONResponse(told, headers=_PASSING)


async def _block(request: Request) -> Response:
    sound, number = _found(request), request.path_params["number"]
    end_s = time.monotonic() + _PATIENCE_S
    while sound is not None and not sound.has(number):
        if time.monotonic() > end_s:
            return Response("This part is still being decoded.\n", 503, headers=_PASSING)
        await asyncio.sleep(0.1)
    if sound is None:
        return _gone()
    try:
        content = await run_in_threadpool(sound.block, number)
    except (OSError, soundfile.SoundFileError):  # it was let go meanwhile, or is damaged: drawing it tells
        return _gone()
    return Response(content, media_type="audio/flac", headers=_KEPT)


async def _peaks(request: Request) -> Response:
    sound = _found(request)
    if sound is None:
        return _gone()
    share = sound.share  # before the peaks: a tile may hold more than it says, never less
    tile = await run_in_threadpool(sound.tile, request.path_params["level"], request.path_params["number"])
    headers = {"x-share": f"{share:.4f}", **(_KEPT if share == 1 else _PASSING)}
    return Response(tile, media_type="application/octet-stream", headers=headers)


async def _spectrogram(request: Request) -> Response:
    sound = _found(request)
    if sound is None:
        return _gone()
    try:
        start_s, end_s = (float(request.query_params[key]) for key in ("from", "to"))
        columns = int(request.query_params["columns"])
    except (KeyError, ValueError):
        return Response("Say from, to and columns.\n", 400)
    if not (0 <= start_s < end_s <= sound.seconds + 1 and 0 < columns <= _MOST_COLUMNS):
        return Response("There is no such stretch.\n", 400)
    try:
        picture = await run_in_threadpool(sound.spectrogram, start_s, end_s, columns)
    except (OSError, soundfile.SoundFileError):
        return _gone()
    return Response(picture, media_type="image/png", headers=_KEPT if sound.is_drawn else _PASSING)


async def _film(request: Request) -> Response:
    """The file of a video as it came, for a browser that plays its pictures; in ranges.

    It is called a video whatever its name says: nothing that visitors send is ever a page.
    """
    sound = _found(request)
    if sound is None or kind_of(sound.path) != VIDEO or not sound.path.is_file():
        return _gone()
    kind = mimetypes.guess_type(sound.path.name)[0] or ""
    return FileResponse(
        sound.path, media_type=kind if kind.startswith("video/") else "video/mp4", headers=_KEPT
    )


async def _picture(request: Request) -> Response:
    """The picture of a video at a time, for browsers that cannot play it."""
    sound = _found(request)
    if sound is None:
        return _gone()
    try:
        time_s = min(max(float(request.query_params["at"]), 0.0), sound.seconds)
        content = await run_in_threadpool(_jpeg, sound.path, time_s)
    except (KeyError, ValueError, UserError):
        return Response("There is no such picture.\n", 400)
    return Response(content, media_type="image/jpeg", headers=_KEPT)


def _jpeg(path: Path, time_s: float) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(picture_at(path, time_s)).save(content, "JPEG", quality=85)
    return content.getvalue()


async def _download(request: Request) -> Response:
    found = _downloads.get(request.path_params["token"])
    if found is None or not found.path.is_file():
        return _gone()
    return FileResponse(found.path, filename=found.path.name, headers=_PASSING)
