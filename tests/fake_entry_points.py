"""Entry points of plugins that tests bring; those of other packages stay as they are."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any


def only_plugins(monkeypatch: Any, found: list[Any]) -> None:
    """Lets the process find these plugins of ours and no others."""

    def fake(*, group: str) -> Any:
        return list(found) if group == "sam_audio" else entry_points(group=group)

    monkeypatch.setattr("importlib.metadata.entry_points", fake)
