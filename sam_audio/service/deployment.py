"""The same application on Ray Serve: ``serve run sam_audio.service.deployment:build data=/srv/sounds replicas=2``.

Replicas share one queue, so any of them answers for any job, and all work it off. The folder of the data has to be on
one machine's disk: SQLite's locks are not to be trusted on network disks.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sam_audio.errors import UserError
from sam_audio.options import OptionField, options_of
from sam_audio.service.settings import Settings, check_prefixes
from sam_audio.service.tokens import made_token, read_tokens


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


def build(args: Mapping[str, str]) -> Any:
    """For ``serve run``: ``data=FOLDER``, ``replicas=N``, and what `sam-audio serve` takes, such as ``max_upload=1GB``;
    of ``allow_uri`` several with commas between.

    Without tokens one is made and printed: only the operator knows from where Ray Serve can be reached.

    Raises:
        UserError: there is no folder, or something is not known or cannot be understood.
    """
    if "data" not in args:
        raise UserError("no folder is given: serve run sam_audio.service.deployment:build data=FOLDER")
    known = {one.key: one for one in options_of(Settings)}
    own = "replicas", "tokens", "allow_uri"
    for name in args:
        if name not in known and name not in own:
            raise UserError(f"there is no {name}: use {', '.join(sorted({*known, *own}))}")
    tokens = read_tokens(Path(args["tokens"]) if "tokens" in args else None)
    if not tokens:
        tokens, told = made_token()
        print(told, file=sys.stderr)
    given = {known[key].name: _read(known[key], text) for key, text in args.items() if key in known}
    given["data"] = given["data"].absolute()
    prefixes = check_prefixes(tuple(filter(None, args.get("allow_uri", "").split(","))))
    return deploy(Settings(**given, tokens=tokens, allow_uris=prefixes), int(args.get("replicas", 1)))


def _read(one: OptionField, text: str) -> Any:
    if one.declared.parse is not None or one.type is str:
        return one.parsed(text)
    try:
        return float(text) if one.type is float else int(text)
    except ValueError:
        raise UserError(f"{one.key}={text} is no number: correct it") from None
