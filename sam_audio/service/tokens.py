"""Tokens: who a client is, by a secret that only it and the service know."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from sam_audio.errors import UserError

TOKEN = "SAM_AUDIO_TOKEN"  # environment variable
LEAST_TOKEN = 16


def read_tokens(path: Path | None) -> dict[str, str]:
    """Names of clients by their tokens: those of a file of lines NAME:TOKEN, and of SAM_AUDIO_TOKEN.

    Raises:
        UserError: the file cannot be read or understood, or a token is too short to be a secret.
    """
    found: dict[str, str] = {}
    if path is not None:
        from sam_audio.documents import read_text

        for number, line in enumerate(read_text(path, "a file of lines NAME:TOKEN").splitlines(), 1):
            if line.strip():
                name, _, token = line.strip().partition(":")
                if not name or not token or token in found:
                    raise UserError(f"line {number} of {path} is no NAME:TOKEN of its own: correct it there")
                found[token] = name
    if own := os.environ.get(TOKEN):
        found[own] = "default"
    if any(len(token) < LEAST_TOKEN for token in found):
        raise UserError(f"a token is too short to be a secret: use {LEAST_TOKEN} characters or more")
    return found


def made_token() -> tuple[dict[str, str], str]:
    """A new token, as `read_tokens` has it, and what to tell whoever started the service."""
    token = secrets.token_urlsafe(24)
    return {token: "default"}, f"the token is {token}; set {TOKEN} to choose one"


def client_of(token: str, tokens: Mapping[str, str]) -> str | None:
    """Whose token it is. Takes as long whatever it is: all are compared, by digests of one length."""
    given = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
    found = None
    for known, name in tokens.items():
        if hmac.compare_digest(given, hashlib.sha256(known.encode()).digest()):
            found = name
    return found
