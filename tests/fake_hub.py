"""A stand-in for the Hugging Face hub."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any


class FakeHub:
    """A hub with one repository a folder; what is fetched lies in a cache, large files under their SHA-256."""

    def __init__(self, cache: Path):
        self.cache = cache
        self.repositories: dict[str, Path] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.options: dict[str, Any] = {}  # of the last call
        self.error: Exception | None = None

    def download(self, repository: str, file: str, revision: str | None = None, **options: Any) -> str:
        from huggingface_hub import errors

        self.asked.append((repository, file, revision))
        self.options = options
        if options.get("local_files_only"):
            raise errors.LocalEntryNotFoundError("none")
        if self.error is not None:
            raise self.error
        source = self.repositories[repository] / file
        if not source.is_file():
            raise errors.EntryNotFoundError("none")
        folder = self.cache / f"models--{repository.replace('/', '--')}"
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        blob = folder / "blobs" / (digest if source.suffix in (".pt", ".safetensors") else digest[:40])
        path = folder / "snapshots" / "0123abc" / file
        for parent in (blob.parent, path.parent, folder / "refs"):
            parent.mkdir(parents=True, exist_ok=True)
        if revision != "0123abc":
            (folder / "refs" / (revision or "main")).write_text("0123abc")
        if not path.exists():
            shutil.copy(source, blob)
            path.symlink_to(blob)
        return str(path)
