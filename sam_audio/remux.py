"""``--remux``, an exporter like those of plugins; see `sam_audio.export.video`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sam_audio.report import RenderReport


class Remux:
    """Videos with the separated sounds."""

    name = "remux"

    def check(self, source: str) -> None:
        """Raises UserError if there are no pictures to keep."""
        from sam_audio.export.video import check_pictures

        check_pictures(source)

    def export(self, report: RenderReport, overwrite: bool) -> list[Path]:
        """One video beside each stem, all of them or none."""
        from sam_audio.export.video import remux

        return remux(report, overwrite)
