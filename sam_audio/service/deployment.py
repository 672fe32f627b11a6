"""The same application on Ray Serve: ``serve run sam_audio.service.deployment:build data=/srv/sounds replicas=2``.

Replicas share one queue, so any of them answers for any job, and all work it off. The folder of the data has to be on
one machine's disk: SQLite's locks are not to be trusted on network disks.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sam_audio.errors import UserError
from sam_audio.service.settings import Settings

TOKEN = "SAM_AUDIO_TOKEN"  # environment variable


def deploy(settings: Settings, replicas: int = 1) -> Any:
    """A Ray Serve application of ``replicas`` processes, each of which has ``settings.workers`` workers.

    Args:
        settings: as for one process; the folder of the data is that of all.
        replicas: how many.
    """
    from ray import serve

    from sam_audio.service.app import create_app

    # Serve calls the builder in each replica: the application holds threads and connections of its process
    @serve.deployment(
        name="sam-audio",
        num_replicas=replicas,
        max_ongoing_requests=200,
        graceful_shutdown_timeout_s=settings.grace_s + 10,
        ray_actor_options={"num_cpus": (settings.threads or 1) * settings.workers},
    )
    @serve.ingress(lambda: create_app(settings))
    class Service:
        """The application; Ray Serve sends it requests."""

    return Service.bind()  # type: ignore[attr-defined]


def build(args: dict[str, str]) -> Any:
    """For ``serve run``; takes data, replicas, workers, threads, model, device and allow_uris (with commas between)."""
    if "data" not in args:
        raise UserError("no folder is given: serve run sam_audio.service.deployment:build data=FOLDER")
    token = os.environ.get(TOKEN)
    more: dict[str, Any] = {name: args[name] for name in ("model", "device") if name in args}
    more |= {name: int(args[name]) for name in ("workers", "threads") if name in args}
    settings = Settings(
        Path(args["data"]).absolute(),
        tokens={token: "default"} if token else {},
        allow_uris=tuple(filter(None, args.get("allow_uris", "").split(","))),
        **more,
    )
    return deploy(settings, int(args.get("replicas", 1)))
