"""Judges: how good a separated sound is, without a reference."""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"  # of the judges that come with the package
